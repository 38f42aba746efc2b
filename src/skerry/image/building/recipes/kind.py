"""What a kind of recipe has to say for itself; the stages of a build (`build.py`, `work.py`) are the same for all kinds.

Kinds only look at the project's folder and at packages that are there already; nothing is downloaded or run by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from skerry.image.building.pile import File
from skerry.image.building.sources.lock import Wants
from skerry.image.oci import ImageConfig

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure
    from skerry.image.building.pile import Pile
    from skerry.image.building.recipe import Recipe
    from skerry.image.building.sources.lock import Lock

APP = "app"  # where a project's files are in the image
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8"}


class SharedData(NamedTuple):
    """`tls`: the certificate authorities, None: where OpenSSL goes. `tz`: the time zones."""

    tls: bool | None
    tz: bool


class Sources(NamedTuple):
    """What an image is made of beside the recipe: the project's folder, what was locked, and the cache that holds it."""

    context: Path
    locked: Lock
    cache: Path


class Whole(NamedTuple):
    """An image that is taken as it is."""

    files: list[File]
    executables: tuple[str, ...]
    findings: tuple[str, ...]


class Kind(Protocol):
    """One kind of recipe. Every method may be called often and gives the same for the same recipe, folder and lock."""

    fields: frozenset[str]
    """Which of `recipe.OF_SOME_KINDS` it takes."""

    foreign: bool
    """Is what it makes somebody else's work, which the lint searches, or ours, where only declared programs may run?"""

    starts_others: tuple[str, ...]
    """Its programs of which everybody knows that they can start others, so that nobody is told."""

    def check(self, recipe: Recipe) -> None:
        """Raises BadRecipe for what can't be, without a look at the project."""
        ...

    def wants(self, recipe: Recipe, context: Path) -> Wants:
        """What to lock for this project. Raises BuildRefused when the project can't be read."""
        ...

    def project(self, recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
        """The project's own files, at their places in the image. `outputs`: what the build stage made, as if it lay in the
        project's folder and that folder were /app."""
        ...

    def parts(self, recipe: Recipe, sources: Sources) -> Iterable[File]:
        """Files beside those of Debian packages that the closure may pick from, such as those of wheels."""
        ...

    def whole(self, recipe: Recipe, sources: Sources) -> Whole | None:
        """All of the image where nothing is chosen; None, and `parts` and `close` are asked."""
        ...

    def close(self, closure: Closure, recipe: Recipe, elves: Sequence[File], sources: Sources) -> None:
        """Keep what this kind knows is needed, beginning with its entry points. `elves`: the project's own ELF files."""
        ...

    def shared_data(self, recipe: Recipe, elves: Sequence[File]) -> SharedData:
        """What of the data that libraries don't name goes in."""
        ...

    def derive(self, recipe: Recipe, files: Sequence[File], pile: Pile, cache: Path) -> tuple[list[File], list[str]]:
        """Files made of files that are kept (bytecode), and findings about them."""
        ...

    def config(self, recipe: Recipe, sources: Sources) -> ImageConfig:
        """How the image wants to be run; `environment` and the like of the recipe are in it already (`config_of`)."""
        ...


def config_of(
    recipe: Recipe, *, working_dir: str = "/", environment: dict[str, str] | None = None, entrypoint: Sequence[str] = ()
) -> ImageConfig:
    """The config that a recipe asks for. The rest are the kind's defaults; what the recipe says goes first."""
    return ImageConfig(
        entrypoint=tuple(entrypoint) or recipe.entrypoint,
        cmd=recipe.command,
        env=tuple((ENVIRONMENT | (environment or {}) | recipe.environment).items()),
        user=recipe.user,
        working_dir=recipe.working_dir or working_dir,
        exposed=tuple(port if "/" in port else f"{port}/tcp" for port in recipe.expose),
        stop_signal=recipe.stop_signal,
        volumes=(recipe.data_place(recipe.environment),) if recipe.data else (),
    )
