"""How each answer of a provider changes what a keeper remembers. Nothing is decided here but how long to wait after a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from skerry.core.events import Event
from skerry.core.facts import Machine
from skerry.core.intent import Pool
from skerry.core.records import Document, Fact, MachineSlot
from skerry.core.renting import acting, ledger, offers
from skerry.core.renting.berths import NEVER, Book
from skerry.core.renting.dealings import (
    CreateBegun,
    KindsListed,
    MachineCreated,
    MachineDestroyed,
    MachinesListed,
    ProviderFailed,
)
from skerry.core.renting.matching import found
from skerry.core.renting.spending import Terms
from skerry.core.restarts import next_backoff

if TYPE_CHECKING:
    from skerry.core.situation import Situation


OURS = ("provider-denied", "cannot-open", "unknown-provider", "bad-input", "no-pool")
"""Failures that another keeper need not have: its token is another, or its host's programs."""


def _listed(s: Situation, event: MachinesListed) -> None:
    book = s.renting.book(event.pool)
    _works(s, book, "list")
    offers.heard(s, book, event.silent)
    if not event.slot:
        book.busy = ""
        old = {id: machine for id, machine in book.swept.items() if machine.offer in event.silent}
        book.swept = {**old, **{machine.id: machine for machine in event.machines}}
        book.swept_s = book.sweeping_s
        ledger.listed(s, book, event.silent)
    elif (slot := MachineSlot.read(event.slot)) is not None:
        b = s.renting.berth(slot)
        b.busy = "" if b.busy == "list" else b.busy
        known = tuple(machine for machine in b.machines if machine.offer in event.silent)
        b.machines, b.asked_s, b.heard_s = (*known, *event.machines), b.asking_s, s.now
        b.silent = frozenset(event.silent)
    s.renting.next_s = s.now


def _kinds(s: Situation, event: KindsListed) -> None:
    book = s.renting.book(event.pool)
    _works(s, book, "kinds")
    old = tuple(kind for kind in book.kinds or () if kind.offer in event.silent)
    book.busy, book.kinds = "", (*old, *event.kinds)
    book.kinds_s = s.now - (offers.KINDS_S - offers.KINDS_AGAIN_S if event.silent else 0.0)
    book.terms = Terms(event.least_s, max(event.step_s, 0.001), event.least_usd)
    s.renting.next_s = s.now


def _begun(s: Situation, event: CreateBegun) -> None:
    """On disk before anybody is asked: whoever comes after us knows that a machine with this token may come."""
    own = s.known.of(s.me, "machine", str(event.slot), Machine)
    of = s.known.body(f"pool/{event.slot.pool}", Pool)
    if own is None or own.state != "creating" or of is None:
        return
    b = s.renting.berth(event.slot)
    b.begun, b.begun_s = event.token, s.now
    wall = s.wall(s.now)
    ledger.begun(s, s.renting.book(event.slot.pool))
    body = msgspec.structs.replace(own, token=event.token, token_until=wall + of.join_s, created=wall)
    acting.say(s, b, body, own.why)


def _created(s: Situation, event: MachineCreated) -> None:
    book, b = s.renting.book(event.slot.pool), s.renting.berth(event.slot)
    b.busy = ""
    offers.had(book, event.machine)
    book.told.pop("create", None)
    own = s.known.of(s.me, "machine", str(event.slot), Machine)
    if own is not None and own.state == "creating" and own.token == b.begun:
        found(s, book, b, own, event.machine, f"created: {event.machine.id}")
    s.renting.next_s = s.now


def _destroyed(s: Situation, event: MachineDestroyed) -> None:
    book = s.renting.book(event.pool)
    for b in book.berths.values():
        if b.busy == f"destroy {event.id}":
            b.busy, b.destroyed = "", {**b.destroyed, event.id: s.now}
    s.renting.next_s = s.now


def _failed(s: Situation, event: ProviderFailed) -> None:
    book = s.renting.book(event.pool)
    s.renting.next_s = s.now
    if event.act in ("list", "kinds") or (event.whole and event.act == "destroy" and len(book.stalls) < 2):
        book.wait_s = next_backoff(book.wait_s, s.timing.provider_retry_first_s, s.timing.provider_retry_most_s)
        book.again_s, book.trouble = s.now + max(book.wait_s, event.after_s), event.why
        _tell(s, book, event.act, event.code, event.why)
    if event.act in ("list", "kinds") and not event.subject:
        book.busy = ""
        book.sweeping_s = book.swept_s if event.act == "list" else book.sweeping_s
        return
    for b in book.berths.values():
        if b.busy == f"destroy {event.subject}" and event.act == "destroy":
            b.busy = ""
            if event.code == "machine-not-ours":
                b.destroyed = {**b.destroyed, event.subject: s.now}
                s.note("foreign-machine", event.subject, event.why)
            else:
                acting.wait(s, b, event.after_s)
        elif str(b.slot) == event.subject and event.act == b.busy:
            b.busy = ""
            if event.act == "create":
                _create_failed(s, book, event)


def _create_failed(s: Situation, book: Book, event: ProviderFailed) -> None:
    slot = MachineSlot.read(event.subject)
    assert slot is not None
    b = s.renting.berth(slot)
    own = s.known.of(s.me, "machine", str(slot), Machine)
    if event.whole:
        offers.close(s, book, event)
        _tell(s, book, "create", event.code, event.why)
        b.told = event.code
    if own is None or own.state != "creating":
        return
    if event.acted == "no":
        if not event.whole:
            offers.sold_out(s, book, own, event)
        of = s.known.body(f"pool/{book.pool}", Pool)
        soon = of is not None and bool(offers.untried(s, book, of, slot.index))
        ours = event.code in OURS and not soon
        acting.fail(s, b, own, event.why, event.code, after_s=event.after_s, ours=ours, soon=soon)
    else:
        acting.say(s, b, own, f"whether it was created must be looked up: {event.why}")


def _tell(s: Situation, book: Book, act: str, code: str, why: str) -> None:
    """Once, until it goes well again or another reason comes."""
    if book.told.get(act) != code:
        book.told[act] = code
        s.note("provider", book.pool, f"{act}: {why}")


def _works(s: Situation, book: Book, act: str) -> None:
    book.wait_s, book.again_s, book.trouble = 0.0, NEVER, ""
    for told in ("list", "kinds", "destroy"):
        if book.told.pop(told, None) is not None:
            s.note("provider", book.pool, f"{act}: it answers again")


# --- records ----------------------------------------------------------------------------------------------------------


def heard(s: Situation, record: Document | Fact) -> None:
    """A record of ours or another's that may change what a keeper does."""
    if record.kind == "pool":
        s.renting.pools_changed = True
    if record.kind in ("pool", "node", "machine"):
        s.renting.next_s = s.now
    elif record.kind == "rent" and isinstance(record, Fact) and record.key in s.renting.books:
        s.renting.books[record.key].heard_s[record.node] = s.now


HANDLERS: dict[type[Event], Callable[..., None]] = {
    MachinesListed: _listed,
    KindsListed: _kinds,
    CreateBegun: _begun,
    MachineCreated: _created,
    MachineDestroyed: _destroyed,
    ProviderFailed: _failed,
}
