"""The rings of one subject: 1 s for 15 minutes, 10 s for a day, 5 min for 30 days, in one block of fixed size.

A row holds sixteen half floats (or eight floats). Rows are written in chunks, each with the number of its first step and a checksum:
what a power cut tore, and what an earlier lap or another subject left there, is told from what is asked for, and is unknown. A step's
place follows from its number alone, so a clock that jumps loses nothing but what is written over. A chunk of a ring is just one
step of the next coarser one, which is therefore folded from memory when the chunk is left. Only these chunks are in memory.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

from skerry.observe.metrics import Fold, Kind, one_of

Form = Literal["half", "float"]
ROW_BYTES = 32
_HEAD = struct.Struct("<QII")  # number of the first step, generation of the block, checksum
_LETTER = {"half": "e", "float": "f"}
COLUMNS: dict[Form, int] = {"half": 16, "float": 8}
MOST: dict[Form, float] = {"half": 65504.0, "float": 3.4e38}


class Ring(NamedTuple):
    """`rows`: of one chunk."""

    step_s: int
    steps: int
    rows: int

    @property
    def chunk_bytes(self) -> int:
        return _HEAD.size + self.rows * ROW_BYTES

    @property
    def chunks(self) -> int:
        return self.steps // self.rows

    @property
    def size_bytes(self) -> int:
        return self.chunks * self.chunk_bytes


RINGS = (Ring(1, 900, 10), Ring(10, 8640, 30), Ring(300, 8640, 24))
AHEAD = 6  # rows after which a chunk that isn't full is folded, too
HEADER_BYTES = 2 * 4096  # two copies, written in turn
BLOCK_BYTES = HEADER_BYTES + sum(ring.size_bytes for ring in RINGS)
assert all(coarse.step_s == fine.step_s * fine.rows for fine, coarse in pairwise(RINGS))


class Storage(Protocol):
    """Bytes of one block, from 0. Writing never raises: what can't be kept is lost, and told elsewhere."""

    def read(self, at: int, size: int) -> bytes: ...

    def write(self, at: int, data: bytes | bytearray) -> None: ...


class Column(NamedTuple):
    """`labels` tells series of one name apart."""

    name: str
    scale: float = 1.0
    fold: Fold = "mean"
    labels: tuple[tuple[str, str], ...] = ()
    kind: Kind = "gauge"


