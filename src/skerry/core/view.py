"""What a node answers to `ps`, `host ls` and `explain`: plain values, made when asked. Decides nothing."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec

from skerry.core.constraints import name_of, unmet
from skerry.core.deciding import waits_for_home
from skerry.core.explaining import Advice, advice, because
from skerry.core.facts import Claim, Decline, Load, SlotState, Up
from skerry.core.intent import Scale
from skerry.core.leases.quorum import voters_of
from skerry.core.placement import named_host
from skerry.core.records import Slot
from skerry.core.rings import place
from skerry.core.situation import Situation
from skerry.core.standing import Standing, look
from skerry.core.turns import held_now
from skerry.core.versions import Want
from skerry.core.waking import at_zero
from skerry.core.wishing import number_of, unwanted
from skerry.core.words import in_short


class Trying(msgspec.Struct, frozen=True):
    """Where a service's canary stands. `step`: from 1; the first `slots` run the new version. `left_s`: until the step's hold is
    over; None: not all of them are well yet."""

    step: int
    steps: int
    slots: int
    replicas: int
    hold_s: float
    left_s: int | None = None


class Row(msgspec.Struct, frozen=True):
    """One line of `ps`. `node` "" and state "waiting": nobody holds it; "asleep": nobody is to.

    `since`: unix seconds. `claims`: best first."""

    slot: str
    app: str
    service: str
    node: str
    state: str
    healthy: bool
    version: str
    image: str
    since: float
    claims: tuple[str, ...]
    why: str = ""
    address: str = ""
    restarts: int = 0
    outdated: bool = False  # it does not run what is wanted now
    wanted: str = ""  # the newest version that this node knows of, whether or not it was turned back
    failed: bool = False  # that one failed in this service
    verdict: str = ""  # why it did, or another service of the app, and what follows
    finished: bool = False  # a job that ended well
    exit_code: int | None = None
    pinned: bool = False  # its data is on this node: it is never moved
    allows: dict[str, str] = {}  # what the lint may find in its image -> why, as operators signed it
    canary: Trying | None = None  # of its service
    lease: int = 0  # of an exclusive slot: the number of the newest lease, granted to `leased_to`
    leased_to: str = ""


class Host(msgspec.Struct, frozen=True):
    """One line of `host ls`. `state`: up, down, unknown; draining where an operator said so. `capacity`, `free`: as it says."""

    name: str
    state: str
    address: str
    labels: dict[str, str]
    zone: str
    capacity: dict[str, int | float]
    free: dict[str, int | float]
    agent: str = ""
    why: str = ""
    votes: str = ""  # "yes", or "only": it grants leases and runs nothing
    leases: int = 0  # that it holds
    policy: int = 0  # version that it holds


class Answer(msgspec.Struct, frozen=True):
    """What one node makes of a slot: claims, declined, barred, down, draining, not a candidate, or nothing yet."""

    node: str
    rank: int
    answer: str
    why: str = ""


class Explanation(msgspec.Struct, frozen=True):
    slot: str
    wanted: str  # version, "" if the slot is not wanted
    image: str
    order: tuple[Answer, ...]
    holder: str
    awaits: str
    because: str = ""  # why the holder has it
    advice: tuple[Advice, ...] = ()  # what would let it run; of one that is held, what would bring it to a better place


class KeepersWish(msgspec.Struct, frozen=True):
    node: str
    replicas: int
    step: int
    why: str


class Figures(msgspec.Struct, frozen=True):
    """One node's ring: what its replicas had to do, newest step last. `counts`: whether they are part of what is wished for."""

    node: str
    step: int
    counts: bool
    cpu: tuple[float, ...]
    connections: tuple[float, ...]
    fresh: tuple[int, ...]
    replicas: tuple[int, ...]
    metric: tuple[float, ...] = ()


class Scaling(msgspec.Struct, frozen=True):
    """How many replicas a service has now, and why."""

    app: str
    service: str
    version: str  # of the documents that say so
    replicas: int
    why: str
    min: int
    max: int
    median: int | None
    initial: int
    step_s: float
    step: int
    wishes: tuple[KeepersWish, ...]
    figures: tuple[Figures, ...]
    awake: tuple[str, ...]
    scale: Scale


