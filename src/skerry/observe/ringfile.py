"""One file of fixed size with the rings of all subjects: a block each, found by its header. Bounded, however many there are.

Where no block is free, the one whose subject ended first is given to the new one, and then one of what apps tell by themselves. A
header has two copies that are written in turn, so that a power cut leaves one of them whole.
"""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.observe.rings import BLOCK_BYTES, COLUMNS, HEADER_BYTES, Column, Form, Rings
from skerry.outside import UNREADABLE

FILE_BYTES = 64_000_000
BLOCKS = FILE_BYTES // BLOCK_BYTES
_COPY_BYTES = HEADER_BYTES // 2
_FORMAT = 1


class Header(msgspec.Struct, frozen=True):
    """`part`: a subject may have several blocks. `ended_s`: when it was last known to run here; 0: it runs."""

    format: int
    subject: str
    part: str
    columns: list[Column]
    form: Form
    generation: int
    turn: int = 0
    ended_s: float = 0.0


class Block:
    """A subject's place in the file."""

    def __init__(self, file: RingFile, number: int, header: Header) -> None:
        self.header = header
        self._file = file
        self._at = number * BLOCK_BYTES
        self.number = number
        self.is_gone = False  # its place was given to another
        self.rings = Rings(self, header.columns, header.generation, header.form)

    def read(self, at: int, size: int) -> bytes:
        return self._file.read(self._at + at, size)

    def write(self, at: int, data: bytes | bytearray) -> None:
        if not self.is_gone:
            self._file.write(self._at + at, data)

    def end(self, now_s: float) -> None:
        """Its subject runs here no more: of those that are dropped when room is needed."""
        if not self.header.ended_s:
            self.rings.flush()
            self._tell(ended_s=now_s)

    def go_on(self) -> None:
        if self.header.ended_s:
            self._tell(ended_s=0.0)

    def have(self, columns: Sequence[Column]) -> None:
        """More of them than before. Raises TooManyColumns."""
        if not fits(msgspec.structs.replace(self.header, columns=list(columns))):
            raise TooManyColumns(self.header.subject)
        self.rings.have(columns)
        self._tell(columns=list(columns))

    def _tell(self, **changed: Any) -> None:
        self.header = msgspec.structs.replace(self.header, turn=self.header.turn + 1, **changed)
        self.write_header()

    def write_header(self) -> None:
        body = msgspec.json.encode(self.header)
        copy = zlib.crc32(body).to_bytes(4, "little") + len(body).to_bytes(4, "little") + body
        self.write(self.header.turn % 2 * _COPY_BYTES, copy.ljust(_COPY_BYTES, b"\0"))


class TooManyColumns(ValueError):
    """A header would not hold their names and labels."""


def fits(header: Header) -> bool:
    return len(header.columns) <= COLUMNS[header.form] and len(msgspec.json.encode(header)) < _COPY_BYTES - 100


class RingFile:
    """Raises OSError when it can't be opened; later, what the disk doesn't take is lost, and `failed` says why."""

    def __init__(self, path: Path, blocks: int = BLOCKS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.failed = ""
        self._count = blocks
        if os.fstat(self._fd).st_size != blocks * BLOCK_BYTES:
            os.ftruncate(self._fd, blocks * BLOCK_BYTES)
        self.blocks: dict[tuple[str, str], Block] = {}
        self._free: list[int] = []
        for number in reversed(range(blocks)):
            header = self._header(number)
            if header is None or (header.subject, header.part) in self.blocks:
                self._free.append(number)
            else:
                self.blocks[header.subject, header.part] = Block(self, number, header)

    def block(
        self, subject: str, columns: Sequence[Column], keep: Collection[str], *, part: str = "", form: Form = "half"
    ) -> tuple[Block | None, str]:
        """The subject's block, begun where it has none; and whose was dropped for it ("": nobody's). None: no room.

        `keep`: subjects that run here. Other columns than it had begin it anew.
        """
        held = self.blocks.get((subject, part))
        if held is not None:
            if held.header.columns == list(columns):
                held.go_on()
                return held, ""
            self.drop(held)
        dropped = ""
        if not self._free:
            ended = [block for block in self.blocks.values() if block.header.subject not in keep]
            oldest = min(ended, key=lambda block: block.header.ended_s or float("inf"), default=None)
            if oldest is None and not part:  # what apps tell by themselves gives way to what everybody is asked about
                oldest = next((block for block in self.blocks.values() if block.header.part), None)
            if oldest is None:
                return None, ""
            dropped = oldest.header.subject
            self.drop(oldest)
        header = Header(_FORMAT, subject, part, list(columns), form, secrets.randbits(32))
        if not fits(header):
            raise TooManyColumns(subject)
        block = Block(self, self._free.pop(), header)
        self.write(block.number * BLOCK_BYTES, bytes(HEADER_BYTES))  # the earlier subject's other copy, too
        block.write_header()
        self.blocks[subject, part] = block
        return block, dropped

    def drop(self, block: Block) -> None:
        del self.blocks[block.header.subject, block.header.part]
        block.is_gone = True
        self._free.append(block.number)
        self.write(block.number * BLOCK_BYTES, bytes(HEADER_BYTES))

    def close(self) -> None:
        for block in self.blocks.values():
            block.rings.flush()
        os.close(self._fd)

    def read(self, at: int, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, at)
        except OSError as error:
            self.failed = error.strerror or str(error)
            return b""

    def write(self, at: int, data: bytes | bytearray) -> None:
        try:
            os.pwrite(self._fd, data, at)
            self.failed = ""
        except OSError as error:
            self.failed = error.strerror or str(error)

    def _header(self, number: int) -> Header | None:
        """The newer of the two copies that are whole."""
        raw, found = self.read(number * BLOCK_BYTES, HEADER_BYTES), []
        for copy in (raw[:_COPY_BYTES], raw[_COPY_BYTES:]):
            size = int.from_bytes(copy[4:8], "little")
            body = copy[8 : 8 + size]
            if size and zlib.crc32(body).to_bytes(4, "little") == copy[:4]:
                try:
                    found.append(msgspec.json.decode(body, type=Header))
                except UNREADABLE:
                    continue
        whole = [header for header in found if header.format == _FORMAT]
        return max(whole, key=lambda header: header.turn, default=None)
