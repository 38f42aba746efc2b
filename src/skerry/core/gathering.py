"""How each event changes the situation. Nothing is decided here; what must be looked at again is marked."""

from __future__ import annotations

from collections.abc import Callable

from skerry.core import tending, wishing
from skerry.core.alerting import alerting, sending
from skerry.core.concern import touch_presence
from skerry.core.constraints import name_of
from skerry.core.events import (
    AlertAnswered,
    Booted,
    CaughtUp,
    ContainerExited,
    ContainerFound,
    ContainerStarted,
    ContainerStopped,
    Event,
    FactForgotten,
    Felt,
    ImageFailed,
    ImageGone,
    ImageReady,
    ImageRoom,
    Initialising,
    Knocked,
    LeasesWanted,
    LinkDown,
    LinkUp,
    Measured,
    NotKept,
    PeerReached,
    ProbeAnswered,
    RecordAccepted,
    StartFailed,
    ToolsUsed,
    VolumeGone,
)
from skerry.core.facts import Decline, SlotState
from skerry.core.intent import Tools
from skerry.core.presence import Change
from skerry.core.records import Document, Fact, Slot
from skerry.core.renting import dealt
from skerry.core.replicas import Replica
from skerry.core.restarts import again, told
from skerry.core.situation import Situation
from skerry.core.waking import knocked
from skerry.core.witnessing import witnessed

_OF_SLOTS = ("claim", "decline", "slot", "home")
UNKEPT_EVERY_S = 60.0  # that nothing can be granted is told so often


def gather(s: Situation, event: Event) -> None:
    handler = _HANDLERS.get(type(event))
    if handler is not None:
        handler(s, event)


def fell_or_rose(s: Situation, change: Change) -> None:
    if change.why:
        s.note("up" if change.up else "down", name_of(change.node), change.why)
    s.renting.next_s = s.now
    touch_presence(s, change.node, up=change.up)
    wishing.touch(s)


def _booted(s: Situation, event: Booted) -> None:
    s.me, s.boot, s.agent, s.cpus, s.memory_bytes = event.node, event.boot, event.agent, event.cpus, event.memory_bytes
    s.boot_s, s.clock, s.new = s.now, event.clock, event.new
    s.presence.me = event.node


# --- records ----------------------------------------------------------------------------------------------------------


def _record(s: Situation, event: RecordAccepted) -> None:
    record = event.record
    if isinstance(record, Document):
        _document(s, record)
    elif record.node == s.me and not event.from_disk:
        if record.seq[0] < s.boot and record.kind != "up":
            _of_a_former_life(s, record)
        elif (record.kind, record.key) in s.binding:
            s.binding.discard((record.kind, record.key))
            if s.known.accept(record):
                _fact(s, record, from_disk=False)
        # else our own, coming back: it has counted since it was published
    elif record.kind == "up":
        _up(s, record, event.from_disk)
    elif s.known.accept(record):
        _fact(s, record, event.from_disk)


def _not_kept(s: Situation, event: NotKept) -> None:
    """Whoever asks again is answered anew."""
    s.binding.discard((event.kind, event.key))
    if s.now >= s.unkept_s + UNKEPT_EVERY_S:
        s.unkept_s = s.now
        s.note("not-granted", event.key, f"this voter grants nothing that it can't keep: {event.why}")


def _up(s: Situation, record: Fact, from_disk: bool) -> None:
    if s.known.accept(record) and record.body is not None:
        change = s.presence.beat(record.node, record.seq, from_disk, s.now)
        if change is not None:
            fell_or_rose(s, change)


def _dropped(s: Situation, slot: Slot, node: str) -> None:
    """Whoever holds a slot, well, and lets go of it to nobody has failed: who grabs and drops is soon barred for long.

    Beside one that does so, others let go to it in good faith, and its claim may be gone again before theirs is.
    """
    standing, want = s.standings.get(slot), s.want(slot)
    if standing is None or standing.winner is None or standing.winner.node != node or want is None:
        return
    if want.service.scale is not None and slot.index >= want.service.scale.min:
        return  # fewer may be wanted by facts that have not come here yet
    heirs = any(claimant.done and claimant.node != node for claimant in standing.claimants)
    lured = any(other != node and other in standing.order for other in s.drops.ever(slot))
    if not heirs and not lured and s.is_active(node) and node in standing.order:
        s.drops.bar(slot, node, s.now)
        s.unwell.pop((slot, node), None)  # how long it held the slot well counts anew


