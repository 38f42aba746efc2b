"""One container of ours from start to end: start, watch, start again, give up, stop. Whether we hold its slot is not decided here."""

from __future__ import annotations

from skerry.core.effects import Start, Stop, Unwatch, Watch
from skerry.core.facts import SlotState
from skerry.core.failures import is_canary, is_on_trial
from skerry.core.health import start_limit_s
from skerry.core.homes import home_of
from skerry.core.intent import Restart, Service
from skerry.core.leases import slots as lease
from skerry.core.records import Slot
from skerry.core.replicas import Phase, Replica
from skerry.core.restarts import again, next_backoff, told
from skerry.core.situation import Failing, Situation
from skerry.core.waking import at_zero
from skerry.core.words import with_words

_UNKNOWN = "no document that is held here describes this version any more"

_WORDS_MAX = 160  # characters of its log that evidence quotes
_FAIR_S = 2.0  # a container that was just started again is given so long, even if the start limit is over


def tend(s: Situation, r: Replica) -> None:
    """Do what is due for a replica of a slot that we hold."""
    if r.phase in ("waiting", "fetching"):
        _begin(s, r)
    elif r.phase == "exited" and r.again_s is not None and r.service is None:
        to(s, r, "failed", _UNKNOWN)
    elif r.phase == "exited" and r.again_s is not None:
        _when(s, r, r.again_s, lambda: start(s, r, f"{r.why}; started again after {s.now - r.since_s:.1f} s"))
    elif r.phase == "failed" and r.again_s is not None:
        _when(s, r, r.again_s, lambda: _retry(s, r))
    elif r.phase == "running":
        _look_after(s, r)


def _when(s: Situation, r: Replica, at_s: float, act: object) -> None:
    if s.now >= at_s:
        act()  # type: ignore[operator]
    else:
        s.later(r.slot, at_s)


def _retry(s: Situation, r: Replica) -> None:
    r.first_start_s, r.exits_s = None, []
    to(s, r, "waiting", "its bar has ended")
    _begin(s, r)


def _begin(s: Situation, r: Replica) -> None:
    service = r.service
    if service is None:
        to(s, r, "failed", _UNKNOWN)
        return
    blocked = _blocked_by(s, r, service)
    if blocked:
        to(s, r, "waiting", blocked)
    elif lacks := s.images.lacks(r.images):
        to(s, r, "fetching", s.images.trouble(lacks))
        s.images_changed = True
    elif why := s.images.refused(r.image, r.init, service):
        fail(s, r, why)
    else:
        start(s, r, r.why or "its image is here")


def _blocked_by(s: Situation, r: Replica, service: Service) -> str:
    """What a first start waits for: the services it depends on, until they have started for the first time.

    A restart waits for nothing: all may be starting at once. Nor does one that takes over when a dependency was lost with
    its node: this is about the order of the first start, and no reason not to heal.
    """
    if r.resumed or r.restarts or r.well_once:
        return ""
    for depends in service.depends_on:
        if at_zero(s, r.slot.app, depends.service):
            continue  # its name leads to where a connection is held, and wakes it
        slots = [Slot(r.slot.app, depends.service, i) for i in s.numbers(r.slot.app, depends.service)]
        if depends.condition == "completed":
            ready = completed(s, r.slot.app, depends.service)
        else:
            healthy = depends.condition == "healthy"
            ready = any(_is_ready(s, slot, healthy) or _was_ready(s, slot, healthy) for slot in slots)
        if not ready:
            return f"waits for {depends.service} to be {depends.condition}"
    return ""


def completed(s: Situation, app: str, service: str) -> bool:
    """Whether every slot of a job has ended well in the version that is wanted."""
    want = s.wants[app].services.get(service) if app in s.wants else None
    for index in s.numbers(app, service):
        standing = s.standings.get(Slot(app, service, index))
        winner = standing.winner if standing is not None else None
        if want is None or winner is None or winner.healthy or winner.spec != want.spec:
            return False
    return want is not None


def _is_ready(s: Situation, slot: Slot, healthy: bool) -> bool:
    standing = s.standings.get(slot)
    if standing is None or healthy:
        return standing is not None and standing.winner is not None
    states = [s.state_of(claimant.node, slot) for claimant in standing.claimants]
    return any(state is not None and state.state in ("running", "exited") for state in states)


