"""The lint of what is built here: as every host will judge it, and the project's own files for secrets. Operator's side."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from skerry.image.building.pile import File
from skerry.image.contract import Objects
from skerry.image.lint.findings import Finding, check
from skerry.image.lint.verdicts import Verdicts


def check_image(
    digest: str,
    objects: Objects,
    cache: Path,
    name: str,
    project: Iterable[File],
    allow: Collection[str],
    *,
    tools: bool = False,
) -> list[str]:
    """Judge a packed image; gives what is only to be said. `project`: those of its files that came from the user.

    Files of packages are not asked for secrets: they test themselves with keys. Raises ImageRefused.
    """
    verdicts = Verdicts(verdicts_in(cache), objects)
    found = verdicts.of(digest)
    own = ((file.path, file.sha256) for file in project if file.kind == "f")
    secrets = [Finding("secret", path, f"holds {rule}") for path, rule in verdicts.secrets(own)]
    check(
        [*found, *secrets], allow, what=f"the image {name}", init=True, tools=tools
    )  # as what it is used, its app's document says
    return [str(finding) for finding in found if not finding.refuses]


def verdicts_in(cache: Path) -> Path:
    """Where builds and deploys on this machine remember their verdicts."""
    return cache / "lint"
