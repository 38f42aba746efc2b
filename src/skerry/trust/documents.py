"""Documents and facts between bytes and values: the header around the bodies of core, strictly. Nothing is judged
here.

A document's payload: {cloud, path, epoch, version, prev, issued, expires, body}. Its kind is the payload type, which
is part of what is signed, so that one kind can't be read as another. A fact's: {cloud, node, kind, key, seq, time,
body}. The first root has the cloud "", as the cloud's id is the hash of that root's payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from skerry.core.facts import FACTS, FactBody
from skerry.core.intent import KINDS, Body
from skerry.core.records import Document, Fact, Record
from skerry.trust import envelope as dsse
from skerry.trust.bounds import NUMBER_MAX
from skerry.trust.envelope import Envelope
from skerry.trust.identity import Signer
from skerry.trust.refusals import Malformed, TooBig

T = TypeVar("T")
TIME_MAX = 2.0**40


class DocumentPayload(msgspec.Struct, Generic[T], frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`issued`, `expires`: unix seconds; `expires` 0 is never. `prev`: hash of the payload that it replaces, "" for
    the first.
    """

    cloud: str
    path: str
    epoch: int
    version: int
    prev: str
    issued: float
    expires: float
    body: T


class FactPayload(msgspec.Struct, Generic[T], frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`seq`: (start count, n). `time`: unix seconds by the author's clock, told and never obeyed."""

    cloud: str
    node: str
    kind: str
    key: str
    seq: tuple[int, int]
    time: float
    body: T


class _FactKind(msgspec.Struct, frozen=True):
    """Read first, to know which body to expect."""

    kind: str


_documents: dict[str, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(DocumentPayload[body])  # type: ignore[valid-type]
    for kind, body in KINDS.items()
}
_facts: dict[str, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(FactPayload[body | None])  # type: ignore[valid-type]
    for kind, body in FACTS.items()
}
_fact_kind = msgspec.json.Decoder(_FactKind)
_encoder = msgspec.json.Encoder()


def kind_of(path: str) -> str:
    """The kind of document that lives at a path: what stands before the first "/"."""
    return path.partition("/")[0]


def what_rests_on_what(path: str) -> tuple[int, str]:
    """A key to sort paths by, so that each document comes after those that it is judged by."""
    return (_RANKS.get(kind_of(path), len(_RANKS)), path)


_RANKS = {"root": 0, "policy": 1, "pool": 2, "node": 3}


def sign_document(
    signers: Signer | Sequence[Signer],
    cloud: str,
    path: str,
    body: Body,
    *,
    epoch: int = 0,
    version: int,
    prev: str = "",
    issued: float,
    expires: float,
) -> bytes:
    """The envelope of a document. Nothing is checked: whoever takes it does that (`Trusted.judge`, ours first)."""
    payload = DocumentPayload(
        cloud=cloud, path=path, epoch=epoch, version=version, prev=prev, issued=issued, expires=expires, body=body
    )
    return dsse.sign(kind_of(path), _encoder.encode(payload), [signers] if isinstance(signers, Signer) else signers)


def sign_fact(
    signer: Signer,
    cloud: str,
    node: str,
    kind: str,
    key: str,
    seq: tuple[int, int],
    time_s: float,
    body: FactBody | None,
) -> bytes:
    """The envelope of a fact that `node` says about itself; `body` None withdraws it."""
    payload = FactPayload(cloud=cloud, node=node, kind=kind, key=key, seq=seq, time=time_s, body=body)
    return dsse.sign("fact", _encoder.encode(payload), (signer,))


def decode(envelope: Envelope) -> tuple[str, Record]:
    """(cloud, record) of an envelope, well formed and of a known kind, its signatures not looked at.

    Raises Malformed or TooBig. `signers` of a document are the keys that its envelope names.
    """
    if envelope.kind == "fact":
        return _decode_fact(envelope)
    decoder = _documents.get(envelope.kind)
    if decoder is None:
        raise Malformed("a record was not read", f"no document has the kind {envelope.kind[:32]!r}")
    if len(envelope.payload) > dsse.DOCUMENT_BYTES:
        raise TooBig(
            "a record was not read", f"it has {len(envelope.payload)} bytes; {dsse.DOCUMENT_BYTES} are allowed"
        )
    payload: DocumentPayload[Body] = dsse.read_json(envelope.payload, decoder)
    if not (0 <= payload.epoch <= NUMBER_MAX and 1 <= payload.version <= NUMBER_MAX):
        raise Malformed("a record was not read", "its epoch or version is out of range")
    if not (0 <= payload.issued <= TIME_MAX and 0 <= payload.expires <= TIME_MAX):
        raise Malformed("a record was not read", "its times are out of range")
    return payload.cloud, Document(
        path=payload.path,
        kind=envelope.kind,
        epoch=payload.epoch,
        version=payload.version,
        prev=payload.prev,
        issued=payload.issued,
        expires=payload.expires,
        hash=envelope.hash,
        body=payload.body,
        signers=tuple(sorted(signature.keyid for signature in envelope.signatures)),
    )


def _decode_fact(envelope: Envelope) -> tuple[str, Fact]:
    if len(envelope.payload) > dsse.FACT_BYTES:
        raise TooBig("a fact was not read", f"it has {len(envelope.payload)} bytes; {dsse.FACT_BYTES} are allowed")
    if len(envelope.signatures) != 1:
        raise Malformed("a fact was not read", "it bears more than its author's signature")
    dsse.refuse_ambiguous(envelope.payload)
    kind = str(dsse.read_again(envelope.payload, _fact_kind).kind)
    if kind not in _facts:
        raise Malformed("a fact was not read", f"no fact has the kind {kind[:32]!r}")
    payload: FactPayload[FactBody | None] = dsse.read_again(envelope.payload, _facts[kind])
    if not (min(payload.seq) >= 0 and max(payload.seq) <= NUMBER_MAX and 0 <= payload.time <= TIME_MAX):
        raise Malformed("a fact was not read", "its sequence or time is out of range")
    return payload.cloud, Fact(
        node=payload.node,
        kind=kind,
        key=payload.key,
        seq=payload.seq,
        time=payload.time,
        body=payload.body,
        hash=envelope.hash,
    )
