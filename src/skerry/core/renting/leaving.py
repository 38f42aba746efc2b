"""A machine that has joined, and its way out: marked, drained, destroyed, seen to be gone, expelled. It may be taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.core.facts import Machine
from skerry.core.intent import MANUAL, Node, Pool
from skerry.core.records import Document, MachineSlot
from skerry.core.renting import acting, ledger, needing
from skerry.core.renting.acting import holds, let_go, look, say, wait
from skerry.core.renting.berths import NEVER, Berth, Book
from skerry.core.renting.dealings import Rented
from skerry.core.renting.matching import destroy, follow, is_due, ours, words

if TYPE_CHECKING:
    from skerry.core.renting.keeping import Wanted
    from skerry.core.situation import Situation

CUT_OFF_TIMES = 6
MARKED_S = 2.0  # by then all have heard of the mark, and what was claimed there before is known here


def joined(s: Situation, book: Book, of: Pool, b: Berth, own: Machine, wanted: Wanted) -> None:
    swept = {id for id, machine in book.swept.items() if machine.slot == str(b.slot)}
    if b.asked_s < book.swept_s and swept != {own.id}:
        look(s, b, "the sweep shows something else than one machine of its name")
        return
    listed = follow(s, book, b, own)
    if listed is None:
        return
    own = listed
    held = s.known.documents.get(b.slot.path)
    if wanted == "never":
        say(s, b, msgspec.structs.replace(own, state="draining"), never(book, of, b))
    elif b.slot.path not in s.known.nodes:
        why = "its enrolment was expelled" if held is not None else "it is enrolled no more"
        say(s, b, msgspec.structs.replace(own, state="returning"), why)
    elif marked_by_operator(s, of, b.slot):
        say(s, b, msgspec.structs.replace(own, state="draining"), "an operator has marked it")
    elif wanted == "no":
        why = f"{book.target} machines are wanted, and no more were in the last {of.down_s:.0f} s"
        say(s, b, msgspec.structs.replace(own, state="draining"), why)
    elif s.presence.is_down(b.slot.path):
        if b.silent_s is None:
            b.silent_s = s.now
        if is_given_up(s, of, b.silent_s):
            say(s, b, msgspec.structs.replace(own, state="returning", tries=own.tries + 1), "it has fallen silent")
    else:
        b.silent_s = None
        _mark(s, of, b, "active", "wanted again")


def never(book: Book, of: Pool, b: Berth) -> str:
    if of.deleted:
        return "its pool is deleted"
    return book.returning or f"its pool has {of.max} machines at most"


def may_be_marked(s: Situation, of: Pool, slot: MachineSlot) -> bool:
    """Whether a machine that is too many may be given back: it has joined, and is not too young for it."""
    said = needing.best_word(s, slot)
    if said is None or said.state != "joined":
        return said is not None and said.state == "asked"
    b = s.renting.berth(slot)
    age_s = s.wall(s.now) - said.created
    if holds(s, slot, s.me):  # whoever told us when it was created may have a wrong clock
        age_s = min(age_s, s.now - (b.known[1] if b.known[0] == said.id else s.now))
    return age_s >= of.age_s or of.provider == MANUAL


def marked_by_operator(s: Situation, of: Pool, slot: MachineSlot) -> bool:
    """Draining, and no keeper has signed that: it is not for keepers to take it back."""
    found = s.known.documents.get(slot.path)
    if not isinstance(found, Document) or not isinstance(found.body, Node) or found.body.state != "draining":
        return False
    return bool(found.signers) and not set(found.signers) & set(of.keepers.values())


def _mark(s: Situation, of: Pool, b: Berth, state: str, why: str) -> bool:
    """Have the enrolment say so; True: it does. Beyond the pool's bounds nothing can be signed, and nodes see that themselves."""
    node = s.known.nodes.get(b.slot.path)
    if node is None or node.state == state or of.deleted or b.slot.index >= of.max:
        return True
    acting.enrol(s, b, node, state, why)
    return False


def drain(s: Situation, of: Pool, b: Berth, own: Machine, wanted: Wanted, ceiling: str = "") -> None:
    """Until nothing runs there, or the limit is over. Taken back when it is wanted again. `ceiling`: why it must go all the same."""
    if wanted == "yes" and b.slot.path in s.known.nodes and not marked_by_operator(s, of, b.slot):
        if _mark(s, of, b, "active", "it is needed again"):
            say(s, b, msgspec.structs.replace(own, state="joined"), "it is needed again")
        return
    if not _mark(s, of, b, "draining", own.why):
        return
    path = b.slot.path
    b.silent_s = (b.silent_s or s.now) if s.presence.is_down(path) else None
    if path not in s.known.nodes or (b.silent_s and (is_given_up(s, of, b.silent_s) or wanted == "never")):
        say(s, b, msgspec.structs.replace(own, state="returning"), ceiling or "it is down")
    elif b.silent_s:
        s.renting.next_s = min(s.renting.next_s, s.now + s.timing.rent_look_s)  # others may hear it
    elif is_empty(s, path) and s.now < b.since_s + MARKED_S:
        s.renting.next_s = min(s.renting.next_s, b.since_s + MARKED_S)
    elif is_empty(s, path):
        b.empty = True
        why = "nothing runs there any more"
        say(s, b, msgspec.structs.replace(own, state="returning"), f"{ceiling}; {why}" if ceiling else why)
    elif s.now < b.since_s + of.drain_s:
        s.renting.next_s = min(s.renting.next_s, b.since_s + of.drain_s)
    elif (last := last_of(s, path)) and not ceiling:
        why = f"it holds the last healthy replica of {', '.join(last)}"
        if own.why != why:
            s.note("machine-kept", b.slot, why)
        say(s, b, own, why)
    else:
        why = f"drained for {of.drain_s:.0f} s"
        if last:
            why = f"it goes although it holds the last healthy replica of {', '.join(last)}"
        say(s, b, msgspec.structs.replace(own, state="returning"), f"{ceiling}; {why}" if ceiling else why)


