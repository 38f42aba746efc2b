"""Building tools images on an operator's machine: shipped ones by name, own ones by folder. One lock gives one digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.client.images import LocalImages
from skerry.errors import BadInput
from skerry.image.building.recipe import BadRecipe, read_recipe
from skerry.image.building.recipes import tools_folder, tools_names
from skerry.image.building.sources.lock import FILE_NAME
from skerry.image.kept import write_whole

if TYPE_CHECKING:
    from skerry.image.building.build import Built
    from skerry.image.building.stages import Progress

RECIPE_FILES = ("image.toml", "requirements.txt")


def tag_of(name: str) -> str:
    """Under which name the local store keeps it, so that it isn't collected."""
    return f"tools/{name}"


def build(
    images: LocalImages, name: str, progress: Progress, *, folder: Path | None = None, refresh: bool = False
) -> Built:
    """Build the shipped tools NAME, or by the image.toml in `folder`. `refresh`: with what is newest now, not as locked before.

    Raises BadInput for a name that isn't shipped, BadRecipe, and what `LocalImages.build` raises.
    """
    own = folder is not None
    folder = folder or _unpacked(images, name)
    recipe = read_recipe(folder)
    if recipe is None:
        raise BadRecipe(f"tools {name} were not built", f"{folder} has no image.toml", "see docs/tools.md for one")
    if refresh:
        (folder / FILE_NAME).unlink(missing_ok=True)
    if own and not recipe.tools:
        recipe = msgspec.structs.replace(recipe, tools=True)
    built = images.build(recipe, folder, section=name, progress=progress)
    images.tag(tag_of(name), built.digest)
    return built


def _unpacked(images: LocalImages, name: str) -> Path:
    """The recipe that Skerry brings along, where its lock may lie beside it."""
    if name not in tools_names():
        raise BadInput(
            f"tools {name[:80]} were not built", f"Skerry brings {', '.join(tools_names())} along",
            "own ones: skerry tools build NAME --from FOLDER, or an image of the local store: skerry tools add NAME IMAGE",
        )  # fmt: skip
    folder = images.tools / name
    for file in RECIPE_FILES:
        source = tools_folder(name) / file
        if source.is_file():
            write_whole(folder / file, source.read_bytes())
        else:
            (folder / file).unlink(missing_ok=True)
    return folder
