"""When a better-placed node takes over a slot that is well where it is.

Only ranks improve, one slot of a service at a time; so it ends. Ranks that wishes make (placement.ranked) change only with the
places of services that nothing leads back from.
"""

from __future__ import annotations

from skerry.core.constraints import name_of
from skerry.core.facts import Decline
from skerry.core.placement import forbids, gain, is_settled, lacks
from skerry.core.records import MachineSlot, Slot
from skerry.core.situation import Situation
from skerry.core.standing import Standing, ahead
from skerry.core.versions import Want

_STUCK_S = 60.0  # a lower slot's better node has not taken it for so long: it evidently can't


def may_improve(s: Situation, slot: Slot, want: Want, standing: Standing) -> str:
    """Why this node should have the slot, "" if it shouldn't (now). Start-first follows from claims: a loser waits."""
    holder = standing.winner
    if not want.may_overlap or holder is None or holder.spec != want.spec or _is_moving(standing):
        return ""
    if MachineSlot.of_path(s.me) and MachineSlot.of_path(holder.node):
        return ""  # machines come and go: nothing moves between them for a better rank, only to where it may stay
    own = standing.order.index(s.me) if s.me in standing.order else None
    if own is None or own >= holder.rank or ahead(s, standing, want) or lacks(s, slot, want):
        return ""
    if not is_settled(s, slot):
        return ""
    since = max(s.boot_s, s.presence.first_link_s or s.boot_s)
    if s.now < since + s.timing.takeover_after_s:
        s.later(slot, since + s.timing.takeover_after_s)
        return ""
    for index in s.numbers(slot.app, slot.service):
        other = s.standings.get(Slot(slot.app, slot.service, index))
        if other is None or other.slot == slot:
            continue
        if other.winner is None or other.winner.spec != want.spec or _is_moving(other):
            return ""
        if index < slot.index and _improvable(s, other, want):
            s.later(slot, s.improvable[other.slot] + _STUCK_S)
            return ""
    words = gain(s, slot, holder.node)
    return f"rank {own} instead of {name_of(holder.node)}'s rank {holder.rank}" + (f": {words}" if words else "")


def _is_moving(standing: Standing) -> bool:
    """Whether a better node has claimed it and is not well yet. Worse ones beside the holder are about to let go; one that
    never does (a captured node that claims all) must not hold up everybody else."""
    holder = standing.claimants[0]
    return any(claimant.rank < holder.rank and not claimant.against for claimant in standing.claimants[1:])


def _improvable(s: Situation, standing: Standing, want: Want) -> bool:
    """Whether a better node than its holder could take it and has not yet been given up on."""
    holder = standing.winner
    assert holder is not None
    declines = s.known.about("decline", str(standing.slot))

    def could(node: str) -> bool:
        if not s.presence.is_up(node) or not s.is_active(node) or s.barred_until(standing.slot, node):
            return False
        return not isinstance(declines.get(node), Decline) and not forbids(s, standing.slot, want, node)

    proven = holder.active and s.before(standing.order, 1, could, of=holder.node)
    if proven or any(could(node) for node in standing.order[: holder.rank]):
        since = s.improvable.setdefault(standing.slot, s.now)
        return s.now < since + _STUCK_S
    s.improvable.pop(standing.slot, None)
    return False
