"""Exclusive slots: what a lease means for a slot. Reads the situation and asks for leases; stops and starts nothing.

An exclusive slot is claimed like any other. Then, when it could start at once, its claimant asks voters for the slot's lease, starts
the container under the lease's number, and lets the lease go when nothing of the slot runs here any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from skerry.core.constraints import name_of
from skerry.core.effects import Fence, Fenced
from skerry.core.facts import Decline, Grant, SlotState
from skerry.core.leases.desk import Stand
from skerry.core.records import Slot
from skerry.core.replicas import Replica
from skerry.core.situation import Situation
from skerry.core.versions import Want

_NEVER = 10_000


def stand(s: Situation, lease: str, node: str) -> Stand:
    """Whether a node may have the lease of a slot: it claims it, and stands in its order or has its data."""
    slot = Slot.read(lease)
    want = s.want(slot) if slot is not None else None
    if slot is None or want is None or not want.service.exclusive:
        return Stand("it is no exclusive slot that is wanted", _NEVER)
    order = s.order(slot)
    if node not in order:
        return Stand("it may not run it", _NEVER)
    if s.claim_of(node, slot) is None:
        return Stand("it does not claim it", _NEVER)
    rank = order.index(node)
    better = sum(_might_take(s, slot, other, want) for other in order[:rank])
    return Stand("", rank, better * s.timing.claim_delay_s)


def _might_take(s: Situation, slot: Slot, node: str, want: Want) -> bool:
    """Whether this better placed node may still ask. One that claims and can't start has all its time: it is not waited for."""
    decline = s.known.of(node, "decline", str(slot), Decline)
    no = s.presence.is_down(node) or not s.is_active(node) or s.barred_until(slot, node)
    return not no and not (decline is not None and decline.spec == want.spec)


def gate(s: Situation, r: Replica) -> str:
    """Why a container that could start now has to wait for its lease, "" if it need not."""
    lease = str(r.slot)
    if s.leases.held(lease, s.now, s.timing.lease_least_s) is not None:
        return ""
    if any(
        other is not r and other.phase in ("starting", "initialising", "running", "stopping")
        for other in s.replicas.of(r.slot).values()
    ):
        return "waits for what ran before it to end"  # until then the lease of that is not ours to give up
    return s.leases.want(s, lease) or f"waits for its lease: {s.leases.why(s, lease)}"


def number_of(s: Situation, slot: Slot) -> int:
    mine = s.leases.held(str(slot), s.now)
    return mine.number if mine is not None else 0


def is_holder(s: Situation, slot: Slot, node: str) -> bool:
    """Whether the newest lease that enough voters granted is this node's. Only it serves, whatever else is claimed."""
    held = s.fenced.get(slot)
    return held is not None and held.node == node


def review_fence(s: Situation) -> None:
    """Tell the newest lease of every exclusive slot. A number that was once seen never goes down."""
    found: dict[Slot, Fenced] = {}
    for lease in s.known.facts.get("grant", {}):
        slot = Slot.read(lease)
        want = s.want(slot) if slot is not None else None
        if slot is None or want is None or not want.service.exclusive:
            continue
        before, now = s.fenced.get(slot), s.leases.newest(s, lease)
        if before is not None and now is not None and now.number == before.number and now.holder != before.node:
            # Who asked in vain while voters changed has given its votes back, and another won with the same number.
            before = None if now == s.leases.holder_of(s, lease) else before
        if now is not None and (before is None or now.number > before.number):
            found[slot] = Fenced(slot, now.holder, now.number)
            s.touch_slot(slot)
        elif before is not None:
            found[slot] = before
    refused = overtaken(s, found)
    if found != s.fenced or refused != s.refused:
        s.fenced, s.refused = found, refused
        leases = tuple(found[slot] for slot in sorted(found))
        s.out.append(Fence(leases=leases, refused=refused, reason="the voters granted a newer lease"))


def overtaken(s: Situation, leases: Mapping[Slot, Fenced]) -> tuple[str, ...]:
    """Addresses of containers of these slots that run, as their nodes say, without the newest lease. A node that stands still
    says what it said before it did. That each is of its node's own subnet, trust has seen to.
    """
    return tuple(
        sorted(
            {
                state.address
                for slot, lease in leases.items()
                for node, state in s.known.about("slot", str(slot)).items()
                if isinstance(state, SlotState)
                and state.address
                and (node != lease.node or state.fencing < lease.number)
            }
        )
    )


def successor(s: Situation, slot: Slot, own: Grant | None) -> str:
    """Another claimant that could start at once if it had the lease, "" if there is none."""
    lease, number = str(slot), own.number if own is not None else 0
    for node in s.order(slot):
        if (
            node != s.me
            and s.claim_of(node, slot) is not None
            and s.presence.is_up(node)
            and s.leases.asks(s, lease, node) > number
        ):
            return node
    return ""


def holds_instead(s: Situation, slot: Slot, leaving: Collection[str]) -> str:
    """Why another's lease means that our claim is in vain, "" if it doesn't. `leaving`: nodes whose claim keeps nobody away."""
    held = s.fenced.get(slot)
    if (
        held is None
        or held.node == s.me
        or held.node in leaving
        or not s.presence.is_up(held.node)
        or s.claim_of(held.node, slot) is None
    ):
        return ""
    if s.leases.asks(s, str(slot), held.node) != held.number:
        return ""
    return f"{name_of(held.node)} holds it, with lease {held.number}"
