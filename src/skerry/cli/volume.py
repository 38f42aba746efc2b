"""`skerry volume`: named volumes, where they are."""

from __future__ import annotations

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@click.group(name="volume")
def command() -> None:
    """List and remove named volumes."""


@declare(command, "ls", example="skerry volume ls")
def ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List every volume, the host it is on, and its size."""
    from skerry.client import views

    rows = run.in_cloud(terminal, cloud, passphrase_file, lambda session: views.volumes(session, terminal.warn))
    terminal.rows(rows, ("app", "volume", "node", "size_bytes", "used_by"), empty="no volume")


@declare(command, "rm", example="skerry volume rm vps-1 guestbook data --yes", codes=(0, 1, 2, 3, 4))
@click.argument("node", metavar="HOST")
@click.argument("app")
@click.argument("volume")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(
    terminal: Terminal, node: str, app: str, volume: str, yes: bool, cloud: str, passphrase_file: str | None
) -> None:
    """Delete VOLUME of APP on HOST, with all that is in it. There is no way back."""
    from skerry.client import views

    if not yes:
        run.confirm(f"delete volume {volume} of {app} on {node}, with all that is in it?")
    result = run.in_cloud(
        terminal, cloud, passphrase_file, lambda session: views.volume_rm(session, node, app, volume), changes=True
    )
    terminal.answer(result, f"volume {volume} of {app} on {node} is deleted")
