"""The messages of a record link: shapes, bounds, bytes. When they are sent is gossip's; what records say is trust's."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.errors import BadFormat
from skerry.outside import UNREADABLE

FRAME_BYTES = 1 << 20  # one message on a link, at most
PUSH_RECORDS = 512
IDS_A_MESSAGE = 2048
BUCKETS = 64
BASES = 8
BUNDLE_BYTES = 32 * 1024  # a larger one is for a stream: records must not wait behind it

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
Token = Annotated[str, msgspec.Meta(min_length=16, max_length=16)]
Digest = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Raw = Annotated[bytes, msgspec.Meta(max_length=128 * 1024)]  # trust has the bounds of each kind
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
PayloadHash = Annotated[str, msgspec.Meta(min_length=64, max_length=64)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What crosses a record link."""


class Push(Message, frozen=True, tag="push"):
    """Exact envelopes. Whoever receives them judges each one."""

    records: Annotated[tuple[Raw, ...], msgspec.Meta(max_length=PUSH_RECORDS)]


class Heads(Message, frozen=True, tag="heads"):
    """Digest of everything that I hold but `up` facts. Who differs answers with Buckets."""

    digest: Digest


class Buckets(Message, frozen=True, tag="buckets"):
    """The same, split by hash of the id. Who differs in some answers with their Ids."""

    digests: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=BUCKETS, max_length=BUCKETS)]


class Ids(Message, frozen=True, tag="ids"):
    """All that I hold in this bucket with `after` < id <= `until` ("": no end): id -> token."""

    bucket: Annotated[int, msgspec.Meta(ge=0, lt=BUCKETS)]
    after: Annotated[str, msgspec.Meta(max_length=400)]
    until: Annotated[str, msgspec.Meta(max_length=400)]
    tokens: Annotated[dict[Id, Token], msgspec.Meta(max_length=IDS_A_MESSAGE)]


class Want(Message, frozen=True, tag="want"):
    """Push me these."""

    ids: Annotated[tuple[Id, ...], msgspec.Meta(max_length=PUSH_RECORDS)]


class WantNamed(Message, frozen=True, tag="want-named"):
    """Push me the documents with these payload hashes: fallbacks that no path names any more. The agent answers."""

    hashes: Annotated[tuple[PayloadHash, ...], msgspec.Meta(max_length=PUSH_RECORDS)]


class ProbeAsk(Message, frozen=True, tag="probe-ask"):
    """Can you reach this node? The agent answers it."""

    peer: Id


class ProbeAnswer(Message, frozen=True, tag="probe-answer"):
    peer: Id
    ok: bool


class HoldsAsk(Message, frozen=True, tag="holds-ask"):
    """Have you all these documents on disk, by payload hash? It follows the pushes that brought them. The agent answers."""

    number: Number
    hashes: Annotated[tuple[PayloadHash, ...], msgspec.Meta(max_length=PUSH_RECORDS)]


class HoldsAnswer(Message, frozen=True, tag="holds-answer"):
    number: Number
    ok: bool


class WantBundle(Message, frozen=True, tag="want-bundle"):
    """What is new in this image since one of these versions of it? The agent answers it, and knows what a bundle is.

    Over the link, because an edit of a line is smaller than the handshake of another connection.
    """

    image: Hash
    bases: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=BASES)]


class Bundle(Message, frozen=True, tag="bundle"):
    """`large`: there is one, but for a stream; else without `data` there is none."""

    image: Hash
    base: Hash
    data: Annotated[bytes, msgspec.Meta(max_length=BUNDLE_BYTES)]
    large: bool = False


AnyMessage = (
    Push
    | Heads
    | Buckets
    | Ids
    | Want
    | WantNamed
    | ProbeAsk
    | ProbeAnswer
    | HoldsAsk
    | HoldsAnswer
    | WantBundle
    | Bundle
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """The bytes of one frame. At most FRAME_BYTES if the message kept to the bounds; else this is our bug."""
    data = _encoder.encode(message)
    if len(data) > FRAME_BYTES:
        raise ValueError(f"a {type(message).__name__} of {len(data)} bytes")
    return data


def decode(data: bytes) -> AnyMessage:
    """Raises BadFormat. What comes back keeps every bound above."""
    if len(data) > FRAME_BYTES:
        raise BadFormat("a link message was not taken", f"it has {len(data)} bytes, the limit is {FRAME_BYTES}")
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise BadFormat("a link message was not taken", str(error)) from None
