"""`skerry rm`: an app goes; its volumes stay."""

from __future__ import annotations

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="rm", example="skerry rm guestbook", codes=(0, 1, 2, 3, 4, 5))
@click.argument("app")
def command(terminal: Terminal, app: str, cloud: str, passphrase_file: str | None) -> None:
    """Remove an app; its volumes stay.

    Volumes are deleted by `skerry volume rm`, and by nothing else.
    """
    from skerry.client import apps
    from skerry.client.images import LocalImages

    images = LocalImages(run.home().images)
    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: apps.rm(session, app, images=images, progress=terminal.say),
        changes=True,
    )
    kept = "; its volumes stay where they are (skerry volume ls)" if result["volumes_kept"] else ""
    terminal.answer(result, f"{app} is removed{kept}")