def is_given_up(s: Situation, of: Pool, since_s: float) -> bool:
    """Whether a machine has been silent for too long. A keeper that doesn't see most of the fixed hosts is the one that is cut
    off, mostly: it gives nothing back soon that the others may well hear, and counts anew when it sees them again.
    """
    r = s.renting
    if r.is_cut_off:
        return s.now >= since_s + CUT_OFF_TIMES * of.join_s
    return s.now >= max(since_s, r.cut_off_s) + of.join_s


def is_cut_off(s: Situation) -> bool:
    fixed = [
        path for path, node in s.known.nodes.items() if MachineSlot.of_path(path) is None and node.state == "active"
    ]
    return 2 * sum(s.presence.is_up(path) for path in fixed) <= len(fixed)


def is_empty(s: Situation, node: str) -> bool:
    """Whether a node claims nothing and runs nothing, as it says itself."""
    told = (about for kind in ("claim", "slot") for about in s.known.facts.get(kind, {}).values())
    return not any(node in about for about in told)


def last_of(s: Situation, node: str) -> list[str]:
    """Slots of which it alone holds a healthy replica."""
    return [
        str(slot)
        for slot, found in sorted(s.standings.items())
        if any(c.node == node and c.healthy for c in found.claimants)
        and not any(c.node != node and c.healthy for c in found.claimants)
    ]


def returning(s: Situation, book: Book, of: Pool, b: Berth, own: Machine, wanted: Wanted, ceiling: str = "") -> None:
    is_ordered = own.id in b.destroyed if own.id else bool(b.destroyed)  # others of its name may have been destroyed
    if not is_ordered and wanted != "never" and s.presence.is_up(b.slot.path) and b.slot.path in s.known.nodes:
        if wanted == "yes":
            say(s, b, msgspec.structs.replace(own, state="joined"), "it is there and needed")
            return
        if (b.silent_s is not None or b.empty) and not is_empty(s, b.slot.path):
            b.silent_s, b.empty = None, False
            say(s, b, msgspec.structs.replace(own, state="draining"), "something runs on it after all")
            return
    if not is_ordered and not ceiling and s.presence.is_up(b.slot.path) and (last := last_of(s, b.slot.path)):
        # It was another's when this one was let go, and that one has fallen since.
        why = f"it holds the last healthy replica of {', '.join(last)}"
        say(s, b, msgspec.structs.replace(own, state="draining"), why)
        return
    if b.asked_s < b.since_s:
        look(s, b, "name and tag once more, before it is destroyed")
        return
    again_s = s.timing.list_again_s
    there = ours(s, b, own)
    due = [machine for machine in there if is_due(s, b, machine) and not machine.busy]
    if due:
        destroy(s, book, b, due[0], own.why)
    elif own.id and own.id not in b.destroyed and not there:
        destroy(s, book, b, Rented(own.id, str(b.slot), own.name, True, "active"), own.why)  # lists may be late
    elif there or own.offer in b.silent or b.asked_s < max(b.destroyed.values(), default=NEVER):
        look(s, b, "whether it is gone", after_s=b.asked_s + again_s)
    else:
        _gone(s, book, of, b, own, wanted)


def _gone(s: Situation, book: Book, of: Pool, b: Berth, own: Machine, wanted: Wanted) -> None:
    for id in (own.id, *b.destroyed):
        if id:
            ledger.book_it(s, book, id, own.why)
    b.destroyed, b.absent_s, b.machines = {}, None, ()
    body = Machine(state="gone", id=own.id, name=own.name, tries=own.tries)
    if own.tries and wanted == "yes":
        wait(s, b)
    say(s, b, body, own.why)


def bury(s: Situation, b: Berth, own: Machine, wanted: Wanted) -> None:
    """It is gone: whoever is enrolled under its path goes, too; then nothing is left to say, unless a dead keeper says otherwise."""
    node = s.known.nodes.get(b.slot.path)
    if node is not None:
        acting.enrol(s, b, node, "expelled", "its machine is gone")
        return
    if wanted == "yes" and s.now >= b.again_s:
        b.taken_s, b.begun_s, b.begun, b.known = s.now, NEVER, "", ("", NEVER)
        say(s, b, Machine(state="creating", tries=own.tries), "it is wanted again")
    elif wanted != "yes" and not any(word.id == own.id and word.state != "gone" for word in words(s, b.slot)):
        let_go(s, b, "it is gone")
