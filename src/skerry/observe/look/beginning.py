"""What lay in a container's volumes just before it started, so that what it removed since can be told. Names, kinds, sizes, times.

Bounded in names, bytes and time, as the start waits for it; of more than that nothing is kept, and this is told. Imported by the
agent: nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from skerry.observe.look.job import DEPTH_MAX
from skerry.observe.look.root import READ

NAMES_MAX, BYTES_MAX = 20_000, 2 << 20
WITHIN_S = 0.3
TOO_MUCH = b"more"


class Was(NamedTuple):
    """`path`: as the container sees it. `modified`: unix seconds."""

    path: str
    mode: int
    size_bytes: int
    modified: float


def note(file: Path, volumes: Mapping[str, Path]) -> None:
    """Of these volumes (where they are in the container -> here) into `file`. Raises OSError. Blocks."""
    told = bytearray()
    until_s = time.monotonic() + WITHIN_S
    names = 0
    for target, source in volumes.items():
        for path, status in _walk(source, target.rstrip("/")):
            names += 1
            told += b"%o %d %d %s\0" % (status.st_mode, status.st_size, status.st_mtime, os.fsencode(path))
            if names > NAMES_MAX or len(told) > BYTES_MAX or time.monotonic() > until_s:
                told = bytearray(TOO_MUCH)
                file.write_bytes(told)
                return
    file.write_bytes(told)


def noted(data: bytes) -> list[Was] | None:
    """What a file of these says, folders before what lies in them; None if it was too much to note. What is not understood is
    left out.
    """
    if data == TOO_MUCH:
        return None
    found = []
    for line in data.split(b"\0"):
        with contextlib.suppress(ValueError):
            mode, size, modified, path = line.split(b" ", 3)
            found.append(Was(os.fsdecode(path), int(mode, 8), int(size), float(modified)))
    return found


def _walk(folder: Path, path: str, depth: int = 0) -> Iterator[tuple[str, os.stat_result]]:
    """Depth first; no link is followed, no mount crossed, no access time left."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, READ | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield from _inside(opened, path, os.fstat(opened).st_dev, depth)
        finally:
            os.close(opened)


def _inside(folder: int, path: str, device: int, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            yield f"{path}/{name}", status
            if stat.S_ISDIR(status.st_mode) and status.st_dev == device and depth < DEPTH_MAX:
                below = os.open(name, READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    yield from _inside(below, f"{path}/{name}", device, depth + 1)
                finally:
                    os.close(below)
