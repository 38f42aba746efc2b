"""Whole messages over a stream, bounded in size and in silence. What they mean is the caller's.

A message may be larger than a frame: it is cut into frames, each led by one byte: more follow, or this is the last.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec
from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

from skerry.errors import BadFormat, Unreachable
from skerry.mesh.connections import told
from skerry.outside import UNREADABLE

PART_BYTES = 512 * 1024
MESSAGE_BYTES = 32 << 20
_MORE, _LAST = b"\x01", b"\x00"

Stream = Connection
M = TypeVar("M")


async def send_bytes(stream: Stream, data: bytes) -> None:
    """Send one message; waits while the other end is slow. Raises Unreachable when the stream is gone."""
    if len(data) > MESSAGE_BYTES:
        raise ValueError(f"a message of {len(data)} bytes")
    view = memoryview(data)
    while len(view) > PART_BYTES:
        await send_frame(stream, _MORE + view[:PART_BYTES])
        view = view[PART_BYTES:]
    await send_frame(stream, _LAST + view)


async def recv_bytes(stream: Stream, *, timeout_s: float | None = None, most_bytes: int = MESSAGE_BYTES) -> bytes:
    """The next message. `timeout_s`: of silence. Raises Unreachable (gone, silent), BadFormat (too big, not ours)."""
    parts: list[bytes] = []
    size = 0
    while True:
        frame = await recv_frame(stream, timeout_s)
        size += len(frame) - 1
        if frame[:1] not in (_MORE, _LAST) or size > most_bytes or (frame[:1] == _MORE and len(frame) == 1):
            stream.transport.abort()
            raise BadFormat(f"a message of {who_has(stream)} was not taken", "it is too big, or not cut as ours are")
        parts.append(frame[1:])
        if frame[:1] == _LAST:
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def send_frame(stream: Stream, frame: bytes) -> None:
    try:
        await stream.send(frame)
    except ConnectionClosed as error:
        raise _gone(stream, error) from None


async def recv_frame(stream: Stream, timeout_s: float | None) -> bytes:
    try:
        async with asyncio.timeout(timeout_s):
            return await stream.recv(decode=False)
    except ConnectionClosed as error:
        raise _gone(stream, error) from None
    except TimeoutError:
        stream.transport.abort()
        raise Unreachable(f"the stream of {who_has(stream)} was given up", f"it was silent for {timeout_s} s") from None


async def is_alive(stream: Stream, timeout_s: float) -> bool:
    """Whether the other end answers now. Who lost its power has not said goodbye."""
    try:
        async with asyncio.timeout(timeout_s):
            await (await stream.ping())
    except (ConnectionClosed, TimeoutError):
        return False
    return True


def decoded(decoder: msgspec.msgpack.Decoder[Any], data: bytes, who: str, *kinds: type[M]) -> M:
    """The message in these bytes of `who`, which must be one of these kinds. Raises BadFormat."""
    try:
        message = decoder.decode(data)
    except UNREADABLE as error:
        raise BadFormat(f"a message of {who} was not taken", str(error)) from None
    if not isinstance(message, kinds):
        raise BadFormat(f"a message of {who} was not taken", f"a {type(message).__name__} out of turn")
    return message


def who_has(stream: Stream) -> str:
    """The other end, for people: the node or client, or else an address."""
    return getattr(stream, "who", "") or str(stream.remote_address)


def _gone(stream: Stream, error: ConnectionClosed) -> Unreachable:
    return Unreachable(f"the stream of {who_has(stream)} ended", told(error)[0])
