"""Signed requests: what isn't intent (reading, logs, handing over records and objects) is asked for under one's own
key.

A node gives a nonce on each stream and takes one request with it, so nothing that was recorded can be asked again,
here or elsewhere. `issued` is told, not judged: the nonce is fresher than any clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from skerry.trust import envelope as dsse
from skerry.trust.accept import Trusted
from skerry.trust.identity import Signer, verify
from skerry.trust.refusals import FalseSignature, Malformed, RequestRefused, UnknownKey, VerbNotAllowed

REQUEST_BYTES = 1 << 20  # several documents at once, each in base64 twice
VERB_MAX = 32
# What a role (CI) may ask for. Records that it hands over are judged each by itself, objects by their hash. Not what apps
# write, nor the events, which quote it: a stolen CI key must not read the apps that it may not change.
READS = frozenset({"heads", "get", "named", "ps", "hosts", "status", "explain", "image-hosts"})
PUTS = frozenset({"put"})


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cloud: str
    node: str
    verb: str
    args: Any
    nonce: str
    issued: float


class Request(msgspec.Struct, frozen=True):
    """A request that may be answered. `role`: "operators", or the name of the policy's role that `key` is in."""

    verb: str
    args: Any
    key: str
    role: str
    name: str = ""  # the operator's


_decoder = msgspec.json.Decoder(_Payload)


def make_request(
    signer: Signer, cloud: str, node: str, verb: str, args: Mapping[str, Any], nonce: str, issued: float
) -> bytes:
    """`node`: the path of who is asked; `nonce`: what that node just gave; `issued`: unix seconds."""
    payload = _Payload(cloud, node, verb, dict(args), nonce, issued)
    return dsse.sign("request", msgspec.json.encode(payload), (signer,))


def judge_request(raw: bytes, trusted: Trusted, *, node: str, nonce: str, now_s: float) -> Request:
    """Whether this may be answered here and now. `node`: own path; `nonce`: the one given on this stream, not "".

    Raises TooBig, Malformed, RequestRefused, UnknownKey, FalseSignature or VerbNotAllowed.
    """
    envelope = dsse.parse(raw, limit_bytes=REQUEST_BYTES)
    if envelope.kind != "request" or len(envelope.signatures) != 1:
        raise Malformed("a request was not read", "it is no request with one signature")
    asked: _Payload = dsse.read_json(envelope.payload, _decoder)
    if (asked.cloud, asked.node) != (trusted.cloud, node):
        raise RequestRefused(
            "a request was refused", f"it is for {asked.node[:80]}, cloud {asked.cloud[:12]}", "ask there"
        )
    if not nonce or asked.nonce != nonce:
        raise RequestRefused("a request was refused", "its nonce was not given on this stream", "ask again")
    signature = envelope.signatures[0]
    name, role = _who(trusted, signature.keyid, now_s)
    message = dsse.pae(envelope.payloadType, envelope.payload)
    if not verify(signature.keyid, message, signature.sig):
        raise FalseSignature("a request was refused", f"key {signature.keyid[:16]} did not sign it")
    if not name and asked.verb not in READS | PUTS:
        raise VerbNotAllowed(
            f"request {asked.verb[:VERB_MAX]!r} was refused",
            f"role {role} may read, and hand over what it signed",
            "ask an operator",
        )
    return Request(asked.verb[:VERB_MAX], asked.args, signature.keyid, role, name)


def _who(trusted: Trusted, key: str, now_s: float) -> tuple[str, str]:
    """(operator's name or "", role). Raises UnknownKey."""
    if key in trusted.operator_keys():
        return next((operator.name, "operators") for operator in trusted.operators() if operator.key == key)
    for role in trusted.roles():
        if key in role.keys and (role.until == 0 or now_s <= role.until):
            return "", role.name
    raise UnknownKey("a request was refused", "its key is neither an operator's nor in a role", "see: skerry role ls")