def _of_a_former_life(s: Situation, record: Fact) -> None:
    """What we said before we started and our disk has lost: neighbours give it back, and it counts as if it had been there.

    Trust takes nothing that is older than what we have said since.
    """
    if not s.known.accept(record):
        return
    if record.kind in ("saw", "lost", "decline", "wake"):
        s.publish(record.kind, record.key, None, "this node has started anew")
    slot = Slot.read(record.key) if record.kind in ("claim", "slot") else None
    if slot is None:
        return
    state = s.state_of(s.me, slot)
    if record.kind == "slot" and state is not None:
        s.republish.add(("slot", record.key))
        if state.data:
            s.homes.add(slot)
    for r in s.replicas.of(slot).values():
        _recall(s, r, state)
    if s.claim_of(s.me, slot) is not None and not s.replicas.of(slot):
        if _finished_before(s, slot):
            s.resume.discard(slot)
        else:
            s.resume.add(slot)
    s.touch_slot(slot)
    s.touch_ours(slot.app, slot.service)


def _fact(s: Situation, record: Fact, from_disk: bool) -> None:
    dealt.heard(s, record)
    if record.kind in _OF_SLOTS:
        slot = Slot.read(record.key) if s.begun else None  # before that, nothing is looked at; after it all is
        if slot is None:
            return
        s.leases.due = s.leases.due or bool(s.known.about("ask", ""))
        s.fence_due = s.fence_due or slot in s.fenced
        if record.kind == "claim" and record.body is None and not from_disk:
            _dropped(s, slot, record.node)
        decline = record.body
        # Of any version but the newest nothing follows; so what others send can't fill our memory.
        if isinstance(decline, Decline) and decline.failed and not from_disk and s.newest_spec(slot) == decline.spec:
            s.add_evidence(slot, decline.spec, record.node, decline.reason)
        s.touch_slot(slot)
        if record.kind == "decline":
            s.touch_ours(slot.app, slot.service)  # it may hold up others no longer
        s.verdicts_due |= {slot.app} if s.known.facts.get("verdict") else set()
    elif record.kind == "saw":
        slot = Slot.read(record.key.rpartition("@")[0]) if s.begun else None
        if slot is not None:
            s.touch_slot(slot)
    elif record.kind == "verdict":
        s.verdicts_due.add(record.key.partition(".")[0])
    elif record.kind == "lost":
        s.presence.next_s = s.now
    elif record.kind == "object":
        s.images_changed = True
    elif record.kind == "votes" or (record.kind == "ask" and record.key):
        s.app_leases.heard(s, record.node, record.kind, record.key, from_disk)
    elif record.kind in ("ask", "grant", "promise"):
        s.leases.heard(s, record.node, record.kind, record.key, from_disk)
    elif record.kind in ("load", "wish", "wake"):
        wishing.heard(s, record, from_disk)


def _document(s: Situation, record: Document) -> None:
    if not s.known.accept(record):
        return
    dealt.heard(s, record)
    if record.kind in ("app", "release"):
        s.apps_due.add(record.path.partition("/")[2])
        s.app_leases.due.add(record.path.partition("/")[2])
    elif isinstance(record.body, Tools):
        s.images.name_tools(record.path, record.body.image)
        s.images_changed = True
    elif record.kind == "alert":
        alerting.changed(s)
    elif record.kind == "policy":
        s.leases.due = s.fence_due = True
        s.app_leases.next_s = s.now
    elif record.kind in ("node", "secret", "pool"):
        s.forget_orders()
        s.members_changed = s.members_changed or record.kind == "node"
        s.known.lodging.moved |= s.known.lodging.apps()  # who may read an app decides whose addresses count
        s.touch_all()
        wishing.touch(s)


def _forgotten(s: Situation, event: FactForgotten) -> None:
    s.known.forget(event.node, event.kind, event.key)


def _caught_up(s: Situation, event: CaughtUp) -> None:
    s.new = False
    s.touch_all()


# --- neighbours -------------------------------------------------------------------------------------------------------


def _link_up(s: Situation, event: LinkUp) -> None:
    change = s.presence.link_up(event.peer, s.now)
    s.presence.next_s = s.now
    if change is not None:
        fell_or_rose(s, change)
    s.images_changed = True


