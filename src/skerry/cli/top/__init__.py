"""`skerry top`: the whole cloud on a live screen. The screen itself is loaded only where there is a terminal for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.errors import BadInput

if TYPE_CHECKING:
    from skerry.client.session import Session


class NoTerminal(BadInput):
    """A screen needs a terminal to be drawn on."""

    code = "no-terminal"


@declare(name="top", example="skerry top\nskerry top --json")
@click.option("--every", "every_s", type=Duration(), default="1s", show_default=True, help="How often to look again.")
def command(terminal: Terminal, every_s: float, cloud: str, passphrase_file: str | None) -> None:
    """Watch hosts, apps and slots on a live screen.

    Keys are shown at the bottom and by `?`. With --json: one look at it all.
    """
    if not 0.2 <= every_s <= 3600:
        raise BadInput("the screen was not opened", f"--every is 0.2 s to 1 h, not {every_s:g} s", "such as --every 2s")
    if terminal.as_json:
        from skerry.client import overview

        told = run.in_cloud(terminal, cloud, passphrase_file, overview.look)
        terminal.answer(told.as_dict(), "")
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NoTerminal(
            "the screen was not opened", "stdin and stdout are no terminal", "one look as a document: skerry top --json"
        )

    async def screen(session: Session) -> Any:
        from skerry.cli.top.screen import Top

        session.signer  # noqa: B018 - a passphrase is asked for before the screen is there
        error = await Top(session, every_s).run_async()
        if error is not None:
            raise error

    run.in_cloud(terminal, cloud, passphrase_file, screen)