def scalings(s: Situation) -> list[Scaling]:
    """For `explain --scale`: every service that follows the load."""
    return [_scaling(s, *key) for key in sorted(s.wishing.initial)]


def _scaling(s: Situation, app: str, service: str) -> Scaling:
    key = (app, service)
    found, number = s.wishing.initial[key], number_of(s, key)
    assert found.scale is not None
    step = math.floor(s.wall(s.now) / found.scale.step_s) - 1
    counted = place(s, key, step).nodes
    told = s.known.about("load", f"{app}.{service}")
    return Scaling(
        app=app, service=service, version=_version(s.wants[app].newest_versions),
        replicas=number.replicas, why=number.why, min=number.low, max=number.high,
        median=number.median, initial=found.replicas, step_s=found.scale.step_s, step=step,
        wishes=tuple(
            KeepersWish(name_of(node), wish.replicas, wish.step, wish.why) for node, wish in number.wishes.items()
        ),
        figures=tuple(
            Figures(
                name_of(node), load.step, node in counted, load.cpu, load.connections, load.fresh, load.replicas, load.metric,
            )
            for node, load in sorted(told.items()) if isinstance(load, Load)
        ),
        awake=tuple(name_of(node) for node in number.awake), scale=found.scale,
    )  # fmt: skip


def rows(s: Situation) -> list[Row]:
    slots = {*s.standings}
    for kind in ("claim", "slot"):
        slots |= {slot for key in s.known.facts.get(kind, {}) if (slot := Slot.read(key)) is not None}
    found = {slot: row for slot in slots if (row := _row(s, slot)) is not None}
    for app, app_want in s.wants.items():
        for service, want in app_want.services.items():
            first = Slot(app, service, 0)
            if first not in found and at_zero(s, app, service):
                found[first] = _asleep(s, first, want)
    return [found[slot] for slot in sorted(found)]


def _asleep(s: Situation, slot: Slot, want: Want) -> Row:
    """Of a service that is at zero: which version will run when it is woken."""
    return Row(str(slot), slot.app, slot.service, "", "asleep", False, _version(want.versions), want.image, s.wall(s.now),
               (), unwanted(s, slot), wanted=_newest(s, slot), failed=_failed(s, slot),
               verdict=_verdict(s, slot), allows=want.service.allow, canary=_canary(s, slot))  # fmt: skip


def _row(s: Situation, slot: Slot) -> Row | None:
    want = s.want(slot)
    standing = look(s, slot, want) if want is not None else None
    claims = standing.claimants if standing is not None else ()
    states = {node: state for node, state in s.known.about("slot", str(slot)).items() if isinstance(state, SlotState)}
    node = claims[0].node if claims else ""
    if want is None:  # no longer wanted: shown as long as somebody has not finished stopping it
        node = next((n for n in sorted(states) if states[n].image and not s.presence.is_down(n)), "")
    state = states.get(node)
    if node == "" or state is None:
        if want is None or standing is None:
            return None
        why = _awaits(s, standing, node)
        return Row(str(slot), slot.app, slot.service, name_of(node), "waiting", False, _version(want.versions), want.image,
                   s.wall(s.vacant.get(slot, s.now)), tuple(name_of(c.node) for c in claims), why,
                   wanted=_newest(s, slot), failed=_failed(s, slot), verdict=_verdict(s, slot),
                   allows=want.service.allow, canary=_canary(s, slot), **_lease(s, slot))  # fmt: skip
    best = claims[0] if claims else None
    why = state.why or (best.why if best is not None else "")
    return Row(
        slot=str(slot), app=slot.app, service=slot.service, node=name_of(node), state=state.state,
        healthy=best.healthy if best is not None else False, version=_version(state.versions), image=state.image,
        since=state.since, claims=tuple(name_of(claimant.node) for claimant in claims), why=why, address=state.address,
        restarts=state.restarts, outdated=want is None or state.spec != _spec_for_all(s, slot), wanted=_newest(s, slot),
        failed=_failed(s, slot), verdict=_verdict(s, slot), exit_code=state.exit_code,
        finished=best is not None and best.done and not best.healthy,
        pinned=standing is not None and node in standing.home, allows=_allows(s, slot, state.spec),
        canary=_canary(s, slot), **_lease(s, slot),
    )  # fmt: skip


