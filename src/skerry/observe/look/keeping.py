"""What a container leaves behind that would be gone with it: its memory file systems and other passing places, copied onto the disk.

Bounded in bytes and files; what doesn't fit is left out and told. Pipes, sockets and devices are only told. Whoever it belonged to
is kept, rights that would let others act as that user aren't.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any

from skerry.errors import SkerryError
from skerry.observe.look.content import SKIPPED_TOLD
from skerry.observe.look.errors import NotInThere
from skerry.observe.look.job import DEPTH_MAX, PIECE_BYTES, Job
from skerry.observe.look.listing import text_of
from skerry.observe.look.root import READ, kernels_own, kind_of, locate, reopen

FILES_MAX = 20_000


class Keeping:
    """From the places of `job.root` into the folder `job.to`, which is ours alone."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._left = job.limit
        self._files = 0
        self._skipped: list[dict[str, str]] = []
        self._skipped_count = 0

    def keep(self) -> dict[str, Any]:
        """Raises OSError when the disk is full: then nothing of it is worth anything."""
        for path in self._job.places:
            try:
                place = locate(self._job.root, path)
                source = reopen(place, path)
            except NotInThere:
                continue
            except SkerryError as error:
                self._skip(path, error.why)
                continue
            os.close(place)
            self._folder(source, self._made(path), path, 0)
        size_bytes = self._job.limit - self._left
        return {
            "files": self._files,
            "size_bytes": size_bytes,
            "skipped": self._skipped,
            "skipped_count": self._skipped_count,
        }

    def _made(self, path: str) -> int:
        """The folder of this place below ours."""
        at = os.dup(self._job.to)
        for part in path.strip("/").split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=at)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        return at

    def _folder(self, source: int, to: int, path: str, depth: int) -> None:
        """Owns both descriptors."""
        try:
            with os.scandir(source) as entries:
                for entry in entries:
                    self._entry(source, to, entry.name, f"{path}/{text_of(entry.name)}", depth + 1)
            _like(to, os.fstat(source))  # last: until then only we may write in it
        finally:
            os.close(source)
            os.close(to)

    def _entry(self, source: int, to: int, name: str, path: str, depth: int) -> None:
        if self._files >= FILES_MAX:
            self._skip(path, f"more than {FILES_MAX} files")
            return
        place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            status = os.fstat(place)
            if stat.S_ISLNK(status.st_mode):
                self._files += 1
                os.symlink(os.readlink("", dir_fd=place), name, dir_fd=to)
            elif stat.S_ISREG(status.st_mode):
                self._file(place, to, name, path, status)
            elif not stat.S_ISDIR(status.st_mode):
                self._skip(path, f"a {kind_of(status.st_mode)}")
            elif depth >= DEPTH_MAX:
                self._skip(path, f"more than {DEPTH_MAX} folders deep")
            elif path not in self._job.places and kernels_own(place) is None:
                self._files += 1
                os.mkdir(name, 0o700, dir_fd=to)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=to)
                self._folder(os.open(f"/proc/self/fd/{place}", READ | os.O_DIRECTORY), inner, path, depth)
        finally:
            os.close(place)

    def _file(self, place: int, to: int, name: str, path: str, status: os.stat_result) -> None:
        if status.st_size > self._left:
            self._skip(path, f"its {status.st_size} bytes are more than are kept")
            return
        self._left -= status.st_size
        self._files += 1
        source = reopen(place, path)
        try:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=to)
            try:
                left = status.st_size
                while left and (sent := os.sendfile(file, source, None, min(left, PIECE_BYTES))):
                    left -= sent
                _like(file, status)
            finally:
                os.close(file)
        finally:
            os.close(source)

    def _skip(self, path: str, why: str) -> None:
        self._skipped_count += 1
        if len(self._skipped) < SKIPPED_TOLD:
            self._skipped.append({"path": path[:1000], "why": why})


def _like(file: int, status: os.stat_result) -> None:
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fchmod(file, stat.S_IMODE(status.st_mode) & 0o777)
    os.fchown(file, status.st_uid, status.st_gid)