def _link_down(s: Situation, event: LinkDown) -> None:
    s.presence.link_down(event.peer, event.goodbye, s.now)


def _reached(s: Situation, event: PeerReached) -> None:
    s.presence.reached(event.peer, event.via, event.ok)
    s.presence.next_s = s.now


# --- own containers ---------------------------------------------------------------------------------------------------


def _found(s: Situation, event: ContainerFound) -> None:
    r = s.replicas.add(Replica(slot=event.slot, spec=event.spec, image=event.image, versions=(0, 0), service=None))
    r.container, r.address, r.started_s, r.since_s, r.adopted = event.container, event.address, s.now, s.now, True
    r.phase, r.exit_code = ("running", None) if event.running else ("exited", event.exit_code)
    if not event.running:
        r.again_s, r.address, r.why = s.now, "", "ended while nobody looked"


def _of(s: Situation, slot: Slot, spec: str, container: str = "") -> Replica | None:
    r = s.replicas.get(slot, spec)
    if r is None or (container and r.container and r.container != container):
        return None  # what is left of an earlier run
    s.touch_slot(slot)
    s.touch_ours(slot.app, slot.service)
    return r


def _initialising(s: Situation, event: Initialising) -> None:
    r = _of(s, event.slot, event.spec)
    if r is not None and r.phase == "starting":
        tending.initialising(s, r, event.container)


def _started(s: Situation, event: ContainerStarted) -> None:
    r = _of(s, event.slot, event.spec)
    if r is not None and r.phase in ("starting", "initialising"):
        tending.started(s, r, event.container, event.address)


def _start_failed(s: Situation, event: StartFailed) -> None:
    r = _of(s, event.slot, event.spec)
    if r is not None and r.phase in ("starting", "initialising"):
        tending.start_failed(s, r, event.why, event.passing)


def _exited(s: Situation, event: ContainerExited) -> None:
    r = _of(s, event.slot, event.spec, event.container)
    if r is not None and r.phase == "running":
        tending.exited(s, r, event.exit_code, event.oom, event.last_lines)


def _stopped(s: Situation, event: ContainerStopped) -> None:
    r = _of(s, event.slot, event.spec, event.container)
    if r is not None and r.phase == "stopping":
        tending.stopped(s, r)
        s.touch_all_ours()  # there is room again


def _probed(s: Situation, event: ProbeAnswered) -> None:
    if event.node != s.me:
        witnessed(s, event.slot, event.node, event.spec, event.ok, event.detail)
        return
    r = _of(s, event.slot, event.spec)
    if r is not None:
        tending.probed(s, r, event.ok, event.detail, event.last_lines)


def _knocked(s: Situation, event: Knocked) -> None:
    knocked(s, event)


def _leases_wanted(s: Situation, event: LeasesWanted) -> None:
    s.app_leases.want(event.app, event.wanted)


# --- alerts -----------------------------------------------------------------------------------------------------------


def _felt(s: Situation, event: Felt) -> None:
    s.alerting.felt = event


def _alert_answered(s: Situation, event: AlertAnswered) -> None:
    sending.answered(s, event)


# --- images and volumes -----------------------------------------------------------------------------------------------


def _image_ready(s: Situation, event: ImageReady) -> None:
    s.images.ready(event.image, s.now, age_s=event.age_s, found=event.found)
    _image_touched(s, event.image)


def _image_failed(s: Situation, event: ImageFailed) -> None:
    s.images.failed(event, s)
    _image_touched(s, event.image)


def _image_room(s: Situation, event: ImageRoom) -> None:
    for image in s.images.more_room():
        _image_touched(s, image)


def _image_gone(s: Situation, event: ImageGone) -> None:
    s.images.gone(event.image)
    _image_touched(s, event.image)


def _tools_used(s: Situation, event: ToolsUsed) -> None:
    s.images.used(event.image, event.running, s.now)
    s.images_changed = True


def _image_touched(s: Situation, image: str) -> None:
    s.images_changed = True
    for app, app_want in s.wants.items():
        for service, want in app_want.services.items():
            if image in want.images:
                s.touch_ours(app, service)


