"""Whose turn it is in a rollout, by facts held: which slots may have the new version, when one may go to it, when all have.

The rules are in rollout.py and canary.py; here they meet what this node knows. Moving is deciding.py's.
"""

from __future__ import annotations

import math

from skerry.core import canary
from skerry.core.failures import beyond_tolerance, failed_slots
from skerry.core.health import start_limit_s
from skerry.core.records import Slot
from skerry.core.replicas import Replica
from skerry.core.rollout import Lower, MayMove, may_move
from skerry.core.situation import Situation
from skerry.core.tending import completed
from skerry.core.versions import Want

_SLACK_S = 5.0
_UNDER_WAY = ("waiting", "fetching", "initialising", "starting", "stopping")


# --- how far the new version may go ------------------------------------------------------------------------------------


def review_canary(s: Situation, app: str, service: str) -> bool:
    """Note which slots stay with the version before for now, and look again when the hold is over. Gives whether that changed."""
    before = s.held_back.pop((app, service), None)
    held = held_now(s, app, service)
    if held is not None:
        numbers = sorted(s.numbers(app, service))
        s.held_back[app, service] = numbers[held.slots]
        if held.until_s is not None:
            s.later(Slot(app, service, numbers[0]), held.until_s)
    return s.held_back.get((app, service)) != before


def held_now(s: Situation, app: str, service: str) -> canary.Held | None:
    """The step of its canary that a service is at; None: it has none, or they are over."""
    of = s.wants.get(app)
    want = of.services.get(service) if of is not None else None
    before = of.before.get(service) if of is not None else None
    if want is None or before is None or before.spec == want.spec or (app, service, want.spec) in s.settled:
        return None
    numbers = s.numbers(app, service)
    steps = canary.steps_of(want.service.canary, len(numbers))
    if not steps or s.paused(Slot(app, service, 0), want):
        return None  # of a paused one nothing moves anyway
    since: list[float | None] = []
    for index in sorted(numbers)[: max(step.slots for step in steps)]:
        done = s.done.get(Slot(app, service, index))
        since.append(done[1] if done is not None and done[0] == want.spec else None)
    return canary.held(steps, since, s.now)


# --- when a slot may move ------------------------------------------------------------------------------------------------


def may_go(s: Situation, slot: Slot, want: Want, *, starts_first: bool) -> MayMove:
    """Whether a slot of ours may go to the version that it shall run now. `starts_first`: beside the old one."""
    if s.paused(slot, want):
        return MayMove(False, "the new version failed, and the service says to pause then")
    app = s.wants[slot.app]
    ripe = s.changed_s.get(slot.app, 0.0) + s.timing.mixed_wait_s
    if app.mixed and s.now < ripe:
        return MayMove(False, "a release for the newer app document may be under way", ripe)
    for depends in want.service.depends_on:
        if depends.condition == "completed" and not completed(s, slot.app, depends.service):
            return MayMove(False, f"waits for {depends.service} to be completed")
    if not any(replica.well_once or _may_serve(replica) for replica in s.replicas.of(slot).values()):
        return MayMove(True, "nothing of it was ever well")  # it holds nothing up, and the others wait for it
    update = want.service.update
    numbers = s.numbers(slot.app, slot.service)
    lower = [_lower(s, slot._replace(index=index), want) for index in numbers if index < slot.index]
    if (early := _too_early(s, slot, want, starts_first)) is not None:
        return early
    between = [Lower(str(other), None) for other in _between(s, slot, want)]
    answer = may_move([*lower, *between], parallelism=update.parallelism, delay_s=update.delay_s, now_s=s.now)
    if between and not answer.yes and answer.look_again_s is None:
        return answer._replace(look_again_s=_between_until_s(s, slot, want))
    return answer


def _may_serve(replica: Replica) -> bool:
    """It ran before our agent did, which knows no more of it: its records are lost, and its probe has not answered yet."""
    return replica.adopted and replica.phase == "running" and replica.healthy is None


def _lower(s: Situation, slot: Slot, want: Want) -> Lower:
    """Of a slot of lower number: while a canary is held, what it shall run may be another version."""
    own = (s.want(slot) or want) if s.held_back else want
    return Lower(str(slot), done_s(s, slot, own))


def _too_early(s: Situation, slot: Slot, want: Want, starts_first: bool) -> MayMove | None:
    """What keeps a slot that serves from moving, beside the order.

    A version may answer and die seconds later. Where the old one has to stop first, the last of the version before therefore goes
    only when one of the others has been well for the monitor's time. And where one rollout takes over from another that has not ended,
    nodes hear of it one after the other: it begins when all have.
    """
    update, numbers = want.service.update, s.numbers(slot.app, slot.service)
    if not starts_first and 0 < update.parallelism < len(numbers) and _is_last_of_tried(s, slot, want):
        done = (s.done.get(slot._replace(index=index)) for index in numbers if index != slot.index)
        ripe = (
            min((at[1] for at in done if at is not None and at[0] == want.spec), default=-math.inf) + update.monitor_s
        )
        if s.now < ripe:
            why = f"the last of its version: waits until another has been well for {update.monitor_s:g} s"
            return MayMove(False, why, ripe)
    ripe = s.took_over_s.get((slot.app, slot.service), -math.inf) + s.timing.superseded_wait_s
    if s.now < ripe:
        return MayMove(False, "another rollout was under way: first all hosts hear of this one", ripe)
    return None


