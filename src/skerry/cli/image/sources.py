"""Where the image of a command comes from: the local store, an archive, or a folder that is built first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli.output import Terminal

if TYPE_CHECKING:
    from skerry.client.images import LocalImages


def from_compose(function: Any) -> Any:
    """Gives `file`: a compose file whose recipe it is."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    words = "A compose file; then a service of it is named instead of a folder."
    return click.option("-f", "--file", type=path, default=None, metavar="FILE", help=words)(function)


def image_of(terminal: Terminal, images: LocalImages, image: str, file: Path | None) -> str:
    """The digest; built if `image` is a folder with a recipe, or `file` has one."""
    from skerry.client.images import in_words
    from skerry.client.library.building import build_recipe, find_recipe, is_project

    if file is None and not is_project(images, image):
        return images.find(image, terminal.say)
    source = find_recipe(image, file)
    return build_recipe(images, source, in_words(source.name, terminal.say)).digest
