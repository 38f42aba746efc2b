"""What an image may be made of: the files of all its packages, by path, read only when they are wanted.

The closure picks from a pile; whatever isn't picked is never copied. Paths are those of a merged /usr: "lib/x" is
"usr/lib/x".
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from skerry.image.paths import walk

MERGED = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32")}


@dataclass(frozen=True, slots=True)
class File:
    """One path of a package. `load` gives the content of a file; `origin` names the package for people."""

    path: str
    kind: Literal["f", "d", "l"]
    link: str = ""
    sha256: str = ""
    size: int = 0
    origin: str = ""
    load: Callable[[], bytes] = field(default=bytes, compare=False, repr=False)


def file_of(path: str, data: bytes, origin: str) -> File:
    """A file that is made here."""
    return File(path, "f", "", hashlib.sha256(data).hexdigest(), len(data), origin, lambda: data)


def link_to(path: str, target: str, origin: str) -> File:
    return File(path, "l", target, origin=origin)


def is_below(path: str, start: str) -> bool:
    """Is it the path `start`, or something in that folder?"""
    start = posixpath.normpath(start)
    return path == start or path.startswith(start + "/")


def moved(files: Iterable[File], start: str, place: str) -> list[File]:
    """What is at or below `start`, at or below `place` instead."""
    length = len(posixpath.normpath(start))
    return [replace(file, path=place + file.path[length:]) for file in files if is_below(file.path, start)]


def merged(path: str) -> str:
    """The path under a merged /usr."""
    first, slash, rest = path.partition("/")
    return MERGED[first] + slash + rest if first in MERGED else path


class Pile:
    """Files by path. A later one of the same path replaces an earlier one, except that a directory never hides a
    link.
    """

    def __init__(self, files: Iterable[File] = ()) -> None:
        self._files: dict[str, File] = {old: link_to(old, new, "merged /usr") for old, new in MERGED.items()}
        self.add(files)

    def add(self, files: Iterable[File]) -> None:
        for file in files:
            if file.kind != "d" or file.path not in self._files:
                self._files[file.path] = file

    def get(self, path: str) -> File | None:
        return self._files.get(path)

    def paths(self) -> Iterator[str]:
        return iter(self._files)

    def follow(self, path: str) -> tuple[list[File], File | None]:
        """Walk a path (absolute or relative to the root) as the kernel would: the links passed, and what is at its
        end.
        """
        walked = walk(path, self._files.get)
        return walked.links, None if walked.end is None else self._files.get(walked.end)
