"""What containers wrote, kept by slot: longer than the container, longer than the agent, in bounded room.

A slot has a folder of segments, `0000000001.zst` and so on, the highest being written to. A segment is a row of blocks, each a
zstd frame of whole CRI lines behind a skippable frame that says what is in it: so what is older or newer than what is looked
for is stepped over unread, and `zstdcat` still reads all of it. A block that isn't whole (power was cut) is where a segment
ends, and is cut off by the next writer.

Bounds: each slot, all slots together, age. Where room is short the slot that uses most of it gives its oldest segment: a container
that writes much pushes out its own lines and nobody else's.
Source: RFC 8878 (zstd), section 3.1.2, skippable frames.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from skerry.observe.logs import count_lines
from skerry.outside import UNREADABLE

BLOCK_BYTES = 256 << 10  # of lines in one block: what is read to find one of them
SEGMENT_BYTES = 2 << 20
SLOT_BYTES = 64 << 20
HOST_BYTES = 1 << 30
DISK_SHARE = 0.05  # of the whole disk, where that is less
KEPT_S = 30 * 86400.0
LEVEL = 3
MAGIC = 0x184D2A5E
HEAD_MAX = 1 << 10
RAW_MAX = 4 * BLOCK_BYTES
_PREFIX = struct.Struct("<II")


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Of a block: times of the first and the last line as they stand there, what `dropped` lines are missing before it, and whose
    bytes it holds: up to `upto` of the file `source`.
    """

    first: str
    last: str
    lines: int
    size: int  # of the frame that follows
    check: int  # its CRC-32
    raw: int  # bytes of lines in it
    dropped: int = 0
    source: str = ""
    upto: int = 0


_decoder = msgspec.msgpack.Decoder(Head)


class Piece(NamedTuple):
    """Lines as they were written, and how many are missing just before them."""

    data: bytes
    dropped: int
    first: str


class Snapshot(NamedTuple):
    """Segments as they were at one moment, oldest first: (path, bytes)."""

    segments: list[tuple[Path, int]]

    def back(self, since: str = "", until: str = "") -> Generator[Piece]:
        """Blocks that may hold lines of that time, the newest first. What was pushed out or damaged meanwhile is left out."""
        for path, size in reversed(self.segments):
            with contextlib.suppress(FileNotFoundError):
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    blocks = list(blocks_of(file, size))
                    for head, at in reversed(blocks):
                        if (until and head.first >= until) or head.last < since:
                            continue
                        if (data := _read(file, head, at)) is not None:
                            yield Piece(data, head.dropped, head.first)
                    if blocks and max(head.last for head, _ in blocks) < since:
                        return
                finally:
                    os.close(file)

    def after(self, time: str) -> Iterator[Piece]:
        """Blocks that may hold lines later than that, the oldest first."""
        for path, size in self.segments:
            with contextlib.suppress(FileNotFoundError):
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    for head, at in blocks_of(file, size):
                        if head.last > time and (data := _read(file, head, at)) is not None:
                            yield Piece(data, head.dropped, head.first)
                finally:
                    os.close(file)


def blocks_of(file: int, size: int) -> Iterator[tuple[Head, int]]:
    """Heads of the blocks of a segment and where their frames are, up to the first that isn't whole."""
    at = 0
    while at + _PREFIX.size <= size:
        start = os.pread(file, _PREFIX.size + HEAD_MAX, at)
        if len(start) < _PREFIX.size:
            return
        magic, length = _PREFIX.unpack_from(start)
        if magic != MAGIC or length > HEAD_MAX or len(start) < _PREFIX.size + length:
            return
        try:
            head = _decoder.decode(start[_PREFIX.size : _PREFIX.size + length])
        except UNREADABLE:
            return
        frame = at + _PREFIX.size + length
        if head.size < 0 or frame + head.size > size:
            return
        yield head, frame
        at = frame + head.size