def _was_ready(s: Situation, slot: Slot, healthy: bool) -> bool:
    """By the last word of a node that is away now."""
    return any(
        isinstance(state, SlotState) and state.image and state.state in ("running", "exited")
        and (state.healthy or not healthy) and not s.presence.is_up(node)
        for node, state in s.known.about("slot", str(slot)).items()
    )  # fmt: skip


def at_home(s: Situation, r: Replica) -> None:
    """What runs here with a volume that is not disposable has its data here, whatever our records say.

    Where no document describes its own version, the wanted one says whether the slot has data.
    """
    want = s.want(r.slot)
    service = r.service or (want.service if want is not None else None)
    disposable = s.disposable(r.slot.app)
    if service is not None and any(not disposable.get(mount.volume, False) for mount in service.volumes):
        s.homes.add(r.slot)


def learn(s: Situation, r: Replica) -> None:
    """A container that was found here, and what describes it, which may have come only now: from now on it is looked after."""
    if r.service is not None or r.phase == "stopping":
        return
    found = s.wants[r.slot.app].specs.get(r.spec) if r.slot.app in s.wants else None
    if found is not None:
        r.service, r.versions, r.init = found.service, found.versions, found.init
        if r.phase == "running":
            r.started_s = s.now  # its start limit counts from its first probe
            watch(s, r)
    at_home(s, r)


def start(s: Situation, r: Replica, reason: str) -> None:
    assert r.service is not None
    if r.service.exclusive and (why := lease.gate(s, r)):
        to(s, r, "waiting", why)
        return
    if r.container:  # what is left of the last run; its logs stay
        s.out.append(Stop(slot=r.slot, spec=r.spec, container=r.container, signal="SIGKILL", drain_s=0.0, grace_s=0.0,
                          reason="cleared away before the next start"))  # fmt: skip
        r.container = ""
    if r.first_start_s is None:
        r.first_start_s = s.now
    at_home(s, r)
    r.again_s, r.healthy, r.exit_code, r.oom = None, None, None, False
    to(s, r, "starting", reason)
    r.fencing = lease.number_of(s, r.slot) if r.service.exclusive else 0
    s.out.append(
        Start(slot=r.slot, spec=r.spec, image=r.image, service=r.service, versions=r.versions, init=r.init, reason=reason,
              fencing=r.fencing)
    )  # fmt: skip


def initialising(s: Situation, r: Replica, container: str) -> None:
    """Its data is being made, before the container of that name is. It may be stopped meanwhile."""
    r.container = container
    to(s, r, "initialising", r.why if r.exits_s else "its init image makes its data")
    s.note("initialising", r.slot, f"there is no data yet: {r.init[:19]} makes it")
    if r.stop_asked:
        stop(s, r, r.why or "no longer wanted")


def started(s: Situation, r: Replica, container: str, address: str) -> None:
    if r.phase == "initialising":
        r.first_start_s = s.now  # what was done before the service began is not held against it
    r.container, r.address, r.started_s, r.resumed = container, address, s.now, False
    to(s, r, "running", "")
    s.note("started", r.slot, f"{r.image[:19]} at {address}")
    watch(s, r)
    if r.stop_asked:
        without = r.service is not None and r.service.exclusive and s.leases.held(str(r.slot), s.now) is None
        stop(s, r, r.why or "no longer wanted", at_once=without)


def watch(s: Situation, r: Replica) -> None:
    if r.service is not None and r.service.probe is not None:
        s.out.append(Watch(slot=r.slot, node=s.me, spec=r.spec, address=r.address, probe=r.service.probe, own=True,
                           reason="its health decides about routes and the rollout"))  # fmt: skip
    else:
        s.later(r.slot, s.now + s.timing.running_is_well_s)


def unwatch(s: Situation, r: Replica) -> None:
    if r.service is not None and r.service.probe is not None:
        s.out.append(Unwatch(slot=r.slot, node=s.me, spec=r.spec, reason="it no longer runs"))


def probed(s: Situation, r: Replica, ok: bool, detail: str, last_lines: str = "") -> None:
    r.detail, r.last_lines = detail, last_lines
    if r.phase != "running" or r.healthy is ok:
        return
    was, r.healthy = r.healthy, ok
    if ok:
        r.well_s, r.well_once = s.now, True
        if r.slot in s.failing and s.failing[r.slot].spec == r.spec:
            del s.failing[r.slot]
        s.note("healthy", r.slot, f"after {s.now - r.started_s:.2f} s" if was is None else "healthy again")
    else:
        r.unwell_s = s.now
        if was:
            s.note("unhealthy", r.slot, with_words(detail or "its probe fails", last_lines, _WORDS_MAX))
    r.since_s = s.now