class Rings:
    """`generation`: of the block's present use; what bears another was left by an earlier one."""

    def __init__(self, storage: Storage, columns: Sequence[Column], generation: int, form: Form = "half") -> None:
        self._storage = storage
        self._generation = generation
        self._width = COLUMNS[form]
        self._row = struct.Struct(f"<{self._width}{_LETTER[form]}")
        self._letter = _LETTER[form]
        self._most = MOST[form]
        self.columns: tuple[Column, ...] = ()
        self.have(columns)
        self._empty = self._row.pack(*[math.nan] * self._width)
        self._firsts = [-1] * len(RINGS)  # of the chunks in memory
        self._chunks = [bytearray() for _ in RINGS]

    def have(self, columns: Sequence[Column]) -> None:
        """From now on these; those that there were stay where they are."""
        assert tuple(columns[: len(self.columns)]) == self.columns
        assert len(columns) <= self._width
        self.columns = tuple(columns)
        self._scales = [column.scale for column in columns]
        self._pad = [math.nan] * (self._width - len(columns))

    def put(self, at_s: int, values: Sequence[float]) -> None:
        """The values of one second, as many as columns. Unknown ones are NaN."""
        self._put(0, at_s, [value / scale for value, scale in zip(values, self._scales, strict=True)])

    def flush(self) -> None:
        """Write what is in memory alone. Call before the agent ends."""
        for n, _ in enumerate(RINGS):
            self._leave(n)

    def read(self, n: int, since: int, until: int, wanted: Sequence[int]) -> list[list[float]]:
        """Ring n's steps `since` up to `until` (without it), of these columns: a NaN where nothing is known."""
        ring = RINGS[n]
        found: list[list[float]] = [[] for _ in wanted]
        if until <= since:
            return found
        first = since - since % ring.rows
        while first < until:
            # As many chunks at once as lie behind one another in the file.
            place = first // ring.rows % ring.chunks
            count = min(ring.chunks - place, -(-(until - first) // ring.rows))
            raw = self._storage.read(self._offset(n, first), count * ring.chunk_bytes)
            for at in range(0, count * ring.chunk_bytes, ring.chunk_bytes):
                rows = self._chunks[n] if self._firsts[n] == first else raw[at : at + ring.chunk_bytes]
                whole = rows is self._chunks[n] or self._is_whole(rows, first, ring)
                body = rows[_HEAD.size :] if whole else self._empty * ring.rows
                values = struct.unpack(f"<{ring.rows * self._width}{self._letter}", body)
                low, high = max(since - first, 0), min(until - first, ring.rows)
                for series, column in zip(found, wanted, strict=True):
                    scale = self._scales[column]
                    series += [value * scale for value in values[column :: self._width][low:high]]
                first += ring.rows
        return found

    def _put(self, n: int, step: int, values: list[float]) -> None:
        ring = RINGS[n]
        first = step - step % ring.rows
        if first != self._firsts[n]:
            self._leave(n)
            self._firsts[n], self._chunks[n] = first, self._load(n, first)
        at = _HEAD.size + (step - first) * ROW_BYTES
        try:
            self._row.pack_into(self._chunks[n], at, *values, *self._pad)
        except OverflowError:
            most = self._most
            self._row.pack_into(self._chunks[n], at, *[min(max(v, -most), most) for v in values], *self._pad)
        if n and step % AHEAD == 0:  # a part of it, in case that we are killed
            self._fold(n)

    def _leave(self, n: int) -> None:
        """Write the chunk in memory, and fold it into the coarser ring."""
        if self._firsts[n] >= 0:
            self._write(n)
            self._fold(n)

    def _fold(self, n: int) -> None:
        if n + 1 == len(RINGS):
            return
        ring, body = RINGS[n], self._chunks[n][_HEAD.size :]
        values = struct.unpack(f"<{ring.rows * self._width}{self._letter}", body)
        folded = [one_of(values[i :: self._width], column.fold) for i, column in enumerate(self.columns)]
        self._put(n + 1, self._firsts[n] // ring.rows, folded)
        self._write(n + 1)

    def _write(self, n: int) -> None:
        chunk, first = self._chunks[n], self._firsts[n]
        _HEAD.pack_into(chunk, 0, first, self._generation, 0)
        _HEAD.pack_into(chunk, 0, first, self._generation, zlib.crc32(chunk))
        self._storage.write(self._offset(n, first), chunk)

    def _load(self, n: int, first: int) -> bytearray:
        ring = RINGS[n]
        raw = self._storage.read(self._offset(n, first), ring.chunk_bytes)
        if self._is_whole(raw, first, ring):
            return bytearray(raw)
        return bytearray(_HEAD.size) + self._empty * ring.rows

    def _is_whole(self, raw: bytes | bytearray, first: int, ring: Ring) -> bool:
        if len(raw) != ring.chunk_bytes:
            return False
        step, generation, checksum = _HEAD.unpack_from(raw)
        if step != first or generation != self._generation:
            return False
        return bool(zlib.crc32(raw[_HEAD.size :], zlib.crc32(_HEAD.pack(step, generation, 0))) == checksum)

    def _offset(self, n: int, first: int) -> int:
        ring = RINGS[n]
        begin = HEADER_BYTES + sum(finer.size_bytes for finer in RINGS[:n])
        return begin + first // ring.rows % ring.chunks * ring.chunk_bytes


def finest(age_s: float) -> int:
    """The number of the finest ring that goes back so far; the coarsest where none does."""
    for n, ring in enumerate(RINGS):
        if age_s <= ring.step_s * ring.steps:
            return n
    return len(RINGS) - 1