class LogStore:
    """All slots of a host. Calls block; any thread may call. `moving` is held while lines go from a file into the store, and by
    whoever wants to see each line in one of the two places.
    """

    def __init__(
        self, directory: Path, *, host_bytes: int = HOST_BYTES, slot_bytes: int = SLOT_BYTES, kept_s: float = KEPT_S
    ) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._host_bytes = min(host_bytes, int(shutil.disk_usage(directory).total * DISK_SHARE))
        self._slot_bytes = slot_bytes
        self._kept_s = kept_s
        self.moving = threading.Lock()

    def slots(self) -> list[str]:
        return sorted(_slot_of(folder.name) for folder in self._directory.iterdir())

    def snapshot(self, slot: str) -> Snapshot:
        return Snapshot([(path, path.stat().st_size) for path in self._segments(slot)])

    def upto(self, slot: str, source: str) -> int:
        """How much of this file is in the store already: an agent may have died between that and the file's removal."""
        most = 0
        for path in self._segments(slot)[-2:]:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for head, _ in blocks_of(file, os.fstat(file).st_size):
                    if head.source == source:
                        most = max(most, head.upto)
            finally:
                os.close(file)
        return most

    def append(self, slot: str, blocks: list[bytes]) -> None:
        """Write blocks (of `pack`), on disk before it returns. Raises OSError; then nothing of them is kept."""
        folder = self._directory / _folder_of(slot)
        folder.mkdir(exist_ok=True, mode=0o700)
        segments = self._segments(slot)
        path = segments[-1] if segments else folder / _name(1)
        file, end = _writable(path)
        try:
            if end >= SEGMENT_BYTES:
                os.close(file)
                file, end = _writable(folder / _name(int(path.stem) + 1))
            begun = end
            try:
                for block in blocks:
                    end += os.pwrite(file, block, end)
                os.fdatasync(file)
            except OSError:
                os.ftruncate(file, begun)
                raise
        finally:
            os.close(file)

    def tidy(self) -> None:
        """Hold the bounds."""
        now_s = time.time()
        held: dict[str, list[tuple[Path, int]]] = {}
        for folder in self._directory.iterdir():
            files = [(path, path.stat()) for path in sorted(folder.glob("*.zst"))]
            for path, stat in files:
                if stat.st_mtime < now_s - self._kept_s:
                    path.unlink()
            held[folder.name] = [(path, stat.st_size) for path, stat in files if path.exists()]
            while _total(held[folder.name]) > self._slot_bytes and len(held[folder.name]) > 1:
                held[folder.name].pop(0)[0].unlink()
            if not held[folder.name]:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        while sum(map(_total, held.values())) > self._host_bytes and self._give_way(held):
            pass

    def make_room(self) -> bool:
        """The disk is full: whoever uses most gives its oldest segment. False: there is none to give."""
        held = {
            folder.name: [(path, path.stat().st_size) for path in sorted(folder.glob("*.zst"))]
            for folder in self._directory.iterdir()
        }
        return self._give_way(held)

    def bytes(self) -> dict[str, int]:
        """Room that each slot uses."""
        return {slot: sum(size for _, size in self.snapshot(slot).segments) for slot in self.slots()}

    def _give_way(self, held: dict[str, list[tuple[Path, int]]]) -> bool:
        most = max(held.values(), key=_total, default=[])
        if not most:
            return False
        most.pop(0)[0].unlink()
        return True

    def _segments(self, slot: str) -> list[Path]:
        return sorted((self._directory / _folder_of(slot)).glob("*.zst"))


def pack(data: bytes, *, dropped: int = 0, source: str = "", upto: int = 0, time: str = "") -> bytes:
    """A block of whole lines. `time`: of one that has no lines, and tells only that some are missing."""
    frame = zstandard.ZstdCompressor(level=LEVEL).compress(data)
    times = [line.split(b" ", 1)[0][:64].decode("ascii", "replace") for line in _ends(data)] or [time]
    head = msgspec.msgpack.encode(
        Head(
            times[0],
            times[-1],
            count_lines(data),
            len(frame),
            zlib.crc32(frame),
            len(data),
            dropped,
            source[:256],
            upto,
        )
    )
    return _PREFIX.pack(MAGIC, len(head)) + head + frame


def _ends(data: bytes) -> list[bytes]:
    """The first and the last line."""
    return [data[: data.find(b"\n")], data[data.rfind(b"\n", 0, -1) + 1 :]] if data else []


def _read(file: int, head: Head, at: int) -> bytes | None:
    """The lines of a block; None if it is damaged."""
    frame = os.pread(file, head.size, at)
    if len(frame) != head.size or zlib.crc32(frame) != head.check or not 0 <= head.raw <= RAW_MAX:
        return None
    try:
        data = zstandard.ZstdDecompressor().decompress(frame, max_output_size=RAW_MAX)
    except zstandard.ZstdError:
        return None
    return data if len(data) == head.raw else None


def _writable(path: Path) -> tuple[int, int]:
    """A segment open for writing, and where its last whole block ends; what comes after that is cut off."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    size = os.fstat(file).st_size
    begun = end = 0
    last: tuple[Head, int] | None = None
    for head, at in blocks_of(file, size):
        begun, end, last = end, at + head.size, (head, at)
    if last is not None and _read(file, *last) is None:  # room was made for it, and then power was cut
        end = begun
    if end < size:
        os.ftruncate(file, end)
    return file, end


def _total(files: list[tuple[Path, int]]) -> int:
    return sum(size for _, size in files)


def _name(number: int) -> str:
    return f"{number:010}.zst"


def _folder_of(slot: str) -> str:
    return slot.replace("/", "~")


def _slot_of(folder: str) -> str:
    return folder.replace("~", "/")
