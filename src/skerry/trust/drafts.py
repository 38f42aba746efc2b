"""Several documents as one step: tried on a copy, all or none; and as a draft that waits for more signatures.

A draft is believed by nobody. It is what a first signer leaves with the hosts so that the next one can look at it: each
reads it for himself, and what comes of it enters by the same door as everything else. docs/decisions/0006.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from skerry.core.records import Document
from skerry.trust import checks, documents
from skerry.trust import envelope as dsse
from skerry.trust.accept import Trusted, verify_all
from skerry.trust.refusals import AlreadyHeld, DraftOutdated, Malformed, ThresholdNotMet, WrongCloud

DOCUMENTS_MAX = 256  # in one step


def rehearse(trusted: Trusted, raws: Sequence[bytes], *, now_s: float, neighbours_s: Sequence[float] = ()) -> Trusted:
    """What would be held once all of these came in from a client, in this order. Raises the first refusal.

    Nothing in `trusted` changes, so that a step which is refused at its end has changed nothing at its beginning.
    """
    if len(raws) > DOCUMENTS_MAX:
        raise Malformed("nothing was accepted", f"a step has at most {DOCUMENTS_MAX} documents")
    tried = trusted.copy()
    for raw in raws:
        try:
            record = tried.judge(raw, now_s=now_s, from_client=True, neighbours_s=neighbours_s)
        except AlreadyHeld:
            continue
        tried.commit(record, raw)
    return tried


def read(raws: Sequence[bytes], trusted: Trusted) -> tuple[Document, ...]:
    """The documents of a draft: well formed, of this cloud, truly signed by whom they name, next to what is held.

    Roles aren't asked. Raises Malformed, TooBig, WrongCloud, OutOfBounds, FalseSignature or DraftOutdated.
    """
    if not 1 <= len(raws) <= DOCUMENTS_MAX:
        raise Malformed("a draft was not read", f"it has 1 to {DOCUMENTS_MAX} documents")
    found = []
    for raw in raws:
        envelope = dsse.parse(raw)
        cloud, record = documents.decode(envelope)
        if not isinstance(record, Document):
            raise Malformed("a draft was not read", "facts are nobody's to sign but their node's")
        checks.document(record)
        if cloud != trusted.cloud:
            raise WrongCloud(f"a draft of {record.path} was not read", f"it belongs to cloud {cloud[:12]!r}")
        held = trusted.document(record.path)
        if record.prev != (held.hash if held is not None else ""):
            raise DraftOutdated(
                f"a draft of {record.path} was not taken",
                "it was signed over what is no longer held: something else was accepted meanwhile",
                "run the command that made it again",
            )
        verify_all(envelope, record.id)
        found.append(record)
    return tuple(found)


def id_of(records: Sequence[Document]) -> str:
    """The name of a draft, whoever has signed it so far: 16 hex digits over its payloads."""
    return hashlib.sha256("".join(record.hash for record in records).encode()).hexdigest()[:16]


def merge(some: Sequence[bytes], others: Sequence[bytes]) -> tuple[bytes, ...]:
    """The same draft with the signatures of both."""
    return tuple(dsse.merge(a, b) for a, b in zip(some, others, strict=True))


def lacks(raws: Sequence[bytes], trusted: Trusted, now_s: float) -> ThresholdNotMet | None:
    """Whose signatures it still waits for; None: it can be handed over. Raises what would refuse it anyway."""
    try:
        rehearse(trusted, raws, now_s=now_s)
    except ThresholdNotMet as waits:
        return waits
    return None
