"""What this node does about each slot of a service: claim, hold, move on, let go. First look, then decide, then act."""

from __future__ import annotations

import math
from collections.abc import Collection

from skerry.core import exclusive, wishing
from skerry.core.claims import ClaimIt, DeclineIt, LookAgain, consider
from skerry.core.concern import is_ours
from skerry.core.constraints import name_of
from skerry.core.facts import Claim, Decline
from skerry.core.homes import DATA_PATIENCE, keep_words
from skerry.core.placement import lacks
from skerry.core.rebalance import may_improve
from skerry.core.records import Slot
from skerry.core.replicas import Replica
from skerry.core.rollout import MayMove
from skerry.core.routes import leads_elsewhere
from skerry.core.situation import Situation
from skerry.core.standing import Standing, ahead, has_data, look
from skerry.core.tending import cannot, publish_state, stop, tend
from skerry.core.turns import may_go, review_canary, settle, stays_beside_s
from skerry.core.versions import Want
from skerry.core.witnessing import review_watches

_WITNESSED_S = 2.0  # by then who claims a slot was looked at by its witnesses, and what they say of it is here


def decide_service(s: Situation, app: str, service: str, some: Collection[Slot] | None, own: Collection[Slot]) -> None:
    """Look at slots of a service (None: at all) and do what is due. Called again as long as that changes a fact of ours.

    `own`: those of this service of which this node runs or tells something. Slots that are not our business are only looked at; those
    that are, are decided also when another slot of the service has changed.
    """
    wanted = s.wants[app].services.get(service) if app in s.wants else None
    if review_canary(s, app, service):
        some = None  # others are to run another version than a moment ago
    numbers = s.numbers(app, service)
    if some is None:
        slots = [Slot(app, service, index) for index in numbers]
        _forget_others(s, app, service, slots)
    else:
        slots = [slot for slot in some if slot.index in numbers]
    changed = _look(s, slots)
    if some is not None:
        more = s.concern.of(app, service) if changed else [slot for slot in own if _waits(s, slot)]
        more = [slot for slot in more if slot not in some and slot.index in numbers]
        _look(s, more)
        slots += more
    ours = []
    for slot in sorted({*slots, *(slot for slot in own if slot.index not in numbers)}):
        want = s.want(slot)
        if want is not None:
            if is_ours(s, slot, want, s.standings[slot], slot in own):
                ours.append(slot)
                decide_slot(s, slot, want, s.standings[slot])
        elif s.is_known(slot):
            let_go(s, slot, "the app is deleted" if s.wants[app].deleted else wishing.unwanted(s, slot))
        else:
            for replica in list(s.replicas.of(slot).values()):
                tend(s, replica)
            if s.state_of(s.me, slot) is not None:
                publish_state(s, slot, "")
            # else silence, not "no data here": our records may be lost, and what we said before them holds until we know
    review_watches(s, ours, slots, app, service)
    keep_words(s, app, service, ours)
    settle(s, app, service, wanted)
    if review_canary(s, app, service):
        s.touch(app, service)


def _waits(s: Situation, slot: Slot) -> bool:
    """Whether a container of ours is not started yet: what it waits for may be under way now."""
    return any(replica.phase in ("waiting", "fetching") for replica in s.replicas.of(slot).values())


def _look(s: Situation, slots: Collection[Slot]) -> bool:
    """See how slots stand; whether one stands otherwise than before."""
    changed = False
    for slot in sorted(slots):
        want = s.want(slot)
        assert want is not None
        s.agenda.forget(slot)
        before = s.standings.get(slot)
        now = s.standings[slot] = look(s, slot, want)
        if before is None:
            s.slots.setdefault((slot.app, slot.service), set()).add(slot)
        if before != now:
            changed = True
            s.touch_dependents(slot.app, slot.service)
        (s.unheld.pop if now.winner is not None else s.unheld.setdefault)(slot, None)
        if leads_elsewhere(s, slot, want):
            s.routes_due.add(slot.app)
        _mark_done(s, now, want)
    return changed


