"""Parts of large files that are on their way in: on disk, so that a transfer that was cut goes on where it stopped.

`parts/HASH/N` is a part of 1 MiB. Nobody vouches for a part: the file that they make together has its hash, or it is thrown
away. Bounded: what nobody asked for in a day goes, and the oldest go first when there is too much.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
import time
from pathlib import Path

from skerry.image.packs import PART_BYTES, parts_of
from skerry.store.disk import full_disk_told
from skerry.store.objects import ObjectStore

KEPT_S = 24 * 3600.0
KEPT_BYTES = 4 << 30


class FileParts:
    """Calls block: they touch the disk. Two images that come at once may share a large file: each brings parts of it here, and
    the first that has all of them joins them for both.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()  # no part comes in while its file is joined
        self._numbers = itertools.count()
        directory.mkdir(parents=True, exist_ok=True)

    def here(self, hash: str, size: int) -> set[int]:
        """The numbers of the parts that are here, from 0."""
        lengths = {n: part.length for n, part in enumerate(parts_of(hash, size))}
        found = set()
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._directory / hash):
                if entry.name.isdecimal() and lengths.get(int(entry.name)) == entry.stat().st_size:
                    found.add(int(entry.name))
        return found

    def put(self, hash: str, at: int, data: bytes) -> None:
        """Raises DiskFull."""
        home = self._directory / hash
        with self._lock, full_disk_told(self._directory):
            home.mkdir(exist_ok=True)
            temporary = home / f"{at // PART_BYTES}.{next(self._numbers)}.new"
            temporary.write_bytes(data)
            temporary.replace(home / str(at // PART_BYTES))

    def read(self, hash: str, at: int) -> bytes:
        """Raises FileNotFoundError."""
        return (self._directory / hash / str(at // PART_BYTES)).read_bytes()

    def join(self, hash: str, size: int, objects: ObjectStore) -> bool:
        """Make the file of its parts, which go; made meanwhile will do. False: together they are not that file.

        Raises FileNotFoundError, DiskFull.
        """
        with self._lock:
            whole = objects.here(hash) is not None or self._join(hash, size, objects)
            self.drop(hash)
            return whole

    def _join(self, hash: str, size: int, objects: ObjectStore) -> bool:
        writer = objects.writer(hash, most_bytes=size)
        try:
            for part in parts_of(hash, size):
                writer.write(self.read(hash, part.at))
        except BaseException:
            writer.abort()
            raise
        return writer.finish()

    def drop(self, hash: str) -> None:
        shutil.rmtree(self._directory / hash, ignore_errors=True)

    def tidy(self, needed: set[str]) -> None:
        """Remove what was begun and never ended, except of the files `needed`."""
        now_s, kept = time.time(), 0
        homes = [(home.stat().st_mtime, home) for home in self._directory.iterdir() if home.name not in needed]
        for since_s, home in sorted(homes, reverse=True):
            kept += sum(file.stat().st_size for file in home.iterdir())
            if now_s - since_s > KEPT_S or kept > KEPT_BYTES:
                shutil.rmtree(home, ignore_errors=True)
