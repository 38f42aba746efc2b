"""Signatures that cost less: tokens that nobody can make without the secret, and what was read once is not read again.

For the time of a life this takes the place of Ed25519 in trust; a share of the seeds runs with real signatures instead. Reading
is a pure function of the bytes, so it is remembered in both; and so is whether a signature, or a fact, is in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

from skerry.agent import door
from skerry.core.gossip import token
from skerry.core.intent import Node
from skerry.core.records import Fact, Record
from skerry.trust import accept, checks_fact, documents, envelope
from skerry.trust.identity import SIGNATURE_BYTES, Signer, verify

REMEMBERED = 20_000  # records


class _Mint:
    """Who holds which secret. A token is a hash of the message under it."""

    def __init__(self) -> None:
        self._secrets: dict[str, bytes] = {}

    def sign(self, signer: Signer, message: bytes) -> bytes:
        self._secrets[signer.key] = signer.seed
        return _token(signer.seed, message)

    def verify(self, key: str, message: bytes, token: bytes) -> bool:
        secret = self._secrets.get(key)
        return secret is not None and token == _token(secret, message)


def _token(secret: bytes, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=secret, digest_size=SIGNATURE_BYTES).digest()


class _Looked:
    """A fact that was within bounds once is so for the same enrolment: hosts needn't look again one by one."""

    def __init__(self, look: Callable[[Fact, Node], None]) -> None:
        self._look = look
        # By enrolment, which is kept so that its number stays its own.
        self._well: dict[int, tuple[Node, set[str]]] = {}

    def __call__(self, fact: Fact, author: Node) -> None:
        _, well = self._well.setdefault(id(author), (author, set()))
        if not fact.hash or fact.hash not in well:
            self._look(fact, author)
            well.add(fact.hash)


def _tokens() -> Callable[[Record], str]:
    """As core.gossip.token, by the hash of what it is over."""
    known: dict[str, str] = {}

    def of(record: Record) -> str:
        found = known.get(record.hash)
        if found is None:
            found = known[record.hash] = token(record)
        return found

    return of


@contextmanager
def signatures(*, real: bool) -> Iterator[None]:
    """Within it records are signed and judged by tokens (or really). Not for several threads."""
    parse, decode = envelope.parse, documents.decode
    short = lru_cache(REMEMBERED)(parse)

    def remembered(raw: bytes, *, limit_bytes: int = envelope.ENVELOPE_BYTES) -> envelope.Envelope:
        return short(raw) if limit_bytes == envelope.ENVELOPE_BYTES else parse(raw, limit_bytes=limit_bytes)

    places: dict[tuple[Any, str], Any] = {
        (envelope, "parse"): remembered,
        (documents, "decode"): lru_cache(REMEMBERED)(decode),
        (checks_fact, "fact"): _Looked(checks_fact.fact),
        (door, "token"): _tokens(),
        (accept, "verify"): lru_cache(REMEMBERED)(verify),
    }
    if not real:
        mint = _Mint()
        places |= {
            (accept, "verify"): mint.verify,
            (Signer, "sign"): lambda signer, message: mint.sign(cast(Signer, signer), message),
        }
    before = {where: getattr(*where) for where in places}
    for (place, name), what in places.items():
        setattr(place, name, what)
    try:
        yield
    finally:
        for (place, name), what in before.items():
            setattr(place, name, what)
