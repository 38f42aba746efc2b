"""A command's standard streams as messages: what goes in comes out, and what is no message of ours is not taken."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadFormat
from skerry.mesh import terminals as t
from skerry.mesh.messages import Stream


class Wire:
    """Both ends of a stream in one: what is sent is what comes. `who`: as of a stream."""

    who = "the other end"

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)

    async def send(self, frame: bytes) -> None:
        self.frames.append(bytes(frame))

    async def recv(self, decode: bool) -> bytes:
        return self.frames.pop(0)

    @property
    def transport(self) -> Any:
        return self

    def abort(self) -> None:
        self.frames.clear()


def stream(*frames: bytes) -> Stream:
    return cast(Stream, Wire(*frames))


async def test_long_output_goes_in_pieces() -> None:
    wire = stream()
    data = bytes(range(256)) * 1000
    await t.send(wire, t.STDOUT, data)
    pieces = [await t.recv(wire, t.STDOUT) for _ in range(4)]
    assert b"".join(piece.payload for piece in pieces) == data
    assert max(len(piece.payload) for piece in pieces) == t.PIECE_BYTES


async def test_sizes_notices_and_ends_come_as_they_went() -> None:
    wire = stream()
    await t.send_size(wire, 24, 80)
    await t.send_notice(wire, "felt: \N{SNOWMAN}")
    await t.send_end(wire, t.End(137, "the limit of 10 s is over"))
    known = t.RESIZE + t.NOTICE + t.END
    assert (await t.recv(wire, known)).size() == (24, 80)
    assert (await t.recv(wire, known)).text() == "felt: \N{SNOWMAN}"
    assert (await t.recv(wire, known)).end() == t.End(137, "the limit of 10 s is over")


async def test_a_channel_that_is_not_asked_for_is_not_taken() -> None:
    for message in (b"\0", b"\0z", b"\0" + t.STDERR + b"x"):
        with pytest.raises(BadFormat):
            await t.recv(stream(message), t.STDIN + t.STDIN_END)


@given(st.binary(max_size=64))
def test_whatever_stands_in_a_piece_is_read_or_refused(payload: bytes) -> None:
    piece = t.Piece(t.RESIZE, payload)
    for read in (piece.size, piece.end, piece.text):
        with contextlib.suppress(BadFormat):
            read()
