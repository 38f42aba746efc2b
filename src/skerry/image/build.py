"""From a recipe to an image in the local store. Operator's side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from skerry.image.contract import Objects
from skerry.image.recipe import Recipe


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A built image. `size_bytes` of its files, `files` how many, `executables` their paths, `findings` sentences
    for the user, `lock` the path of the lock file that was read or written."""

    digest: str
    size_bytes: int
    files: int
    executables: tuple[str, ...]
    findings: tuple[str, ...]
    lock: Path


def build(
    recipe: Recipe,
    context_dir: Path,
    *,
    objects: Objects,
    cache: Path,
    name: str = "image",
    mirror: str = "",
    progress: Callable[[str], None] = lambda line: None,
) -> Built:
    """Build an image: lock, assemble, closure, lint, pack.

    `context_dir`: the project's folder; `skerry.lock` is read from and written to it, in a section called `name` (the
    service's). `cache`: downloads and results by content; may be removed at any time. `mirror`: of Debian, "" for this
    machine's. `progress` gets a line for each step. Raises BuildRefused, DownloadRefused, DownloadFailed.
    """
    raise NotImplementedError