def stays_beside_s(s: Situation, slot: Slot, want: Want, well_s: float | None) -> float | None:
    """Until when a replica of the version before stays beside the new one, which is well since `well_s`, here or on another node.

    Without requests: it serves again if the new one ends. In the last slot only, where the new one starts first: that is one
    replica more for the monitor's time, and nothing waits for it. None: it goes.
    """
    update = want.service.update
    if update.order != "start-first" or well_s is None or not _is_last_of_tried(s, slot, want):
        return None
    until_s = well_s + update.monitor_s
    return until_s if s.now < until_s else None


def _is_last_of_tried(s: Situation, slot: Slot, want: Want) -> bool:
    """Whether it is the last slot of a service that goes to a version of which nobody knows yet how long it stays well."""
    service = want.service
    if want.back or s.newest_spec(slot) != want.spec or (slot.app, slot.service, want.spec) in s.settled:
        return False
    serves = service.probe is not None or service.restart.condition == "any"  # a job ends anyway
    return serves and slot.index == max(s.numbers(slot.app, slot.service), default=-1)


def turned(s: Situation, app: str, service: str) -> None:
    """Another version of a service is wanted from now on."""
    s.turned_s[app, service] = s.now
    ours = (replica for replica in s.replicas if replica.slot[:2] == (app, service) and not replica.beside)
    specs = {replica.spec for replica in ours}
    for slot in s.slots.get((app, service), ()):
        for claimant in s.standings[slot].claimants[:1]:
            state = s.state_of(claimant.node, slot)
            specs |= {claimant.spec} | ({state.spec} if state is not None else set())
    if len(specs) > 1:
        s.took_over_s[app, service] = s.now


def _between(s: Situation, slot: Slot, want: Want) -> list[Slot]:
    """Slots of higher number that an earlier rollout has left between two versions: nothing of them serves.

    They hold up the others only for as long as two starts may take; what ails for longer is no rollout.
    """
    if s.now >= _between_until_s(s, slot, want):
        return []
    higher = (slot._replace(index=index) for index in s.numbers(slot.app, slot.service) if index > slot.index)
    return [other for other in higher if _is_between(s, other)]


def _between_until_s(s: Situation, slot: Slot, want: Want) -> float:
    """Two nodes may try a version before it is known to be bad."""
    turned_s = s.turned_s.get((slot.app, slot.service), -math.inf)
    return turned_s + 2 * start_limit_s(want.service.probe, s.timing.start_limit_s) + _SLACK_S


def _is_between(s: Situation, slot: Slot) -> bool:
    standing = s.standings.get(slot)
    if standing is None or standing.winner is not None:
        return False
    if not standing.claimants:
        return True
    best = standing.claimants[0]
    state, mark = s.state_of(best.node, slot), s.unwell.get((slot, best.node))
    return state is None or state.state in _UNDER_WAY or mark is None or not mark.well_once


def done_s(s: Situation, slot: Slot, want: Want) -> float | None:
    """Since when a slot does not hold up those after it; None: it does."""
    done = s.done.get(slot)
    if done is not None and done[0] == want.spec:
        return done[1]
    empty = s.vacant.get(slot)
    if empty is not None and s.now - empty > s.timing.takeover_after_s:
        return empty  # nobody can have it for now (its data's node is down, no room): the others go on without it
    update = want.service.update
    goes_on = update.failure_action == "continue"
    tolerates = goes_on or (update.max_failure_ratio > 0 and not beyond_tolerance(s, slot.app, slot.service, want))
    return s.now - update.delay_s if tolerates and slot in failed_slots(s, slot, want) else None


# --- what is done ------------------------------------------------------------------------------------------------------


def settle(s: Situation, app: str, service: str, want: Want | None) -> None:
    """Once all are done and stayed so for the monitor's time, the version has proved itself: failures no longer judge it."""
    if want is None or (app, service, want.spec) in s.settled:
        return
    slots = [Slot(app, service, index) for index in s.numbers(app, service)]
    if not slots:
        return
    since = [done[1] for slot in slots if (done := s.done.get(slot)) is not None and done[0] == want.spec]
    if len(since) < len(slots):
        return
    ripe = max(since) + want.service.update.monitor_s
    if s.now >= ripe:
        s.settled.add((app, service, want.spec))
        for slot in s.own_of(app, service):
            s.touch_slot(slot)  # what we hold of it is said to be proved
    else:
        s.later(slots[0], ripe)