def _look_after(s: Situation, r: Replica) -> None:
    if r.service is not None and r.service.exclusive and str(r.slot) not in s.leases.leases:
        r.then_again = True
        stop(s, r, "it runs, and no lease that is known here says so", at_once=True)  # it was found here at our start
        return
    if r.service is None or r.service.probe is None:
        _when(s, r, r.started_s + s.timing.running_is_well_s, lambda: probed(s, r, True, ""))
    if not r.well_once:
        probe = r.service.probe if r.service is not None else None
        limit = start_limit_s(probe, s.timing.start_limit_s)
        since = r.first_start_s if r.first_start_s is not None else r.started_s
        ripe = max(since + limit, r.started_s + min(limit, _FAIR_S))
        _when(s, r, ripe, lambda: fail(s, r, _ails(r, f"not healthy within {limit:g} s")))
    elif r.healthy is False and is_canary(s, r.slot, r.spec):
        _when(
            s,
            r,
            r.unwell_s + s.timing.unwell_moves_s,
            lambda: fail(s, r, _ails(r, "not healthy any more")),
        )
    elif r.healthy is False:
        _when(s, r, r.unwell_s + s.timing.unwell_restart_s, lambda: _renew(s, r))


def _ails(r: Replica, how: str) -> str:
    return with_words(f"{how}: {r.detail or 'no answer'}", r.last_lines, _WORDS_MAX)


def _renew(s: Situation, r: Replica) -> None:
    r.then_again = True
    stop(s, r, f"not healthy for {s.timing.unwell_restart_s:g} s, and nobody else took it: {r.detail}")


def exited(s: Situation, r: Replica, exit_code: int, oom: bool, last_lines: str) -> None:
    """It ended without being told to. `last_lines` of its log go into the event."""
    how = told(exit_code, oom)
    unwatch(s, r)
    s.note("exited", r.slot, f"{how}: {last_lines[-300:]}" if last_lines else how)
    if r.well_s is not None and r.healthy and s.now - r.well_s >= s.timing.backoff_reset_s:
        r.backoff_s, r.exits_s = 0.0, []
    on_trial = r.service is not None and is_on_trial(s, r.slot, r.spec, r.well_s, r.service.update.monitor_s)
    r.exit_code, r.oom, r.healthy, r.address = exit_code, oom, None, ""
    r.exits_s = [*r.exits_s[-99:], s.now]
    r.last_end = how
    to(s, r, "exited", how)
    if r.service is not None and r.service.exclusive and s.leases.held(str(r.slot), s.now) is None:
        to(s, r, "waiting", f"its lease ended: {how}")  # the guard has ended it: no failure of its own
        return
    policy = r.service.restart if r.service is not None else Restart()
    if not again(policy, exit_code, r.exits_s, s.now):
        r.again_s = None
        if exit_code != 0 or oom:
            fail(s, r, with_words(how, last_lines, _WORDS_MAX))
        return
    key = (r.slot.app, r.slot.service, r.spec)
    young = r.first_start_s is not None and s.now - r.first_start_s <= s.timing.start_limit_s
    if key not in s.settled and (on_trial or (young and not r.well_once)):
        recent = sum(s.now - at <= s.timing.start_limit_s for at in r.exits_s)
        if on_trial or recent > s.timing.start_exits:
            tried = r.well_s is not None and r.service is not None and s.now - r.well_s > r.service.update.monitor_s
            once = "while its version was tried" if tried else "right after its start"
            how = f"{how}, {recent} times" if recent > 1 else f"{how} {once}"
            fail(s, r, with_words(how, last_lines, _WORDS_MAX))
            return
    r.backoff_s = next_backoff(r.backoff_s, max(policy.delay_s, 0.01), s.timing.backoff_most_s)
    r.again_s = s.now + r.backoff_s
    r.restarts += 1
    s.later(r.slot, r.again_s)


def start_failed(s: Situation, r: Replica, why: str, passing: bool) -> None:
    if r.phase == "initialising":
        r.container = ""  # it was never made
    if r.stop_asked:
        s.replicas.remove(r)
    elif not passing:
        fail(s, r, why)
    else:
        to(s, r, "exited", why)
        r.exits_s = [*r.exits_s[-99:], s.now]
        if not r.well_once and len(r.exits_s) > s.timing.start_exits:
            fail(s, r, why)
            return
        r.backoff_s = next_backoff(r.backoff_s, s.timing.backoff_first_s, s.timing.backoff_most_s)
        r.again_s = s.now + r.backoff_s
        s.later(r.slot, r.again_s)


