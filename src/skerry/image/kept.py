"""Files of the download cache: written whole or not at all, and never taken for what they were once the disk has changed them.

What was made here bears its hash in front of it: with a damaged one it is as if it had never been made. What was fetched or
unpacked is known by its hash already (`read_checked`): a damaged one is removed, told, and fetched or unpacked anew.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.errors import Passing
from skerry.outside import UNREADABLE

_T = TypeVar("_T")
_numbers = itertools.count()
LOCK_STALE_S = 5.0  # held while one small file is written: its holder is gone


class CacheDamaged(Passing):
    """A file of the cache was not what it was when it was written. It is removed: the next run has it anew."""

    code = "cache-damaged"

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{what} can't be used as it is in the cache",
            f"the disk has changed {path}, which is now removed",
            "run it again: it is made or fetched anew; look at the disk if it happens more often",
        )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of the cache so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    with half_made(part):
        part.write_bytes(data)
        part.replace(path)


@contextmanager
def half_made(part: Path) -> Iterator[None]:
    """Of a file that is written here and fails to be nothing stays; what the system says of it bears its name."""
    try:
        yield
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a write doesn't say where
            error.filename = str(part)
        raise


def part_of(path: Path) -> Path:
    """A name beside it that nobody else writes to: builds run side by side, and in threads."""
    return path.with_name(f".{path.name[:200]}.{os.getpid()}.{next(_numbers)}.part")


def keep(path: Path, value: object) -> None:
    """Write a result, to be read by `kept`."""
    data = msgspec.msgpack.encode(value)
    write_whole(path, hashlib.sha256(data).digest() + data)


def kept(path: Path, shape: type[_T]) -> _T | None:
    """A result as it was written. None: there is none, or it is damaged, or of another version of Skerry."""
    try:
        whole = path.read_bytes()
        if hashlib.sha256(whole[32:]).digest() != whole[:32]:
            return None
        return msgspec.msgpack.decode(memoryview(whole)[32:], type=shape)
    except (FileNotFoundError, *UNREADABLE):
        return None


def read_checked(path: Path, sha256: str, what: str, *, offset: int = 0, size: int = -1) -> bytes:
    """The bytes at this place of a file, which must have this hash. Raises CacheDamaged, and then has removed the file."""
    with path.open("rb") as source:
        source.seek(offset)
        data = source.read(size)
    if hashlib.sha256(data).hexdigest() != sha256:
        path.unlink(missing_ok=True)
        raise CacheDamaged(path, what)
    return data


def is_full(error: OSError) -> bool:
    """Whether the disk has no room: then it's not what was read that is at fault."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One at a time changes a file that many commands share. The system's lock on the folder leaves nothing in it, and ends with
    whoever holds it, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows, where folders can't be locked
        with _by_a_file(folder / ".skerry-changes"):
            yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _by_a_file(lock: Path) -> Iterator[None]:
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > LOCK_STALE_S:
                    lock.unlink()
            time.sleep(0.01)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
