"""How a slot stands, as this node sees it: who claims it, who of them holds it, and who may claim it next.

One holder per slot counts: the best claim that is witnessed healthy. Reads the situation; the only things that it writes are
since when a slot is vacant and since when another's replica is unwell, for both are measured by looking.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from skerry.core.constraints import name_of
from skerry.core.facts import Claim, Decline, Saw, SlotState
from skerry.core.health import WITNESSES, Judgement, judge, start_limit_s
from skerry.core.homes import home_of, is_early
from skerry.core.leases.slots import is_holder
from skerry.core.placement import forbids, is_surplus, ranked
from skerry.core.records import Slot
from skerry.core.restarts import again
from skerry.core.situation import Situation, Unwell
from skerry.core.versions import Want
from skerry.core.words import in_short

_LAST = 10_000  # rank of a claimant that is in no order: after all others


class Claimant(msgspec.Struct, frozen=True, gc=False):
    """A node that claims the slot. `against`: why its claim doesn't keep others from claiming, "" if it does."""

    node: str
    order: Sequence[str]
    active: bool
    spec: str
    healthy: bool
    done: bool  # healthy, or a job that ended well
    why: str
    against: str

    @property
    def rank(self) -> int:
        """Its place in the order; behind all others if it is drained. Asked for only where several claim a slot."""
        place = self.order.index(self.node) if self.node in self.order else _LAST
        return place if self.active else place + _LAST


class Standing(msgspec.Struct, frozen=True, gc=False):
    slot: Slot
    order: Sequence[str]
    claimants: tuple[Claimant, ...]  # best first
    vacant: bool
    why: str  # why it is vacant; of one that is claimed, why nobody holds it yet, "" if somebody does
    home: tuple[str, ...]  # nodes that have its data: only they may run it
    dead: tuple[str, ...]  # claimants that are down

    @property
    def winner(self) -> Claimant | None:
        """Who holds it for routes and names."""
        return self.claimants[0] if self.claimants and self.claimants[0].done else None


def has_data(s: Situation, slot: Slot, want: Want) -> bool:
    return s.stays_with_data(slot.app, want.service)


def judged(s: Situation, slot: Slot, node: str, order: Sequence[str]) -> Judgement:
    """Whether the replica of `slot` on `node` is healthy, by its own word and its witnesses'."""
    state = s.state_of(node, slot)
    if state is None or state.state != "running" or not state.address:
        return Judgement(False, state.why or state.state if state is not None else "not started")
    if not s.presence.counts(node, s.known.boot_of(node, "slot", str(slot))):
        return Judgement(False, "has not yet said since it came back how it is")
    saws = s.known.about("saw", f"{slot}@{node}")
    against = [witness for witness, saw in saws.items() if _word(saw, state.spec) is False]
    if not against:
        s.concern.doubted.discard(slot)
        return judge(state.healthy, ())
    s.concern.doubted.add(slot)
    if not any(_may_witness(s, witness, node, order) for witness in against):
        return judge(state.healthy, ())
    words = [_word(saws.get(witness), state.spec) for witness in witnesses(s, node, order)]
    return judge(state.healthy, words)


def _may_witness(s: Situation, witness: str, node: str, order: Sequence[str]) -> bool:
    """False: others come before it, so that its word doesn't count whatever the whole order is."""
    return s.before(order, WITNESSES, lambda path: path != node and s.presence.is_up(path), of=witness) is None


def witnesses(s: Situation, node: str, order: Sequence[str]) -> list[str]:
    """The next two nodes of the slot's order that are up, the owner left out."""
    found = []
    for other in order:
        if other != node and s.presence.is_up(other):
            found.append(other)
            if len(found) == WITNESSES:
                break
    return found


def _word(saw: object, spec: str) -> bool | None:
    return saw.ok if isinstance(saw, Saw) and saw.spec == spec else None


def look(s: Situation, slot: Slot, want: Want) -> Standing:
    order, watchers = ranked(s, slot), s.watchers(slot)
    home = home_of(s, slot, want)
    claimants, dead = [], []
    for node, claim in s.known.about("claim", str(slot)).items():
        if not isinstance(claim, Claim) or (node not in s.known.nodes and node != s.me):
            continue
        if home and node not in home:
            continue  # its data is elsewhere: whatever it says it runs is not the slot
        state = s.state_of(node, slot)
        ended_well = (
            state is not None
            and (state.state, state.exit_code, state.spec) == ("exited", 0, claim.spec)
            and not again(want.service.restart, 0, (), s.now)
        )
        if s.presence.is_down(node) and not (
            ended_well and claim.spec == want.spec
        ):  # a job that is done needs nobody any more
            dead.append(node)
            s.unwell.pop((slot, node), None)
            continue
        judgement = judged(s, slot, node, watchers)
        if want.service.exclusive and judgement.healthy and not is_holder(s, slot, node):
            judgement = Judgement(False, "has not its lease")
        surplus = is_surplus(s, slot, want, node)
        claimants.append(
            Claimant(
                node=node,
                order=order,
                active=s.is_active(node) and not surplus,
                spec=state.spec if judgement.healthy and state is not None else claim.spec,
                healthy=judgement.healthy,
                done=judgement.healthy or ended_well,
                why=judgement.why,
                against=_against(
                    s, slot, want, node, claim, state, judgement.healthy or ended_well, order, home, surplus
                ),
            )
        )
    if len(claimants) > 1:
        claimants.sort(key=lambda c: _merit(s, slot, want, c))
        if len({_merit(s, slot, want, c) for c in claimants}) < len(claimants):
            claimants.sort(key=lambda c: (*_merit(s, slot, want, c), c.rank, c.node))
    vacant = all(claimant.against for claimant in claimants)
    if not vacant:
        s.vacant.pop(slot, None)
    elif not home and (before := s.standings.get(slot)) is not None and before.home:
        s.vacant[slot] = s.now  # it waited for its data, and no longer does: from now on the ranks go in turn
    else:
        s.vacant.setdefault(slot, s.now)
    return Standing(slot, order, tuple(claimants), vacant, _why_open(s, claimants, dead), home, tuple(dead))


