"""Vulnerabilities in the OSV format, one document or many. Pure. Source: ossf.github.io/osv-schema, 1.6."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from skerry.image.audit.known import Known, Range
from skerry.image.audit.severity import Severity, cvss_score, severity_of, severity_of_score, worst
from skerry.image.origin import Ecosystem

DEBIAN_RELEASE = "12"
MAX_RANGES = 1000
MAX_VERSIONS = 20_000


class _Package(msgspec.Struct):
    ecosystem: str
    name: str


class _Event(msgspec.Struct):
    introduced: str = ""
    fixed: str = ""
    last_affected: str = ""


class _Range(msgspec.Struct):
    type: str
    events: list[_Event] = []


class _Severity(msgspec.Struct):
    type: str = ""
    score: str = ""


class _Affected(msgspec.Struct):
    package: _Package | None = None
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    severity: list[_Severity] | None = None
    ecosystem_specific: dict[str, Any] | None = None
    database_specific: dict[str, Any] | None = None


class _Document(msgspec.Struct):
    id: str
    affected: list[_Affected] | None = None
    aliases: list[str] | None = None
    upstream: list[str] | None = None
    withdrawn: str | None = None
    summary: str | None = None
    severity: list[_Severity] | None = None
    database_specific: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Document)


def parse_osv(data: bytes, wanted: Collection[tuple[Ecosystem, str]]) -> Iterator[Known]:
    """What one document says about these packages. Raises msgspec.DecodeError."""
    document = _decoder.decode(data)
    if document.withdrawn:
        return
    for affected in document.affected or ():
        named = _named(affected.package) if affected.package else None
        if named is None or named not in wanted:
            continue
        yield Known(
            id=document.id[:200],
            aliases=tuple(alias[:200] for alias in (*(document.aliases or ()), *(document.upstream or ()))[:50]),
            ecosystem=named[0],
            package=named[1],
            ranges=tuple(_ranges(affected.ranges or ())),
            versions=frozenset((affected.versions or ())[:MAX_VERSIONS]),
            severity=_severity(document, affected),
            summary=(document.summary or "")[:300],
        )


def _named(package: _Package) -> tuple[Ecosystem, str] | None:
    kind, _, release = package.ecosystem.partition(":")
    if kind == "Debian" and release in ("", DEBIAN_RELEASE):
        return "deb", package.name
    if kind == "PyPI":
        return "pypi", re.sub(r"[-_.]+", "-", package.name).lower()
    if kind == "npm":
        return "npm", package.name
    if kind == "Alpine":
        return "apk", package.name
    return None


def _ranges(ranges: Collection[_Range]) -> Iterator[Range]:
    """Events come in their order: each `introduced` opens a range that the next `fixed` or `last_affected` closes."""
    count = 0
    for range in ranges:
        if range.type == "GIT":
            continue
        opened: str | None = None
        for event in range.events:
            count += 1
            if count > MAX_RANGES:
                return
            if event.introduced:
                if opened is not None:
                    yield Range(introduced=opened)
                opened = event.introduced
            elif opened is not None and (event.fixed or event.last_affected):
                yield Range(introduced=opened, fixed=event.fixed, last=event.last_affected)
                opened = None
        if opened is not None:
            yield Range(introduced=opened)


def _severity(document: _Document, affected: _Affected) -> Severity:
    found: list[Severity] = []
    for each in (*(affected.severity or ()), *(document.severity or ())):
        if (score := cvss_score(each.score)) is not None:
            found.append(severity_of_score(score))
    for specific in (affected.ecosystem_specific, affected.database_specific, document.database_specific):
        for key in ("severity", "urgency"):
            if specific and isinstance(word := specific.get(key), str):
                found.append(severity_of(word))
    return worst(found)
