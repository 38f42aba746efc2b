"""The lint of what is built here: the project's own files before they are packed, the image after. Operator's side."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from skerry.image.contract import Objects
from skerry.image.lint.findings import Finding, check
from skerry.image.lint.secrets import in_project
from skerry.image.lint.verdicts import Verdicts
from skerry.image.pile import File


def check_project(files: Iterable[File], allow: Collection[str]) -> None:
    """Refuse secrets among a project's own files; those of packages, which test themselves with keys, are not asked about.

    Raises ImageRefused.
    """
    own = [(file.path, file.load) for file in files if file.kind == "f" and file.origin == "project"]
    found = [Finding("secret", path, f"holds {rule}") for path, rule in in_project(own)]
    check(found, allow, what="the project")


def check_image(digest: str, objects: Objects, cache: Path, name: str, allow: Collection[str]) -> list[str]:
    """Judge a packed image as every host will; gives what is only to be said. Raises ImageRefused."""
    found = Verdicts(verdicts_in(cache), objects).of(digest)
    check(found, allow, what=f"the image {name}")
    return [str(finding) for finding in found if not finding.refuses]


def verdicts_in(cache: Path) -> Path:
    """Where builds and deploys on this machine remember their verdicts."""
    return cache / "lint"