def _forget_others(s: Situation, app: str, service: str, slots: Collection[Slot]) -> None:
    """Slots that are wanted no more."""
    held = s.slots.get((app, service), set())
    for slot in sorted(held.difference(slots)):
        del s.standings[slot]
        held.discard(slot)
        s.vacant.pop(slot, None)  # wanted again, it is vacant from then on: the ranks go in turn
        s.concern.forget(slot)
        s.agenda.forget(slot)
        s.targets.pop(slot, None)
        s.unheld.pop(slot, None)
        s.routes_due.add(app)


def decide_slot(s: Situation, slot: Slot, want: Want, standing: Standing) -> None:
    if s.claim_of(s.me, slot) is not None:
        reason = _why_let_go(s, slot, want, standing)
        if reason:
            let_go(s, slot, reason)
        else:
            hold(s, slot, want, standing)
    elif (
        slot in s.homes
        and s.me in (standing.home or (s.me,))
        and standing.winner is None
        and (running := list(s.replicas.of(slot).values()))
    ):
        reason, of = "it runs here, and its data is here", running[0]
        rank = standing.order.index(s.me) if s.me in standing.order else 0
        s.note("claimed", slot, reason)
        s.publish("claim", str(slot), Claim(spec=of.spec, image=of.image, rank=rank, reason=reason), reason, sync=True)
        hold(s, slot, want, standing)
    elif any(replica.adopted for replica in s.replicas.of(slot).values()) and s.now < _forgets_nothing_s(s):
        s.whys[slot] = "runs here; asks its neighbours whether this node claims it, which its disk doesn't know"
        s.later(slot, _forgets_nothing_s(s))
    elif s.replicas.of(slot):
        let_go(s, slot, "nothing of ours claims it")
    else:
        _claim_or_wait(s, slot, want, standing)
    _say_declined(s, slot, want, standing)


def _forgets_nothing_s(s: Situation) -> float:
    """By then neighbours have given back what our disk has lost: until then what runs is left alone."""
    return math.inf if s.new else s.boot_s + s.timing.takeover_after_s


# --- claiming ---------------------------------------------------------------------------------------------------------


def _claim_or_wait(s: Situation, slot: Slot, want: Want, standing: Standing) -> None:
    s.whys[slot] = standing.why if standing.vacant else ""
    publish_state(s, slot, want.spec)
    if not (s.is_active(s.me) and s.me in standing.order) and s.me not in standing.home:
        return
    if standing.home and s.me not in standing.home:
        s.whys[slot] = waits_for_home(s, standing) if standing.vacant else ""
        return
    reason = ""
    if not standing.vacant:
        reason = may_improve(s, slot, want, standing)
        if not reason:
            return
    barred = s.bars.until(slot, s.me, s.now)
    if barred:
        s.later(slot, barred)
        return
    if why := s.images.refused(want.image, want.init, want.service):
        cannot(s, slot, want.spec, why)  # as every node will say: nobody need claim it to find out
        return
    answer = consider(
        lacks(s, slot, want),
        len(ahead(s, standing, want)) if standing.vacant else 0,
        vacant_s=s.vacant.get(slot, s.now),
        now_s=s.now,
        delay_s=s.timing.claim_delay_s * (DATA_PATIENCE if has_data(s, slot, want) else 1),
        not_before_s=_not_before(s, slot, want, standing),
        why=reason or standing.why,
    )
    if isinstance(answer, LookAgain):
        s.whys[slot] = answer.reason
        s.later(slot, answer.at_s)
    elif isinstance(answer, DeclineIt):
        s.whys[slot] = answer.reason
    elif isinstance(answer, ClaimIt):
        _claim(s, slot, want, standing, reason or answer.reason)


def waits_for_home(s: Situation, standing: Standing) -> str:
    """Why a slot with data waits, in words."""
    home = standing.home[0]
    state = "which is down" if s.presence.is_down(home) else "which has not taken it up yet"
    return f"its data is on {name_of(home)}, {state}"


