"""What waits for more than one signature: seeing it, adding one's own; and renewing what comes of age.

A draft lies with the hosts. Nothing they say of it is believed: each operator's machine reads it, checks the signatures it
bears, and shows what it would change against what is verified here. docs/decisions/0006.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from skerry.client.changes import changed_fields
from skerry.client.session import Session
from skerry.client.widening import hosts_know, narrow, widened
from skerry.core.intent import Policy, Root
from skerry.core.records import Document
from skerry.errors import BadInput, SkerryError, TrustRefusal
from skerry.trust import drafts
from skerry.trust.envelope import add_signature
from skerry.trust.identity import Signer
from skerry.trust.refusals import ThresholdNotMet

WARN_S = 30 * 86400.0

Progress = Callable[[str], None]


class NothingWaits(BadInput):
    """There is no draft of that name or path."""

    code = "nothing-waits"


class NotYours(BadInput):
    """This key's signature would not count: no role of it covers what waits."""

    code = "not-yours"


class Draft(msgspec.Struct, frozen=True):
    """`waits`: for what, in words; "" when nothing is missing any more."""

    id: str
    raws: tuple[bytes, ...]
    documents: tuple[Document, ...]
    waits: str

    @property
    def paths(self) -> list[str]:
        return [document.path for document in self.documents]

    def signed_by(self, session: Session) -> list[str]:
        names = {operator.key: operator.name for operator in session.trusted.operators()}
        root = session.trusted.root
        assert root is not None and isinstance(root.body, Root)
        names |= dict.fromkeys(root.body.keys, "root key")
        keys = {key for document in self.documents for key in document.signers}
        return sorted({names[key] for key in keys if key in names})


async def waiting(session: Session) -> list[Draft]:
    """All drafts that hosts keep, each with every signature that any of them has; what is no good is left out."""
    await session.sync()
    found: dict[str, tuple[bytes, ...]] = {}
    for answer in (await session.everywhere("drafts")).values():
        for texts in answer if isinstance(answer, list) else []:
            try:
                raws = tuple(base64.b64decode(text, validate=True) for text in texts)
                id = drafts.id_of(drafts.read(raws, session.trusted))
                found[id] = drafts.merge(found[id], raws) if id in found else raws
            except (ValueError, TrustRefusal):
                continue
    made = []
    for id, raws in found.items():
        try:
            lacks = drafts.lacks(raws, session.trusted, time.time())
        except TrustRefusal:
            continue
        made.append(Draft(id, raws, drafts.read(raws, session.trusted), lacks.why if lacks else ""))
    return sorted(made, key=lambda draft: draft.documents[0].issued)


async def ls(session: Session) -> list[dict[str, Any]]:
    """For people: what waits, who has signed it, for what it waits."""
    return [
        {"draft": d.id, "paths": d.paths, "signed_by": d.signed_by(session), "waits": d.waits}
        for d in await waiting(session)
    ]


async def find(session: Session, name: str) -> Draft:
    """The draft that changes this path, or has this name. Raises NothingWaits."""
    every = await waiting(session)
    found = [d for d in every if d.id == name] or [d for d in every if name in d.paths]
    if not found:
        known = ", ".join(f"{d.id} ({d.paths[0]})" for d in every) or "nothing"
        raise NothingWaits(f"no draft of {name} waits", f"there is: {known}", "see what waits: skerry sign")
    if len(found) > 1:
        raise NothingWaits(
            f"more than one draft of {name} waits", ", ".join(d.id for d in found), "name the one that you mean"
        )
    return found[0]


def changes(session: Session, draft: Draft) -> list[dict[str, Any]]:
    """Exactly what it would change: a list of {path, field, old, new}; one row without a field for a mere renewal."""
    rows: list[dict[str, Any]] = []
    for document in draft.documents:
        held = session.document(document.path)
        fields = changed_fields(held.body if held is not None else None, document.body)
        if held is not None and held.epoch != document.epoch:
            fields.insert(0, ("epoch", held.epoch, document.epoch))
        rows += [{"path": document.path, "field": f, "old": old, "new": new} for f, old, new in fields]
        if not fields:
            rows.append({"path": document.path, "field": "", "old": "as it is", "new": "the same, signed again"})
    return rows


