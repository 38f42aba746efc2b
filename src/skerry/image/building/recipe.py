"""How an image is made, in the user's words: `x-skerry: image:` of a compose file, or `image.toml` beside the code.

Shapes and their checks only; `build.py` carries a recipe out, and what a kind of recipe means is in `recipes/`. A recipe
declares what may run in the image: `entrypoint` and `programs` are its only executables.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from skerry.errors import BadInput

APP_USER = "10001:10001"
MAX_TEXT_CHARS = 1 << 20
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}\Z")
_PROBE = re.compile(r"(?:tcp|http|redis|postgres|mysql):[1-9][0-9]{0,4}\Z")
_REFUSED = "the image recipe was refused"


class BadRecipe(BadInput):
    """A recipe with an unknown key, a wrong type, or a value that can't be."""

    code = "bad-recipe"


class BuildSteps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is made before the image is put together, in a root of its own without network (`stage/`).

    - `packages`: Debian packages to build with, beside a shell and its usual tools. `run`: commands, each a list of words; one
      alone may be written without the outer list. `outputs`: files, folders or globs of what goes on; all else is thrown away.
    - `sdists` (python): packages that may be built from their source where they have no wheel.
    - `environment`: over the one that keeps builds the same everywhere. `memory_mib`, `timeout_s`: limits.
    """

    packages: tuple[str, ...] = ()
    run: tuple[tuple[str, ...], ...] = ()
    outputs: tuple[str, ...] = ()
    sdists: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    memory_mib: int = 4096
    timeout_s: float = 1800.0


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image to build.

    - `recipe`: the kind. The name of a shipped recipe stands for that recipe, which the other fields then change.
    - `entrypoint`, `command`: as in a compose file; the first word of `entrypoint` is a path in the image (python:
      may be left out for the interpreter itself).
    - `packages`: Debian packages. `programs`: further executables beside the entry point's. `keep`: globs of package
      files that no library names (plugins, data), such as "usr/lib/postgresql/15/lib/*.so", less those that begin
      with "!"; one without a match fails the build.
    - `names`: a program -> further names for it in its folder (busybox is called by some hundred); a program that is called so
      already keeps its name. `tools`: the image is run beside containers that somebody looks into, never as an app: the lint lets
      it have what no app may.
    - `files`: path in the image -> file or folder of the project. `texts`: path in the image -> its content.
    - `build`: commands whose results go into the image. `init`: the recipe of an image that runs once before the service.
    - `tls`: ship the certificate authorities; left out, they go where OpenSSL goes. `tz`: ship the time zones (python always).
    - `path` (archive): a docker-archive or an OCI layout in the project. `slim` (archive, dockerfile): keep only what its
      entry point needs. `file` ("Dockerfile"), `target`, `args` (dockerfile): as `docker build` has them.
    - `folder` (site): what is served, of the project or of what is built.
    - `requirements` (debian): a file in the project that names wheels whose programs `programs` may name. (python): see below.
    - `requires`: groups of variables, each as NAME or NAME=value; the service has to set one of every group.
      `data`: where its data is, a path or $NAME; a volume or a writable path has to be there. `probe`: how its health is
      asked unless the service says something else, as "postgres:5432".
    - `requirements` (python): a file in the project; "" for its lock (uv.lock, poetry.lock, pylock.toml), else
      requirements.txt, else pyproject.toml's dependencies, else none. `extras`, `groups`: optional parts to take with them.
    - `stdlib` (python): parts of the standard library that are left out otherwise, such as "sqlite3" or "curses".
    - `bytecode` (python): ship compiled modules (0.35 s less at each start, a quarter more bytes).
    - `exclude`: files of the project that stay out. Patterns, beside those of .dockerignore.
    - `directories`: made in the image as mount points. They belong to root, as everything in an image does: the
      agent gives a volume to the container's user when it mounts it.
    """

    recipe: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    names: dict[str, tuple[str, ...]] = {}
    tools: bool = False
    files: dict[str, str] = {}
    texts: dict[str, str] = {}
    build: BuildSteps | None = None
    init: Recipe | None = None
    folder: str = "."
    path: str = ""
    file: str = ""
    target: str = ""
    args: dict[str, str] = {}
    slim: bool = False
    requires: tuple[tuple[str, ...], ...] = ()
    data: str = ""
    probe: str = ""
    requirements: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    stdlib: tuple[str, ...] = ()
    bytecode: bool = True
    environment: dict[str, str] = {}
    user: str = APP_USER
    working_dir: str = ""
    expose: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    stop_signal: str = ""
    tls: bool | None = None
    tz: bool | None = None
    exclude: tuple[str, ...] = ()

    def data_place(self, environment: Mapping[str, str]) -> str:
        """Where its data is; `environment` may say otherwise."""
        if not self.data.startswith("$"):
            return self.data
        return environment.get(self.data[1:]) or self.environment.get(self.data[1:], "")


