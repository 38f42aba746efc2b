"""Lines of the past between being found, newest first, and being sent, oldest first: held packed, and bounded for all answers of
a host together. Who asks for a million lines and doesn't read them costs a stated amount of memory, however many do so.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import msgspec

from skerry.errors import Passing

ROOM_BYTES = 96 << 20  # some 700,000 lines of 100 characters, as they are held
CHUNK_ROWS = 500  # unpacked at once, of each source
LINE = 4  # fields of a row that is a line

Row = list[Any]
_stamp = itemgetter(0)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Row]).decode


class TooManyLines(Passing):
    """All answers of a host together hold so many lines that nobody has taken yet."""

    code = "too-many-lines"


class Room:
    """What the answers of one host may hold. `held`: bytes."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = ROOM_BYTES if most_bytes is None else most_bytes
        self.held = 0

    def take(self, size: int) -> None:
        """Raises TooManyLines."""
        if self.held + size > self.most_bytes:
            raise TooManyLines(
                "not all that was asked for was read",
                f"what is asked for here and not yet taken would be more than {self.most_bytes >> 20} MiB",
                "ask for less: --tail, --since and --until, --grep; or again, when others have read theirs",
            )
        self.held += size

    def give(self, size: int) -> None:
        self.held -= size

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Raises TooManyLines."""
        self.take(size)
        try:
            yield
        finally:
            self.give(size)


class _Chunk:
    """Rows that lie together in one source, sorted by time; `data` is b"" once they are let go."""

    def __init__(self, rows: list[Row]) -> None:
        self.first, self.last = rows[0][0], rows[-1][0]
        self.lines = sum(len(row) == LINE for row in rows)
        self.data = _encode(rows)


class Past:
    """What one answer holds: the last `tail` lines of all sources, by time. Close it."""

    def __init__(self, room: Room, tail: int) -> None:
        self._room, self._tail = room, tail
        self._sources: list[list[_Chunk]] = []

    def begin(self) -> None:
        """What is added from now on is of another source."""
        self._sources.append([])

    def add(self, rows: list[Row]) -> None:
        """Rows of the source that was begun, older than those added before. Raises TooManyLines."""
        rows = sorted(rows, key=_stamp)
        for end in range(len(rows), 0, -CHUNK_ROWS):
            self._add(_Chunk(rows[max(0, end - CHUNK_ROWS) : end]))

    def _add(self, chunk: _Chunk) -> None:
        if self._room.held + len(chunk.data) > self._room.most_bytes:
            self._let_go_of_old()
        self._room.take(len(chunk.data))
        self._sources[-1].append(chunk)

    def rows(self) -> Iterator[Row]:
        """Oldest first; what was given is let go of. Of a source whose clock was set back far, in the order in which it wrote."""
        over = self._lines() - self._tail
        for row in heapq.merge(*map(self._of, self._sources), key=_stamp):
            if over > 0 or (over == 0 and len(row) != LINE):
                over -= len(row) == LINE
                continue  # nor what is missing before the first line that is told
            over = -1
            yield row

    def close(self) -> None:
        for chunk in self._chunks():
            self._free(chunk)

    def _of(self, source: list[_Chunk]) -> Iterator[Row]:
        for chunk in reversed(source):
            rows = _decode(chunk.data) if chunk.data else []
            self._free(chunk)
            yield from rows

    def _let_go_of_old(self) -> None:
        """Chunks before which, counted from the newest, there are enough lines already."""
        newer = 0
        ends = sorted(((chunk.first, chunk.lines) for chunk in self._chunks() if chunk.data), reverse=True)
        for chunk in sorted(self._chunks(), key=lambda chunk: chunk.last, reverse=True):
            while ends and ends[0][0] > chunk.last:
                newer += ends.pop(0)[1]
            if newer >= self._tail:
                self._free(chunk)

    def _free(self, chunk: _Chunk) -> None:
        self._room.give(len(chunk.data))
        chunk.data, chunk.lines = b"", 0

    def _lines(self) -> int:
        return sum(chunk.lines for chunk in self._chunks())

    def _chunks(self) -> Iterable[_Chunk]:
        return (chunk for source in self._sources for chunk in source)
