"""Which Debian packages a wish list needs on an empty system. Pure: an index goes in, a set of packages comes out.

Conflicts and Breaks are not looked at: nothing is installed and no maintainer script runs; only files are taken.
Source: Debian Policy, chapters 5.6.12 (versions) and 7 (relations).
"""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Iterable

import msgspec

from skerry.image.contract import BuildRefused

MAX_PACKAGES = 5000
_RELATION = re.compile(
    r"\s*([a-z0-9][a-z0-9+.-]*)(?::\w+)?\s*(?:\(\s*(<<|<=|=|>=|>>)\s*([^\s)]+)\s*\))?\s*(?:\[[^]]*\])?\s*\Z"
)

_PROVIDED = re.compile(  # as above, but there are no alternatives, and tens of thousands of them
    r"(?:\A|,)\s*([a-z0-9][a-z0-9+.-]*)(?::\w+)?\s*(?:\(\s*=\s*([^\s)]+)\s*\))?\s*(?=,|\Z)"
)


class Package(msgspec.Struct, frozen=True):
    """One package version of an index. `depends` and `provides` are the fields as written; `path` is below the
    archive.
    """

    name: str
    version: str
    depends: str
    provides: str
    archive: str
    path: str
    size: int
    sha256: str


class Index:
    """All packages that can be had: of several versions of one the newest, and who provides what."""

    def __init__(self, packages: Iterable[Package]) -> None:
        self.newest: dict[str, Package] = {}
        self.providers: dict[str, list[tuple[str, str]]] = {}
        for package in packages:
            held = self.newest.setdefault(package.name, package)
            if held is not package and compare_versions(package.version, held.version) > 0:
                self.newest[package.name] = package
        for package in self.newest.values():
            if package.provides:
                for name, version in _PROVIDED.findall(package.provides):
                    self.providers.setdefault(name, []).append((package.name, version))


def resolve(index: Index, wanted: Iterable[str]) -> tuple[Package, ...]:
    """The packages to take, by name, sorted. Raises BuildRefused.

    Of alternatives the first one that can be had is taken, as apt does. `usr-is-merged` goes first: the trees are,
    and the other way to say so would pull perl.
    """
    newest, providers = index.newest, index.providers
    taken: dict[str, Package] = {}
    todo: deque[tuple[str, str]] = deque((name, "the recipe") for name in ("usr-is-merged", *wanted))
    while todo:
        clause, needed_by = todo.popleft()
        alternatives = [part for group in parse_relations(clause) for part in group]
        options = [name for part in alternatives for name in _candidates(part, newest, providers)]
        if any(name in taken for name in options):
            continue
        if not options:
            raise BuildRefused(
                f"the package {clause.strip()!r} can't be had",
                f"{needed_by} needs it, and no archive that is used has it",
                f"{_near(clause.strip(), newest)} Packages come from Debian's main section of this release",
            )
        package = taken[options[0]] = newest[options[0]]
        if len(taken) > MAX_PACKAGES:
            raise BuildRefused("the packages were refused", f"more than {MAX_PACKAGES} are needed")
        todo.extend((text, package.name) for text in package.depends.split(",") if text.strip())
    return tuple(taken[name] for name in sorted(taken))


def _near(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, names, 1, 0.8)
    return f"Did you mean {found[0]}?" if found else "Check the name."


def parse_relations(field: str) -> list[list[tuple[str, str, str]]]:
    """A Depends or Provides field: for each clause its alternatives as (name, operator, version); odd ones are left
    out.
    """
    clauses = [clause.split("|") for clause in field.split(",") if clause.strip()]
    return [[(m[1], m[2] or "", m[3] or "") for text in clause if (m := _RELATION.match(text))] for clause in clauses]


def compare_versions(one: str, other: str) -> int:
    """Negative, zero or positive as `one` is older than, equal to or newer than `other`."""
    for left, right in zip(_parts(one), _parts(other), strict=True):
        if left != right and (answer := _compare_part(left, right)):
            return answer
    return 0


def _candidates(
    part: tuple[str, str, str], newest: dict[str, Package], providers: dict[str, list[tuple[str, str]]]
) -> list[str]:
    name, operator, version = part
    real = [name] if name in newest and _holds(newest[name].version, operator, version) else []
    return real + sorted(who for who, provided in providers.get(name, ()) if _holds(provided, operator, version))


def _holds(have: str, operator: str, version: str) -> bool:
    if not operator:
        return True
    if not have:  # an unversioned Provides never meets a versioned relation
        return False
    order = compare_versions(have, version)
    return {"<<": order < 0, "<=": order <= 0, "=": order == 0, ">=": order >= 0, ">>": order > 0}[operator]


def _parts(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "0")


def _compare_part(left: str, right: str) -> int:
    # Text and numbers take turns, text first; in text "~" sorts before the end, the end before letters, those before
    # all else.
    pieces = [re.findall(r"([^0-9]*)([0-9]*)", side) for side in (left, right)]
    length = max(map(len, pieces))
    for side in pieces:
        side.extend([("", "")] * (length - len(side)))
    for (text1, number1), (text2, number2) in zip(*pieces, strict=True):
        key1, key2 = [_weight(c) for c in text1] + [0], [_weight(c) for c in text2] + [0]
        if key1 != key2:
            return -1 if key1 < key2 else 1
        if int(number1 or 0) != int(number2 or 0):
            return -1 if int(number1 or 0) < int(number2 or 0) else 1
    return 0


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
