"""`recipe: debian`: programs of named Debian packages, with what they need and nothing else of those packages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.building.pile import File, Pile
from skerry.image.building.recipe import Recipe, refused
from skerry.image.building.recipes.kind import SharedData, Sources, config_of
from skerry.image.building.rules import python
from skerry.image.building.sources.lock import Wants
from skerry.image.oci import ImageConfig

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure


class Debian:
    fields = frozenset({"requirements"})
    foreign = False
    starts_others = ()

    def check(self, recipe: Recipe) -> None:
        if not (recipe.packages and recipe.entrypoint):
            raise refused("recipe debian needs packages and entrypoint")
        if not recipe.entrypoint[0].startswith("/"):
            raise refused(f"entrypoint: {recipe.entrypoint[0]!r} is not an absolute path in the image")
        if recipe.requirements.startswith("/") or ".." in recipe.requirements.split("/"):
            raise refused(f"requirements: {recipe.requirements!r} leaves the project's folder")

    def wants(self, recipe: Recipe, context: Path) -> Wants:
        if not recipe.requirements:
            return Wants(recipe.packages)
        from skerry.image.building.sources.needs import Asked, requirements_of

        return Wants(recipe.packages, requirements_of(context, Asked(recipe.requirements, (), (), ())))

    def project(self, recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
        return list(outputs)

    def parts(self, recipe: Recipe, sources: Sources) -> Iterable[File]:
        from skerry.image.building.sources.wheels import unpack_wheel

        for wheel in sources.locked.wheels:
            yield from unpack_wheel(wheel, sources.cache, python.SITE)

    def whole(self, recipe: Recipe, sources: Sources) -> None:
        return None

    def close(self, closure: Closure, recipe: Recipe, elves: Sequence[File], sources: Sources) -> None:
        closure.program(recipe.entrypoint[0])

    def shared_data(self, recipe: Recipe, elves: Sequence[File]) -> SharedData:
        return SharedData(recipe.tls, bool(recipe.tz))

    def derive(self, recipe: Recipe, files: Sequence[File], pile: Pile, cache: Path) -> tuple[list[File], list[str]]:
        return [], []

    def config(self, recipe: Recipe, sources: Sources) -> ImageConfig:
        return config_of(recipe)


KIND = Debian()
