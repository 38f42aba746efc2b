"""The messages by which images move: between hosts (`/image`) and from a client to a host (`/image/put`). Shapes, bounds, bytes.

Between hosts: About -> <- Has, Others; then, as often as it goes: Ask -> <- Will and later Portion, Took ->, or <- Elsewhere. New
portions that a host gets are told by Got to whoever asks it about that image. Who decides what: agent/giving, agent/gathering.
From a client: Hand -> <- Here or Refused; Bundle or Packed ->, Done -> <- Here. Hashes travel as 32 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec

from skerry.mesh.messages import MESSAGE_BYTES, Stream, decoded, recv_bytes, send_bytes, who_has

PORTIONS = 1 << 17
CANDIDATES = 64
OTHERS = 16
BASES = 8
FILES = 1 << 16

M = TypeVar("M")
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Number = Annotated[int, msgspec.Meta(ge=-1, lt=PORTIONS)]  # -1: the documents
Bits = Annotated[bytes, msgspec.Meta(max_length=PORTIONS // 8)]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
DOCUMENTS = -1


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class About(Message, frozen=True, tag="about"):
    """This image is what all that follows on the stream is about."""

    image: Hash


class Has(Message, frozen=True, tag="has"):
    """`documents`: they are here, so that portions have numbers; `have`: which of them are."""

    documents: bool
    have: Bits


class Got(Message, frozen=True, tag="got"):
    number: Number


class Others(Message, frozen=True, tag="others"):
    """Hosts that ask for the image, too, and so may have some of it."""

    nodes: Annotated[tuple[Path, ...], msgspec.Meta(max_length=OTHERS)]


class Wish(Message, frozen=True):
    """`files`: of a pack only these, as bits; b"": all."""

    number: Number
    files: Annotated[bytes, msgspec.Meta(max_length=FILES // 8)] = b""


class Ask(Message, frozen=True, tag="ask"):
    """One of these, whichever suits you best. `urgent`: I get it from nobody else."""

    wishes: Annotated[tuple[Wish, ...], msgspec.Meta(min_length=1, max_length=CANDIDATES)]
    urgent: bool


class Will(Message, frozen=True, tag="will"):
    """It comes. Said again every few seconds while others are before you."""

    number: Number


class Elsewhere(Message, frozen=True, tag="elsewhere"):
    """Not from me, not now; perhaps from those."""

    nodes: Annotated[tuple[Path, ...], msgspec.Meta(max_length=OTHERS)]


class Portion(Message, frozen=True, tag="portion"):
    number: Number
    frame: bytes


class Took(Message, frozen=True, tag="took"):
    """It has arrived. Only then does the next one leave: what waits in a kernel's buffers has not been of use to anybody."""

    number: Number


class Wrong(Message, frozen=True, tag="wrong"):
    """What you sent as this file of yours was not it: look at your disk."""

    hash: Hash


class WantBundle(Message, frozen=True, tag="want-bundle"):
    """I have these versions; give me what is new since one of them."""

    bases: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=BASES)]


class Bundle(Message, frozen=True, tag="bundle"):
    """`data` is b"": there is none."""

    image: Hash
    base: Hash
    data: bytes


class Hand(Message, frozen=True, tag="hand"):
    """I hand over this image. `bases`: versions of it that I could make a bundle from."""

    image: Hash
    bases: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=BASES)]


class Lack(Message, frozen=True):
    """`begun`: of a large file, which parts are here already."""

    hash: Hash
    begun: Bits = b""


class Here(Message, frozen=True, tag="here"):
    """`base`: of those offered one that is here whole, else b""; `lacks`: what is missing, as far as it is known here; empty:
    the image is here and in use from now on.
    """

    base: Annotated[bytes, msgspec.Meta(max_length=32)]
    lacks: Annotated[tuple[Lack, ...], msgspec.Meta(max_length=PORTIONS)]


class File(Message, frozen=True):
    hash: Hash
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class Packed(Message, frozen=True, tag="packed"):
    """Some files in one frame; or, `at` >= 0, a part of one."""

    files: Annotated[tuple[File, ...], msgspec.Meta(min_length=1, max_length=FILES)]
    at: Annotated[int, msgspec.Meta(ge=-1, le=1 << 40)]
    frame: bytes


class Done(Message, frozen=True, tag="done"):
    """That was all that you lacked."""


class Refused(Message, frozen=True, tag="refused"):
    """Why it is not taken: what `SkerryError.as_dict` gives, and the exit code."""

    error: dict[str, str | int]


AnyMessage = (
    About | Has | Got | Others | Ask | Will | Elsewhere | Portion | Took | Wrong | WantBundle | Bundle
    | Hand | Here | Packed | Done | Refused
)  # fmt: skip
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(AnyMessage)


async def send(stream: Stream, message: AnyMessage) -> int:
    """Gives its bytes. Raises Unreachable."""
    data = _encode(message)
    await send_bytes(stream, data)
    return len(data)


async def recv(stream: Stream, *kinds: type[M], timeout_s: float | None = None, most_bytes: int = MESSAGE_BYTES) -> M:
    """The next message, which must be one of these. Raises Unreachable (gone, silent), BadFormat."""
    return told(await recv_bytes(stream, timeout_s=timeout_s, most_bytes=most_bytes), who_has(stream), *kinds)


def told(data: bytes, who: str, *kinds: type[M]) -> M:
    return decoded(_decoder, data, who, *kinds)


def bits(numbers: Iterable[int], count: int) -> bytes:
    """Which of `count` portions, a bit each."""
    out = bytearray((count + 7) // 8)
    for number in numbers:
        out[number // 8] |= 1 << number % 8
    return bytes(out)


def numbers(data: bytes, count: int) -> set[int]:
    """The way back; what is beyond `count` counts for nothing."""
    return {n for n in range(min(count, 8 * len(data))) if data[n // 8] >> n % 8 & 1}
