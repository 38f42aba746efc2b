"""Which of two versions is older, as each ecosystem counts. Pure. What isn't a version compares with nothing: None."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from skerry.image.building.sources.resolve import compare_versions

if TYPE_CHECKING:
    from skerry.image.origin import Ecosystem

Compare = Callable[[str, str], int | None]
MAX_VERSION_CHARS = 256
_DEBIAN = re.compile(r"(?:\d+:)?[0-9A-Za-z.+~:-]+\Z")
_SEMANTIC = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z")


def compare_in(ecosystem: Ecosystem) -> Compare:
    """Gives a function: negative, zero or positive as the first is older than, equal to or newer than the second."""
    return {"deb": _debian, "pypi": _pypi, "npm": _npm, "apk": _nothing}[ecosystem]


def source_version(version: str) -> str:
    """The version of the source package: a binary rebuilt for its libraries bears +bN."""
    return re.sub(r"\+b\d+\Z", "", version)


def _debian(one: str, other: str) -> int | None:
    if not all(len(text) <= MAX_VERSION_CHARS and _DEBIAN.match(text) for text in (one, other)):
        return None
    return compare_versions(one, other)


def _pypi(one: str, other: str) -> int | None:
    from packaging.version import InvalidVersion, Version

    if max(len(one), len(other)) > MAX_VERSION_CHARS:
        return None
    try:
        left, right = Version(one), Version(other)
    except InvalidVersion:
        return None
    return (left > right) - (left < right)


def _npm(one: str, other: str) -> int | None:
    """Source: semver.org 2.0.0, section 11."""
    keys = []
    for text in (one, other):
        found = _SEMANTIC.match(text) if len(text) <= MAX_VERSION_CHARS else None
        if found is None or any(len(number) > 30 for number in found.groups()[:3]):
            return None
        parts = found[4].split(".") if found[4] else []
        before = tuple((0, int(p), "") if p.isdigit() and len(p) <= 30 else (1, 0, p) for p in parts)
        keys.append(((int(found[1]), int(found[2]), int(found[3])), (0, before) if parts else (1, ())))
    return (keys[0] > keys[1]) - (keys[0] < keys[1])


def _nothing(one: str, other: str) -> int | None:
    return 0 if one == other else None
