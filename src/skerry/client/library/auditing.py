"""An image's packages against a list of known vulnerabilities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.client.library.parts import origin_of
from skerry.image.audit.database import read_database
from skerry.image.audit.known import findings, keys_of
from skerry.image.audit.severity import ORDER

if TYPE_CHECKING:
    from skerry.client.images import LocalImages


def audit(images: LocalImages, digest: str, databases: tuple[Path, ...]) -> dict[str, Any]:
    """What these lists know of the packages that have files in the image. Raises BadDatabase, BadInput."""
    origin = origin_of(images, digest)
    parts = keys_of(origin.parts)
    known = [one for path in databases for one in read_database(path, parts.keys())]
    found = [msgspec.to_builtins(finding) for finding in findings(known, parts)]
    counts = {severity: sum(row["severity"] == severity for row in found) for severity in reversed(ORDER)}
    return {
        "digest": digest,
        "packages": sum(map(len, parts.values())),
        "complete": origin.complete,
        "findings": found,
        "counts": {severity: count for severity, count in counts.items() if count},
    }


def at_least(found: dict[str, Any], level: str) -> int:
    """How many are as bad as that or worse; "any" counts all, also those whose severity nobody has said."""
    if level == "any":
        return len(found["findings"])
    least = ORDER.index(level)
    return sum(ORDER.index(row["severity"]) >= least for row in found["findings"])
