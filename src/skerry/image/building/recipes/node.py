"""`recipe: node`: a project's files, its packages of npm whole, and Debian's Node. No npm, and no development packages.

Scripts of packages never run; what they would compile can be compiled by the recipe's `build`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.building.elf import is_elf, read_elf
from skerry.image.building.pile import File, Pile
from skerry.image.building.project import project_files
from skerry.image.building.recipe import BadRecipe, Recipe
from skerry.image.building.recipes.kind import APP, SharedData, Sources, config_of
from skerry.image.building.sources.lock import Wants
from skerry.image.oci import ImageConfig
from skerry.outside import UNREADABLE

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

PROGRAM = "/usr/bin/node"
WORDS = ("node", "nodejs", PROGRAM)
MODULES = f"{APP}/node_modules/"
SCRIPTS = ("preinstall", "install", "postinstall")
MACHINE = ("EM_X86_64", 64)
# Debian takes these out of Node's binary and lets it open them by name: without them `import` of an older package and fetch() fail.
BUILTIN = (
    "usr/share/nodejs/acorn/dist/acorn.js",
    "usr/share/nodejs/acorn-walk/dist/walk.js",
    "usr/share/nodejs/cjs-module-lexer/lexer.js",
    "usr/share/nodejs/cjs-module-lexer/dist/lexer.js",
    "usr/share/nodejs/undici/undici-fetch.js",
)
# Addons that a package brings for many systems, in the two layouts that are common.
_ELSEWHERE = re.compile(r"/prebuilds/(?!linux-x64/)|[.-](?:musl|armv\d|arm64|darwin|win32|android)[.-][^/]*node\Z")


class _Manifest(msgspec.Struct):
    name: str = ""
    version: str = ""
    scripts: dict[str, str] = {}


class Node:
    fields: frozenset[str] = frozenset()
    foreign = False
    starts_others = (PROGRAM[1:],)

    def check(self, recipe: Recipe) -> None:
        words = recipe.entrypoint or recipe.command
        if not words or words[0] not in (*WORDS, *recipe.programs):
            raise BadRecipe(
                "the image recipe was refused",
                f"{words[0]!r} is no program of the image" if words else "recipe node needs an entrypoint",
                "write entrypoint: [node, server.js]; what npm would start is a file, too, as in node_modules/…/bin",
            )

    def wants(self, recipe: Recipe, context: Path) -> Wants:
        from skerry.image.building.sources.modules import LOCK, dependencies_of, read_package_lock

        packages = ("nodejs", *recipe.packages)
        if (context / LOCK).is_file():
            return Wants(packages, modules=read_package_lock(context))
        return Wants(packages, dependencies=dependencies_of(context))

    def project(self, recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
        return [*project_files(context, APP, ("package-lock.json", *recipe.exclude)), *outputs]

    def parts(self, recipe: Recipe, sources: Sources) -> Iterable[File]:
        from skerry.image.building.sources.modules import unpack_module

        for module in sources.locked.modules:
            yield from unpack_module(module, sources.cache, APP)

    def whole(self, recipe: Recipe, sources: Sources) -> None:
        return None

    def close(self, closure: Closure, recipe: Recipe, elves: Sequence[File], sources: Sources) -> None:
        closure.program(PROGRAM)
        closure.take(BUILTIN)
        inside = [path for path in closure.pile.paths() if path.startswith(MODULES)]
        kept = [path for path in inside if not _ELSEWHERE.search(path) and _fits(path, closure)]
        closure.take(kept)
        for path in (*kept, *(file.path for file in elves)):
            if path.endswith(".node"):
                closure.library(path)
            elif _is_program(path, closure) and f"/{path}" not in recipe.programs:
                closure.findings.append(f"{path} is a program: name it in `programs` if it shall run")
        addons = {_package_of(path) for path in kept if path.endswith(".node")}
        for path in kept:
            if posixpath.basename(path) == "package.json" and posixpath.dirname(path) == _package_of(path):
                closure.findings += _told(path, closure, addons)

    def shared_data(self, recipe: Recipe, elves: Sequence[File]) -> SharedData:
        return SharedData(recipe.tls, bool(recipe.tz))

    def derive(self, recipe: Recipe, files: Sequence[File], pile: Pile, cache: Path) -> tuple[list[File], list[str]]:
        return [], []

    def config(self, recipe: Recipe, sources: Sources) -> ImageConfig:
        return config_of(recipe, working_dir=f"/{APP}", environment={"NODE_ENV": "production"})


def _fits(path: str, closure: Closure) -> bool:
    """Is it for this system, as far as an addon says? Packages bring them for several, each in its own layout."""
    if not path.endswith(".node") or not (file := closure.pile.get(path)):
        return True
    elf = read_elf(file.load())
    if elf is not None and (elf.machine, elf.bits) == MACHINE:
        return True
    closure.findings.append(f"{path} was left out: it is for another system")
    return False


def _is_program(path: str, closure: Closure) -> bool:
    plain = "/bin/" in path and "." not in posixpath.basename(path)
    return plain and (file := closure.pile.get(path)) is not None and is_elf(file.load()[:4])


def _package_of(path: str) -> str:
    """The folder of the package that a file below node_modules belongs to."""
    before, _, rest = path.rpartition("node_modules/")
    names = rest.split("/")
    return f"{before}node_modules/" + "/".join(names[: 2 if names[0].startswith("@") else 1])


def _told(path: str, closure: Closure, addons: set[str]) -> list[str]:
    """What the user should know of a package: an install script that was not run, and left it without what it compiles."""
    try:
        manifest = msgspec.json.decode(closure.kept[path].load(), type=_Manifest)
    except UNREADABLE:
        return []
    names = [name for name in SCRIPTS if name in manifest.scripts]
    folder = posixpath.dirname(path)
    if not names and f"{folder}/binding.gyp" not in closure.kept:
        return []
    what = f"{manifest.name} {manifest.version}"
    if folder in addons:
        return [
            f"{what}: its {names[0] if names else 'install'} script was not run; it brings an addon for this system"
        ]
    return [
        f"{what}: its {names[0] if names else 'install'} script was not run; what it would compile or fetch is not there "
        "(see `build` in docs/images.md)"
    ]


KIND = Node()
