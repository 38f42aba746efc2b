"""The life of one machine that this keeper looks after, from the wish for it until it is gone.

creating: list by name; what is found is gone on with; else create, and list again. booting: until it is enrolled and says that it is
up. joined. draining: marked in its enrolment, so that its replicas go elsewhere. returning: destroyed by id, after its name and tag
were looked at again, and listed until it is no more. Then its enrolment is expelled, and its cost is booked.

Whatever call fails, hangs or is answered to nobody: nothing is remembered but what the fact `machine` and the provider's list
say, so another keeper, or this one after a restart, goes on from the same place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.core.facts import Machine
from skerry.core.intent import MANUAL, Pool
from skerry.core.renting import by_hand, leaving, ledger, needing, offers
from skerry.core.renting.acting import HELD, call, decline, fail, let_go, look, say
from skerry.core.renting.berths import NEVER, Berth, Book
from skerry.core.renting.dealings import CreateMachine
from skerry.core.renting.matching import chosen, follow, found, has_joined, ours, tell_foreign

if TYPE_CHECKING:
    from skerry.core.renting.keeping import Wanted
    from skerry.core.situation import Situation

GIVE_UP_TIMES = 4.0  # after failures in a row, when its pause is so many times the first: it lets others try


def take(s: Situation, book: Book, of: Pool, b: Berth, own: Machine | None, wanted: Wanted) -> None:
    """This slot is ours now. What was known of a machine for it goes on being known."""
    before = own if own is not None and (own.id or own.token) else needing.best_word(s, b.slot)
    body = Machine(state="asked" if of.provider == MANUAL else "creating")
    if before is not None and before.state != "gone":
        state = before.state if before.state in HELD else "creating"
        body = msgspec.structs.replace(before, state=state)
        if before.id:
            state = state if state != "creating" else "booting"
            body = msgspec.structs.replace(body, state=state)
    elif of.provider == MANUAL and b.slot.path in s.known.nodes:
        body = Machine(state="joined")
    if body.token in book.void:
        body = msgspec.structs.replace(body, token="", token_until=0.0, created=0.0)
    b.taken_s, b.vacant_s, b.absent_s, b.told = s.now, None, None, ""
    b.known, b.empty = (body.id, s.now), body.state == "returning"
    say(s, b, body, "it is wanted" if wanted == "yes" else "nobody living looks after it")


def tend(s: Situation, book: Book, of: Pool, b: Berth, own: Machine, wanted: Wanted) -> None:
    if of.provider == MANUAL:
        by_hand.tend(s, of, b, own, wanted)
        return
    if b.busy:
        if s.now < b.busy_until_s:
            return
        b.busy = ""  # never answered: what it did shows the list
    if b.taken_s == NEVER:  # of an earlier life of ours
        b.taken_s = b.since_s = s.now
        b.known = (own.id, NEVER)
        b.empty = own.state == "returning"  # so it was: others may have taken it back since
        if own.token and own.state == "creating":
            b.begun, b.begun_s = own.token, s.now
    if own.id:
        book.mine.add(own.id)
    if own.state == "creating" and not own.token and wanted != "yes" and b.slot.path not in s.known.nodes:
        let_go(s, b, "not needed any more")
        return
    if s.now < max(b.again_s, book.again_s):
        if book.wait_s >= GIVE_UP_TIMES * s.timing.provider_retry_first_s and _others(s, of):
            decline(s, b, f"the provider can't be reached from here: {book.trouble}")
        s.renting.next_s = min(s.renting.next_s, max(b.again_s, book.again_s))
        return
    if b.asked_s < b.taken_s:
        look(s, b, "what is there by its name")
    elif own.state == "creating":
        _creating(s, book, of, b, own, wanted)
    elif own.state == "booting":
        _booting(s, book, of, b, own, wanted)
    elif own.state == "joined":
        leaving.joined(s, book, of, b, own, wanted)
    elif own.state == "draining":
        leaving.drain(s, of, b, own, wanted, book.returning)
    elif own.state == "returning":
        leaving.returning(s, book, of, b, own, wanted, book.returning)


def _others(s: Situation, of: Pool) -> bool:
    return any(keeper != s.me and keeper in s.known.nodes and s.presence.is_up(keeper) for keeper in of.keepers)


def _creating(s: Situation, book: Book, of: Pool, b: Berth, own: Machine, wanted: Wanted) -> None:
    there = chosen(s, b, ours(s, b, own))
    again_s = s.timing.list_again_s
    if there is not None:
        found(s, book, b, own, there, "it is there already")
        return
    settled_s = b.begun_s + s.timing.settle_s
    if b.asked_s < settled_s:
        look(s, b, "whether what was asked for has come", after_s=min(settled_s, max(b.asked_s + again_s, s.now)))
        return
    if own.token and own.offer in b.silent:
        look(s, b, "whether what was asked for has come", after_s=b.asked_s + again_s)
        return
    if own.token:
        book.void.add(own.token)
        s.note("machine", b.slot, "what was asked for has not come")
        own = say(s, b, msgspec.structs.replace(own, token="", token_until=0.0, created=0.0, price_usd_hour=0.0,
                                                tries=own.tries + 1), "what was asked for has not come")  # fmt: skip
    if s.now > b.heard_s + again_s:
        look(s, b, "what is there by its name")
        return
    if b.slot.path in s.known.nodes:
        if s.presence.is_up(b.slot.path):
            say(s, b, msgspec.structs.replace(own, state="joined"), "it is up, and the provider doesn't list it")
        else:
            say(s, b, msgspec.structs.replace(own, state="gone"), "its machine is no more")
        return
    if wanted != "yes":
        return  # at the next look it is let go
    tell_foreign(s, b, own)
    _create(s, book, of, b, own)


def _create(s: Situation, book: Book, of: Pool, b: Berth, own: Machine) -> None:
    if book.kinds is None or s.now > book.swept_s + 3 * s.timing.sweep_s:
        say(s, b, own, "waits for what the provider has and lists")
        return
    if quiet := offers.waited_for(s, book, of, b.silent):
        say(
            s,
            b,
            own,
            f"waits for {', '.join(quiet)}, which may have one of its name: without it only after {of.join_s:.0f} s",
        )
        return
    if not offers.choices(book, of, b.slot.index):
        fail(s, b, own, offers.why_none(book, of), "bad-size")
        return
    there = offers.open_choices(s, book, of, b.slot.index)
    if there:
        kind, region = there[own.tries % len(there)]
        why = ledger.why_not_rent(s, book, of, kind.price_usd_hour)
    else:
        why = offers.trouble(book, of) or "none of its providers can be asked just now"
    if why:
        say(s, b, own, why)
        if b.told != why.partition(":")[0]:
            b.told = why.partition(":")[0]
            s.note("machine-waits", b.slot, why)
        return
    body = msgspec.structs.replace(
        own, size=kind.name, region=region, price_usd_hour=kind.price_usd_hour, offer=kind.offer
    )
    at = f" of {kind.offer or of.provider}" if of.others else ""
    say(s, b, body, f"asks for a {kind.name}{at}" + (f" in {region}" if region else ""))
    call(s, b, "create", CreateMachine(slot=b.slot, size=kind.name, region=region, offer=kind.offer, token_s=of.join_s,
                                        reason=f"{book.target} machines are wanted"))  # fmt: skip


def _booting(s: Situation, book: Book, of: Pool, b: Berth, own: Machine, wanted: Wanted) -> None:
    if wanted == "never":
        say(s, b, msgspec.structs.replace(own, state="returning"), leaving.never(book, of, b))
        return
    listed = follow(s, book, b, own)
    if listed is None:
        return
    own = listed
    if has_joined(s, b.slot):
        b.wait_s = 0.0
        b.silent_s = None
        say(
            s,
            b,
            msgspec.structs.replace(own, state="joined", tries=0),
            f"enrolled and up after {s.now - b.since_s:.0f} s",
        )
    elif leaving.is_given_up(s, of, b.since_s):
        why = f"it has not joined within {s.now - b.since_s:.0f} s"
        say(s, b, msgspec.structs.replace(own, state="returning", tries=own.tries + 1), why)
    else:
        look(s, b, "how far it is", after_s=b.asked_s + s.timing.list_again_s)