def _spec_for_all(s: Situation, slot: Slot) -> str:
    """What every slot of the service shall run in the end; a canary lets some have it later."""
    return s.wants[slot.app].services[slot.service].spec


def _waits_for_canary(s: Situation, slot: Slot) -> str:
    at = _canary(s, slot)
    if at is None or slot.index < s.held_back.get((slot.app, slot.service), slot.index + 1):
        return ""
    left = f", {at.left_s} s to go" if at.left_s is not None else ""
    return (
        f"version {_newest(s, slot)} is tried on the first {at.slots} of {at.replicas} slots for {at.hold_s:g} s{left}"
    )


def _canary(s: Situation, slot: Slot) -> Trying | None:
    want = s.wants[slot.app].services.get(slot.service) if slot.app in s.wants else None
    held = held_now(s, slot.app, slot.service) if want is not None and want.service.canary else None
    if want is None or held is None:
        return None
    left_s = None if held.until_s is None else math.ceil(held.until_s - s.now)
    return Trying(held.step, held.steps, held.slots, len(s.numbers(slot.app, slot.service)), held.hold_s, left_s)


def _lease(s: Situation, slot: Slot) -> dict[str, Any]:
    held = s.fenced.get(slot)
    return {"lease": held.number, "leased_to": name_of(held.node)} if held is not None else {}


def _allows(s: Situation, slot: Slot, spec: str) -> dict[str, str]:
    """Of the version that runs, else of the wanted one."""
    want = s.want(slot)
    service = s.service_of(slot, spec) or (want.service if want is not None else None)
    return service.allow if service is not None else {}


def _verdict(s: Situation, slot: Slot) -> str:
    found = s.wants.get(slot.app)
    if found is None:
        return ""
    with_it = f"{found.turned_back}; turned back with it" if found.turned_back else ""
    return found.failures.get(slot.service, with_it)


def _failed(s: Situation, slot: Slot) -> bool:
    found = s.wants.get(slot.app)
    return found is not None and slot.service in found.failures


def _newest(s: Situation, slot: Slot) -> str:
    found = s.wants.get(slot.app)
    return _version(found.newest_versions) if found is not None and found.known else ""


def _version(versions: tuple[int, int]) -> str:
    return f"{versions[0]}.{versions[1]}"


def _awaits(s: Situation, standing: Standing, node: str) -> str:
    """What a slot waits for, as far as this node can tell."""
    if node:
        return s.whys.get(standing.slot, "") or "claimed a moment ago"
    if standing.home and s.me not in standing.home:
        return waits_for_home(s, standing)
    if (host := named_host(s, standing.slot)) and s.presence.is_down(standing.order[0]):
        return f"{host} is down: {s.presence.seen(standing.order[0]).why}"
    if not standing.order:
        return "no node satisfies its constraints and can read its secrets"
    told = s.known.about("decline", str(standing.slot)).values()
    declines = {in_short(d.reason) for d in told if isinstance(d, Decline) and d.reason}
    said = standing.why, f"declined: {'; '.join(sorted(declines))}" if declines else ""
    return "; ".join(part for part in said if part)


