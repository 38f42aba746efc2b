"""The node's own diary: what it did and why, as JSON lines in one directory, bounded and rotated once.

Append-only; no fsync: a diary that lost its last second in a power cut is still true. A half-written last line is left
out by readers and cut off by the next writer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

TEXT_MAX = 2000  # characters of one field; reasons may quote what a container said


class Entry(msgspec.Struct, frozen=True):
    """`time`: unix seconds; `kind`: a stable word; `subject`: slot, node, service, image; `more`: figures and words."""

    time: float
    kind: str
    subject: str
    reason: str = ""
    more: dict[str, str] = {}


_DECODER = msgspec.json.Decoder(Entry)


class EventLog:
    """One writer per directory. At most `max_bytes` are kept, in `events.jsonl` and, older, `events.1.jsonl`."""

    def __init__(self, directory: Path, max_bytes: int = 8 << 20, *, now: Callable[[], float] = time.time) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "events.jsonl"
        self._older = directory / "events.1.jsonl"
        self._max_bytes = max_bytes
        self._now = now
        self._count = 0
        self._size = 0
        self._news = asyncio.Event()
        self._file = self._open()

    def append(self, kind: str, subject: str, reason: str = "", more: dict[str, str] | None = None) -> Entry:
        """Write one entry at the current time. A full disk is no reason to stop working: then it is only counted on."""
        short = {key[:TEXT_MAX]: value[:TEXT_MAX] for key, value in list((more or {}).items())[:32]}
        entry = Entry(self._now(), kind[:TEXT_MAX], subject[:TEXT_MAX], reason[:TEXT_MAX], short)
        line = msgspec.json.encode(entry) + b"\n"
        if self._size + len(line) > self._max_bytes // 2 and self._size:
            self._rotate()
        try:
            self._size += os.write(self._file, line)
        except OSError:
            self._size = os.fstat(self._file).st_size
        self._count += 1
        self._news.set()
        self._news = asyncio.Event()  # those that wait hold the old one
        return entry

    def tail(self, n: int) -> list[Entry]:
        """The last `n`, oldest first."""
        if n <= 0:
            return []
        found = _read(self._path)
        if len(found) < n:
            found = _read(self._older) + found
        return found[-n:]

    async def follow(self, n: int = 0) -> AsyncIterator[Entry]:
        """The last `n`, then each new one, for ever. A reader so slow that two rotations pass misses what went."""
        for entry in self.tail(n):
            yield entry
        seen = self._count
        while True:
            if seen == self._count:
                await self._news.wait()
            fresh = self.tail(self._count - seen)
            seen = self._count
            for entry in fresh:
                yield entry

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> int:
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(file).st_size
        if self._size and os.pread(file, 1, self._size - 1) != b"\n":
            whole = os.pread(file, self._size, 0).rfind(b"\n") + 1
            os.ftruncate(file, whole)
            self._size = whole
        return file

    def _rotate(self) -> None:
        os.close(self._file)
        self._path.replace(self._older)
        self._file = self._open()


def parse_entries(data: bytes) -> list[Entry]:
    """Read a diary. Lines that are cut or damaged are left out: the rest is still worth reading."""
    entries = []
    for line in data.split(b"\n"):
        try:
            entries.append(_DECODER.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return entries


def _read(path: Path) -> list[Entry]:
    try:
        return parse_entries(path.read_bytes())
    except FileNotFoundError:
        return []
