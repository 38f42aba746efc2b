"""uv.lock: the packages that a project's own entry leads to. Source: astral-sh/uv, the lock's own version 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from skerry.image.building.sources.needs.pins import (
    MAX_PINS,
    Pin,
    applies,
    bad,
    check_python,
    decode,
    foreign,
    pin_of,
    stale,
    unreadable_extras,
)
from skerry.image.building.sources.needs.project import Project
from skerry.image.contract import BuildRefused

NAME = "uv.lock"
RELOCK = "uv lock"


class _Dependency(msgspec.Struct):
    name: str
    version: str = ""
    extra: list[str] = []
    marker: str = ""


class _File(msgspec.Struct):
    hash: str = ""
    url: str = ""
    path: str = ""
    filename: str = ""

    @property
    def name(self) -> str:
        return self.filename or unquote(urlsplit(self.url).path) or self.path


class _Wanted(msgspec.Struct):
    name: str
    specifier: str = ""
    extras: list[str] = []


class _Metadata(msgspec.Struct, rename="kebab"):
    requires_dist: list[_Wanted] = []
    requires_dev: dict[str, list[_Wanted]] = {}


class _Package(msgspec.Struct, rename="kebab"):
    name: str
    version: str = ""
    source: dict[str, Any] = {}
    dependencies: list[_Dependency] = []
    optional_dependencies: dict[str, list[_Dependency]] = {}
    dev_dependencies: dict[str, list[_Dependency]] = {}
    sdist: _File | None = None
    wheels: list[_File] = []
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Lock(msgspec.Struct, rename="kebab"):
    version: int
    requires_python: str = ""
    package: list[_Package] = []


def read(data: bytes, project: Project, extras: Sequence[str], groups: Sequence[str]) -> list[Pin]:
    """What to install. Raises BadLock, BuildRefused, StaleLock."""
    lock = decode(data, NAME, _Lock)
    if lock.version != 1:
        raise bad(
            NAME,
            f"it is of version {lock.version}, and only 1 is known",
            "uv export --format pylock.toml -o pylock.toml",
        )
    if len(lock.package) > MAX_PINS:
        raise bad(NAME, f"it names more than {MAX_PINS} packages")
    check_python(lock.requires_python, NAME)
    root = _root(lock, project)
    _check_fresh(root, project, groups)
    by_name: dict[str, list[_Package]] = {}
    for package in lock.package:
        by_name.setdefault(canonicalize_name(package.name), []).append(package)
    todo: list[tuple[_Dependency, tuple[str, ...]]] = [(need, ()) for need in root.dependencies]
    for name in extras:
        todo += [(need, (name,)) for need in _part(root.optional_dependencies, name, "extra")]
    for name in groups:
        todo += [(need, ()) for need in _part(root.dev_dependencies, name, "group")]
    pins: dict[int, Pin] = {}
    seen: set[tuple[int, str]] = set()
    while todo:
        need, of_extras = todo.pop()
        if not _applies(need.marker, of_extras):
            continue
        package = _find(by_name, need, root)
        if package is root:  # an extra of the project that names others of its own
            todo += [(one, (name,)) for name in need.extra for one in _part(root.optional_dependencies, name, "extra")]
            continue
        if id(package) not in pins:
            pins[id(package)] = _pin(package)
            todo += [(one, ()) for one in package.dependencies]
        for name in need.extra:
            if (id(package), name) not in seen:
                seen.add((id(package), name))
                todo += [(one, (name,)) for one in package.optional_dependencies.get(name, ())]
    return list(pins.values())


def _root(lock: _Lock, project: Project) -> _Package:
    own = [
        p
        for p in lock.package
        if {p.source.get("virtual"), p.source.get("editable"), p.source.get("directory")} & {"."}
    ]
    named = [p for p in lock.package if project.name and canonicalize_name(p.name) == project.name]
    found = own or [package for package in named if "registry" not in package.source]
    if len(found) != 1:
        raise bad(NAME, "it doesn't say which of its packages is this project")
    return found[0]


def _find(by_name: dict[str, list[_Package]], need: _Dependency, root: _Package) -> _Package:
    found = [p for p in by_name.get(canonicalize_name(need.name), ()) if need.version in ("", p.version)]
    if root in found:
        return root
    if len(found) != 1:
        raise bad(NAME, f"it has {len(found)} packages for {need.name} {need.version}".rstrip())
    return found[0]


def _pin(package: _Package) -> Pin:
    if "registry" not in package.source:
        kind, where = next(iter(package.source.items()), ("nowhere", ""))
        raise foreign(NAME, package.name, f"{kind} {where}"[:200])
    files = [*package.wheels, *([package.sdist] if package.sdist else ())]
    return pin_of(package.name, package.version, [(file.name, file.hash) for file in files], NAME)


def _applies(marker: str, extras: tuple[str, ...]) -> bool:
    if "extra ==" in marker or "extra !=" in marker:  # its way to write down parts that can't be had together
        raise BuildRefused(
            f"{NAME} can't be used",
            "it has extras or groups that exclude each other",
            "write what the image needs into a file of its own: uv export --format pylock.toml -o pylock.toml",
        )
    return applies(marker, NAME, extras)


def _part(parts: dict[str, list[_Dependency]], name: str, what: str) -> list[_Dependency]:
    unreadable_extras([name], parts, what)
    return next(needs for known, needs in parts.items() if canonicalize_name(known) == canonicalize_name(name))


def _check_fresh(root: _Package, project: Project, groups: Sequence[str]) -> None:
    """The lock repeats what it was made for; compare it with what the project says now."""
    if not project.there:
        raise BuildRefused(f"{NAME} can't be used", "there is no pyproject.toml beside it")
    now = {
        _words(line) for line in (*project.dependencies, *(line for lines in project.extras.values() for line in lines))
    }
    held = _held(root.metadata.requires_dist)
    _compare({words for words in now if words[0] != project.name}, held)
    for group in groups:
        name = canonicalize_name(group)
        dev = {canonicalize_name(known): wanted for known, wanted in root.metadata.requires_dev.items()}
        _compare({_words(line) for line in project.groups.get(name, ())}, _held(dev.get(name, [])))


def _compare(now: set[tuple[str, str]], held: set[tuple[str, str]]) -> None:
    if now != held:
        differ = sorted(f"{name} {spec}".strip() for name, spec in now ^ held)
        raise stale(NAME, f"they differ in {', '.join(differ[:5])}", RELOCK)


def _words(line: str) -> tuple[str, str]:
    need = Requirement(line)
    return canonicalize_name(need.name), str(need.specifier)


def _held(wanted: list[_Wanted]) -> set[tuple[str, str]]:
    try:
        return {(canonicalize_name(one.name), str(SpecifierSet(one.specifier))) for one in wanted}
    except InvalidSpecifier as error:
        raise bad(NAME, str(error)) from error
