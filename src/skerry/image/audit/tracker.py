"""Debian's security tracker, as its JSON export says it: source package -> id -> release -> status. Pure.

Source: security-team.debian.org, the tracker's "JSON data".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from skerry.image.audit.known import Known, Range
from skerry.image.audit.severity import severity_of
from skerry.image.building.sources.mirrors import CODENAME
from skerry.image.origin import Ecosystem
from skerry.outside import UNREADABLE


class _Release(msgspec.Struct):
    status: str = ""
    fixed_version: str = ""
    urgency: str = ""


class _Issue(msgspec.Struct):
    description: str = ""
    releases: dict[str, _Release] = {}


class _Head(msgspec.Struct):
    releases: dict[str, _Release]


Tracker = dict[str, dict[str, _Issue]]


def looks_like(data: bytes) -> bool:
    """Whether it is such an export: its first issue has releases."""
    try:
        found = msgspec.json.decode(data, type=dict[str, dict[str, msgspec.Raw]])
        first = next(iter(next(iter(found.values())).values()))
        msgspec.json.decode(first, type=_Head)
    except (StopIteration, *UNREADABLE):
        return False
    return True


def parse_tracker(data: bytes, wanted: Collection[tuple[Ecosystem, str]]) -> Iterator[Known]:
    """What it says about these packages in our release. Raises msgspec.DecodeError."""
    packages = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    for name, raw in packages.items():
        if ("deb", name) not in wanted:
            continue
        for id, issue in msgspec.json.decode(raw, type=dict[str, _Issue]).items():
            release = issue.releases.get(CODENAME)
            if release is None or release.status == "undetermined" or release.fixed_version == "0":
                continue  # 0: it never had it
            if release.status == "resolved" and not release.fixed_version:
                continue
            yield Known(
                id=id[:200],
                ecosystem="deb",
                package=name,
                ranges=(Range(fixed=release.fixed_version if release.status == "resolved" else ""),),
                severity=severity_of(release.urgency),
                summary=issue.description[:300],
            )