def _volume_gone(s: Situation, event: VolumeGone) -> None:
    for slot in [slot for slot in s.homes if slot.app == event.app]:
        state = s.state_of(s.me, slot)
        service = s.service_of(slot, state.spec) if state is not None else None
        mounted = {m.volume for m in service.volumes} if service is not None else {event.volume, *event.left}
        disposable = s.disposable(event.app)
        others = any(volume in event.left and not disposable.get(volume, False) for volume in mounted)
        if not s.replicas.of(slot) and event.volume in mounted and not others:
            s.homes.discard(slot)
            s.touch_slot(slot)
            s.touch_ours(slot.app, slot.service)


def awaken(s: Situation) -> None:
    """All that the disk held is in: what of our former life goes on, and what has no meaning any more."""
    s.begun = True
    for kind in ("saw", "lost", "decline", "wake"):
        for key in s.known.told_by(s.me, kind):
            s.publish(kind, key, None, "this node has started anew")
    s.republish = {("slot", str(slot)) for slot in s.own_slots()}
    for slot in s.own_slots():
        state = s.state_of(s.me, slot)
        if state is not None and state.data:
            s.homes.add(slot)
        if state is not None and state.proved:
            s.settled.add((slot.app, slot.service, state.spec))
    for r in s.replicas:
        claim, state = s.claim_of(s.me, r.slot), s.state_of(s.me, r.slot)
        _adopt(s, r, state if claim is not None else None)
    s.resume = {slot for slot in s.own_claims() if not s.replicas.of(slot) and not _finished_before(s, slot)}
    for key in s.known.facts.get("verdict", {}):
        s.verdicts_due.add(key.partition(".")[0])
    s.touch_all()


def _finished_before(s: Situation, slot: Slot) -> bool:
    """A job of ours that ended well in an earlier life stays done: it isn't run again because this node started."""
    state = s.state_of(s.me, slot)
    service = s.service_of(slot, state.spec) if state is not None else None
    if state is None or service is None or state.state != "exited" or state.exit_code != 0:
        return False
    if again(service.restart, 0, (), s.now):
        return False
    s.replicas.add(
        Replica(slot=slot, spec=state.spec, image=state.image, versions=state.versions, service=service, phase="exited",
                since_s=s.boot_s + state.since - s.clock, restarts=state.restarts, exit_code=0, why=state.why)
    )  # fmt: skip
    return True


def _adopt(s: Situation, r: Replica, state: SlotState | None) -> None:
    """A container that outlived the agent."""
    _recall(s, r, state)
    if (
        r.phase == "exited"
        and r.exit_code == 0
        and r.service is not None
        and not again(r.service.restart, 0, (), s.now)
    ):
        r.again_s, r.why = None, told(0, False)


def _recall(s: Situation, r: Replica, state: SlotState | None) -> None:
    """What was known of it before we started holds until its probe says otherwise."""
    tending.learn(s, r)
    if state is not None and state.spec == r.spec:
        r.restarts = state.restarts
        if any(state.versions):  # else we had not even learnt what it is when we said so
            r.versions = state.versions
        if r.phase == "running" and r.healthy is None and state.address == r.address and state.healthy is not None:
            r.healthy, r.well_once = state.healthy, state.healthy
            r.well_s = r.unwell_s = s.now
            r.since_s = s.boot_s + state.since - s.clock  # only shown: it has been so for longer than we


_HANDLERS: dict[type[Event], Callable[..., None]] = {
    Booted: _booted,
    RecordAccepted: _record,
    FactForgotten: _forgotten,
    NotKept: _not_kept,
    CaughtUp: _caught_up,
    LeasesWanted: _leases_wanted,
    LinkUp: _link_up,
    LinkDown: _link_down,
    PeerReached: _reached,
    ContainerFound: _found,
    Initialising: _initialising,
    ContainerStarted: _started,
    StartFailed: _start_failed,
    ContainerExited: _exited,
    ContainerStopped: _stopped,
    ProbeAnswered: _probed,
    Knocked: _knocked,
    ImageReady: _image_ready,
    ImageRoom: _image_room,
    ImageFailed: _image_failed,
    ImageGone: _image_gone,
    ToolsUsed: _tools_used,
    VolumeGone: _volume_gone,
    **dealt.HANDLERS,
    Felt: _felt,
    AlertAnswered: _alert_answered,
    Measured: wishing.measured,
}
