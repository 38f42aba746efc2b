"""One vulnerability of one package as all lists say it, and which of an image's packages it is about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from skerry.image.audit.severity import ORDER, Severity, worst
from skerry.image.audit.versions import compare_in, source_version
from skerry.image.origin import Ecosystem, Part

MAX_FINDINGS = 100_000


class Range(msgspec.Struct, frozen=True):
    """Versions from `introduced` ("0": all) on, before `fixed` ("": none is) or up to `last` ("": no such bound)."""

    introduced: str = "0"
    fixed: str = ""
    last: str = ""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A vulnerability of a package. `package`: as its list names it; for Debian that is the source package.

    `aliases`: other names of the same. `versions`: ones named singly.
    """

    id: str
    aliases: tuple[str, ...] = ()
    ecosystem: Ecosystem
    package: str
    ranges: tuple[Range, ...] = ()
    versions: frozenset[str] = frozenset()
    severity: Severity = "unknown"
    summary: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A package of the image that has one. `fixed`: the version that no longer has it, "" if none is known.

    `doubtful`: versions could not be compared, so it may not be meant.
    """

    id: str
    aliases: tuple[str, ...]
    severity: Severity
    ecosystem: Ecosystem
    package: str
    version: str
    fixed: str
    summary: str
    doubtful: bool = False


def keys_of(parts: Iterable[Part]) -> dict[tuple[Ecosystem, str], list[Part]]:
    """The packages that have files in the image, by what lists call them."""
    found: dict[tuple[Ecosystem, str], list[Part]] = {}
    for part in parts:
        if part.files:
            found.setdefault((part.ecosystem, part.source or part.name), []).append(part)
    return found


def findings(known: Iterable[Known], parts: Mapping[tuple[Ecosystem, str], list[Part]]) -> list[Finding]:
    """What is true of these packages, the worst first, each once: an advisory and the CVE that it is about are one."""
    found: dict[tuple[str, str, str], Finding] = {}
    for one in known:
        for part in parts.get((one.ecosystem, one.package), ()):
            hit, fixed, doubtful = _applies(one, part)
            if not hit:
                continue
            finding = Finding(
                id=one.id, aliases=one.aliases, severity=one.severity, ecosystem=part.ecosystem, package=part.name,
                version=part.version, fixed=fixed, summary=one.summary, doubtful=doubtful,
            )  # fmt: skip
            names = sorted({one.id, *one.aliases}, key=lambda name: (not name.startswith("CVE-"), name))
            key = (part.ecosystem, part.name, names[0])
            found[key] = _joined(found[key], finding) if key in found else finding
            if len(found) >= MAX_FINDINGS:
                break
    return sorted(found.values(), key=lambda f: (-ORDER.index(f.severity), f.package, f.id))


def _applies(one: Known, part: Part) -> tuple[bool, str, bool]:
    """(it has it, the version that fixes it, that could not be told for sure)."""
    compare = compare_in(one.ecosystem)
    version = source_version(part.version) if one.ecosystem == "deb" else part.version
    doubtful = False
    for range in one.ranges:
        from_start = 0 if range.introduced == "0" else compare(version, range.introduced)
        bound = range.fixed or range.last
        to_end = compare(version, bound) if bound else -1
        if from_start is None or to_end is None:
            doubtful = True
        elif from_start >= 0 and (to_end < 0 or (not range.fixed and to_end == 0)):
            return True, range.fixed, False
    if version in one.versions:
        return True, next((r.fixed for r in one.ranges if r.fixed), ""), False
    return doubtful, "", doubtful


def _joined(one: Finding, other: Finding) -> Finding:
    first, second = sorted((one, other), key=lambda f: not f.id.startswith("CVE-"))
    names = dict.fromkeys((*first.aliases, second.id, *second.aliases))
    return msgspec.structs.replace(
        first,
        aliases=tuple(name for name in names if name != first.id),
        severity=worst([one.severity, other.severity]),
        fixed=first.fixed or second.fixed,
        summary=first.summary or second.summary,
        doubtful=one.doubtful and other.doubtful,
    )
