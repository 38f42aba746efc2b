"""Machines that bear the cloud's tag and belong to no slot: reported, and after `grace_s` given back by the first living keeper.

They are aged by when we first saw them, on our monotonic clock: no provider's or neighbour's clock can shorten that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.core.facts import Machine
from skerry.core.intent import Pool
from skerry.core.order import order_by_name
from skerry.core.records import MachineSlot
from skerry.core.renting.acting import holds
from skerry.core.renting.berths import Book
from skerry.core.renting.dealings import DestroyMachine, Rented

if TYPE_CHECKING:
    from skerry.core.situation import Situation


def review(s: Situation, book: Book, of: Pool) -> None:
    """What the newest sweep showed and nobody looks after."""
    held = _held(s)
    for id in [id for id in book.unknown_s if id not in book.swept or id in held]:
        del book.unknown_s[id]
        book.told.pop(id, None)
    for id, machine in sorted(book.swept.items()):
        if not machine.tagged or id in held or _is_anothers(s, book, machine):
            continue
        since_s = book.unknown_s.get(id)
        if since_s is None:
            book.unknown_s[id] = s.now
        elif s.now >= since_s + s.timing.sweep_s and id not in book.told:  # not of one that has just been destroyed
            book.told[id] = "unknown"
            s.note(
                "unknown-machine", id, f"{machine.name} belongs to no slot: it is given back after {of.grace_s:.0f} s"
            )
        elif s.now >= since_s + of.grace_s and s.now >= book.again_s and _is_first(s, book, of):
            _return(s, book, machine, of)


def _held(s: Situation) -> set[str]:
    """Ids that a living keeper names, and those whose slot one holds: it deals with all of that name."""
    ids: set[str] = set()
    slots: set[str] = set()
    for key, about in s.known.facts.get("machine", {}).items():
        slot = MachineSlot.read(key)
        for keeper, body in about.items():
            if isinstance(body, Machine) and not s.presence.is_down(keeper):
                ids.add(body.id)
                if slot is not None and holds(s, slot, keeper):
                    slots.add(key)
    for book in s.renting.books.values():
        ids |= {id for id, machine in book.swept.items() if machine.slot in slots}
    return ids


def _is_anothers(s: Situation, book: Book, machine: Rented) -> bool:
    """Of a pool whose keepers look after it: not ours to judge."""
    slot = MachineSlot.read(machine.slot)
    if slot is None or slot.pool == book.pool:
        return False
    of = s.known.body(f"pool/{slot.pool}", Pool)
    return of is not None and bool(of.keepers)


def _is_first(s: Situation, book: Book, of: Pool) -> bool:
    keepers = {path: s.known.nodes[path] for path in of.keepers if path in s.known.nodes}
    order = order_by_name(f"ghosts of {book.pool}", keepers)
    return next((keeper for keeper in order if s.presence.is_up(keeper)), "") == s.me


def _return(s: Situation, book: Book, machine: Rented, of: Pool) -> None:
    book.unknown_s[machine.id] = s.now - of.grace_s + 6 * s.timing.list_again_s  # if it is still there then, once more
    book.mine.add(machine.id)
    reason = f"no slot has it, {of.grace_s:.0f} s after it was first seen"
    s.note("unknown-machine", machine.id, f"{machine.name} is given back: {reason}")
    s.out.append(DestroyMachine(pool=book.pool, id=machine.id, name=machine.name, tags=machine.tags, reason=reason))
