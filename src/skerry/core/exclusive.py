"""What this node does about the leases of its slots: guards them, ends what has none any more, lets go in good time.

At the end of its lease a container is dead, whether or not this core runs: the guard, a process of its own, sees to that. What is
done here is the same by the agent's word, and everything that the others should know.
"""

from __future__ import annotations

from skerry.core.constraints import name_of
from skerry.core.effects import Guard
from skerry.core.leases import slots
from skerry.core.leases.holder import Mine
from skerry.core.records import Slot
from skerry.core.situation import Situation
from skerry.core.standing import Standing
from skerry.core.tending import stop
from skerry.core.versions import Want

_RUNS = ("starting", "initialising", "running")


def begin(s: Situation) -> None:
    """What an earlier life of this agent held and what still runs of it is asked for again; of the rest nothing runs any more."""
    s.leases.holder.begin(s.boot, max(0, int(s.clock * 1000)))
    ask = s.leases.former_ask(s)
    for lease, number in (ask.leases if ask is not None else {}).items():
        slot = Slot.read(lease)
        if slot is None:
            continue
        s.leases.holder.take(lease, number, s.now, resumed=True)
        running = [r for r in s.replicas.of(slot).values() if r.phase == "running"]
        for r in running:
            r.fencing = number
        if not running:
            s.leases.holder.free(lease, s.now)
    s.leases.due = True


def review(s: Situation) -> None:
    """Before anything is decided, and after."""
    if s.leases.review(s, lambda lease, node: slots.stand(s, lease, node)):
        s.fence_due = True
    for lease, mine in s.leases.take_lost():
        if (slot := Slot.read(lease)) is not None:
            _lost(s, slot, mine)
    for lease, mine in list(s.leases.leases.items()):
        slot = Slot.read(lease)
        if slot is None:
            continue
        if s.claim_of(s.me, slot) is None and not s.replicas.of(slot):
            _free(s, slot, mine)
        elif mine.held and s.guarded.get(slot) != (mine.number, mine.until_s):
            _guard(s, slot, mine)
    if s.fence_due:
        s.fence_due = False
        slots.review_fence(s)


def _guard(s: Situation, slot: Slot, mine: Mine) -> None:
    before = s.guarded.get(slot)
    s.guarded[slot] = (mine.number, mine.until_s)
    s.out.append(
        Guard(
            slot=slot,
            number=mine.number,
            until_s=mine.until_s,
            reason=f"more than half of the voters granted lease {mine.number}",
        )
    )
    if before is None or before[0] != mine.number:
        s.note("leased", slot, f"lease {mine.number}, from more than half of the voters")
        s.touch_slot(slot)


def _free(s: Situation, slot: Slot, mine: Mine) -> None:
    s.leases.free(s, str(slot))
    if s.guarded.pop(slot, None) is not None:
        s.out.append(Guard(slot=slot, number=mine.number, until_s=0.0, reason="nothing of it runs here any more"))
        s.note("lease-freed", slot, f"lease {mine.number} is free for others")


def _lost(s: Situation, slot: Slot, mine: Mine) -> None:
    """Its time is over, or others have another's word: what runs is ended at once, and started anew under a higher number."""
    why = f"lease {mine.number} could not be renewed in time: {s.leases.why(s, str(slot))}"
    s.note("lease-lost", slot, why)
    s.guarded.pop(slot, None)
    for r in list(s.replicas.of(slot).values()):
        if r.phase in _RUNS:
            r.then_again = True
            stop(s, r, why, at_once=True)
    s.touch_slot(slot)


def yields(s: Situation, slot: Slot, want: Want, standing: Standing) -> str:
    """Why this node lets go of an exclusive slot that it claims, "" if it keeps it: one at a time, so the next starts after it."""
    leaving = [claimant.node for claimant in standing.claimants if claimant.against]
    if why := slots.holds_instead(s, slot, leaving):
        return why
    if s.leases.held(str(slot), s.now) is None:
        return ""
    own = next((claimant for claimant in standing.claimants if claimant.node == s.me), None)
    ill = any(r.well_once and not r.healthy and r.phase == "running" for r in s.replicas.of(slot).values())
    must_go = not s.is_active(s.me) or s.me not in standing.order
    if own is None or not (ill or must_go):
        return ""
    other = slots.successor(s, slot, s.leases.holder_of(s, str(slot)))
    if not other:
        return ""
    return f"{name_of(other)} could take it at once, and this {'node is being drained' if must_go else 'replica is not healthy'}"
