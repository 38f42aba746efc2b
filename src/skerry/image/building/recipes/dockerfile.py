"""`recipe: dockerfile`: for those who have a Dockerfile already and buildah or docker on their machine. What these make is taken
as recipe archive takes it, so this is that recipe with another beginning: `resolve` gives the archive's recipe.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from skerry.image.building.recipe import Recipe, refused
from skerry.image.building.recipes.archive import Archive
from skerry.image.building.stage.dockerfile import FromEngine, Wish


class Dockerfile(Archive):
    fields = frozenset({"file", "target", "args", "slim"})

    def check(self, recipe: Recipe) -> None:
        if recipe.file.startswith("/") or ".." in recipe.file.split("/"):
            raise refused(f"file: {recipe.file!r} leaves the project's folder")
        if recipe.build is not None or recipe.files or recipe.packages:
            raise refused("recipe dockerfile takes no build, files or packages", "write them into the Dockerfile")
        if any("=" in name or not name or "\0" in name + text for name, text in recipe.args.items()):
            raise refused("args: one has a name that can't be one")
        if (recipe.keep or recipe.programs) and not recipe.slim:
            raise refused("keep and programs are for slim images; as it is, everything stays", "write slim: true")


def wish_of(recipe: Recipe) -> Wish:
    return Wish(recipe.file or "Dockerfile", recipe.target, recipe.args)


def resolve(recipe: Recipe, made: FromEngine) -> tuple[Recipe, Path]:
    """The recipe and the folder from which the rest of the build goes on."""
    archive = msgspec.structs.replace(recipe, recipe="archive", path=made.archive.name, file="", target="", args={})
    return archive, made.archive.parent


KIND = Dockerfile()
