"""The kinds of recipes, one file each behind `kind.Kind`, and the shipped recipes (`shipped/*.toml`), each a recipe of some kind.
Those of tools images (`tools/<name>/`) are projects of their own: no app names them.

A kind is loaded when a recipe names it, so that a deploy pays for what it uses.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.building.recipes.kind import Kind
from skerry.image.building.rules import certificates, zones
from skerry.image.building.sources.lock import Wants

if TYPE_CHECKING:
    from skerry.image.building.recipe import Recipe

KINDS = ("archive", "debian", "dockerfile", "node", "python", "site", "static")
_SHIPPED = Path(__file__).parent / "shipped"
_TOOLS = Path(__file__).parent / "tools"


def kind_of(name: str) -> Kind:
    """The kind of this name (one of KINDS)."""
    kind: Kind = importlib.import_module(f"{__name__}.{name}").KIND
    return kind


def wants_of(recipe: Recipe, context: Path) -> Wants:
    """What to lock: the kind's wants, and what `tls` and `tz` need."""
    wants = kind_of(recipe.recipe).wants(recipe, context)
    more = [certificates.PACKAGE] * bool(recipe.tls) + [zones.PACKAGE] * bool(recipe.tz)
    return msgspec.structs.replace(wants, packages=(*wants.packages, *more))


@cache
def shipped_names() -> tuple[str, ...]:
    """The names of shipped recipes, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def shipped_file(name: str) -> Path:
    return _SHIPPED / f"{name}.toml"


@cache
def tools_names() -> tuple[str, ...]:
    """The names of shipped tools images, sorted."""
    return tuple(sorted(path.parent.name for path in _TOOLS.glob("*/image.toml")))


def tools_folder(name: str) -> Path:
    """The project's folder of a shipped tools image; to be built in a copy, as a build writes its lock there."""
    return _TOOLS / name
