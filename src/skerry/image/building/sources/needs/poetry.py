"""poetry.lock: the packages that the project's own requirements lead to. Source: python-poetry/poetry, lock versions 1.1 to 2.1.

Newer locks bear groups and conditions with each package, older ones don't; the walk from the project's requirements needs
neither, so that all versions are read in one way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from skerry.image.building.sources.environment import environment
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

NAME = "poetry.lock"
RELOCK = "poetry lock"
_PLATFORMS = {"linux": True, "win32": False, "darwin": False, "cygwin": False}


class _File(msgspec.Struct):
    file: str
    hash: str


class _Source(msgspec.Struct):
    type: str = "legacy"
    url: str = ""


class _Package(msgspec.Struct, rename="kebab"):
    name: str
    version: str
    python_versions: str = "*"
    markers: str | dict[str, str] = ""
    files: list[_File] = []
    dependencies: dict[str, Any] = {}
    extras: dict[str, list[str]] = {}
    source: _Source = msgspec.field(default_factory=_Source)


class _Metadata(msgspec.Struct, rename="kebab"):
    lock_version: str = "1.1"
    content_hash: str = ""
    files: dict[str, list[_File]] = {}


class _Lock(msgspec.Struct):
    package: list[_Package] = []
    extras: dict[str, list[str]] = {}
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Need(msgspec.Struct, frozen=True):
    """One requirement: `spec` in the standard's words where it can be said in them, else ""."""

    name: str
    spec: str = ""
    extras: tuple[str, ...] = ()
    marker: str = ""
    optional: bool = False


def read(data: bytes, project: Project, extras: Sequence[str], groups: Sequence[str]) -> list[Pin]:
    """What to install. Raises BadLock, BuildRefused, StaleLock."""
    lock = decode(data, NAME, _Lock)
    if lock.metadata.lock_version.split(".")[0] not in ("1", "2"):
        raise bad(NAME, f"it is of version {lock.metadata.lock_version}, and only 1 and 2 are known")
    if len(lock.package) > MAX_PINS:
        raise bad(NAME, f"it names more than {MAX_PINS} packages")
    if not project.there:
        raise BuildRefused(f"{NAME} can't be used", "there is no pyproject.toml beside it")
    if lock.metadata.content_hash and lock.metadata.content_hash not in _content_hashes(project):
        raise stale(NAME, "it was made for other dependencies than those that stand there now", RELOCK)
    by_name: dict[str, list[_Package]] = {}
    for package in lock.package:
        by_name.setdefault(canonicalize_name(package.name), []).append(package)
    todo = [(need, tuple(extras)) for need in _roots(project, lock, extras, groups)]
    pins: dict[int, Pin] = {}
    seen: set[tuple[int, tuple[str, ...]]] = set()
    while todo:
        need, of_extras = todo.pop()
        if not applies(need.marker, NAME, of_extras):
            continue
        package = _find(by_name, need)
        if id(package) not in pins:
            pins[id(package)] = _pin(package, lock)
        if (id(package), need.extras) in seen:
            continue
        seen.add((id(package), need.extras))
        named = {
            canonicalize_name(one.name)
            for extra, lines in package.extras.items()
            if canonicalize_name(extra) in map(canonicalize_name, need.extras)
            for one in _parsed(lines)
        }
        for one in _needs(package.dependencies):
            if not one.optional or one.name in named:
                todo.append((one, need.extras))
    return list(pins.values())


def _roots(project: Project, lock: _Lock, extras: Sequence[str], groups: Sequence[str]) -> Iterator[_Need]:
    own = project.poetry
    table = own.get("dependencies", {}) if isinstance(own.get("dependencies", {}), dict) else {}
    if project.dependencies or project.extras or not table:
        unreadable_extras(extras, project.extras, "extra")
        for line in project.wanted(extras, [name for name in groups if canonicalize_name(name) in project.groups]):
            yield _need_of(Requirement(line))
    else:
        unreadable_extras(extras, lock.extras, "extra")
        wanted = {
            canonicalize_name(line.split(" ")[0].split("[")[0])
            for name, lines in lock.extras.items()
            if canonicalize_name(name) in map(canonicalize_name, extras)
            for line in lines
        }
        for need in _needs({name: value for name, value in table.items() if name.lower() != "python"}):
            if not need.optional or need.name in wanted:
                yield need
    poetry_groups = own.get("group", {}) if isinstance(own.get("group", {}), dict) else {}
    unreadable_extras(groups, [*project.groups, *poetry_groups], "group")
    for name, group in poetry_groups.items():
        if canonicalize_name(name) in map(canonicalize_name, groups) and isinstance(group, dict):
            yield from _needs(group.get("dependencies", {}))


