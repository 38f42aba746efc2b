"""Signed requests: what isn't intent (reading, logs, handing over records and objects) is asked for under one's own
key.

What is handed over follows the request in the same message, after a newline, and the request names it by hash: within it, it
would be a third larger twice.

A node gives a nonce on each stream and takes one request with it, so nothing that was recorded can be asked again,
here or elsewhere. `issued` is told, not judged: the nonce is fresher than any clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from skerry.outside import UNREADABLE
from skerry.trust import envelope as dsse
from skerry.trust.accept import Trusted
from skerry.trust.identity import Signer, verify
from skerry.trust.refusals import FalseSignature, Malformed, RequestRefused, TooBig, UnknownKey, VerbNotAllowed
from skerry.trust.roles import OPERATORS
from skerry.trust.roles import patterns as patterns_of

REQUEST_BYTES = 1 << 20  # without what is handed over
ATTACHED_BYTES = 1 << 20  # several documents at once
ATTACHED = 1024
VERB_MAX = 32
# What every role (CI) may ask for. Records that it hands over are judged each by itself, objects by their hash. Not what apps
# write, nor the events, which quote it: a stolen CI key must not read the apps that it may not change.
READS = frozenset({"heads", "get", "named", "ps", "hosts", "status", "machines", "explain", "image-hosts"})
PUTS = frozenset({"put"})
# What a right lets ask beside that; about which apps or hosts, each verb asks `Request.may`.
OF_RIGHT = {
    "observe": frozenset({"logs", "events", "audit", "alerts", "metrics"}),
    "debug": frozenset({"debug", "look", "crashes", "cores", "core-rm", "tools"}),
    "debug-host": frozenset({"debug", "look", "tools"}),
}
# An operator could give these to every app anyway, by its document. Whole hosts are for those whom the policy names, operators too.
OPERATORS_ASK = (("observe", ("app/*", "node/*")), ("debug", ("app/*",)))
Rights = tuple[tuple[str, tuple[str, ...]], ...]


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    cloud: str
    node: str
    verb: str
    args: Any
    nonce: str
    issued: float
    attached: Annotated[tuple[str, ...], msgspec.Meta(max_length=ATTACHED)] = ()


class Request(msgspec.Struct, frozen=True):
    """A request that may be answered. `role`: "operators", or the name of the policy's role that `key` is in. `attached`: what
    it hands over, as it was signed for. `rights`: right -> the apps and hosts that `key` has it for.
    """

    verb: str
    args: Any
    key: str
    role: str
    name: str = ""  # the operator's
    attached: tuple[bytes, ...] = ()
    rights: Rights = ()

    def may(self, right: str, path: str) -> bool:
        """Whether `key` has this right (core/intent.py, RIGHTS) for an app or host, such as "app/web" or "node/vps-1"."""
        return any(name == right and not set(patterns).isdisjoint(patterns_of(path)) for name, patterns in self.rights)

    def must(self, right: str, path: str) -> None:
        """Raises VerbNotAllowed where it may not."""
        if not self.may(right, path):
            of, _, name = path.partition("/")
            raise VerbNotAllowed(
                f"request {self.verb!r} was refused",
                f"{self.name or f'role {self.role}'} has no right to {right} {path}",
                f"an operator can give it: skerry role add {right} NAME --key FILE --{'host' if of == 'node' else of} {name}",
            )


_decoder = msgspec.json.Decoder(_Payload)
_attached = msgspec.msgpack.Decoder(tuple[bytes, ...])


def make_request(
    signer: Signer,
    cloud: str,
    node: str,
    verb: str,
    args: Mapping[str, Any],
    nonce: str,
    issued: float,
    attached: Sequence[bytes] = (),
) -> bytes:
    """`node`: the path of who is asked; `nonce`: what that node just gave; `issued`: unix seconds."""
    payload = _Payload(cloud, node, verb, dict(args), nonce, issued, _hashes(attached))
    raw = dsse.sign("request", msgspec.json.encode(payload), (signer,))
    return b"\n".join([raw, msgspec.msgpack.encode(attached)]) if attached else raw


def judge_request(raw: bytes, trusted: Trusted, *, node: str, nonce: str, now_s: float) -> Request:
    """Whether this may be answered here and now. `node`: own path; `nonce`: the one given on this stream, not "".

    Raises TooBig, Malformed, RequestRefused, UnknownKey, FalseSignature or VerbNotAllowed.
    """
    raw, _, rest = raw.partition(b"\n")
    if len(rest) > ATTACHED_BYTES:
        raise TooBig(
            "a request was not read", f"{len(rest)} bytes are handed over with it, {ATTACHED_BYTES} are allowed"
        )
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
    name, role, rights = _who(trusted, signature.keyid, now_s)
    message = dsse.pae(envelope.payloadType, envelope.payload)
    if not verify(signature.keyid, message, signature.sig):
        raise FalseSignature("a request was refused", f"key {signature.keyid[:16]} did not sign it")
    if not name and asked.verb not in READS.union(PUTS, *(OF_RIGHT[right] for right, _ in rights)):
        raise VerbNotAllowed(
            f"request {asked.verb[:VERB_MAX]!r} was refused",
            f"role {role} may read, and hand over what it signed"
            + (f"; {', '.join(right for right, _ in rights)}" if rights else ""),
            "ask an operator",
        )
    return Request(asked.verb[:VERB_MAX], asked.args, signature.keyid, role, name, _taken(rest, asked.attached), rights)


def may_still(trusted: Trusted, key: str, now_s: float, right: str, path: str) -> bool:
    """Whether `key` has this right now: what was begun with it may be at work for hours."""
    try:
        name, role, rights = _who(trusted, key, now_s)
    except UnknownKey:
        return False
    return Request("", None, key, role, name, rights=rights).may(right, path)


def _hashes(attached: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(each).hexdigest() for each in attached)


def _taken(rest: bytes, named: tuple[str, ...]) -> tuple[bytes, ...]:
    """What is handed over, if it is what the request names. Raises Malformed."""
    try:
        attached = _attached.decode(rest) if rest else ()
    except UNREADABLE as error:
        raise Malformed("a request was not read", f"what is handed over with it: {error}") from None
    if _hashes(attached) != named:
        raise Malformed("a request was not read", "what is handed over with it is not what it names")
    return attached


def _who(trusted: Trusted, key: str, now_s: float) -> tuple[str, str, Rights]:
    """(operator's name or "", role, rights). Raises UnknownKey."""
    roles = [role for role in trusted.roles() if key in role.keys and (role.until == 0 or now_s <= role.until)]
    rights = tuple((right, role.paths) for role in roles for right in role.asks)
    if key in trusted.operator_keys():
        name = next(operator.name for operator in trusted.operators() if operator.key == key)
        return name, OPERATORS, (*OPERATORS_ASK, *rights)
    if roles:
        return "", roles[0].name, rights
    if over := [role.name for role in trusted.roles() if key in role.keys]:
        raise UnknownKey("a request was refused", f"the time of role {over[0]} is over", "ask an operator for another")
    raise UnknownKey("a request was refused", "its key is neither an operator's nor in a role", "see: skerry role ls")