def _not_before(s: Situation, slot: Slot, want: Want, standing: Standing) -> float:
    """Right after our start we know little: others' slots are left alone, unless we have seen their holder live and die.

    A slot whose data nobody seems to have is made anew a little later than others are claimed: two with data can't be undone.
    """
    at = s.awake_s()
    if not standing.home and has_data(s, slot, want) and len(s.known.nodes) > 1:
        linked = s.presence.first_link_s
        at = max(at, (s.boot_s if linked is None else linked) + s.timing.new_data_after_s)
    if any(not s.presence.seen(node).ever_up for node in standing.dead):
        at = max(at, s.boot_s + s.timing.takeover_after_s)
    return at


def _claim(s: Situation, slot: Slot, want: Want, standing: Standing, reason: str) -> None:
    rank = standing.order.index(s.me) if s.me in standing.order else 0
    s.vacant.pop(slot, None)
    s.note("claimed", slot, reason)
    s.publish("claim", str(slot), Claim(spec=want.spec, image=want.image, rank=rank, reason=reason), reason, sync=True)
    replica = _create(s, slot, want)
    tend(s, replica)
    publish_state(s, slot, want.spec)


def _say_declined(s: Situation, slot: Slot, want: Want, standing: Standing) -> None:
    """Our decline, as it should stand now: a failure until its bar ends, no room as long as nobody holds the slot.

    Who serves an earlier version and has no room for the image of the wanted one says so, too: another may take the slot.
    """
    failing = s.failing.get(slot)
    decline = None
    if failing is not None and s.now >= failing.until_s:
        del s.failing[slot]
        failing = None
    if failing is not None:
        s.later(slot, failing.until_s)
        decline = Decline(spec=failing.spec, reason=failing.why[:400], failed=True)
    elif standing.vacant and s.is_active(s.me) and s.me in standing.order and s.claim_of(s.me, slot) is None:
        why = "" if standing.home else lacks(s, slot, want)
        if why:
            decline = Decline(spec=want.spec, reason=why)
            if s.known.about("decline", str(slot)).get(s.me) is None:
                s.note("declined", slot, why)
    elif (too_large := s.images.too_large(want.images)) and s.claim_of(s.me, slot) is not None:
        decline = Decline(spec=want.spec, reason=too_large[:400])
    s.publish("decline", str(slot), decline, decline.reason if decline is not None else "no longer so")


# --- holding ----------------------------------------------------------------------------------------------------------


def _why_let_go(s: Situation, slot: Slot, want: Want, standing: Standing) -> str:
    """Why a slot that we claim is another's, "" if we keep it. A loser stops only when the winner is healthy."""
    if want.service.exclusive and (why := exclusive.yields(s, slot, want, standing)):
        return why
    winner = standing.winner
    own = next((claimant for claimant in standing.claimants if claimant.node == s.me), None)
    running = any(replica.phase in ("running", "starting", "initialising") for replica in s.replicas.of(slot).values())
    if winner is not None and own is not None and winner.node != s.me and not want.service.exclusive:
        says = f"{name_of(winner.node)} holds it"
        if own.done and (until_s := _beside_another_s(s, want, standing)) is not None:
            s.later(slot, until_s)
            return ""
        if own.done:
            mark = s.unwell.get((slot, winner.node))
            seen_s = (mark.well_s if mark is not None else s.now) + _WITNESSED_S
            if winner.rank > own.rank and s.now < seen_s:
                # Only its version speaks for it, and it may say so of any slot: first its witnesses.
                s.later(slot, seen_s)
                return ""
            return f"{says}: rank {winner.rank}, healthy"
        if not winner.against:
            if slot in s.resume:
                return f"{says}: it took it over while this node was away"
            ill = any(replica.well_once and not replica.healthy for replica in s.replicas.of(slot).values())
            if winner.spec == want.spec and (winner.rank < own.rank or ill):
                if ill:
                    s.bars.bar(slot, s.me, s.now)  # not straight back because of a better rank
                return f"{says}: rank {winner.rank}, healthy" + (", and ours no longer is" if ill else "")
    if s.me not in s.known.nodes:
        return "this node is no longer enrolled"
    if standing.home and s.me not in standing.home:
        return f"its data is on {name_of(standing.home[0])}"
    if not running and not standing.home:
        if not s.is_active(s.me):
            return "this node is being drained"
        if s.me not in standing.order:
            return "this node may no longer run it"
        if too_large := s.images.too_large(want.images):
            return too_large
    failing = s.failing.get(slot)
    if failing is not None and failing.spec == want.spec and not standing.home:
        live = any(replica.live and replica.spec != want.spec for replica in s.replicas.of(slot).values())
        if not live:
            return f"failed here: {failing.why}"
    return ""