def _find(by_name: dict[str, list[_Package]], need: _Need) -> _Package:
    found = by_name.get(need.name, [])
    if len(found) > 1:
        found = [package for package in found if _fits(package)]
    if len(found) > 1 and need.spec:
        found = [package for package in found if SpecifierSet(need.spec).contains(package.version, prereleases=True)]
    if len(found) != 1:
        raise bad(NAME, f"it has {len(found)} packages for {need.name} {need.spec}".rstrip())
    return found[0]


def _fits(package: _Package) -> bool:
    texts = package.markers.values() if isinstance(package.markers, dict) else [package.markers]
    try:
        check_python("" if package.python_versions == "*" else package.python_versions, NAME)
    except BuildRefused:
        return False
    return any(applies(text, NAME) for text in texts)


def _pin(package: _Package, lock: _Lock) -> Pin:
    if package.source.type != "legacy":  # its word for an index
        raise foreign(NAME, package.name, f"{package.source.type} {package.source.url}"[:200])
    files = package.files or lock.metadata.files.get(package.name, [])
    return pin_of(package.name, package.version, [(file.file, file.hash) for file in files], NAME)


def _needs(table: Any) -> Iterator[_Need]:
    """Poetry's way to write dependencies: name -> constraint, table, or a list of these."""
    if not isinstance(table, dict):
        raise bad(NAME, "dependencies are not a table")
    for name, value in table.items():
        for one in value if isinstance(value, list) else [value]:
            yield _need(canonicalize_name(str(name)), one)


def _need(name: str, value: Any) -> _Need:
    if isinstance(value, str):
        return _Need(name, _spec(value))
    if not isinstance(value, dict):
        raise bad(NAME, f"the dependency {name} is neither text nor a table")
    marker = str(value.get("markers") or "")
    if isinstance(platform := value.get("platform"), str):
        marker = f"({marker}) and sys_platform == '{platform}'" if marker else f"sys_platform == '{platform}'"
    if isinstance(value.get("python"), str) and not _python_fits(value["python"]):
        marker = "python_version < '0'"
    extras = value.get("extras") or []
    if not isinstance(extras, list) or not all(isinstance(extra, str) for extra in extras):
        raise bad(NAME, f"the extras of {name} are no list of names")
    return _Need(name, _spec(str(value.get("version", ""))), tuple(sorted(extras)), marker, bool(value.get("optional")))


def _python_fits(constraint: str) -> bool:
    spec = _spec(constraint)
    return not spec or environment()["python_full_version"] in SpecifierSet(spec)


def _spec(constraint: str) -> str:
    """A constraint in the standard's words, "" for any or where that can't be said ("^1 || ^2"). Only chooses between versions
    that the lock has, so nothing is lost."""
    parts = []
    for text in constraint.replace(" ", "").split(","):
        if caret := re.fullmatch(r"\^(\d+)((?:\.\d+)*)", text):
            parts += [f">={text[1:]}", f"<{int(caret[1]) + 1}"] if caret[1] != "0" else [f">={text[1:]}"]
        elif tilde := re.fullmatch(r"~(\d+)(?:\.(\d+))?(?:\.\d+)*", text):
            upper = f"{tilde[1]}.{int(tilde[2]) + 1}" if tilde[2] else f"{int(tilde[1]) + 1}"
            parts += [f">={text[1:]}", f"<{upper}"]
        elif re.fullmatch(r"\d[\w.]*", text):
            parts.append(f"=={text}")
        elif text not in ("", "*"):
            parts.append(text)
    try:
        return str(SpecifierSet(",".join(parts)))
    except InvalidSpecifier:
        return ""


def _need_of(requirement: Requirement) -> _Need:
    if requirement.url:
        raise foreign(NAME, requirement.name, requirement.url[:200])
    marker = str(requirement.marker or "")
    name = canonicalize_name(requirement.name)
    return _Need(name, str(requirement.specifier), tuple(sorted(requirement.extras)), marker)


def _parsed(lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        try:
            yield Requirement(line.replace(";", " ; ", 1))
        except InvalidRequirement:
            yield Requirement(re.split(r"[\s(\[;]", line, maxsplit=1)[0] or "unknown")


def _content_hashes(project: Project) -> set[str]:
    """What Poetry writes as `content-hash`, in the ways of its versions: with and without the standard's tables."""
    standard = project.raw.get("project", {})
    about = {
        key: standard[key] for key in ("requires-python", "dependencies", "optional-dependencies") if key in standard
    }
    groups = project.raw.get("dependency-groups", {})
    legacy = ("dependencies", "source", "extras", "dev-dependencies")
    hashes = set()
    none: dict[str, Any] = {}
    for with_project in (about, none):
        for with_groups in (groups, none):
            modern = bool(with_project or with_groups)
            tool = {
                key: project.poetry.get(key)
                for key in (*legacy, "group")
                if key in project.poetry or (key in legacy and not modern)
            }
            content: dict[str, Any] = {"tool": {"poetry": tool}} if modern else tool
            if with_project:
                content["project"] = with_project
            if with_groups:
                content["dependency-groups"] = with_groups
            hashes.add(hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest())
    return hashes
