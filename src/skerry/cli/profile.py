"""`skerry profile`: where a container's time goes, as a flame graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.image.options import store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.cli.trace import process_option

if TYPE_CHECKING:
    from skerry.client.session import Session


@declare(
    name="profile",
    example="skerry profile web/0\nskerry profile web/0 --seconds 30 -o web.svg\nskerry profile db/0 --by perf",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("slot")
@click.option("--seconds", type=int, default=10, show_default=True, help="How long to look.")
@click.option("--rate", type=int, default=100, show_default=True, help="Looks in each second.")
@click.option(
    "-o",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Else profile-SLOT.svg.",
)
@click.option(
    "--by",
    type=click.Choice(["auto", "py-spy", "perf"]),
    default="auto",
    show_default=True,
    help="py-spy: Python's own functions; perf: everything; auto: py-spy, and perf if it is no Python.",
)
@click.option("--blocking", is_flag=True, help="Have py-spy stop it for each look: felt, and no stack is read half.")
@click.option("--waiting", is_flag=True, help="Of Python draw threads that wait or sleep, too.")
@process_option
def command(
    terminal: Terminal,
    slot: str,
    seconds: int,
    rate: int,
    out: Path | None,
    by: Any,
    blocking: bool,
    waiting: bool,
    process: int,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Draw where the time of SLOT's processes goes: a flame graph as SVG, to be opened in any browser.

    The container notices nothing of it, unless --blocking is said.
    """
    from skerry.client.keys import write_atomically
    from skerry.client.shortcuts import profile
    from skerry.client.shortcuts.running import Look

    async def work(session: Session) -> profile.Profile:
        await session.sync(1)
        look = Look(session, store(), slot, terminal.say, process)
        return await profile.profile(look, seconds=seconds, rate=rate, by=by, blocking=blocking, waiting=waiting)

    made = run.in_cloud(terminal, cloud, passphrase_file, work)
    file = out or Path(f"profile-{made.slot.replace('/', '-')}.svg")
    write_atomically(file, made.svg)
    value = {
        "slot": made.slot,
        "by": made.by,
        "visibility": made.visibility,
        "seconds": made.seconds,
        "rate": made.rate,
        "samples": made.samples,
        "file": str(file),
    }
    terminal.answer(value, f"{file}: {made.samples} samples of {made.slot} in {made.seconds} s, by {made.by}")
