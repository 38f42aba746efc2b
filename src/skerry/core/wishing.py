"""How many replicas follow from the load: every node's rings of figures, the keepers' wishes, the number that all go by.

From facts alone: whoever holds the same facts comes to the same number, and a node that started anew remembers nothing that it
would need. The rule itself is in scaling.py; what a replica has to do is measured by the agent (agent/figures.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from skerry.core.constraints import name_of
from skerry.core.effects import Gauge, Measure
from skerry.core.events import Measured
from skerry.core.facts import Load, Wish
from skerry.core.intent import Pool, Scale, Service
from skerry.core.records import Fact, MachineSlot, Slot
from skerry.core.rings import SILENT_STEPS, Rings, place, together
from skerry.core.scaling import RING_STEPS, Wished, bounds, left_alone, median_wish, replica_rule, wish
from skerry.core.versions import AppWant

if TYPE_CHECKING:
    from skerry.core.situation import Situation

_GRACE_S = 2.0  # so long a keeper waits for figures of the others that are under way
_SETTLED_S = 10.0  # by then the others have told what they know
_MINUTE_S = 60.0  # schedules begin and end on one

Key = tuple[str, str]  # (app, service)


class Number(msgspec.Struct, frozen=True):
    """How many replicas a service has now, and why. `median`: of the wishes (None: there is none); `awake`: who holds a connection.

    `asked`: what the wishes, or who waits, ask for; more than that stays for a while after it was asked for.
    """

    replicas: int
    asked: int
    low: int
    high: int
    median: int | None
    wishes: dict[str, Wish]  # by keeper
    awake: tuple[str, ...]
    why: str


class Turn(msgspec.Struct):
    """The step that a keeper is to make its wish from. `base`: the number in force when it ended."""

    step: int
    base: int
    due_s: float  # unix


class Alone(msgspec.Struct, frozen=True):
    """Since when no keeper that lives has a wish, and how many replicas there were then."""

    since_s: float
    last: int


class Wishing:
    """What a node keeps for this between two events. All of it can be lost: facts say it again."""

    def __init__(self) -> None:
        self.due: set[str] = set()  # apps whose numbers have changed
        self.look_s: dict[Key, float] = {}  # when to look at a service again
        self.next_s = math.inf  # the first of these
        self.keepers: list[str] | None = None  # whose wishes count; None: to be found out
        self.initial: dict[Key, Service] = {}  # scaled services, with the `replicas` of their documents
        self.numbers: dict[Key, Number] = {}
        self.risen_s: dict[Key, float] = {}  # when what is asked for last rose to what there is
        self.alone: dict[Key, Alone] = {}
        self.ahead: dict[
            tuple[str, str], int
        ] = {}  # (node, "app.service") -> by how many steps its clock is before ours
        self.turns: dict[Key, Turn] = {}
        self.gauges: tuple[Gauge, ...] = ()
        self.unmeasured = False  # the agent is to be told what to measure


# --- what every node does ---------------------------------------------------------------------------------------------


def with_numbers(s: Situation, app: str, want: AppWant) -> AppWant:
    """The same, with as many replicas of services that follow the load as are wanted now."""
    w = s.wishing
    if not want.known:
        return want
    scaled = {name: found for name, found in want.services.items() if found.service.scale is not None}
    for key in [key for key in w.initial if key[0] == app and key[1] not in scaled]:
        for kept in (w.initial, w.numbers, w.risen_s, w.alone, w.turns, w.look_s):
            kept.pop(key, None)
        w.unmeasured = True
    for kind in ("load", "wish"):
        for name in [name for name, about in s.known.facts.get(kind, {}).items() if s.me in about]:
            if name.partition(".")[0] == app and name.partition(".")[2] not in scaled:
                s.publish(kind, name, None, "it does not follow the load any more")
    if not scaled:
        return want
    services, before = dict(want.services), dict(want.before)
    for name, found in scaled.items():
        if w.initial.get((app, name)) != found.service:
            w.initial[app, name] = found.service
            w.unmeasured = True
            look_at(s, (app, name), s.now)
        number = _settle(s, (app, name))
        service = msgspec.structs.replace(found.service, replicas=number.replicas)
        services[name] = msgspec.structs.replace(found, service=service)
        if name in before:
            service = msgspec.structs.replace(before[name].service, replicas=number.replicas)
            before[name] = msgspec.structs.replace(before[name], service=service)
    return msgspec.structs.replace(want, services=services, before=before)


def number_of(s: Situation, key: Key) -> Number:
    """The median of the living keepers' wishes, within the bounds that hold now. At least one while a connection waits for it.

    What rose is not lowered again before the rule itself would (`stay`, and to zero the idle time): honest keepers never ask
    for that, so that it takes nothing from them, and one that lies, of two, can't make the cloud start and stop replicas by turns.
    """
    service = s.wishing.initial[key]
    scale, name = _scale(service), ".".join(key)
    low, high = bounds(scale, s.wall(s.now))
    living, dead = _wishes(s, name)
    median, why = _median(living), ""
    if median is not None:
        said = next(said for _, said in sorted(living.items()) if said.replicas == median)
        wanted, why = median, said.why or f"{median} are wished for"
    else:
        wanted, why = _alone(s, key, service, _median(dead))
    waking = s.known.about("wake", name)
    awake = tuple(sorted(n for n in waking if n in s.known.nodes and not (n != s.me and s.presence.is_down(n))))
    if awake and wanted < 1:
        wanted, why = 1, f"a connection waits on {name_of(awake[0])}"
    asked, before = min(wanted, high), s.wishing.numbers.get(key)
    stays = min(before.replicas, high) if before is not None else 0
    if asked < stays and s.now < s.wishing.risen_s.get(key, -math.inf) + _stays_s(scale, asked):
        replicas, why = max(low, stays), f"{stays} stay for a while, as they were asked for just now; {why}"
    else:
        replicas = max(low, asked)
        why = why.removeprefix(f"{wanted}: ") if replicas == wanted else f"{why}; within {low} to {high}"
    return Number(replicas, asked, low, high, median, living, awake, why)


def _wishes(s: Situation, name: str) -> tuple[dict[str, Wish], dict[str, Wish]]:
    """By keeper: of those that are not known to be dead, and of the others."""
    told = s.known.about("wish", name)
    all_ = {node: said for node in keepers(s) if isinstance(said := told.get(node), Wish)}
    dead = {node: said for node, said in all_.items() if node != s.me and s.presence.is_down(node)}
    return {node: said for node, said in all_.items() if node not in dead}, dead


def _median(wishes: dict[str, Wish]) -> int | None:
    return median_wish([said.replicas for said in wishes.values()], 0, 1 << 20)


def _alone(s: Situation, key: Key, service: Service, median: int | None) -> tuple[int, str]:
    """How many while no keeper lives: as many as there were, for the way down; then, slowly, as many as the app says."""
    scale, own = _scale(service), service.replicas
    held = s.wishing.alone.get(key)
    before = s.wishing.numbers.get(key)
    last = held.last if held is not None else before.replicas if before is not None else median
    if last is None:
        return own, f"no keeper has a wish: {own}, as the app says"
    steps = math.floor((s.now - held.since_s) / scale.step_s) if held is not None else 0
    number = left_alone(last, own, replica_rule(scale), steps)
    if number == own:
        return own, f"no keeper has a wish: {own}, as the app says"
    return number, f"no keeper lives: {last} stood for {scale.down_s:g} s, then {own} do, as the app says"


def _stays_s(scale: Scale, asked: int) -> float:
    stay_s = replica_rule(scale).stay * scale.step_s
    return min(stay_s, scale.idle_s) if asked == 0 else stay_s


def _settle(s: Situation, key: Key) -> Number:
    """Find the number anew, and keep what the next one depends on."""
    w, before = s.wishing, s.wishing.numbers.get(key)
    living, dead = _wishes(s, ".".join(key))
    if living:
        w.alone.pop(key, None)
    elif key not in w.alone and (before is not None or dead):
        last = before.replicas if before is not None else _median(dead)
        assert last is not None
        w.alone[key] = Alone(s.now, last)
    number = w.numbers[key] = number_of(s, key)
    if before is not None and before.asked < number.asked and before.replicas <= number.asked:
        w.risen_s[key] = s.now
    scale = _scale(w.initial[key])
    if number.asked < number.replicas and number.replicas > number.low:
        look_at(s, key, max(s.now + 0.001, w.risen_s.get(key, s.now) + _stays_s(scale, number.asked)))
    if key in w.alone and number.replicas != w.initial[key].replicas:
        look_at(s, key, s.now + scale.step_s)
    return number


def unwanted(s: Situation, slot: Slot) -> str:
    """Why a slot is not wanted any more."""
    number = s.wishing.numbers.get((slot.app, slot.service))
    want = s.wants[slot.app].services.get(slot.service) if slot.app in s.wants else None
    if want is not None and want.service.placement.every_node:
        return "its host is drained, or no longer one of those that run it"
    return "no longer wanted" if number is None else f"no longer wanted: {number.why}"


def keepers(s: Situation) -> list[str]:
    """Whose wishes count: the keepers that pools name; where none does, every fixed node."""
    if s.wishing.keepers is None:
        named = {
            keeper
            for document in s.known.documents.values()
            if isinstance(document.body, Pool) and not document.body.deleted
            for keeper in document.body.keepers
        }
        fixed = [node for node in s.known.nodes if MachineSlot.of_path(node) is None]
        s.wishing.keepers = sorted(node for node in fixed if node in named or not named)
    return s.wishing.keepers


def touch(s: Situation) -> None:
    """Look anew at all services that follow the load: who lives, or who may wish, has changed."""
    s.wishing.keepers = None
    for key in s.wishing.initial:
        look_at(s, key, s.now)


def look_at(s: Situation, key: Key, at_s: float) -> None:
    w = s.wishing
    w.look_s[key] = min(at_s, w.look_s.get(key, at_s))
    w.next_s = min(w.next_s, at_s)


def heard(s: Situation, record: Fact, from_disk: bool) -> None:
    if isinstance(record.body, Load) and not from_disk:
        ahead = record.body.step + 1 - math.floor(s.wall(s.now) / record.body.step_s)
        before = s.wishing.ahead.get((record.node, record.key), ahead)
        late = 0 < before - ahead <= SILENT_STEPS  # the way was longer this time, and its clock is as it was
        s.wishing.ahead[record.node, record.key] = before if late else ahead
    app, _, service = record.key.partition(".")
    if (app, service) in s.wishing.initial and (record.kind != "load" or s.me in keepers(s)):
        look_at(s, (app, service), s.now)


def review(s: Situation) -> None:
    """Make the wishes that are due, and see which numbers follow. Costs nothing as long as no service follows the load."""
    w = s.wishing
    if s.now < w.next_s:
        return
    for key in sorted(key for key, at_s in w.look_s.items() if at_s <= s.now):
        del w.look_s[key]
        if s.me in keepers(s):
            _wish(s, key)
        before, number = w.numbers[key], _settle(s, key)
        if number.replicas != before.replicas:
            s.note("scaled", ".".join(key), f"{before.replicas} -> {number.replicas} replicas: {number.why}")
            w.due.add(key[0])
        if _scale(w.initial[key]).schedules:
            _look_at(s, key, math.floor(s.wall(s.now) / _MINUTE_S + 1) * _MINUTE_S)
    w.next_s = min(w.look_s.values(), default=math.inf)


def measure(s: Situation) -> None:
    """Tell the agent what to measure: nothing where no service follows the load."""
    if not s.wishing.unmeasured:
        return
    s.wishing.unmeasured = False
    gauges = tuple(
        gauge
        for key, service in sorted(s.wishing.initial.items())
        if (gauge := _gauge(key, service)).cpu or gauge.connections or gauge.metric
    )
    if gauges != s.wishing.gauges:
        s.wishing.gauges = gauges
        s.out.append(Measure(gauges=gauges, reason="these services follow the load"))


def _gauge(key: Key, service: Service) -> Gauge:
    scale = _scale(service)
    ports = {(port.target, port.protocol) for port in service.ports} | {(port, "tcp") for port in service.expose}
    return Gauge(
        app=key[0], service=key[1], step_s=scale.step_s, ports=tuple(sorted(ports)), cpu=scale.cpu > 0,
        connections=scale.connections > 0 or _sleeps(scale), metric=scale.metric,
    )  # fmt: skip


# --- own figures ------------------------------------------------------------------------------------------------------


def measured(s: Situation, event: Measured) -> None:
    """One step more in our ring, which goes on where an earlier life ended; a service that has nothing to do here is not told."""
    key = (event.app, event.service)
    service = s.wishing.initial.get(key)
    if service is None or event.step_s != _scale(service).step_s:
        return  # it was measured for a document that is no longer the newest
    name = ".".join(key)
    mine = sum(r.healthy is True and r.phase == "running" for r in s.replicas if r.slot[:2] == key)
    old = s.known.of(s.me, "load", name, Load)
    missed = event.step - old.step if old is not None and old.step_s == event.step_s else RING_STEPS + 1
    if -SILENT_STEPS <= missed <= 0:
        return  # told already: our clock was set back a little
    ring = old if old is not None and 0 < missed <= RING_STEPS else Load(step_s=event.step_s, step=event.step)

    def on(figures: tuple[float, ...], newest: float) -> tuple[float, ...]:
        """What was missed for a moment is taken as it was before; whoever was away for longer had no load."""
        held = figures[-1:] if missed <= SILENT_STEPS else (0,) if figures else ()
        return (*figures, *held * (missed - 1), newest)[-RING_STEPS:]

    load = Load(
        step_s=event.step_s, step=event.step, cpu=on(ring.cpu, round(event.cpu, 3)),
        connections=on(ring.connections, event.connections), fresh=_whole(on(ring.fresh, event.fresh)),
        replicas=_whole(on(ring.replicas, mine)),
    )  # fmt: skip
    if metric := _scale(service).metric:
        same = ring.metric if ring.metric_of == metric else (0.0,) * len(ring.cpu)
        unknown = same[-1] if same else 0.0  # as it was: who tells nothing has not for that less to do
        told = on(same, unknown if event.metric is None else max(0.0, event.metric))
        load = msgspec.structs.replace(load, metric=told, metric_of=metric)
    busy = any(any(ring) for ring in (load.cpu, load.connections, load.fresh, load.replicas, load.metric))
    s.publish("load", name, load if busy else None, "figures of a step" if busy else "there was nothing to do here")
    look_at(s, key, s.now)


def _sleeps(scale: Scale) -> bool:
    """Whether there may be none at all, always or at some times."""
    return scale.min == 0 or any(schedule.min == 0 for schedule in scale.schedules)


def _idle_steps(scale: Scale) -> int:
    return min(RING_STEPS, math.ceil(scale.idle_s / scale.step_s))


def _whole(figures: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(int(figure) for figure in figures)


# --- what a keeper does -----------------------------------------------------------------------------------------------


def _wish(s: Situation, key: Key) -> None:
    """Publish a wish for the step that has just ended, once all figures of it are here or late."""
    scale, name, now = _scale(s.wishing.initial[key]), ".".join(key), s.wall(s.now)
    step = math.floor(now / scale.step_s) - 1
    turn, own = s.wishing.turns.get(key), s.known.of(s.me, "wish", name, Wish)
    if turn is None or turn.step != step:
        end = (step + 1) * scale.step_s
        base = s.wishing.numbers[key].replicas
        turn = s.wishing.turns[key] = Turn(step, base, end + min(_GRACE_S, scale.step_s / 2))
    awake = bool(number_of(s, key).awake)
    if awake and own is not None and own.replicas < 1:
        _say(s, name, Wished(1, "1: a connection waits for it"), step)
        own = s.known.of(s.me, "wish", name, Wish)
    _look_at(s, key, (step + 2) * scale.step_s)
    if own is not None and step <= own.step <= step + SILENT_STEPS:
        return  # made; (a step far ahead is of a clock that was set back)
    if (step + 1) * scale.step_s < s.wall(s.boot_s) + min(_SETTLED_S, scale.step_s):
        return  # right after our start we know little: what we wished for before stands
    placed = place(s, key, step)
    if placed.late and now < turn.due_s:
        _look_at(s, key, turn.due_s)
    elif placed.nodes:
        wished = wished_for(s.wishing.initial[key], together(*placed), turn.base, bounds(scale, now)[0])
        _say(s, name, Wished(max(wished.number, 1), wished.why) if awake else wished, step)
    # else nobody has a figure: what was wished for stays


def _say(s: Situation, name: str, wished: Wished, step: int) -> None:
    s.publish("wish", name, Wish(replicas=min(wished.number, 1000), step=step, why=wished.why[:200]), wished.why)


def wished_for(service: Service, rings: Rings, base: int, low: int) -> Wished:
    """What the figures ask for. `base`: how many were wanted until now; `low`: how few may be, 0 to sleep."""
    scale = _scale(service)
    counts = [*(int(count) for count in rings.replicas[:-1]), base]
    asked = []
    if scale.cpu > 0:
        share = scale.cpu * (service.needs.cpus_limit or service.needs.reserve_cpus or 1.0)
        asked.append(wish([figure / share for figure in rings.cpu], counts, replica_rule(scale)))
    if scale.connections > 0:
        asked.append(wish([n / scale.connections for n in rings.connections], counts, replica_rule(scale)))
    if scale.metric and scale.metric_target > 0:
        asked.append(wish([n / scale.metric_target for n in rings.metric], counts, replica_rule(scale)))
    best = max(asked, key=lambda wished: wished.number, default=Wished(base, f"{base}: nothing is aimed at"))
    if low > 0:
        return best
    if _is_idle(scale, rings):
        return Wished(0, f"0: no connection for {scale.idle_s:g} s")
    if base == 0 and not rings.connections[-1] and not rings.fresh[-1]:
        return Wished(0, "0: it sleeps")
    return best if best.number > 0 else Wished(1, f"1: a connection was there less than {scale.idle_s:g} s ago")


def _is_idle(scale: Scale, rings: Rings) -> bool:
    """Whether nobody has connected for `idle_s`, in which there was a replica to connect to."""
    steps = _idle_steps(scale)
    lately = zip(rings.connections[-steps:], rings.fresh[-steps:], rings.replicas[-steps:], strict=True)
    return len(rings.replicas) >= steps and all(there and not held and not fresh for held, fresh, there in lately)


def _look_at(s: Situation, key: Key, unix_s: float) -> None:
    """Never at once: rounding could make an endless loop."""
    look_at(s, key, max(s.now + 0.001, s.now + unix_s - s.wall(s.now)))


def _scale(service: Service) -> Scale:
    assert service.scale is not None
    return service.scale
