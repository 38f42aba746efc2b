"""Objects handed over on a stream: many offered at once, small ones together, large ones in pieces, each hashed as it arrives.

Offer -> <- Missing, Pieces ->, Done -> <- Kept. Where objects lie is known behind the Protocol `Objects`; which ones are
handed over, to the caller. (Images travel otherwise: carrying.py.) `send_bytes` and `recv_bytes`, for everything else on
streams, are messages.py's, and can be had from here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import msgspec

from skerry.errors import BadFormat, Passing, TrustRefusal
from skerry.mesh.messages import Stream, decoded, recv_bytes, recv_frame, send_bytes, send_frame, who_has

__all__ = [
    "ObjectRefused",
    "ObjectsMissing",
    "Stream",
    "offer_objects",
    "receive_objects",
    "recv_bytes",
    "send_bytes",
]

CHUNK_BYTES = 256 * 1024  # of one object, in one frame; small objects together fill one as well
PIECES = 512  # in one frame
OFFER_HASHES = 4096
SILENCE_S = 10.0
IDLE_S = 60.0  # between two offers
LARGE_BYTES = 4 << 20  # an object's own sync takes a while: in a thread

M = TypeVar("M")
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Size = Annotated[int, msgspec.Meta(ge=-1, le=1 << 40)]


class ObjectRefused(TrustRefusal):
    """A peer sent bytes that are not those of the hash. Nothing of them was kept."""

    code = "object-refused"

    def __init__(self, hash: str, peer: str, why: str = "its bytes have another hash") -> None:
        super().__init__(
            f"object {hash[:12]} from {peer} was refused", why, "hand it over again, from where it is whole"
        )
        self.hash, self.peer = hash, peer


class ObjectsMissing(Passing):
    """The peer has not all that was asked for; what it had was taken."""

    code = "objects-missing"

    def __init__(self, hashes: Sequence[str], peer: str) -> None:
        more = f" and {len(hashes) - 1} more" if len(hashes) > 1 else ""
        super().__init__(
            f"{peer} lacks object {hashes[0][:12]}{more}", fix="hand it over again, from where it is whole"
        )
        self.hashes, self.peer = tuple(hashes), peer


class Writer(Protocol):
    """One object on its way in; `finish` says whether the bytes were those of its hash."""

    def write(self, chunk: bytes, /) -> None: ...
    def finish(self) -> bool: ...
    def abort(self) -> None: ...


class Sources(Protocol):
    """Where objects lie that are handed out, by hash (64 lower-case hex digits)."""

    def path(self, hash: str, /) -> Path: ...


class Objects(Sources, Protocol):
    """Where objects lie, and come in."""

    def missing(self, hashes: Iterable[str], /) -> list[str]: ...
    def writer(self, hash: str, /, *, sync: bool, most_bytes: int) -> Writer: ...
    def sync_all(self) -> None: ...


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class _Piece(msgspec.Struct, frozen=True, array_like=True):
    """`size`: of the whole object, -1 if it is not here."""

    hash: Hash
    size: Size
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES)]


class _Pieces(_Message, frozen=True, tag="pieces"):
    pieces: Annotated[tuple[_Piece, ...], msgspec.Meta(max_length=PIECES)]


class _Offer(_Message, frozen=True, tag="offer"):
    hashes: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=OFFER_HASHES)]


class _Missing(_Message, frozen=True, tag="missing"):
    hashes: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=OFFER_HASHES)]


class _Done(_Message, frozen=True, tag="done"):
    pass


class _Kept(_Message, frozen=True, tag="kept"):
    pass


_Any = _Pieces | _Offer | _Missing | _Done | _Kept
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Any)


async def offer_objects(stream: Stream, hashes: Sequence[str], objects: Sources) -> int:
    """Hand over those of these objects that the peer lacks; gives the bytes sent. On return they are on its disk."""
    sent = 0
    for part in _parts([bytes.fromhex(hash) for hash in dict.fromkeys(hashes)], OFFER_HASHES):
        await send_frame(stream, _encode(_Offer(tuple(part))))
        missing = await _recv(stream, SILENCE_S, _Missing)
        sent += await _send_objects(stream, [hash for hash in missing.hashes if hash in set(part)], objects)
    await send_frame(stream, _encode(_Done()))
    await _recv(stream, IDLE_S, _Kept)
    return sent


async def receive_objects(stream: Stream, objects: Objects, *, most_bytes: int = 8 << 30) -> int:
    """The other end of `offer_objects`; gives the bytes that came. What came whole is kept in any case.

    Raises ObjectRefused (wrong bytes), ObjectsMissing, Unreachable (gone or silent), BadFormat.
    """
    intake = _Intake(stream, objects, most_bytes)
    expected: deque[bytes] = deque()
    try:
        while True:
            message = await _recv(stream, IDLE_S, _Offer, _Pieces, _Done)
            if isinstance(message, _Offer) and not expected:
                expected += (bytes.fromhex(hash) for hash in objects.missing(hash.hex() for hash in message.hashes))
                await send_frame(stream, _encode(_Missing(tuple(expected))))
            elif isinstance(message, _Pieces):
                async for hash in intake.take(message):
                    if not expected or expected.popleft() != hash:
                        raise BadFormat(f"an object of {who_has(stream)} was not taken", "it was not to be sent")
            elif isinstance(message, _Done) and not expected:
                break
            else:
                raise BadFormat(f"the hand-over of {who_has(stream)} was ended", "what it sent was out of turn")
    finally:
        intake.abort()
        await asyncio.to_thread(objects.sync_all)
    if intake.lacking:
        raise ObjectsMissing(intake.lacking, who_has(stream))
    await send_frame(stream, _encode(_Kept()))
    return intake.bytes_taken


class _Intake:
    """Pieces to objects: one at a time, in order, never more than was said."""

    def __init__(self, stream: Stream, objects: Objects, most_bytes: int) -> None:
        self.lacking: list[str] = []
        self.bytes_taken = 0
        self._stream = stream
        self._objects = objects
        self._most_bytes = most_bytes
        self._open: tuple[bytes, Writer, int] | None = None  # hash, writer, bytes still to come

    async def take(self, message: _Pieces) -> AsyncIterator[bytes]:
        """Gives the hash of each object that is done: whole in the store, or said to be missing."""
        for piece in message.pieces:
            if piece.size < 0:
                self.lacking.append(piece.hash.hex())
                yield piece.hash
            elif await self._add(piece):
                yield piece.hash

    async def _add(self, piece: _Piece) -> bool:
        hash = piece.hash.hex()
        if self._open is None:
            writer = self._objects.writer(hash, sync=piece.size >= LARGE_BYTES, most_bytes=piece.size)
            self._open = (piece.hash, writer, piece.size)
        of, writer, left = self._open
        left -= len(piece.data)
        self.bytes_taken += len(piece.data)
        if of != piece.hash or left < 0 or self.bytes_taken > self._most_bytes or (left and not piece.data):
            raise ObjectRefused(hash, who_has(self._stream), "its pieces don't fit together, or are too many")
        writer.write(piece.data)
        self._open = (of, writer, left)
        if left:
            return False
        self._open = None
        whole = await asyncio.to_thread(writer.finish) if piece.size >= LARGE_BYTES else writer.finish()
        if not whole:
            raise ObjectRefused(hash, who_has(self._stream))
        return True

    def abort(self) -> None:
        if self._open is not None:
            self._open[1].abort()
            self._open = None


async def _send_objects(stream: Stream, hashes: Iterable[bytes], objects: Sources) -> int:
    batch: list[_Piece] = []
    filled = sent = 0
    for hash in hashes:
        for piece in _pieces(hash, objects):
            if batch and (filled + len(piece.data) > CHUNK_BYTES or len(batch) == PIECES):
                await send_frame(stream, _encode(_Pieces(tuple(batch))))
                batch, filled = [], 0
            batch.append(piece)
            filled += len(piece.data)
            sent += len(piece.data)
    if batch:
        await send_frame(stream, _encode(_Pieces(tuple(batch))))
    return sent


def _pieces(hash: bytes, objects: Sources) -> Iterator[_Piece]:
    try:
        file = objects.path(hash.hex()).open("rb", buffering=0)
    except FileNotFoundError:
        yield _Piece(hash, -1, b"")
        return
    with file:
        left = size = file.seek(0, 2)
        file.seek(0)
        while True:
            data = file.read(min(CHUNK_BYTES, left)) or b""
            yield _Piece(hash, size, data)
            left -= len(data)
            if not left or not data:  # one that shrinks under us: the receiver sees it
                return


async def _recv(stream: Stream, timeout_s: float, *kinds: type[M]) -> M:
    return decoded(_decoder, await recv_frame(stream, timeout_s), who_has(stream), *kinds)


def _parts(hashes: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    for at in range(0, len(hashes), most):
        yield list(hashes[at : at + most])