def _merit(s: Situation, slot: Slot, want: Want, claimant: Claimant) -> tuple[bool, bool, bool]:
    """What counts before a claimant's rank; the least is the best."""
    return not claimant.done, bool(_dropped_until(s, slot, claimant.node)), claimant.spec != want.spec


def _why_open(s: Situation, claimants: list[Claimant], dead: list[str]) -> str:
    if claimants:
        best = claimants[0]
        if best.against:
            return f"{name_of(best.node)} {best.against}"
        return "" if best.done else f"claimed by {name_of(best.node)}: {best.why}"
    if dead:
        return f"{name_of(dead[0])} is down: {s.presence.seen(dead[0]).why}"
    return "nobody holds it"


def _against(
    s: Situation, slot: Slot, want: Want, node: str, claim: Claim, state: SlotState | None, well: bool,
    order: Sequence[str], home: tuple[str, ...], surplus: str,
) -> str:  # fmt: skip
    """Why a live node's claim leaves the slot open for others, "" if it keeps it."""
    mark = s.unwell.get((slot, node))
    if mark is None or mark.spec != claim.spec:
        mark = s.unwell[slot, node] = Unwell(claim.spec, s.now, well, well, s.now)
    if mark.well and not well:
        mark.since_s = s.now
    if well and not mark.well:
        mark.well_s = s.now
    mark.well, mark.well_once = well, mark.well_once or well
    if home:
        return ""  # its data is there: it waits for it whatever happens
    if not s.is_active(node):
        return "is being drained"
    if has_data(s, slot, want) and is_early(s, slot, want, node):
        return "claims it before its turn"
    if node not in order:
        return "may no longer run it"
    if surplus:
        return surplus
    decline = s.known.of(node, "decline", str(slot), Decline)
    cannot = decline is not None and decline.spec == want.spec and (decline.failed or claim.spec != want.spec)
    if decline is not None and cannot and not s.paused(slot, want):
        return f"could not run this version: {in_short(decline.reason)}"
    if dropped := _dropped_until(s, slot, node):
        s.later(slot, dropped)
        return "let go of it to nobody and is barred for now"
    if well:
        return ""
    if s.bars.until(slot, node, s.now):
        s.later(slot, s.bars.until(slot, node, s.now))
        return "failed and is barred for now"
    return _unwell(s, slot, want, node, state, mark)


def _dropped_until(s: Situation, slot: Slot, node: str) -> float:
    """Until when it counts against a node that it let go of the slot to nobody; 0.0: it doesn't (any more).

    Who held a slot, and when, is remembered by each node for itself, and one that has just started saw less than others. So that
    all come to one holder soon, it ends where the node holds the slot well for a while: who grabs and drops does not.
    """
    until, mark = s.drops.until(slot, node, s.now), s.unwell.get((slot, node))
    if until and mark is not None and mark.well:
        until = min(until, mark.well_s + s.timing.forgiven_s)
    return until if until > s.now else 0.0


def _unwell(s: Situation, slot: Slot, want: Want, node: str, state: SlotState | None, mark: Unwell) -> str:
    if node == s.me:
        return ""  # about our own we decide by tending it
    if mark.well_once:
        if not s.others_well(slot, mark.spec):
            return ""
        at, why = mark.since_s + s.timing.unwell_moves_s, "is not healthy, while others of this version are"
    else:
        if state is not None and state.state in ("waiting", "initialising"):
            mark.since_s = s.now  # for a service that it depends on, say, or its data: no failure of its own
        limit = start_limit_s(want.service.probe, s.timing.start_limit_s)
        slack = 60.0 if state is None or state.state in ("fetching", "waiting") else 2.0  # it judges itself first
        at, why = mark.since_s + limit + slack, "did not become healthy in time"
    if s.now < at:
        s.later(slot, at)
        return ""
    if not mark.well_once:
        s.bars.bar(slot, node, s.now)
    return why


def ahead(s: Situation, standing: Standing, want: Want) -> list[str]:
    """Nodes that may still claim the slot before this one: in the order before it, not down, declined, barred or drained."""
    declines = s.known.about("decline", str(standing.slot))
    found = []
    for node in standing.order:
        if node == s.me:
            break
        decline = declines.get(node)
        if (
            s.presence.is_down(node)
            or not s.is_active(node)
            or (isinstance(decline, Decline) and decline.spec == want.spec)
            or s.barred_until(standing.slot, node)
            or any(claimant.node == node for claimant in standing.claimants)
            or forbids(s, standing.slot, want, node)
        ):
            continue
        found.append(node)
    return found
