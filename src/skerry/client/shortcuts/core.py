"""`skerry core`: what a container's first process has in memory, as a core file here. It stands still while gdb writes it."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from skerry.client.shortcuts.running import Complaints, Look, failed
from skerry.errors import BadFormat, BadInput
from skerry.image.kept import half_made, part_of
from skerry.mesh import terminals as t
from skerry.sizes import size

CORE_BYTES = 256 << 20  # what a tools container has for files
LIMIT_S = 600.0
ELF = b"\x7fELF"


class Core(msgspec.Struct, frozen=True):
    slot: str
    visibility: str
    file: str
    size_bytes: int


async def core(look: Look, file: Path) -> Core:
    """Write it to `file`, which must not be there yet: whole, or not at all. Raises BadInput, ToolFailed, BadFormat, OSError, and what
    `debugging.opened` raises."""
    complaints = Complaints()
    with _new(file) as out:
        unpacking = _Unpacking(out)

        def take(channel: bytes, payload: bytes) -> None:
            if channel == t.STDERR:
                complaints.take(payload)
            else:
                unpacking.take(payload)

        end = await look.run("base", ["sh", "/usr/share/skerry/core", "{pid}", "gdb"], take, limit_s=LIMIT_S)
        if end.code or not unpacking.whole:
            fix = f"up to {size(CORE_BYTES)} are taken; without a file: skerry debug {look.slot} -it -- gdb -p {{pid}}"
            raise failed(f"no core of {look.slot} was made", end, complaints, fix)
    return Core(look.slot, look.visibility, str(file), unpacking.size_bytes)


@contextlib.contextmanager
def _new(file: Path) -> Iterator[BinaryIO]:
    """Secrets are in it: it is its owner's alone from the first byte."""
    if file.exists():
        raise BadInput(f"{file} was not written", "there is such a file already", "name another one: -o FILE")
    part = part_of(file)
    with half_made(part):
        with part.open("xb") as out:
            part.chmod(0o600)
            yield out
        part.rename(file)


class _Unpacking:
    """A core as it comes from a host, which may send anything."""

    def __init__(self, out: BinaryIO) -> None:
        self.size_bytes = 0
        self._out = out
        self._gzip = zlib.decompressobj(wbits=31)

    @property
    def whole(self) -> bool:
        return self._gzip.eof

    def take(self, payload: bytes) -> None:
        try:
            data = self._gzip.decompress(payload, CORE_BYTES + 1 - self.size_bytes)
        except zlib.error as error:
            raise _refused(str(error)) from None
        first = self.size_bytes == 0
        self.size_bytes += len(data)
        if self.size_bytes > CORE_BYTES:
            raise _refused(f"it has more than {size(CORE_BYTES)}")
        if first and data and not data.startswith(ELF[: len(data)]):
            raise _refused("what came is no core file")
        self._out.write(data)


def _refused(why: str) -> BadFormat:
    return BadFormat("the core was not taken", why, "look at that host: skerry doctor")