OF_SOME_KINDS = frozenset(
    {"requirements", "extras", "groups", "stdlib", "bytecode", "folder", "path", "slim", "file", "target", "args"}
)  # `Kind.fields` says which


def refused(why: str, fix: str = "") -> BadRecipe:
    return BadRecipe(_REFUSED, why, fix)


def parse_recipe(value: object) -> Recipe:
    """Check a recipe that a compose file or image.toml gave as a mapping. Raises BadRecipe, naming the key."""
    from skerry.image.building.recipes import KINDS, kind_of, shipped_names

    name = value.get("recipe") if isinstance(value, dict) else None
    if isinstance(name, str) and name in shipped_names():
        value = _over(shipped(name), value)  # type: ignore[arg-type]
    try:
        recipe = msgspec.convert(_lists_of_commands(value), Recipe)
    except msgspec.ValidationError as error:
        raise refused(*_in_words(str(error))) from error
    if recipe.recipe not in KINDS:
        raise refused(
            f"there is no recipe {recipe.recipe[:40]!r}", f"there are {', '.join((*KINDS, *shipped_names()))}"
        )
    _check(recipe)
    kind = kind_of(recipe.recipe)
    unset = Recipe(recipe=recipe.recipe)
    for key in OF_SOME_KINDS - kind.fields:
        if getattr(recipe, key) != getattr(unset, key):
            raise refused(f"recipe {recipe.recipe} has no {key}", "remove it")
    kind.check(recipe)
    if recipe.probe and not _PROBE.match(recipe.probe):
        raise refused(f"probe: {recipe.probe[:40]!r} is not KIND:PORT", "write probe: postgres:5432, or tcp:PORT")
    if recipe.init is not None:
        if recipe.init.init is not None:
            raise refused("init: an init image has no init of its own", "put all of it into one")
        parse_recipe(msgspec.to_builtins(recipe.init))
    return recipe


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `\$\.?(?P<path>.*)`)?")
_WRONG = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<given>[^`]*)` - at `\$\.(?P<path>.*)`")
_SHAPES = {
    "array": "a list, as [one, two]",
    "object": "a mapping",
    "str": "a text",
    "bool": "true or false",
    "int": "a number",
}


def _in_words(error: str) -> tuple[str, str]:
    """What msgspec says of a recipe, as (why, fix) for people who have never heard of it."""
    page = "docs/images.md has a recipe for each kind"
    if found := _UNKNOWN.match(error):
        place = f"{found['path']}: " if found["path"] else ""
        shape = BuildSteps if found["path"] in ("build", "init.build") else Recipe
        near = difflib.get_close_matches(found["key"], shape.__struct_fields__, 1)
        return f"{place}it has no key {found['key'][:40]!r}", f"did you mean {near[0]}?" if near else page
    if found := _WRONG.match(error):
        return f"{found['path']} should be {_SHAPES.get(found['wanted'], found['wanted'])}, not {found['given']}", page
    return error, page


def read_recipe(directory: Path) -> Recipe | None:
    """The recipe in `image.toml` of this folder; None if there is no such file. Raises BadRecipe.

    `[image]` holds the recipe; a table named after the kind may hold the fields that belong to that kind.
    """
    path = directory / "image.toml"
    return parse_recipe(read_toml(path)) if path.is_file() else None


def read_toml(path: Path) -> dict[str, Any]:
    """A recipe's mapping out of a TOML file, its tables joined. Raises BadRecipe."""
    from skerry.image.building.recipes import KINDS

    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecipe(f"{path} can't be read", str(error)) from error
    recipe = _table(tables, "image", path)
    if "from" in recipe:
        recipe["recipe"] = recipe.pop("from")
    for kind in KINDS:
        part = _table(tables, kind, path)
        if "entrypoints" in part:
            part["programs"] = part.pop("entrypoints")
        recipe |= part
    for key in ("build", "init", "files", "texts", "environment"):
        if key in tables:
            recipe[key] = _table(tables, key, path)
    for name, value in tables.items():
        if not isinstance(value, dict):
            raise BadRecipe(f"{path} was refused", f"{name} stands outside of a table", "write it below [image]")
        raise BadRecipe(
            f"{path} was refused", f"it has the unknown table [{name}]", "what a recipe says stands below [image]"
        )
    return recipe


def shipped(name: str) -> dict[str, Any]:
    """The mapping of a shipped recipe."""
    from skerry.image.building.recipes import shipped_file

    return read_toml(shipped_file(name))


def _table(tables: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = tables.pop(name, {})
    if not isinstance(table, dict):
        raise BadRecipe(f"{path} was refused", f"{name} should be a table: [{name}]")
    return dict(table)


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A shipped recipe with a user's fields over it: words to run and single values take the place of its own, other lists
    and mappings are added to them."""
    merged = dict(base)
    for key, value in own.items():
        held = merged.get(key)
        if key == "recipe":
            continue
        if isinstance(value, dict) and isinstance(held, dict):
            merged[key] = held | value
        elif isinstance(value, list | tuple) and isinstance(held, list) and key not in ("entrypoint", "command"):
            merged[key] = [*held, *(item for item in value if item not in held)]
        else:
            merged[key] = value
    return merged


def _lists_of_commands(value: object) -> object:
    """`run: [make, all]` is one command: people write it so."""
    build = value.get("build") if isinstance(value, dict) else None
    run = build.get("run") if isinstance(build, dict) else None
    if isinstance(run, list | tuple) and run and all(isinstance(word, str) for word in run):
        return {**value, "build": {**build, "run": [run]}}  # type: ignore[dict-item]
    return value


def _check_build(recipe: Recipe, steps: BuildSteps) -> None:
    if bool(steps.run) != bool(steps.outputs) or not (steps.run or steps.sdists):
        raise refused("build needs commands (run) and what they make (outputs)")
    if not all(steps.run):
        raise refused("build: run has a command without words")
    for path in steps.outputs:
        if path.startswith("/") or ".." in path.split("/") or not path.strip("./"):
            raise refused(f"build: outputs: {path!r} is not a path in the project's folder")
    if any("=" in name or "\0" in name + text or not name for name, text in steps.environment.items()):
        raise refused("build: environment has a name that can't be one")
    if not (64 <= steps.memory_mib <= 1 << 20 and 1 <= steps.timeout_s <= 86400):
        raise refused("build: memory_mib is 64 to 1048576, timeout_s 1 to 86400")
    if steps.sdists and recipe.recipe != "python":
        raise refused("build: sdists are for recipe python alone")


def _check(recipe: Recipe) -> None:
    if recipe.build is not None:
        _check_build(recipe, recipe.build)
    for name in (*recipe.packages, *(recipe.build.packages if recipe.build else ())):
        if not _PACKAGE.match(name):
            raise refused(f"packages: {name!r} is not the name of a Debian package")
    for path in (*recipe.programs, *recipe.directories, *recipe.files, *recipe.texts):
        if not path.startswith("/") or ".." in path.split("/") or path.strip("/") == "":
            raise refused(f"{path!r} is not an absolute path in the image")
    for program, names in recipe.names.items():
        if not program.startswith("/") or any(not name or "/" in name or name in (".", "..") for name in names):
            raise refused(f"names: {program!r} should be a program's path, with names for it")
    for path in recipe.files.values():
        if path.startswith("/") or ".." in path.split("/"):
            raise refused(f"files: {path!r} leaves the project's folder")
    if recipe.entrypoint and ".." in recipe.entrypoint[0].split("/"):
        raise refused(f"entrypoint: {recipe.entrypoint[0]!r} is not a path in the image")
    if any(len(text) > MAX_TEXT_CHARS for text in recipe.texts.values()):
        raise refused(
            f"texts: one has more than {MAX_TEXT_CHARS} characters", "keep it in a file, and name it in `files`"
        )
