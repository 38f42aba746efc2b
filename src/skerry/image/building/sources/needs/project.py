"""pyproject.toml: what a project says that it needs, in the standard's way (PEP 621, PEP 735) or in Poetry's own older one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from skerry.image.building.sources.needs.pins import unreadable_extras
from skerry.image.contract import BuildRefused

FILE = "pyproject.toml"
# What bytes that are no such file, and what values of other shapes than they should have, raise while they are taken apart.
UNREADABLE = (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, AttributeError, RecursionError)


class Project(msgspec.Struct, frozen=True):
    """`there`: is there such a file? `dependencies`, `extras`, `groups` in the standard's words; `poetry`: Poetry's own table;
    `raw`: the whole file."""

    there: bool = False
    name: str = ""
    dependencies: tuple[str, ...] = ()
    extras: dict[str, tuple[str, ...]] = {}
    groups: dict[str, tuple[str, ...]] = {}
    poetry: dict[str, Any] = {}
    raw: dict[str, Any] = {}

    def wanted(self, extras: Iterable[str] = (), groups: Iterable[str] = ()) -> list[str]:
        """The requirements of the project with these optional parts. Raises BuildRefused."""
        unreadable_extras(extras, self.extras, "extra")
        unreadable_extras(groups, self.groups, "group")
        chosen = [*self.dependencies]
        for name in extras:
            chosen += self.extras[canonicalize_name(name)]
        for name in groups:
            chosen += self.groups[canonicalize_name(name)]
        return list(dict.fromkeys(chosen))


def read_project(context: Path) -> Project:
    """Raises BuildRefused."""
    path = context / FILE
    if not path.is_file():
        return Project()
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        project, tool = raw.get("project", {}), raw.get("tool", {})
        extras = msgspec.convert(project.get("optional-dependencies", {}), dict[str, tuple[str, ...]])
        found = Project(
            there=True,
            name=canonicalize_name(msgspec.convert(project.get("name", ""), str)),
            dependencies=msgspec.convert(project.get("dependencies", []), tuple[str, ...]),
            extras={canonicalize_name(name): lines for name, lines in extras.items()},
            groups=_groups(raw.get("dependency-groups", {})),
            poetry=msgspec.convert(tool.get("poetry", {}), dict[str, Any]),
            raw=raw,
        )
        for line in (*found.dependencies, *(line for lines in found.extras.values() for line in lines)):
            Requirement(line)
    except UNREADABLE as error:
        raise BuildRefused(f"{path} can't be read", str(error)) from error
    except InvalidRequirement as error:
        raise BuildRefused(
            f"{path} can't be read", f"a requirement in it is none: {error}", "mend that line"
        ) from error
    return found


def _groups(table: Any) -> dict[str, tuple[str, ...]]:
    from packaging.dependency_groups import DependencyGroupResolver
    from packaging.errors import ExceptionGroup

    if not table:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    checked = msgspec.convert(table, dict[str, list[str | dict[str, str]]])
    try:
        resolver = DependencyGroupResolver(checked)
        for name in checked:
            found[canonicalize_name(name)] = tuple(str(need) for need in resolver.resolve(name))
    except (ValueError, TypeError, LookupError, ExceptionGroup) as error:
        raise BuildRefused(f"{FILE} can't be read", f"[dependency-groups]: {error}") from error
    return found
