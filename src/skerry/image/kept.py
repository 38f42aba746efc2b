"""Files of the download cache: written whole or not at all, and never taken for what they were once the disk has changed them.

What was made here bears its hash in front of it: with a damaged one it is as if it had never been made. What was fetched or
unpacked is known by its hash already (`read_checked`): a damaged one is removed, told, and fetched or unpacked anew.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.errors import Passing

_T = TypeVar("_T")
_numbers = itertools.count()


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
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a write says not where
            error.filename = str(path)
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
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
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