def _beside_another_s(s: Situation, want: Want, standing: Standing) -> float | None:
    """Until when ours, of the version before, stays beside another node's, which runs the new one well. See turns.py."""
    slot, winner = standing.slot, standing.winner
    if winner is None or winner.node == s.me or winner.spec != want.spec:
        return None
    mark = s.unwell.get((slot, winner.node))
    if mark is None or not any(r.healthy and r.spec != want.spec for r in s.replicas.of(slot).values()):
        return None
    return stays_beside_s(s, slot, want, mark.well_s)


def let_go(s: Situation, slot: Slot, reason: str) -> None:
    """Withdraw the claim at once, stop what runs, and forget the slot when nothing is left (but not that data is here)."""
    s.resume.discard(slot)
    if s.claim_of(s.me, slot) is not None:
        s.note("released", slot, reason)
        s.publish("claim", str(slot), None, reason, sync=True)
    for replica in list(s.replicas.of(slot).values()):
        replica.then_again = False
        stop(s, replica, reason)
    if s.want(slot) is None:
        s.publish("decline", str(slot), None, reason)
    elif s.replicas.of(slot):
        s.homes.discard(slot)  # another holds it: what is left here is no longer the slot's data
    publish_state(s, slot, "", "not wanted now; its data stays here")


def hold(s: Situation, slot: Slot, want: Want, standing: Standing) -> None:
    """Run the slot: in the wanted version, or still in the one before while its turn to move has not come."""
    replicas = s.replicas.of(slot)
    current = replicas.get(want.spec)
    if current is not None and current.phase == "failed" and current.again_s is None and not _fails(s, slot, want):
        stop(s, current, "its bar has ended")  # another version serves meanwhile: this one gets its turn anew
        current = s.replicas.get(slot, want.spec)
    _keep_one(s, [replica for replica in replicas.values() if replica.spec != want.spec])
    others = [replica for replica in s.replicas.of(slot).values() if replica.spec != want.spec]
    live = [replica for replica in others if replica.live]
    s.whys[slot] = ""
    if current is not None:
        tend(s, current)
        current = s.replicas.get(slot, want.spec)
    if current is not None and (current.healthy or current.finished):
        until_s = stays_beside_s(s, slot, want, current.well_s) if live else None
        for old in others:
            old.beside = until_s is not None
            if until_s is None:
                stop(s, old, f"version {_version(want)} is healthy")
        if until_s is not None:
            s.whys[slot] = (
                f"the version before stays beside it, without requests, for {until_s - s.now:.0f} s: in case it ends"
            )
            s.later(slot, until_s)
    else:
        for old in live:
            tend(s, old)
    for old in others:
        if old.phase == "failed":
            stop(s, old, f"failed, and version {_version(want)} is wanted")
    others = [replica for replica in s.replicas.of(slot).values() if replica.spec != want.spec]
    live = [replica for replica in others if replica.live]
    if current is None and not others:
        _begin_or_resume(s, slot, want, standing)
    elif current is None and live and _beside_another_s(s, want, standing) is None:
        _move(s, slot, want, live[0])
    # else: what was before is stopping: the new one starts when it is gone
    serving = s.replicas.get(slot, want.spec)
    old_serves = [replica for replica in live if replica.phase == "running"]
    serves = serving is not None and (serving.healthy or not old_serves)
    of = serving if serves else next(iter(old_serves or live), None)
    rank = standing.order.index(s.me) if s.me in standing.order else 0
    held = s.claim_of(s.me, slot)
    if of is not None and held is not None:
        reason = held.reason if held.spec == of.spec else f"now in version {of.versions[0]}.{of.versions[1]}"
        s.publish("claim", str(slot), Claim(spec=of.spec, image=of.image, rank=rank, reason=reason), reason, sync=True)
    publish_state(s, slot, want.spec)


