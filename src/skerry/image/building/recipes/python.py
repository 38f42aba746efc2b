"""`recipe: python`: a project's modules, its wheels whole, Debian's interpreter and the standard library that services use."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.building.pile import File, Pile, file_of
from skerry.image.building.project import project_files
from skerry.image.building.recipe import BadRecipe, Recipe, refused
from skerry.image.building.recipes.kind import APP, SharedData, Sources, config_of
from skerry.image.building.rules import python
from skerry.image.building.sources.lock import Wants
from skerry.image.contract import BuildRefused
from skerry.image.kept import is_full
from skerry.image.oci import ImageConfig

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

WORDS = ("python", "python3", f"python{python.VERSION}")


class Python:
    fields = frozenset({"requirements", "extras", "groups", "stdlib", "bytecode"})
    foreign = False
    starts_others = (python.PROGRAM[1:],)

    def check(self, recipe: Recipe) -> None:
        if recipe.requirements.startswith("/") or ".." in recipe.requirements.split("/"):
            raise refused(f"requirements: {recipe.requirements!r} leaves the project's folder")
        if unknown := next((part for part in recipe.stdlib if part not in python.DENIED), ""):
            raise refused(
                f"stdlib: {unknown[:40]!r} is no part that is left out", f"there are {', '.join(python.DENIED)}"
            )
        first = (recipe.entrypoint or recipe.command)[:1]
        allowed = {*WORDS, *(f"/usr/bin/{word}" for word in WORDS), *recipe.programs}
        if first and first[0] not in allowed:
            raise BadRecipe(
                "the image recipe was refused",
                f"{first[0]!r} is a script that wheels bring, or no program of the image: there is no shell to find it",
                f"write [python3, {first[0]}, …]"
                if first[0].endswith(".py")
                else f"write it as a module: [python3, -m, {first[0].rpartition('/')[2]}, …]",
            )

    def wants(self, recipe: Recipe, context: Path) -> Wants:
        from skerry.image.building.sources.needs import Asked, requirements_of

        sdists = recipe.build.sdists if recipe.build else ()
        asked = Asked(recipe.requirements, recipe.extras, recipe.groups, sdists)
        return Wants((*recipe.packages, *python.PACKAGES), requirements_of(context, asked), sdists)

    def project(self, recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
        return [*project_files(context, APP, recipe.exclude), *outputs]

    def parts(self, recipe: Recipe, sources: Sources) -> Iterable[File]:
        from skerry.image.building.sources.wheels import unpack_wheel

        for wheel in sources.locked.wheels:
            yield from unpack_wheel(wheel, sources.cache, python.SITE)

    def whole(self, recipe: Recipe, sources: Sources) -> None:
        return None

    def close(self, closure: Closure, recipe: Recipe, elves: Sequence[File], sources: Sources) -> None:
        python.apply(closure, recipe.stdlib)
        closure.take([path for path in closure.pile.paths() if path.startswith(python.SITE + "/")])
        closure.take([file.path for file in elves])

    def shared_data(self, recipe: Recipe, elves: Sequence[File]) -> SharedData:
        return SharedData(recipe.tls, bool(recipe.tz))

    def derive(self, recipe: Recipe, files: Sequence[File], pile: Pile, cache: Path) -> tuple[list[File], list[str]]:
        """Bytecode. A project's module that Python can't read is told: better now than by a container that ends at once."""
        from skerry.image.building.bytecode import Source, bytecode_path, can_run, compile_modules

        if not recipe.bytecode:
            return [], []
        if not can_run():
            return [], ["no bytecode: the image's Python can't run on this machine, so each start takes longer"]
        modules = [file for file in files if file.kind == "f" and file.path.endswith(".py")]
        try:
            compiled, wrong = compile_modules(
                [Source(file.path, file.sha256, file.load()) for file in modules], pile, cache
            )
        except (OSError, subprocess.SubprocessError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            raise BuildRefused(
                "the modules can't be compiled", str(error), "write `bytecode: false` in the recipe"
            ) from error
        made = [file_of(bytecode_path(path), data, "compiled") for path, data in compiled.items()]
        return made, [
            f"{path.removeprefix(APP + '/')} can't be compiled: it is no Python {python.VERSION} ({why})"
            for path, why in wrong.items()
            if path.startswith(f"{APP}/")
        ]

    def config(self, recipe: Recipe, sources: Sources) -> ImageConfig:
        at_work = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return config_of(recipe, working_dir=f"/{APP}", environment=at_work)


KIND = Python()
