"""What a disk can do to us: be full, or damage what it holds. Errors and helpers for records and objects alike."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.errors import Passing, Refusal

SMALL_BYTES = 256 << 10
_FULL = (errno.ENOSPC, errno.EDQUOT)
OLD_S = 86400.0  # nothing is on its way for as long as that


class DiskFull(Passing):
    """Nothing was written; what was there before is whole."""

    code = "disk-full"

    def __init__(self, directory: Path) -> None:
        super().__init__(
            what=f"nothing could be written below {directory}",
            why="the disk is full",
            fix="make room on this host (`df -h` shows what fills it); Skerry then goes on by itself",
        )


class StoreDamaged(Passing):
    """A file of the store is not what was written. It is put aside; what it held comes back from the neighbours."""

    code = "store-damaged"


class NoAccess(Refusal):
    """A file or folder that this program may not use."""

    code = "no-access"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{path} can't be used",
            why,
            "whose is it (ls -ld)? run as that user, have it given to you, or name another place",
        )


def told(error: OSError) -> DiskFull | NoAccess | None:
    """What the system said of a place on the disk, as an error for people; None for all else, which is not the disk's matter."""
    if error.errno in _FULL:
        return DiskFull(Path(str(error.filename)).parent if error.filename else Path.cwd())
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        return NoAccess(str(error.filename), error.strerror or "")
    return None


@contextmanager
def full_disk_told(directory: Path) -> Iterator[None]:
    """Turns the system's "no space left" (or a quota's) into DiskFull; everything else passes."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(directory) from error
        raise


def is_full(directory: Path) -> bool:
    """Whether a small file can't be written for want of room any more."""
    return free_bytes(directory) < SMALL_BYTES


def is_old(path: Path) -> bool:
    """Whether something half-made is nobody's any more; gone counts as that."""
    try:
        return path.lstat().st_mtime < time.time() - OLD_S
    except FileNotFoundError:
        return True


class Reserve:
    """Room that an agent sets aside while there is plenty, so that it can start on a full disk: a start writes a few files."""

    def __init__(self, directory: Path, size_bytes: int = 1 << 20) -> None:
        self._path = directory / "reserve"
        self._size_bytes = size_bytes
        self.is_spent = False

    def use(self) -> None:
        """Give the room free if it is needed now."""
        if is_full(self._path.parent) and self._path.exists():
            self._path.unlink()
            self.is_spent = True

    def set_aside(self) -> None:
        """Where there is plenty and none is set aside. Raises DiskFull."""
        if self._path.exists() or free_bytes(self._path.parent) < 16 * self._size_bytes:
            return
        replace_synced(self._path, bytes(self._size_bytes))
        self.is_spent = False


def free_bytes(directory: Path) -> int:
    """Room that is left on this directory's disk for other users than root."""
    return shutil.disk_usage(directory).free


def sync_directory(directory: Path) -> None:
    """A rename lasts only when the directory was synced too. (Windows has no such call.)"""
    if os.name == "nt":
        return
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_synced(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all, on disk before this returns. Raises DiskFull."""
    temporary = path.with_name(path.name + ".new")
    with full_disk_told(path.parent):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
