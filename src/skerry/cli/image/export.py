"""`skerry image export`: an image for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(
    name="export",
    example="skerry image export guestbook.web web\nskerry image export --format docker guestbook.web web.tar.gz",
    codes=(0, 1, 2),
    cloud=False,
)
@click.argument("image", type=IMAGE)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--format", type=click.Choice(["oci", "docker"]), default="oci", show_default=True, help="What it is written as."
)
def command(terminal: Terminal, image: str, path: Path, format: str) -> None:
    """Write IMAGE to PATH: a folder, or one file if PATH ends in .tar or .tar.gz.

    Other tools read it: skopeo inspect oci:PATH:latest, or for --format docker: docker load -i PATH. (skopeo reads an archive of
    docker's as .tar alone.)
    """
    from skerry.client.library.export import export

    digest = export(store(), image, path, format)  # type: ignore[arg-type]
    terminal.answer({"image": digest, "path": str(path), "format": format}, f"{digest} is in {path}")