async def sign(session: Session, draft: Draft, root_keys: Sequence[Signer] = ()) -> dict[str, Any]:
    """Add this operator's signature (and these root keys'); hand it over once enough have signed, else leave it."""
    raws = [_signed(session, raw, path, root_keys) for raw, path in zip(draft.raws, draft.paths, strict=True)]
    if list(draft.raws) == raws:
        raise NotYours(
            f"draft {draft.id} was not signed",
            "this key has signed it already, or no role of it covers what waits",
            f"it waits for others: {draft.waits}" if draft.waits else "it is complete",
        )
    try:
        answer = await session.put(raws)
    except ThresholdNotMet as waits:
        return {"draft": draft.id, "paths": draft.paths, "accepted": False, "waits": waits.why}
    return {"draft": draft.id, "paths": draft.paths, "accepted": True, "kept_by": answer["kept_by"]}


def _signed(session: Session, raw: bytes, path: str, root_keys: Sequence[Signer]) -> bytes:
    if path == "root":
        for signer in root_keys:
            raw = add_signature(raw, signer)
        return raw
    operator = session.signer.key in session.trusted.operator_keys()
    return add_signature(raw, session.signer) if operator or session.may_sign(path) else raw


async def renew(session: Session, progress: Progress = lambda line: None) -> None:
    """Sign again, unchanged, what this key may sign and what is past half its life: first of all the policy.

    Called by every operator's command. Where one signature isn't enough, the renewal is left with the hosts, and each next
    operator's command signs it too.
    """
    if not session.nodes or session.signer.key not in session.trusted.operator_keys():
        return
    now_s = time.time()
    due = _due(session)
    lacking = narrow(session.policy)
    if lacking and await hosts_know(session, lacking, progress):
        await _renew_policy(
            session, progress, f"older than documents of kind {', '.join(lacking)}", widened(session.policy)
        )
    elif any(document.path == "policy" for document in due):
        await _renew_policy(session, progress, "past half its life", session.policy)
    for document in due:
        if document.kind in ("root", "policy") or session.trusted.lapsed(document.path):
            continue
        if session.may_sign(document.path):
            raw = session.draft(document.path, document.body)
            if drafts.lacks([raw], session.trusted, now_s) is None:
                await session.put([raw])
                progress(f"{document.path} was past half its life: renewed")


async def _renew_policy(session: Session, progress: Progress, why: str, policy: Policy) -> None:
    for draft in await waiting(session):
        if draft.paths == ["policy"] and draft.documents[0].body == policy:
            if session.signer.key not in draft.documents[0].signers:
                done = await sign(session, draft)
                progress(f"the policy's renewal is signed: {done.get('waits') or 'accepted'}")
            return
    try:
        await session.put([session.draft("policy", policy)])
        progress(f"the policy was {why}: renewed")
    except ThresholdNotMet as waits:
        progress(f"the policy is {why}; its renewal waits: {waits.why}")


def warnings(session: Session) -> list[str]:
    """What will expire within 30 days, and what is over."""
    told = []
    for path in ("root", "policy"):
        held = session.document(path)
        left_s = held.expires - time.time() if held is not None and held.expires else WARN_S
        if left_s <= 0:
            told.append(f"the {path} has expired: nothing can be changed until it is renewed; what runs goes on")
        elif left_s < WARN_S:
            told.append(f"the {path} expires in {left_s / 86400:.0f} days")
    return told


def any_due(session: Session) -> bool:
    """Cheap: what is known here, without asking a host or for the passphrase."""
    return any(document.path != "root" for document in _due(session)) or bool(narrow(session.policy))


def _due(session: Session) -> list[Document]:
    now_s = time.time()
    return [d for d in session.trusted.documents() if d.expires and now_s > (d.issued + d.expires) / 2]


async def quietly_renew(session: Session, progress: Progress) -> None:
    """As `renew`; that it could not be done now must not fail the command that came to do something else."""
    try:
        await renew(session, progress)
    except SkerryError as error:
        progress(f"not renewed now: {error}")
