"""`skerry image build`: from a recipe to an image in the local store."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli.image.options import store
from skerry.cli.image.sources import from_compose
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean, size


@declare(
    name="build",
    example="skerry image build .\nskerry image build -f compose.yaml web",
    codes=(0, 1, 2),
    cloud=False,
)
@click.argument("subject", metavar="[DIR|SERVICE]", default="")
@from_compose
@click.option("--name", default="", help="The image's name here; else the folder's, or app.service.")
def command(terminal: Terminal, subject: str, file: Path | None, name: str) -> None:
    """Build the image of a folder with an image.toml, or of a compose file's service.

    Without a lock file one is made: commit it.
    """
    from skerry.client.library.building import build_recipe, find_recipe
    from skerry.client.library.inspect import shells

    images = store()
    source = find_recipe(subject, file, name)
    built = build_recipe(images, source, terminal.say)
    value = {
        "image": source.name,
        "digest": built.digest,
        "size_bytes": built.size_bytes,
        "files": built.files,
        "executables": list(built.executables),
        "shells": shells(images.images.tree(built.digest)),
        "suid": [],  # a tree has no such mode: an image of ours can't hold one
        "findings": list(built.findings),
    }
    lines = [f"finding: {clean(finding)}" for finding in built.findings]
    lines.append(f"{source.name} is {built.digest}: {size(built.size_bytes)}, {built.files} files")
    terminal.answer(value, "\n".join(lines))
