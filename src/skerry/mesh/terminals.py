"""A command's standard streams over one mesh stream: messages of one channel byte and what belongs to it.

Operator to node: `0` bytes for standard input, `1` its end, `2` JSON [rows, columns] of the terminal, `3` an interrupt (as
Ctrl-C where there is no terminal). Node to operator: `1` standard output, `2` standard error, `n` JSON text, a notice for the
person, `x` JSON {"code", "why"}: the end. Before them one message of JSON from the node tells that it begins, or why not
(agent/debugging/sessions.py).
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

from skerry.errors import BadFormat
from skerry.mesh.messages import Stream, recv_bytes, send_bytes, who_has
from skerry.outside import UNREADABLE

PIECE_BYTES = 64 << 10  # of a stream, in one message
MESSAGE_BYTES = PIECE_BYTES + 1
# Operator to node.
STDIN, STDIN_END, RESIZE, INTERRUPT = b"0", b"1", b"2", b"3"
# Node to operator.
STDOUT, STDERR, NOTICE, END = b"1", b"2", b"n", b"x"


class End(msgspec.Struct, frozen=True):
    """How the command ended: 128 + n for signal n; `why`: what ended it, if it wasn't the command itself."""

    code: int
    why: str = ""


Side = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
_sizes = msgspec.json.Decoder(tuple[Side, Side])
_ends = msgspec.json.Decoder(End)
_texts = msgspec.json.Decoder(str)


class Piece(NamedTuple):
    channel: bytes
    payload: bytes

    def size(self) -> tuple[int, int]:
        """Rows and columns of a RESIZE. Raises BadFormat."""
        return _read(_sizes, self)  # type: ignore[no-any-return]

    def end(self) -> End:
        return _read(_ends, self)  # type: ignore[no-any-return]

    def text(self) -> str:
        return _read(_texts, self)  # type: ignore[no-any-return]


async def send(stream: Stream, channel: bytes, payload: bytes = b"") -> None:
    """Bytes longer than a piece go as several. Raises Unreachable."""
    for at in range(0, max(len(payload), 1), PIECE_BYTES):
        await send_bytes(stream, channel + payload[at : at + PIECE_BYTES])


async def send_size(stream: Stream, rows: int, cols: int) -> None:
    await send(stream, RESIZE, msgspec.json.encode([rows, cols]))


async def send_notice(stream: Stream, text: str) -> None:
    await send(stream, NOTICE, msgspec.json.encode(text))


async def send_end(stream: Stream, end: End) -> None:
    await send(stream, END, msgspec.json.encode(end))


async def recv(stream: Stream, channels: bytes) -> Piece:
    """The next piece, of one of these channels. Raises Unreachable, BadFormat."""
    message = await recv_bytes(stream, most_bytes=MESSAGE_BYTES)
    if message[:1] not in channels or not message:
        raise BadFormat(f"a message of {who_has(stream)} was not taken", "it is of no channel that is known here")
    return Piece(message[:1], message[1:])


def _read(decoder: msgspec.json.Decoder[Any], piece: Piece) -> Any:
    try:
        return decoder.decode(piece.payload)
    except UNREADABLE as error:
        raise BadFormat("a message of the other end was not taken", str(error)) from None
