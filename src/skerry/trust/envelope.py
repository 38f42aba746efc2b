"""DSSE envelopes: bytes in, payload and checked-to-be-checkable signatures out. No meaning of a payload lives here.

The exact payload bytes are what is signed, kept and named by hash: there is no canonical JSON anywhere. A key id is
the hex public key itself, so every signature can be checked by anybody who holds the envelope, even before the key is
known to have a role. That is what lets a relay be blamed for a false one.

Source: Dead Simple Signing Envelope, protocol.md and envelope.md, version 1. Stricter than it: standard base64 only,
no unknown members, no duplicate names, bounded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.outside import UNREADABLE
from skerry.trust.identity import Signer
from skerry.trust.refusals import Malformed, TooBig

DOCUMENT_BYTES = 64 << 10  # of payload
FACT_BYTES = 4 << 10
ENVELOPE_BYTES = 96 << 10  # a payload in base64, and its signatures
SIGNATURES = 16

_PREFIX = "application/vnd.skerry."
_SUFFIX = ".v1+json"


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: bytes


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parsed envelope; nothing in it is verified yet. `payload` are the exact bytes that were signed."""

    payload: bytes
    payloadType: str
    signatures: tuple[Signature, ...]

    @property
    def kind(self) -> str:
        """`app`, `fact`, …; "" for a payload type that isn't ours."""
        name = self.payloadType
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
            return name[len(_PREFIX) : -len(_SUFFIX)]
        return ""

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the payload: how documents name one another. Signatures are not part of it."""
        return hashlib.sha256(self.payload).hexdigest()


_decoder = msgspec.json.Decoder(Envelope)
_encoder = msgspec.json.Encoder()


def payload_type(kind: str) -> str:
    return f"{_PREFIX}{kind}{_SUFFIX}"


def pae(type_name: str, payload: bytes) -> bytes:
    """What is really signed: type and payload with their lengths, so that neither can run into the other."""
    name = type_name.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(kind: str, payload: bytes, signers: Iterable[Signer]) -> bytes:
    """The envelope of `payload`, signed by each of `signers`."""
    type_name = payload_type(kind)
    message = pae(type_name, payload)
    return _encoder.encode(
        Envelope(payload, type_name, tuple(Signature(signer.key, signer.sign(message)) for signer in signers))
    )


def add_signature(raw: bytes, signer: Signer) -> bytes:
    """The same envelope with one more signature; unchanged if this key has signed already."""
    envelope = parse(raw)
    if any(signature.keyid == signer.key for signature in envelope.signatures):
        return raw
    message = pae(envelope.payloadType, envelope.payload)
    more = (*envelope.signatures, Signature(signer.key, signer.sign(message)))
    return _encoder.encode(Envelope(envelope.payload, envelope.payloadType, more))


def merge(raw: bytes, other: bytes) -> bytes:
    """One envelope with the signatures of two around the same payload. Raises Malformed if it is not the same."""
    one, two = parse(raw), parse(other)
    if (one.payloadType, one.payload) != (two.payloadType, two.payload):
        raise Malformed("two envelopes were not joined", "they hold different payloads")
    have = {signature.keyid for signature in one.signatures}
    more = tuple(signature for signature in two.signatures if signature.keyid not in have)
    return _encoder.encode(Envelope(one.payload, one.payloadType, (*one.signatures, *more))) if more else raw


def parse(raw: bytes, *, limit_bytes: int = ENVELOPE_BYTES) -> Envelope:
    """Read an envelope strictly. Raises TooBig or Malformed, nothing else. No signature is verified here."""
    if len(raw) > limit_bytes:
        raise TooBig("a record was not read", f"it has {len(raw)} bytes; {limit_bytes} are allowed")
    envelope: Envelope = read_json(raw, _decoder)
    if not 1 <= len(envelope.signatures) <= SIGNATURES:
        raise Malformed("a record was not read", f"it bears {len(envelope.signatures)} signatures; 1 to {SIGNATURES}")
    # A key must never count twice, whatever it signed twice.
    if len({signature.keyid for signature in envelope.signatures}) != len(envelope.signatures):
        raise Malformed("a record was not read", "one key signs it twice")
    return envelope


def read_json(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Decode by `decoder`, but refuse duplicate names, which it would let pass.

    Raises Malformed. msgspec itself refuses NaN, infinities, bad UTF-8, unknown fields and wrong types; both parsers
    stop at the interpreter's bound on nesting.
    """
    refuse_ambiguous(raw)
    return read_again(raw, decoder)


def refuse_ambiguous(raw: bytes) -> None:
    """Raises Malformed for JSON with duplicate names. Other faults may pass: the decoder finds them."""
    try:
        _plain.decode(raw.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed("a record was not read", str(error)[:200]) from None


def read_again(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Decode what `refuse_ambiguous` let pass. Raises Malformed."""
    try:
        return decoder.decode(raw)
    except (ValueError, *UNREADABLE) as error:
        raise Malformed("a record was not read", str(error)[:200]) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) != len(pairs):
        raise ValueError("a name appears twice in one object")


_plain = json.JSONDecoder(object_pairs_hook=_unique)
