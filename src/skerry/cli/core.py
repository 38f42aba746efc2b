"""`skerry core`: a container's memory as a core file, here or on its host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.image.options import store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.cli.trace import process_option
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.client.session import Session


@declare(
    name="core",
    example="skerry core web/0\nskerry core web/0 -o web.core\nskerry core web/0 --keep",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("slot")
@click.option(
    "-o",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Else SLOT-TIME.core.",
)
@click.option("--keep", is_flag=True, help="Leave it on the host, for three days: see `skerry cores ls`.")
@process_option
def command(
    terminal: Terminal, slot: str, out: Path | None, keep: bool, process: int, cloud: str, passphrase_file: str | None
) -> None:
    """Write the memory of SLOT's first process to a core file here, for gdb.

    It stands still while gdb writes it: 0.2 s for 170 MB, and 256 MiB are the most. Secrets are in it: the file is yours alone.
    """
    from skerry.client.shortcuts import core
    from skerry.client.shortcuts.running import Look

    if keep and out is not None:
        raise click.UsageError("--keep leaves it on the host: no FILE is written here")
    file = out or Path(f"{slot.replace('/', '-')}-{time.strftime('%Y%m%dT%H%M%S')}.core")

    async def work(session: Session) -> core.Core:
        await session.sync(1)
        look = Look(session, store(), slot, terminal.say, process)
        return await (core.kept(look) if keep else core.core(look, file))

    made = run.in_cloud(terminal, cloud, passphrase_file, work)
    value: dict[str, Any] = {"slot": made.slot, "visibility": made.visibility}
    if keep:
        text = f"{clean(made.name)}: kept on {made.node} for three days: skerry cores get {made.slot}"
        terminal.answer({**value, "node": made.node, "name": made.name}, text)
        return
    value |= {"file": made.file, "size_bytes": made.size_bytes}
    terminal.answer(value, f"{made.file}: {size(made.size_bytes)} of {made.slot}")
