"""`skerry diff`: what a deploy would change."""

from __future__ import annotations

from pathlib import Path

from skerry.cli import run
from skerry.cli.deploy import compose_options, read_compose
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="diff", example="skerry diff compose.yaml")
@compose_options
def command(
    terminal: Terminal, file: Path, name: str, env_file: Path | None, cloud: str, passphrase_file: str | None
) -> None:
    """Show what a deploy would change.

    Builds images as a deploy does, and signs nothing.
    """
    from skerry.client import deploy
    from skerry.client.images import LocalImages

    compose = read_compose(terminal, file, name, env_file)
    images = LocalImages(run.home().images)
    rows = run.in_cloud(
        terminal, cloud, passphrase_file, lambda session: deploy.diff(session, compose, images, progress=terminal.say)
    )
    terminal.rows(rows, ("path", "field", "old", "new"), empty="nothing would change")
