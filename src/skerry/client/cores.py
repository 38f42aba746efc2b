"""The core files that hosts keep: which there are, one of them as a file here, and removing them."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec

from skerry.client.looking import NAMED, Place, opened
from skerry.client.session import Session
from skerry.core.records import Slot, is_meant
from skerry.errors import BadFormat, BadInput, NoSuchSubject, SkerryError
from skerry.image.kept import half_made, part_of
from skerry.sizes import size

CORE_BYTES = 8 << 30  # of one, as it lies here
PACKED_BYTES = 2 << 30
ELF = b"\x7fELF"


Word = Annotated[str, msgspec.Meta(max_length=1000)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Row(msgspec.Struct, kw_only=True):
    """A core, as a host tells of it; which may be a captured one, and its name becomes a file's here. `by` "crash" or "request" (of
    `who`). `cut`: why it isn't whole. `missed`: how many came too soon after it.
    """

    slot: Annotated[str, msgspec.Meta(max_length=200)]
    name: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z-]{1,64}$")]
    container: Word
    by: Literal["crash", "request"]
    who: Word = ""
    time: float
    signal: Count
    pid: Count
    comm: Word
    exe: Word
    size_bytes: Count
    kept_bytes: Count
    cut: Word
    missed: Count = 0


class _Answer(msgspec.Struct):
    cores: list[Row]
    asking: list[Word]
    why: Word


async def ls(session: Session, subject: str = "") -> tuple[list[dict[str, Any]], list[str]]:
    """Newest first, each with its `node`; and what people should know: hosts that did not answer, cores that are not kept."""
    answers = await session.everywhere("cores", {"subject": subject})
    told, rows, refused = list[str](), list[dict[str, Any]](), list[SkerryError]()
    for node, raw in answers.items():
        host = node.removeprefix("node/")
        try:
            answer = _read(raw, host)
        except SkerryError as error:
            refused.append(error)
            told.append(f"{host} did not answer: {error}")
            continue
        rows += [
            msgspec.to_builtins(row) | {"node": host}
            for row in answer.cores
            if Slot.read(row.slot) is not None and is_meant([subject] if subject else [], row.slot)
        ]
        if answer.why:
            told.append(f"{host} keeps no core of {', '.join(answer.asking)} at a crash: {answer.why}")
    if refused and len(refused) == len(answers):
        raise refused[0]
    return sorted(rows, key=lambda row: -float(row["time"])), told


async def find(session: Session, subject: str, name: str = "") -> list[dict[str, Any]]:
    """Those that a person means by `web/1`, or by `web/1` and a name, of one slot; newest first. Raises NoSuchSubject, BadInput."""
    rows = [row for row in (await ls(session, subject))[0] if name in ("", row["name"])]
    if not rows:
        what = f"core {name} of {subject}" if name else f"core of {subject}"
        raise NoSuchSubject(
            f"no {what} is kept", "of each slot the last three are, for three days", "see skerry cores ls"
        )
    if len(slots := {str(row["slot"]) for row in rows}) > 1:
        raise BadInput(f"{subject} means {len(slots)} slots", ", ".join(sorted(slots)[:NAMED]), "name one of them")
    return rows


async def get(session: Session, row: dict[str, Any], file: Path) -> int:
    """Write that core to `file`, which must not be there yet: whole, or not at all. Gives its size."""
    with new_file(file) as out:
        unpacking = CoreFile(out, CORE_BYTES)
        place = Place(str(row["slot"]), f"node/{row['node']}")
        async with (
            opened(session, place, "core", path=f"/{row['name']}", limit=PACKED_BYTES) as answer,
            aclosing(answer.data()) as pieces,
        ):
            async for piece in pieces:
                unpacking.take(piece)
        if not unpacking.whole:
            raise _refused("its end did not come")
        unpacking.finish()
    return unpacking.size_bytes


async def rm(session: Session, rows: list[dict[str, Any]], name: str) -> list[str]:
    """Of one slot: that one, or ("") all, on each host that keeps some. Gives the names."""
    for node in sorted({str(row["node"]) for row in rows}):
        await session.request("core-rm", {"slot": rows[0]["slot"], "name": name}, node=f"node/{node}")
    return [str(row["name"]) for row in rows]


def _read(answer: Any, host: str) -> _Answer:
    if isinstance(answer, SkerryError):
        raise answer
    try:
        return msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise BadFormat(
            f"{host} was not understood", str(error), "it may be of another version; skerry host ls"
        ) from None


@contextlib.contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """Secrets are in it: it is its owner's alone from the first byte."""
    if file.exists():
        raise BadInput(f"{file} was not written", "there is such a file already", "name another one: -o FILE")
    part = part_of(file)
    with half_made(part):
        with part.open("xb") as out:
            part.chmod(0o600)
            yield out
        part.rename(file)


class CoreFile:
    """A core as it comes from a host, which may send anything: unpacked, at most `limit_bytes` of it."""

    def __init__(self, out: BinaryIO, limit_bytes: int) -> None:
        self.size_bytes = 0
        self._out, self._limit_bytes = out, limit_bytes
        self._gzip = zlib.decompressobj(wbits=31)

    @property
    def whole(self) -> bool:
        return self._gzip.eof

    def take(self, payload: bytes) -> None:
        try:
            data = self._gzip.decompress(payload, self._limit_bytes + 1 - self.size_bytes)
        except zlib.error as error:
            raise _refused(str(error)) from None
        first = self.size_bytes == 0
        self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:
            raise _refused(f"it has more than {size(self._limit_bytes)}")
        if first and data and not data.startswith(ELF[: len(data)]):
            raise _refused("what came is no core file")
        if data.count(0) == len(data):
            self._out.seek(len(data), os.SEEK_CUR)  # what was not there takes no room here either
        else:
            self._out.write(data)

    def finish(self) -> None:
        self._out.truncate(self.size_bytes)


def _refused(why: str) -> BadFormat:
    return BadFormat("the core was not taken", why, "look at that host: skerry doctor")
