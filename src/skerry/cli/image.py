"""`skerry image`: the local image store. It needs no cloud."""

from __future__ import annotations

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@click.group(name="image")
def command() -> None:
    """List the images on this machine."""


@declare(command, "ls", example="skerry image ls", codes=(0, 1), cloud=False)
def ls(terminal: Terminal) -> None:
    """List the names that a compose file's `image:` may use here."""
    from skerry.client.images import LocalImages

    names = LocalImages(run.home().images).names
    rows = [{"name": name, "image": digest} for name, digest in sorted(names.items())]
    terminal.rows(rows, ("name", "image"), empty="no image yet: a deploy builds or imports them")