def hosts(s: Situation) -> list[Host]:
    found = []
    voters, held = voters_of(s.known), Counter(fenced.node for fenced in s.fenced.values())
    for path, node in sorted(s.known.nodes.items()):
        up = s.known.of(path, "up", "", Up)
        state = s.presence.status(path)
        why = "" if path == s.me else s.presence.seen(path).why
        if path == s.me:
            room = s.room()
            capacity = {"cpus": float(s.cpus), "memory_bytes": s.memory_bytes}
            free = {"cpus": s.cpus - room.used_cpus, "memory_bytes": s.memory_bytes - room.used_memory_bytes}
        elif up is not None:
            capacity = {"cpus": up.cpus, "memory_bytes": up.memory_bytes}
            free = {"cpus": up.free_cpus, "memory_bytes": up.free_memory_bytes}
        else:
            capacity = free = {}
        found.append(
            Host(
                name=name_of(path), state="draining" if node.state == "draining" and state == "up" else state,
                address=node.addresses[0] if node.addresses else "", labels=node.labels, zone=node.zone,
                capacity=capacity, free=free, agent=s.agent if path == s.me else (up.agent if up else ""), why=why,
                votes="only" if node.voter_only else "yes" if path in voters.all else "", leases=held[path],
                policy=s.known.version("policy") if path == s.me else up.policy if up is not None else 0,
            )
        )  # fmt: skip
    return found


def explain(s: Situation, slot: Slot) -> Explanation:
    want = s.want(slot)
    if want is None and slot.index == 0 and at_zero(s, slot.app, slot.service):
        return _explain_asleep(s, slot, s.wants[slot.app].services[slot.service])
    if want is None:
        why = "no app document asks for it" if s.is_known(slot) else "its app or release document has not come yet"
        return Explanation(str(slot), "", "", (), "", why)
    standing = look(s, slot, want)
    answers = [
        Answer(name_of(node), rank, *_answer(s, standing, node, want.spec)) for rank, node in enumerate(standing.order)
    ]
    others = set(s.known.nodes) - set(standing.order) if not want.service.placement.every_node else ()
    for node in sorted(others):
        enrolled = s.known.nodes[node]
        fails = "it votes and runs nothing" if enrolled.voter_only else unmet(want.service.constraints, node, enrolled)
        answers.append(
            Answer(name_of(node), -1, "no candidate", fails or f"the secrets of {slot.app} are not sealed to it")
        )
    winner = standing.winner
    holder = name_of(winner.node) if winner is not None else ""
    awaits = s.whys.get(slot, "") or ("" if winner is not None else _awaits(s, standing, ""))
    failed = _verdict(s, slot) or _waits_for_canary(s, slot)
    return Explanation(
        slot=str(slot), wanted=_version(want.versions), image=want.image, order=tuple(answers), holder=holder,
        awaits="; ".join(part for part in (awaits, failed) if part), because=because(s, slot, want, standing),
        advice=advice(s, slot, want, standing),
    )  # fmt: skip


def _explain_asleep(s: Situation, slot: Slot, want: Want) -> Explanation:
    """Who would wake it."""
    answers = []
    for rank, node in enumerate(s.order(slot)):
        down = s.presence.is_down(node)
        state = "down" if down else "next" if s.is_active(node) else "draining"
        answers.append(Answer(name_of(node), rank, state, s.presence.seen(node).why if down else ""))
    why = f"{unwanted(s, slot)}; the next connection to it wakes it"
    return Explanation(str(slot), _version(want.versions), want.image, tuple(answers), "", why)


def _answer(s: Situation, standing: Standing, node: str, spec: str) -> tuple[str, str]:
    claim = s.claim_of(node, standing.slot)
    if s.presence.is_down(node):
        held = "it held this slot; " if claim is not None else ""
        return "down", held + s.presence.seen(node).why
    decline = s.known.of(node, "decline", str(standing.slot), Decline)
    if isinstance(claim, Claim):
        claimant = next((c for c in standing.claimants if c.node == node), None)
        state = s.state_of(node, standing.slot)
        words = [claim.reason, state.state if state is not None else "", claimant.why if claimant is not None else ""]
        if decline is not None and decline.spec == spec:
            words.append(f"declined the wanted version: {decline.reason}")
        return "claims", "; ".join(word for word in words if word)
    if decline is not None and decline.spec == spec:
        return "declined", decline.reason
    until = s.barred_until(standing.slot, node)
    if until:
        return "barred", f"it failed: for {until - s.now:.0f} s more"
    if not s.is_active(node):
        return "draining", ""
    return ("unknown", "not heard of since this node started") if not s.presence.is_up(node) else ("next", "")
