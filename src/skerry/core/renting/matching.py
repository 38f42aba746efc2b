"""Which of the machines that a provider lists is a slot's: found by name, known by tag or id; of two of one name one stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from skerry.core.facts import Machine
from skerry.core.records import MachineSlot
from skerry.core.renting.acting import call, look, say
from skerry.core.renting.berths import NEVER, Berth, Book
from skerry.core.renting.dealings import DestroyMachine, Rented

if TYPE_CHECKING:
    from skerry.core.situation import Situation


def ours(s: Situation, b: Berth, own: Machine) -> list[Rented]:
    """Of the machines of this name those that bear our tag, or whose id we were told when they were made."""
    told = {word.id for word in (*words(s, b.slot), own) if word.id}
    return [machine for machine in b.machines if machine.state != "gone" and (machine.tagged or machine.id in told)]


def words(s: Situation, slot: MachineSlot) -> list[Machine]:
    return [body for body in s.known.about("machine", str(slot)).values() if isinstance(body, Machine)]


def chosen(s: Situation, b: Berth, machines: Iterable[Rented]) -> Rented | None:
    """Of several of one name one stays: the one that is enrolled, by its address; else the oldest, then the lower id."""
    hosts = _hosts(s, b)
    return min(
        machines,
        key=lambda m: (not (m.address and m.address in hosts), m.created, len(m.id), m.id),
        default=None,
    )


def _hosts(s: Situation, b: Berth) -> set[str]:
    """Where the enrolled machine of the slot is, by its enrolment."""
    node = s.known.nodes.get(b.slot.path)
    return {address.rpartition(":")[0] for address in node.addresses} if node is not None else set()


def _is_old_news(s: Situation, b: Berth, there: Iterable[Rented]) -> bool:
    """One is enrolled, and the list was made before any had the address that would show which."""
    hosts, addresses = _hosts(s, b), {machine.address for machine in there}
    return bool(hosts) and not hosts & addresses and "" in addresses


def found(s: Situation, book: Book, b: Berth, own: Machine, machine: Rented, why: str) -> None:
    """A machine of this slot's name and our tag: whoever asked for it, it is the slot's."""
    book.mine.add(machine.id)
    before = next((word for word in words(s, b.slot) if word.id == machine.id), own)
    created = own.created if own.id == machine.id or (own.token and not own.id) else before.created
    body = msgspec.structs.replace(
        own, state="booting", id=machine.id, name=machine.name, address=machine.address or own.address, size=machine.size,
        region=machine.region, price_usd_hour=machine.price_usd_hour or own.price_usd_hour, offer=machine.offer,
        token=before.token,
        token_until=before.token_until, created=created or min(machine.created, s.wall(s.now)) or s.wall(s.now),
    )  # fmt: skip
    b.absent_s = None
    if b.known[0] != machine.id:
        b.known = (machine.id, s.now)
    say(s, b, body, why)


def follow(s: Situation, book: Book, b: Berth, own: Machine) -> Machine | None:
    """What the list by name says of the machine that we hold. None: something is done about it, look again later.

    Two of one name: one stays, the others are given back. One that is no more: others go on without it.
    """
    there = ours(s, b, own)
    keep = chosen(s, b, there)
    if keep is None and own.offer in b.silent:
        return own  # whether it is there can't be asked just now
    if keep is None:
        if b.absent_s is None:
            b.absent_s = b.asked_s
        if has_joined(s, b.slot) or b.asked_s < b.absent_s + s.timing.settle_s / 2:
            if not has_joined(s, b.slot):
                look(s, b, "it is in no list: whether it is gone", after_s=b.asked_s + s.timing.list_again_s)
                return None
            return own  # it lives, whatever the provider says
        b.destroyed = {**b.destroyed, own.id: s.now}
        say(s, b, msgspec.structs.replace(own, state="returning", tries=own.tries + 1), "the provider has it no more")
        return None
    b.absent_s = None
    others = [machine for machine in there if machine.id != keep.id]
    if others and _is_old_news(s, b, there):
        look(s, b, "which of two of one name is the enrolled one", after_s=b.asked_s + s.timing.list_again_s)
        return None
    if others:
        # The list that we have may be older than the order that was taken: whoever only orders again never goes on.
        due = [machine for machine in others if is_due(s, b, machine)]
        if due:
            destroy(s, book, b, due[0], f"two are called {keep.name}: {keep.id} stays")
        else:
            look(s, b, "whether the other of its name is gone", after_s=b.asked_s + s.timing.list_again_s)
        return None
    if keep.id != own.id:
        found(s, book, b, msgspec.structs.replace(own, id=""), keep, f"{keep.id} is the one that stays")
        return None
    if keep.address and keep.address != own.address:
        return say(s, b, msgspec.structs.replace(own, address=keep.address), own.why)
    return own


def has_joined(s: Situation, slot: MachineSlot) -> bool:
    node = s.known.nodes.get(slot.path)
    return node is not None and s.presence.is_up(slot.path)


def is_due(s: Situation, b: Berth, machine: Rented) -> bool:
    """Whether it is to be destroyed, or once more: lists show it for a while after the order was taken."""
    return s.now >= b.destroyed.get(machine.id, NEVER) + 6 * s.timing.list_again_s


def destroy(s: Situation, book: Book, b: Berth, machine: Rented, why: str) -> None:
    book.mine.add(machine.id)
    call(
        s,
        b,
        f"destroy {machine.id}",
        DestroyMachine(pool=b.slot.pool, id=machine.id, name=machine.name, tags=machine.tags, reason=why),
    )


def tell_foreign(s: Situation, b: Berth, own: Machine) -> None:
    foreign = [machine.id for machine in b.machines if machine not in ours(s, b, own)]
    if foreign and b.told != f"foreign {foreign}":
        b.told = f"foreign {foreign}"
        s.note(
            "foreign-machine", b.slot, f"{', '.join(foreign)} has this slot's name and not our tag: it is left alone"
        )
