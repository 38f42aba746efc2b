"""How an image is made, in the user's words: `x-skerry: image:` of a compose file, or `image.toml` beside the code.

Shapes and their checks only; `build.py` carries a recipe out. A recipe declares what may run in the image:
`entrypoint` and `programs` are its only executables.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from skerry.errors import BadInput

APP_USER = "10001:10001"
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}\Z")


class BadRecipe(BadInput):
    """A recipe with an unknown key, a wrong type, or a value that can't be."""

    code = "bad-recipe"


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image to build.

    - `entrypoint`, `command`: as in a compose file; the first word of `entrypoint` is a path in the image (python:
      may be left out for the interpreter itself).
    - `packages`: Debian packages. `programs`: further executables beside the entry point's. `keep`: globs of package
      files that no library names (plugins, data), such as "usr/lib/postgresql/15/lib/*.so"; one without a match
      fails the build.
    - `requirements` (python): a file in the project; "" for requirements.txt, else pyproject.toml's dependencies,
      else none.
    - `stdlib` (python): parts of the standard library that are left out otherwise, such as "sqlite3" or "curses".
    - `bytecode` (python): ship compiled modules (0.35 s less at each start, a quarter more bytes).
    - `directories`: made in the image as mount points. They belong to root, as everything in an image does: the
      agent gives a volume to the container's user when it mounts it.
    """

    recipe: Literal["python", "debian"]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    requirements: str = ""
    stdlib: tuple[str, ...] = ()
    bytecode: bool = True
    environment: dict[str, str] = {}
    user: str = APP_USER
    working_dir: str = ""
    expose: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    stop_signal: str = ""
    exclude: tuple[str, ...] = ()


def parse_recipe(value: object) -> Recipe:
    """Check a recipe that a compose file or image.toml gave as a mapping. Raises BadRecipe, naming the key."""
    try:
        recipe = msgspec.convert(value, Recipe)
    except msgspec.ValidationError as error:
        raise BadRecipe("the image recipe was refused", str(error), "see docs/compose.md, x-skerry: image") from error
    for name in recipe.packages:
        if not _PACKAGE.match(name):
            raise BadRecipe("the image recipe was refused", f"packages: {name!r} is not the name of a Debian package")
    if recipe.recipe == "debian" and not (recipe.packages and recipe.entrypoint):
        raise BadRecipe("the image recipe was refused", "recipe debian needs packages and entrypoint")
    first = recipe.entrypoint[:1] if recipe.recipe == "debian" else ()
    for path in (*first, *recipe.programs, *recipe.directories):
        if not path.startswith("/") or ".." in path.split("/"):
            raise BadRecipe("the image recipe was refused", f"{path!r} is not an absolute path in the image")
    if recipe.requirements.startswith("/") or ".." in recipe.requirements.split("/"):
        raise BadRecipe(
            "the image recipe was refused", f"requirements: {recipe.requirements!r} leaves the project's folder"
        )
    return recipe


def read_recipe(directory: Path) -> Recipe | None:
    """The recipe in `image.toml` of this folder; None if there is no such file. Raises BadRecipe.

    `[image]` holds the recipe; `[debian]` and `[python]` may hold the fields that belong to that kind.
    """
    path = directory / "image.toml"
    if not path.is_file():
        return None
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path} can't be read", str(error)) from error
    image = dict(tables.pop("image", {}))
    for kind in ("debian", "python"):
        part = dict(tables.pop(kind, {}))
        if "entrypoints" in part:
            part["programs"] = part.pop("entrypoints")
        image |= part
    if tables:
        raise BadRecipe(f"{path} was refused", f"it has the unknown table [{next(iter(tables))}]")
    return parse_recipe(image)
