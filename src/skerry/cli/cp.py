"""`skerry cp`: files out of a container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import InSlot, Size, SlotPath
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.sizes import size


@declare(name="cp", example="skerry cp web/1:/tmp/dump ./dump", codes=(0, 1, 2, 3, 4))
@click.argument("place", metavar="SLOT:/PATH", type=InSlot())
@click.argument("local", type=click.Path(path_type=Path))
@click.option(
    "--limit", type=Size(), default="1g", show_default=True, help="The most that is copied; nothing is kept beyond."
)
def command(
    terminal: Terminal, place: SlotPath, local: Path, limit: int, cloud: str, passphrase_file: str | None
) -> None:
    """Copy SLOT:/PATH, a file or a folder, to LOCAL.

    Unseen: the container does not notice; all operators see the event.

    Links that lead out of what is copied, pipes, sockets and devices are left out, and told.
    """
    from skerry.client import copying, looking
    from skerry.client.session import Session

    async def work(session: Session) -> dict[str, Any]:
        found = await looking.find(session, place.slot)
        return await copying.fetch(session, found, place.path, local, limit, terminal.progress)

    told = run.in_cloud(terminal, cloud, passphrase_file, work)
    for row in told["skipped"]:
        terminal.warn(f"left out: {row['path']}: {row['why']}")
    if told["skipped_count"] > len(told["skipped"]):
        terminal.warn(f"left out: {told['skipped_count'] - len(told['skipped'])} more")
    terminal.answer(told, f"{told['files']} files, {size(told['size_bytes'])} to {clean(told['to'])}")
