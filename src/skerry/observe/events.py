"""The node's own diary: what it did and why, as JSON lines in one directory, bounded and rotated once.

Append-only, each line naming the one before it (chain.py). No fsync but before a head is told to others: a diary that lost its last
second in a power cut is still true. A half-written last line is cut off by the next writer, and that it was is an entry of its own.
What was let go of for room is remembered by its last line, the anchor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

from skerry.observe.chain import Head, hash_of, read_link
from skerry.outside import UNREADABLE

TEXT_MAX = 2000  # characters of one field; reasons may quote what a container said
FRESH_MAX = 2000  # entries held for one who follows and does not read
_ANCHOR_BYTES = 200


class Entry(msgspec.Struct, frozen=True):
    """`time`: unix seconds; `kind`: a stable word; `subject`: slot, node, service, image; `more`: figures and words.

    `n`, `prev`: its place in the chain, see chain.py.
    """

    time: float
    kind: str
    subject: str
    reason: str = ""
    more: dict[str, str] = {}
    n: int = 0
    prev: str = ""


class Wanted(msgspec.Struct, frozen=True):
    """Which entries are meant: all that is said must hold. Times are unix seconds (0: no bound); `text` whatever its case."""

    since: float = 0.0
    until: float = 0.0
    kinds: tuple[str, ...] = ()
    text: str = ""

    def __call__(self, entry: Entry) -> bool:
        if self.kinds and entry.kind not in self.kinds:
            return False
        if entry.time < self.since or (self.until and entry.time > self.until):
            return False
        return not self.text or self.text.lower() in f"{entry.kind} {entry.subject} {entry.reason}".lower()


_DECODER = msgspec.json.Decoder(Entry)


class EventLog:
    """One writer per directory. At most `max_bytes` are kept, in `events.jsonl` and, older, `events.1.jsonl`."""

    def __init__(self, directory: Path, max_bytes: int = 8 << 20, *, now: Callable[[], float] = time.time) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "events.jsonl"
        self._older = directory / "events.1.jsonl"
        self._anchor = directory / "events.anchor"
        self._half_bytes = (max_bytes - _ANCHOR_BYTES) // 2
        self._now = now
        self._count = 0
        self._size = 0
        self._lost = 0  # entries that a full disk had no room for
        self._news = asyncio.Event()
        self._file, cut = self._open()
        self._head = self._last(self._path) or self._last(self._older) or self.anchor() or Head(0, "")
        if cut:
            self.append(
                "diary",
                "",
                f"its last line was half written, {cut} bytes: cut off; the power went, or the disk was full",
            )

    @property
    def head(self) -> Head:
        """The newest line."""
        return self._head

    def append(self, kind: str, subject: str, reason: str = "", more: dict[str, str] | None = None) -> Entry:
        """Write one entry at the current time. A full disk is no reason to stop working: then it is only counted."""
        if self._lost:
            lost, self._lost = self._lost, 0
            self.append("diary", "", f"{lost} entries before this one were not written: there was no room for them")
        short = {key[:TEXT_MAX]: value[:TEXT_MAX] for key, value in list((more or {}).items())[:32]}
        place = (self._head.n + 1, self._head.hash)
        entry = Entry(self._now(), kind[:TEXT_MAX], subject[:TEXT_MAX], reason[:TEXT_MAX], short, *place)
        line = msgspec.json.encode(entry)
        if self._size + len(line) + 1 > self._half_bytes and self._size:
            self._rotate()
        if not self._write(line + b"\n"):
            self._lost += 1
            return entry
        self._head = Head(entry.n, hash_of(line))
        self._count += 1
        self._news.set()
        self._news = asyncio.Event()  # those that wait hold the old one
        return entry

    def _write(self, line: bytes) -> bool:
        with contextlib.suppress(OSError):
            if os.write(self._file, line) == len(line):
                self._size += len(line)
                return True
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)  # what there was room for of it
        return False

    def sync(self) -> Head:
        """Have all that was written on disk; gives the head that is. May be called from another thread."""
        head = self._head
        with contextlib.suppress(OSError):  # rotated just now, or closed
            os.fdatasync(self._file)
        return head

    def tail(self, n: int, wanted: Callable[[Entry], bool] | None = None) -> list[Entry]:
        """The last `n` that are wanted, oldest first."""
        if n <= 0:
            return []
        found = list(filter(wanted, _read(self._path)))
        if len(found) < n:
            found = list(filter(wanted, _read(self._older))) + found
        return found[-n:]

    @property
    def count(self) -> int:
        """How many were written in this life: where `follow` may begin."""
        return self._count

    async def follow(
        self, n: int = 0, wanted: Callable[[Entry], bool] | None = None, *, seen: int | None = None
    ) -> AsyncIterator[Entry]:
        """The last `n`, then each new one, for ever; those before the `seen`th are not new. Who is slow is told what it misses."""
        seen = self._count if seen is None else seen
        for entry in self.tail(n, wanted):
            yield entry
        while True:
            if seen == self._count:
                await self._news.wait()
            fresh, seen = self._count - seen, self._count
            if fresh > FRESH_MAX:
                yield Entry(
                    self._now(),
                    "diary",
                    "",
                    f"{fresh - FRESH_MAX} entries are not told here: they were not read in time",
                )
            for entry in filter(wanted, self.tail(min(fresh, FRESH_MAX))):
                yield entry

    def anchor(self) -> Head | None:
        """The last line that was let go of; None: all that was ever written is here."""
        try:
            return msgspec.json.decode(self._anchor.read_bytes(), type=Head)
        except (FileNotFoundError, *UNREADABLE):
            return None

    def lines(self) -> Iterator[bytes]:
        """All lines that are kept, oldest first, exactly as they were written."""
        for path in (self._older, self._path):
            with contextlib.suppress(FileNotFoundError):
                yield from path.read_bytes().split(b"\n")[:-1]

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> tuple[int, int]:
        """The file, and how many bytes of a half-written line were cut off."""
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size, cut = os.fstat(file).st_size, 0
        if self._size and os.pread(file, 1, self._size - 1) != b"\n":
            whole = os.pread(file, self._size, 0).rfind(b"\n") + 1
            os.ftruncate(file, whole)
            self._size, cut = whole, self._size - whole
        return file, cut

    def _rotate(self) -> None:
        """The anchor first: should it end there, it only names a line that is still kept."""
        if (gone := self._last(self._older)) is not None:
            written = self._anchor.with_suffix(".new")
            with contextlib.suppress(OSError):
                written.write_bytes(msgspec.json.encode(gone))
                written.replace(self._anchor)
        with contextlib.suppress(OSError):
            os.fdatasync(self._file)  # a head that is told later covers it, too
        os.close(self._file)
        self._path.replace(self._older)
        self._file, _ = self._open()

    @staticmethod
    def _last(path: Path) -> Head | None:
        """The last line of a file. One that is damaged and whole counts, by the number that it must have had."""
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        for back, line in enumerate(reversed(lines)):
            if (link := read_link(line)) is not None:
                return Head(link.n + back if link.n else 0, hash_of(lines[-1]))
        return Head(0, hash_of(lines[-1])) if lines else None


def parse_entries(data: bytes) -> list[Entry]:
    """Read a diary. Lines that are cut or damaged are left out: the rest is still worth reading."""
    entries = []
    for line in data.split(b"\n"):
        try:
            entries.append(_DECODER.decode(line))
        except UNREADABLE:
            continue
    return entries


def _read(path: Path) -> list[Entry]:
    try:
        return parse_entries(path.read_bytes())
    except FileNotFoundError:
        return []
