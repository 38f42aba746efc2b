"""`skerry rollback`: the release before this one."""

from __future__ import annotations

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.options import timeout
from skerry.cli.output import Terminal


@declare(name="rollback", example="skerry rollback guestbook", codes=(0, 1, 2, 3, 4, 5))
@click.argument("app")
@timeout("120s")
def command(terminal: Terminal, app: str, timeout_s: float, cloud: str, passphrase_file: str | None) -> None:
    """Go back to the release before this one.

    Its images are still on the hosts, so nothing is sent.
    """
    from skerry.client import apps
    from skerry.client.images import LocalImages

    images = LocalImages(run.home().images)
    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: apps.rollback(
            session, app, images=images, progress=terminal.say, timeout_s=timeout_s, signed=session.signed
        ),
    )
    terminal.answer(result, f"{app} is back at the release before")
