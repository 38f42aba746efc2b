"""One core and what it answers: the order of its effects, a new life, and events that nobody expects."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import Claim, Decline, FactBody, Lost, Saw, SlotState, Up, Verdict
from skerry.core.intent import Probe, Service, VolumeMount, spec_of
from skerry.core.node import NodeCore
from skerry.core.order import order_for
from skerry.core.records import Fact, Record, Slot
from skerry.sim import documents as docs

ME, OTHER = "node/vps-1", "node/vps-2"
WEB = Service(replicas=1, probe=Probe(kind="tcp", port=80), drain_s=0.2)
IMAGE = docs.image_of("one")
SPEC = spec_of(WEB, IMAGE)
SLOT = Slot("shop", "web", 0)
INTENT: list[Record] = [docs.node("vps-1"), docs.release("shop", {"web": "one"}), docs.app("shop", {"web": WEB})]
UP = Up(root=1, policy=1, heads="", uptime_s=1, cpus=1, memory_bytes=1, free_cpus=1, free_memory_bytes=1)


def booted(*disk: Record, found: list[ev.ContainerFound] | None = None) -> tuple[NodeCore, list[do.Effect]]:
    """A core in its second life, with what its disk held, and the effects of its first real event, at 100 s."""
    core = NodeCore()
    told = core.step(ev.Booted(node=ME, boot=2, cpus=2.0, memory_bytes=1 << 30, clock=1e9), 100.0)
    for record in disk:
        told += core.step(ev.RecordAccepted(record=record, from_disk=True), 100.0)
    for event in found or []:
        told += core.step(event, 100.0)
    told += core.step(ev.ImageReady(image=IMAGE), 100.0)
    assert all(effect == do.Wake(at_s=100.0, reason=effect.reason) for effect in told), "decided before all was in"
    return core, core.step(ev.Timer(), 100.0)


def fact(node: str, kind: str, key: str, body: FactBody | None, n: int = 1) -> Fact:
    return Fact(node=node, kind=kind, key=key, seq=(1, n), time=0.0, body=body)


def kinds(effects: list[do.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def test_a_claim_is_published_before_its_container_starts() -> None:
    _, effects = booted(*INTENT)
    claims = [i for i, e in enumerate(effects) if isinstance(e, do.Publish) and e.kind == "claim"]
    starts = [i for i, e in enumerate(effects) if isinstance(e, do.Start)]
    assert len(claims) == len(starts) == 1 and claims[0] < starts[0]
    assert effects[claims[0]].sync  # type: ignore[attr-defined]


def test_what_stops_has_left_the_routes_before() -> None:
    core, _ = booted(*INTENT)
    core.step(ev.ContainerStarted(slot=SLOT, spec=SPEC, address="10.77.1.2", container="c1"), 100.1)
    core.step(ev.ProbeAnswered(slot=SLOT, node=ME, spec=SPEC, ok=True), 100.2)
    effects = core.step(ev.RecordAccepted(record=docs.app("shop", {}, version=2, deleted=True)), 101.0)
    assert kinds(effects)[-2:] == ["Stop", "Wake"]
    assert "Route" in kinds(effects)
    stop = effects[-2]
    assert isinstance(stop, do.Stop) and stop.drain_s == 0.2 and stop.reason == "the app is deleted"


def test_a_container_that_outlived_the_agent_is_adopted_and_stays_in_the_routes() -> None:
    state = SlotState(spec=SPEC, image=IMAGE, state="running", address="10.77.1.2", healthy=True, versions=(1, 1))
    claim = Claim(spec=SPEC, image=IMAGE, rank=0, reason="mine")
    found = ev.ContainerFound(slot=SLOT, spec=SPEC, image=IMAGE, address="10.77.1.2", container="c1", running=True)
    _, effects = booted(*INTENT, fact(ME, "claim", str(SLOT), claim), fact(ME, "slot", str(SLOT), state), found=[found])
    assert not {"Start", "Stop"} & set(kinds(effects))
    route = next(effect for effect in effects if isinstance(effect, do.Route))
    assert dict(route.names)["web.shop.internal"] == ("10.77.1.2",)
    assert any(isinstance(effect, do.Watch) and effect.own for effect in effects)
    assert any(isinstance(effect, do.Publish) and effect.kind == "slot" for effect in effects), "it must say so anew"


def test_a_container_that_was_told_of_before_its_documents_had_come_gets_its_version_all_the_same() -> None:
    """A life whose records were lost says version 0.0; the next one has the documents again."""
    state = SlotState(spec=SPEC, image=IMAGE, state="running", address="10.77.1.2", versions=(0, 0))
    claim = Claim(spec=SPEC, image=IMAGE, rank=0, reason="mine")
    found = ev.ContainerFound(slot=SLOT, spec=SPEC, image=IMAGE, address="10.77.1.2", container="c1", running=True)
    core, _ = booted(*INTENT, fact(ME, "claim", str(SLOT), claim), fact(ME, "slot", str(SLOT), state), found=[found])
    assert [row.version for row in core.rows()] == ["1.1"]


def test_what_a_claimed_slot_waits_for_is_said_beside_what_others_declined() -> None:
    """No empty reason stands before a semicolon, and nothing ends in a blank."""
    core, _ = booted(*INTENT)
    core.step(ev.RecordAccepted(record=docs.node("vps-2")), 101.0)
    core.step(ev.RecordAccepted(record=fact(OTHER, "decline", str(SLOT), Decline(spec=SPEC, reason="no room"))), 101.0)
    assert core.explain(SLOT).awaits == "claimed by vps-1: its image is here; declined: no room"
    core.step(ev.ContainerStarted(slot=SLOT, spec=SPEC, address="10.77.1.2", container="c1"), 101.1)
    assert core.explain(SLOT).awaits == "claimed by vps-1: not yet probed; declined: no room"
    core.step(ev.ProbeAnswered(slot=SLOT, node=ME, spec=SPEC, ok=True), 101.2)
    assert core.explain(SLOT).awaits == ""


STORE = Service(
    probe=Probe(kind="tcp", port=80, start_period_s=5.0), volumes=(VolumeMount(volume="data", target="/data"),)
)
STORE_SPEC = spec_of(STORE, IMAGE)
STORE_INTENT: list[Record] = [docs.release("shop", {"web": "one"}), docs.app("shop", {"web": STORE})]
STORE_RUNS = ev.ContainerFound(slot=SLOT, spec=STORE_SPEC, image=IMAGE, address="a", container="c1", running=True)


def test_who_lost_its_records_is_silent_about_a_slot_until_it_knows_whether_its_data_is_here() -> None:
    """Else others would believe that it has none, and start the slot empty."""
    core, effects = booted(docs.node("vps-1"), docs.node("vps-2"), found=[STORE_RUNS])
    effects += core.step(ev.LinkUp(peer=OTHER), 100.1)
    for record in STORE_INTENT:
        effects += core.step(ev.RecordAccepted(record=record, source=OTHER), 100.2)
    told = [effect.body for effect in effects if isinstance(effect, do.Publish) and effect.kind == "slot"]
    assert told and all(isinstance(state, SlotState) and state.data for state in told)


def test_a_container_of_another_version_than_the_wanted_has_its_data_here_all_the_same() -> None:
    old = msgspec.structs.replace(STORE_RUNS, spec="of a document that is nowhere any more")
    core, effects = booted(docs.node("vps-1"), docs.node("vps-2"), found=[old])
    for record in STORE_INTENT:
        effects += core.step(ev.RecordAccepted(record=record, source=OTHER), 100.2)
    told = [effect.body for effect in effects if isinstance(effect, do.Publish) and effect.kind == "slot"]
    assert told and all(isinstance(state, SlotState) and state.data for state in told)


def test_what_was_adopted_before_its_documents_came_is_watched_from_then_on_and_not_given_up() -> None:
    core, effects = booted(docs.node("vps-1"), docs.node("vps-2"), found=[STORE_RUNS])
    assert not [effect for effect in effects if isinstance(effect, do.Watch)]
    effects = []
    for record in STORE_INTENT:
        effects += core.step(ev.RecordAccepted(record=record, source=OTHER), 170.0)
    assert [effect.address for effect in effects if isinstance(effect, do.Watch)] == ["a"]
    effects = core.step(ev.Timer(), 171.0)
    effects += core.step(ev.ProbeAnswered(slot=SLOT, node=ME, spec=STORE_SPEC, ok=True), 172.0)
    effects += core.step(ev.Timer(), 240.0)
    assert not [effect for effect in effects if isinstance(effect, do.Stop | do.Start)]
    assert [(row.node, row.healthy) for row in core.rows()] == [("vps-1", True)]


def test_after_its_start_a_node_makes_no_data_that_a_neighbour_may_be_about_to_tell_of() -> None:
    core, effects = booted(*STORE_INTENT, docs.node("vps-1"), docs.node("vps-2"))
    effects += core.step(ev.LinkUp(peer=OTHER), 110.0) + core.step(ev.Timer(), 114.9)
    theirs = SlotState(spec=STORE_SPEC, image=IMAGE, state="exited", data=True)
    effects += core.step(ev.RecordAccepted(record=fact(OTHER, "slot", str(SLOT), theirs), source=OTHER), 114.95)
    for second in range(115, 200):
        effects += core.step(ev.Timer(), float(second))
    assert not [effect for effect in effects if isinstance(effect, do.Start)]


def test_who_is_new_again_stops_nothing_before_it_has_heard_who_claims_what() -> None:
    core = NodeCore()
    core.step(ev.Booted(node=ME, boot=2, cpus=2.0, memory_bytes=1 << 30, clock=1e9, new=True), 100.0)
    found = ev.ContainerFound(slot=SLOT, spec=SPEC, image=IMAGE, address="a", container="c1", running=True)
    effects = core.step(found, 100.0) + core.step(ev.Timer(), 100.0)
    for record in (*INTENT, docs.node("vps-2")):
        effects += core.step(ev.RecordAccepted(record=record, source=OTHER), 130.0)
    claim = Claim(spec=SPEC, image=IMAGE, rank=0, reason="mine")
    effects += core.step(ev.RecordAccepted(record=fact(ME, "claim", str(SLOT), claim), source=OTHER), 130.1)
    effects += core.step(ev.CaughtUp(), 130.2) + core.step(ev.Timer(), 131.0)
    assert not [effect for effect in effects if isinstance(effect, do.Stop | do.Start)]
    assert [(row.node, row.claims) for row in core.rows()] == [("vps-1", ("vps-1",))]


def test_a_container_that_nothing_of_ours_claims_is_stopped() -> None:
    found = ev.ContainerFound(slot=Slot("gone", "x", 0), spec="s", image="i", address="a", container="c9", running=True)
    app = docs.app("gone", {}, deleted=True)
    _, effects = booted(*INTENT, app, found=[found])
    assert [effect.container for effect in effects if isinstance(effect, do.Stop)] == ["c9"]


def test_an_app_whose_documents_have_not_come_is_left_alone() -> None:
    found = ev.ContainerFound(
        slot=Slot("later", "x", 0), spec="s", image="i", address="a", container="c9", running=True
    )
    _, effects = booted(*INTENT, found=[found])
    assert not [effect for effect in effects if isinstance(effect, do.Stop)]


def test_a_claim_whose_container_is_gone_is_started_again() -> None:
    claim = Claim(spec=SPEC, image=IMAGE, rank=0, reason="mine")
    _, effects = booted(*INTENT, fact(ME, "claim", str(SLOT), claim))
    assert [effect.reason for effect in effects if isinstance(effect, do.Start)] == ["held before this node started"]


def test_right_after_its_start_a_node_leaves_the_slots_of_others_alone() -> None:
    theirs = Claim(spec=SPEC, image=IMAGE, rank=0, reason="mine")
    core, effects = booted(*INTENT, docs.node("vps-2"), fact(OTHER, "claim", str(SLOT), theirs))
    for second in range(1, 20):
        effects += core.step(ev.Timer(), 100.0 + second)
    assert not [effect for effect in effects if isinstance(effect, do.Start)]
    effects = core.step(ev.Timer(), 121.0)
    assert [effect.slot for effect in effects if isinstance(effect, do.Start)] == [SLOT]


def test_a_node_claims_nothing_before_a_neighbour_told_it_what_is_held() -> None:
    core, effects = booted(*INTENT, docs.node("vps-2"))
    assert "Start" not in kinds(effects)
    effects = core.step(ev.LinkUp(peer=OTHER), 100.2)
    assert "Start" not in kinds(effects)
    theirs = Claim(spec=SPEC, image=IMAGE, rank=0, reason="mine")
    core.step(ev.RecordAccepted(record=fact(OTHER, "claim", str(SLOT), theirs), source=OTHER), 100.3)
    assert "Start" not in kinds(core.step(ev.Timer(), 103.0))


def test_a_node_takes_no_slot_from_a_better_one_that_holds_it_well() -> None:
    def first(name: str) -> str:
        nodes = {document.path: document.body for document in (docs.node("vps-1"), docs.node(name))}
        return order_for("shop.web", 0, nodes)[0]  # type: ignore[arg-type]

    name = next(name for n in range(2, 30) if first(name := f"vps-{n}") != ME)
    better = f"node/{name}"
    core, effects = booted(*INTENT, docs.node(name))
    effects += core.step(ev.LinkUp(peer=better), 100.1)
    state = SlotState(spec=SPEC, image=IMAGE, state="running", address="10.77.2.2", healthy=True, versions=(1, 1))
    theirs = Claim(spec=SPEC, image=IMAGE, rank=0, reason="mine")
    for kind, key, body in (("up", "", UP), ("claim", str(SLOT), theirs), ("slot", str(SLOT), state)):
        effects += core.step(ev.RecordAccepted(record=fact(better, kind, key, body), source=better), 100.2)
    for second in range(101, 135):
        effects += core.step(ev.Timer(), float(second))
    assert [(row.node, row.healthy, row.claims) for row in core.rows()] == [(name, True, (name,))]
    assert "Start" not in kinds(effects)


def test_a_node_whose_records_are_new_claims_nothing_before_it_has_caught_up_however_long_that_takes() -> None:
    core = NodeCore()
    core.step(ev.Booted(node=ME, boot=1, cpus=2.0, memory_bytes=1 << 30, clock=1e9, new=True), 100.0)
    effects = core.step(ev.ImageReady(image=IMAGE), 100.0) + core.step(ev.LinkUp(peer=OTHER), 100.1)
    for record in (docs.node("vps-2"), *INTENT):  # who linked with it is known first
        effects += core.step(ev.RecordAccepted(record=record, source=OTHER), 100.2)
    for second in range(101, 160):
        effects += core.step(ev.Timer(), float(second))
    assert "Start" not in kinds(effects)
    effects = core.step(ev.CaughtUp(), 160.0) + core.step(ev.Timer(), 162.0)
    assert [effect.slot for effect in effects if isinstance(effect, do.Start)] == [SLOT]


def test_old_words_of_an_earlier_life_are_withdrawn() -> None:
    _, effects = booted(
        *INTENT,
        fact(ME, "saw", f"{SLOT}@{OTHER}", Saw(spec=SPEC, ok=False)),
        fact(ME, "lost", OTHER, Lost(boot=1, beat=1)),
    )
    gone = {(effect.kind, effect.key) for effect in effects if isinstance(effect, do.Publish) and effect.body is None}
    assert gone == {("saw", f"{SLOT}@{OTHER}"), ("lost", OTHER)}


def test_a_slot_with_data_is_never_let_go_by_failures() -> None:
    service = Service(
        probe=Probe(kind="tcp", port=80, start_period_s=5.0), volumes=(VolumeMount(volume="d", target="/d"),)
    )
    spec = spec_of(service, IMAGE)
    core, _ = booted(
        docs.node("vps-1"), docs.node("vps-3"), docs.release("shop", {"web": "one"}), docs.app("shop", {"web": service})
    )
    core.step(ev.Timer(), 104.0)
    now, starts = 104.0, 0
    for _ in range(6):
        for effect in core.step(ev.ContainerStarted(slot=SLOT, spec=spec, address="a", container=f"c{now}"), now):
            assert not (isinstance(effect, do.Publish) and effect.kind == "claim" and effect.body is None)
        effects = core.step(ev.ContainerExited(slot=SLOT, spec=spec, container=f"c{now}", exit_code=1), now + 0.1)
        for later in range(1, 700, 3):
            for stop in [effect for effect in effects if isinstance(effect, do.Stop)]:
                effects = core.step(ev.ContainerStopped(slot=SLOT, spec=spec, container=stop.container), now + later)
            effects += core.step(ev.Timer(), now + 0.1 + later)
            if any(isinstance(effect, do.Start) for effect in effects):
                now, starts = now + 0.1 + later, starts + 1
                break
    assert starts == 6
    assert core.rows()[0].node == "vps-1"


slots = st.builds(Slot, st.sampled_from(["shop", "x"]), st.sampled_from(["web", "db"]), st.integers(0, 2))
specs = st.sampled_from([SPEC, "other", ""])
nodes = st.sampled_from([ME, OTHER, "node/vps-3"])
containers = st.sampled_from(["c1", "c2"])
keys = slots.map(str) | st.text(max_size=9)
claims = st.builds(Claim, spec=specs, image=st.just(IMAGE), rank=st.integers(-1, 9), reason=st.just("x"))
states = st.builds(
    SlotState, spec=specs, image=st.just(IMAGE), state=st.sampled_from(["running", "exited", "waiting"]),
    address=st.sampled_from(["", "10.77.9.9"]), healthy=st.booleans(), data=st.booleans(),
)  # fmt: skip
declines = st.builds(Decline, spec=specs, reason=st.just("x"), failed=st.booleans())
saws = st.builds(Saw, spec=specs, ok=st.booleans())
losts = st.builds(Lost, boot=st.integers(0, 3), beat=st.integers(0, 99))
verdicts = st.builds(Verdict, spec=specs, evidence=st.just({OTHER: "x"}))
told: st.SearchStrategy[tuple[str, str, FactBody | None]] = st.one_of(
    st.tuples(st.just("claim"), keys, st.none() | claims),
    st.tuples(st.just("slot"), keys, st.none() | states),
    st.tuples(st.just("decline"), keys, st.none() | declines),
    st.tuples(st.just("saw"), slots.map(lambda slot: f"{slot}@{ME}") | st.text(max_size=9), saws),
    st.tuples(st.just("lost"), nodes | st.text(max_size=9), losts),
    st.tuples(st.just("verdict"), st.sampled_from(["shop.web", "shop", "", "x.db"]), verdicts),
    st.tuples(st.just("up"), st.just(""), st.just(UP)),
)


def told_by(node: str, seq: tuple[int, int], what: tuple[str, str, FactBody | None]) -> Record:
    return Fact(node=node, kind=what[0], key=what[1], seq=seq, time=0.0, body=what[2])


records = st.one_of(
    st.builds(told_by, st.sampled_from([OTHER, "node/vps-3"]), st.tuples(st.integers(1, 3), st.integers(1, 50)), told),
    st.builds(lambda v, n: docs.app("shop", {"web": Service(replicas=n)}, version=v), st.integers(1, 5), st.integers(0, 3)),
    st.builds(lambda v: docs.release("shop", {"web": f"v{v}"}, version=v), st.integers(1, 5)),
    st.builds(
        lambda name, state: docs.node(name, state=state, version=2),
        st.sampled_from(["vps-1", "vps-2"]), st.sampled_from(["active", "draining", "expelled"]),
    ),
)  # fmt: skip
exit_codes = st.integers(0, 255)
events: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.RecordAccepted, record=records),
    st.builds(ev.LinkUp, peer=nodes),
    st.builds(ev.LinkDown, peer=nodes, goodbye=st.booleans()),
    st.builds(ev.PeerReached, peer=nodes, via=nodes, ok=st.booleans()),
    st.builds(ev.ContainerStarted, slot=slots, spec=specs, address=st.just("10.77.1.9"), container=containers),
    st.builds(ev.StartFailed, slot=slots, spec=specs, why=st.just("x"), passing=st.booleans()),
    st.builds(
        ev.ContainerExited, slot=slots, spec=specs, container=containers, exit_code=exit_codes, oom=st.booleans()
    ),
    st.builds(ev.ContainerStopped, slot=slots, spec=specs, container=containers),
    st.builds(ev.ProbeAnswered, slot=slots, node=nodes, spec=specs, ok=st.booleans()),
    st.sampled_from([ev.ImageReady(image=IMAGE), ev.ImageFailed(image=IMAGE, why="x"), ev.ImageGone(image=IMAGE)]),
    st.sampled_from([ev.VolumeGone(app="shop", volume="d"), ev.Timer()]),
)


@settings(max_examples=150, deadline=None)
@given(life=st.lists(st.tuples(events, st.sampled_from([0.0, 0.01, 1.0, 20.0])), max_size=40))
def test_whatever_comes_in_whatever_order_a_node_goes_on_and_says_why(life: list[tuple[ev.Event, float]]) -> None:
    first, second = booted(*INTENT, docs.node("vps-2"))[0], booted(*INTENT, docs.node("vps-2"))[0]
    now = 100.0
    for event, pause in life:
        now += pause
        effects = first.step(event, now)
        assert effects == second.step(event, now), "the same events at the same times give the same effects"
        assert all(effect.reason or isinstance(effect, do.Wake) for effect in effects)
        assert all(effect.at_s >= now for effect in effects if isinstance(effect, do.Wake))
        first.rows(), first.hosts(), first.explain(SLOT)