def _fails(s: Situation, slot: Slot, want: Want) -> bool:
    """Whether the wanted version failed here and its bar still holds."""
    failing = s.failing.get(slot)
    return failing is not None and failing.spec == want.spec and s.now < failing.until_s


def _keep_one(s: Situation, others: list[Replica]) -> None:
    """Versions that follow quickly leave several behind, each on its way: the one that serves stays until the newest does."""
    live = [replica for replica in others if replica.live]
    best = max(live, key=lambda r: (bool(r.healthy), r.well_once, r.phase == "running", r.versions), default=None)
    for replica in live:
        if replica is not best:
            stop(s, replica, "an earlier version serves until the newest does")


def _version(want: Want) -> str:
    return f"{want.versions[0]}.{want.versions[1]}"


def _create(s: Situation, slot: Slot, want: Want) -> Replica:
    return s.replicas.add(
        Replica(
            slot=slot,
            spec=want.spec,
            image=want.image,
            versions=want.versions,
            service=want.service,
            init=want.init,
            since_s=s.now,
        )
    )


def _begin_or_resume(s: Situation, slot: Slot, want: Want, standing: Standing) -> None:
    if slot in s.resume and not standing.home and s.now < s.awake_s():
        s.whys[slot] = "asks its neighbours first whether somebody took it over"
        s.later(slot, s.awake_s())
        return
    if _fails(s, slot, want):
        return  # it failed here a moment ago and its data keeps it here
    replica = _create(s, slot, want)
    replica.resumed = slot in s.resume
    replica.why = "held before this node started" if replica.resumed else ""
    s.resume.discard(slot)
    tend(s, replica)


def _move(s: Situation, slot: Slot, want: Want, old: Replica) -> None:
    """Go to the wanted version if it is this slot's turn. Its image is fetched before anything stops."""
    both = not s.room().lacks(want.service.needs)
    starts_first = want.service.update.order == "start-first" and want.may_overlap
    answer = _may_move(s, slot, want, starts_first and both)
    if not answer.yes:
        s.whys[slot] = answer.why
        if answer.look_again_s is not None:
            s.later(slot, answer.look_again_s)
        return
    if lacks := s.images.lacks(want.images):
        s.whys[slot] = f"its turn, but {s.images.trouble(lacks)}"
        s.images_changed = True
        return
    if why := s.images.refused(want.image, want.init, want.service):
        cannot(s, slot, want.spec, why)  # before anything stops
        return
    why = f"version {_version(want)}: {answer.why}"
    if old.phase != "running":
        stop(s, old, why)
    elif starts_first and not both and any(other.phase == "stopping" for other in s.replicas.of(slot).values()):
        s.whys[slot] = "its turn, and there is room for both at once when the version before that has stopped"
    elif starts_first and both:
        s.note("moved", slot, f"{why}, the new one starts first")
        replica = _create(s, slot, want)
        replica.why, replica.restarts = why, 0
        replica.resumed = True  # its service ran before: it waits for nothing it depends on
        tend(s, replica)
        return
    else:
        s.note("moved", slot, f"{why}, the old one stops first" + ("" if both else ": no room for both at once"))
        stop(s, old, why)
    if not s.replicas.of(slot):
        replica = _create(s, slot, want)
        replica.why, replica.resumed = why, True
        tend(s, replica)


def _may_move(s: Situation, slot: Slot, want: Want, starts_first: bool) -> MayMove:
    if _fails(s, slot, want):
        failing = s.failing[slot]
        return MayMove(False, f"it failed here: {failing.why}", failing.until_s)
    return may_go(s, slot, want, starts_first=starts_first)


def _mark_done(s: Situation, standing: Standing, want: Want) -> None:
    winner = standing.winner
    if winner is None or winner.spec != want.spec:
        s.done.pop(standing.slot, None)
    elif s.done.get(standing.slot, ("", 0.0))[0] != want.spec:
        s.done[standing.slot] = (want.spec, s.now)