def fail(s: Situation, r: Replica, why: str) -> None:
    """This version can't run here, for now: say so, step back for the length of a bar."""
    until = cannot(s, r.slot, r.spec, why)
    want = s.want(r.slot)
    at_home = want is not None and s.me in home_of(s, r.slot, want) and r.started_s > 0
    if r.phase == "running":  # one that could not be started has left nothing to stop
        stop(s, r, f"failed: {why}")
        r.then_again = at_home
        r.again_s = until if at_home else None
    else:
        to(s, r, "failed", why)
        r.again_s = until if at_home else None
    r.well_once = False


def cannot(s: Situation, slot: Slot, spec: str, why: str) -> float:
    """This version can't run here, whether or not a container of it was ever made. Gives when the bar ends."""
    until = s.bars.bar(slot, s.me, s.now)
    s.failing[slot] = Failing(spec, why, until)
    s.note("declined", slot, f"failed here: {why}")
    s.later(slot, until)
    s.add_evidence(slot, spec, s.me, why)
    return until


def stop(s: Situation, r: Replica, reason: str, *, at_once: bool = False) -> None:
    """End it for good, or (then_again) to start it anew. `at_once`: it is killed, whatever time its service gives it."""
    if r.phase == "stopping":
        return
    if r.phase == "starting":
        r.stop_asked, r.why = True, reason  # its container has no name yet
        return
    if not r.container:
        s.replicas.remove(r)
        return
    routed = r.phase == "running" and bool(r.healthy)
    if r.phase == "running":
        unwatch(s, r)
    service = r.service or Service()
    to(s, r, "stopping", reason)
    s.out.append(
        Stop(
            slot=r.slot, spec=r.spec, container=r.container, signal="SIGKILL" if at_once else service.stop_signal,
            drain_s=service.drain_s if routed and not at_once else 0.0, grace_s=0.0 if at_once else service.stop_grace_s,
            reason=reason,
        )
    )  # fmt: skip


def stopped(s: Situation, r: Replica) -> None:
    if not r.then_again:
        s.replicas.remove(r)
        return
    r.then_again, r.container, r.address, r.healthy, r.stop_asked = False, "", "", None, False
    r.restarts += 1
    at = r.again_s if r.again_s is not None and r.again_s > s.now else None
    to(s, r, "failed" if at is not None else "exited", r.why)
    r.again_s = at if at is not None else s.now


def to(s: Situation, r: Replica, phase: Phase, why: str) -> None:
    if r.phase != phase:
        r.phase, r.since_s = phase, s.now
    r.why = why


def publish_state(s: Situation, slot: Slot, wanted_spec: str, rest: str = "") -> None:
    """Tell what we do with a slot: of two containers, the one that serves. `rest`: why nothing runs."""
    replicas = list(s.replicas.of(slot).values())
    key = str(slot)
    if not replicas:
        body = None
        if slot in s.homes:
            body = SlotState(spec=wanted_spec, image="", state="exited", why=rest or "its data is here", data=True)
        s.publish("slot", key, body, rest or "nothing of it is left here")
        return
    r = max(replicas, key=lambda r: (_serves(r), r.spec == wanted_spec and r.phase != "stopping", r.phase == "running"))
    body = SlotState(
        spec=r.spec, image=r.image, state=r.phase, address=r.address if r.phase == "running" else "",
        healthy=r.healthy, since=s.wall(r.since_s), restarts=r.restarts, exit_code=r.exit_code, oom=r.oom,
        why=r.why or _last_end(r), versions=r.versions, data=slot in s.homes,
        proved=(slot.app, slot.service, r.spec) in s.settled, fencing=r.fencing,
    )  # fmt: skip
    s.publish("slot", key, body, f"{r.phase}: {r.why}" if r.why else r.phase)


def _last_end(r: Replica) -> str:
    """What `ps` goes on telling of one that runs again."""
    if not r.last_end:
        return ""
    return f"started again {'once' if r.restarts == 1 else f'{r.restarts} times'}: {r.last_end}"


def _serves(r: Replica) -> int:
    """2: healthy, and 1: not yet known to be ill, ranks what others should be told."""
    if r.phase != "running":
        return 0
    return 2 if r.healthy else 0
