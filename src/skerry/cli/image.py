"""`skerry image`: the local image store. It needs no cloud."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@click.group(name="image")
def command() -> None:
    """List the images on this machine, and hand them to other tools."""


@declare(command, "ls", example="skerry image ls", codes=(0, 1), cloud=False)
def ls(terminal: Terminal) -> None:
    """List the names that a compose file's `image:` may use here."""
    from skerry.client.images import LocalImages

    names = LocalImages(run.home().images).names
    rows = [{"name": name, "image": digest} for name, digest in sorted(names.items())]
    terminal.rows(rows, ("name", "image"), empty="no image yet: a deploy builds or imports them")


@declare(command, "export", example="skerry image export guestbook.web web", codes=(0, 1, 2), cloud=False)
@click.argument("image")
@click.argument("path", type=click.Path(path_type=Path))
def export(terminal: Terminal, image: str, path: Path) -> None:
    """Write IMAGE to PATH as an OCI layout: a folder, or one file if PATH ends in .tar.

    Other tools read it: skopeo inspect oci:PATH:latest
    """
    from skerry.client.images import LocalImages

    digest = LocalImages(run.home().images).export(image, path)
    terminal.answer({"image": digest, "path": str(path)}, f"{digest} is in {path}")
