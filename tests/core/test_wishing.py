"""Replicas that follow the load, in small clouds of real cores: who wishes, whose wish counts, what a number changes."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core import effects as do
from skerry.core.events import Timer
from skerry.core.facts import Load, Wake, Wish
from skerry.core.intent import Pool, Port, Probe, Scale, Schedule, Service, Update
from skerry.core.wishing import keepers, look_at, number_of
from skerry.sim import documents as docs
from skerry.sim.checkers import RolloutChecker, held_once
from skerry.sim.cluster import Cluster, World
from skerry.sim.machine import CLOCK_AT_ZERO
from skerry.sim.scenario import cluster_of, give_image

KEY = ("shop", "web")
SCALE = Scale(min=1, max=6, connections=50, step_s=10, down_s=60)
WEB = Service(
    replicas=2,
    scale=SCALE,
    probe=Probe(kind="tcp", port=80, start_period_s=10.0),
    ports=(Port(target=80, published=8000),),
)


def scaled(**changes: Any) -> Service:
    return msgspec.structs.replace(WEB, scale=msgspec.structs.replace(SCALE, **changes))


def deployed(
    nodes: int = 3, service: Service = WEB, *, seed: int = 0, world: World | None = None, load: float = 0.0
) -> Cluster:
    cluster = cluster_of(nodes, seed, world)
    cluster.loads[KEY] = lambda now_s: load
    deploy(cluster, service)
    cluster.run(25.0)
    return cluster


def deploy(cluster: Cluster, service: Service) -> None:
    for machine in cluster.machines:
        give_image(cluster, machine.removeprefix("node/"), "web-v1")
    cluster.accept("vps-1", docs.release("shop", {"web": "web-v1"}), docs.app("shop", {"web": service}))


def load(cluster: Cluster, connections: float) -> None:
    cluster.loads[KEY] = lambda now_s: connections


def numbers(cluster: Cluster) -> set[int]:
    """How many replicas the machines that are on say are wanted."""
    return {m.core._s.wishing.numbers[KEY].replicas for m in cluster.machines.values() if m.core is not None}


def running(cluster: Cluster) -> int:
    return sum(c.running and not c.stopping for m in cluster.machines.values() for c in m.containers.values())


def step_now(cluster: Cluster) -> int:
    return int((CLOCK_AT_ZERO + cluster.clock.now_s) // SCALE.step_s) - 1


def say(cluster: Cluster, node: str, kind: str, body: Wish | Wake | Load | None, key: str = "shop.web") -> None:
    """A node says what its own core would not."""
    machine = cluster[node]
    assert machine.core is not None
    s = machine.core._s
    s.known.put(machine.path, kind, key, body)
    machine._do_publish(do.Publish(kind=kind, key=key, body=body))
    look_at(s, KEY, s.now)
    machine.step(Timer())


# --- a number changes, and nothing else -------------------------------------------------------------------------------


def test_a_change_of_the_number_starts_nothing_anew_and_judges_nothing() -> None:
    cluster = deployed(load=100)
    before = {c.id for m in cluster.machines.values() for c in m.containers.values()}
    told = len(cluster.history)
    load(cluster, 300)
    cluster.run(12.0)
    assert numbers(cluster) == {6} and running(cluster) == 6
    after = {c.id for m in cluster.machines.values() for c in m.containers.values()}
    assert before < after
    load(cluster, 10)
    cluster.run(400.0)
    assert numbers(cluster) == {1} and running(cluster) == 1
    assert held_once(cluster) == []
    kinds = {life.effect.kind for life in cluster.history[told:] if isinstance(life.effect, do.Note)}
    assert kinds == {"scaled", "claimed", "started", "healthy", "released"}


def test_the_highest_slots_go_first_and_out_of_the_routes_before_they_stop() -> None:
    cluster = deployed(load=280)
    cluster.run(20.0)
    assert running(cluster) == 6
    stops: list[tuple[int, bool]] = []

    def see(machine: Any, effect: do.Effect) -> None:
        if isinstance(effect, do.Stop):
            routed = {t.slot for _, some in machine.route.ports for t in some}
            stops.append((effect.slot.index, effect.slot in routed))

    cluster.watchers.append(see)
    load(cluster, 10)
    cluster.run(400.0)
    assert [index for index, _ in stops] == [5, 4, 3, 2, 1]
    assert not any(routed for _, routed in stops)


def test_without_any_keeper_the_apps_own_number_stands_within_its_bounds() -> None:
    cluster = cluster_of(2)
    cluster.accept("vps-1", pool_of("gone"))
    deploy(cluster, msgspec.structs.replace(scaled(min=3), replicas=2))
    cluster.run(100.0)
    assert numbers(cluster) == {3} and running(cluster) == 3


def test_a_schedule_holds_from_its_minute_on_without_any_event() -> None:
    minute = int(CLOCK_AT_ZERO + 30) // 60 % 1440
    schedule = Schedule(days=tuple(range(7)), from_minute=minute + 2, to_minute=minute + 4, min=4)
    cluster = deployed(3, scaled(schedules=(schedule,)), load=20)
    steps = []
    for _ in range(30):
        cluster.run(10.0)
        steps.append(numbers(cluster))
    assert all(len(seen) == 1 for seen in steps)
    assert {4} in steps and steps[0] == {2}
    at = (int(CLOCK_AT_ZERO + 50) // 60 + 2) * 60 - CLOCK_AT_ZERO
    first = next(
        life.at_s for life in cluster.history if isinstance(life.effect, do.Note) and "-> 4" in life.effect.reason
    )
    assert abs(first - at) < 61.0 and (CLOCK_AT_ZERO + first) % 60 < 0.1


def test_a_turned_back_version_keeps_the_scale_of_the_newest_document() -> None:
    cluster = deployed(load=280)
    cluster.run(20.0)
    assert running(cluster) == 6
    held, held_app = cluster["vps-1"].disk["release/shop"], cluster["vps-1"].disk["app/shop"]
    cluster.bad_health.add(("", "web-v2"))
    cluster.bad_life["", "web-v2"] = 0.1
    give_image(cluster, "vps-1", "web-v2")
    wider = msgspec.structs.replace(scaled(max=9), user="7")
    load(cluster, 450)
    cluster.accept(
        "vps-1",
        docs.release("shop", {"web": "web-v2"}, version=2, fits=2, fallback=held.hash),  # type: ignore[union-attr]
        docs.app("shop", {"web": wider}, version=2, fallback=held_app.hash),  # type: ignore[union-attr]
    )
    cluster.run(120.0)
    rows = cluster["vps-2"].core.rows()  # type: ignore[union-attr]
    assert {row.version for row in rows if row.healthy} == {"1.1"} and numbers(cluster) == {9}


@pytest.mark.parametrize("seed", range(6))
def test_a_rollout_under_way_keeps_its_limit_while_the_number_changes(seed: int) -> None:
    world = World(latency_s=0.02, jitter_s=0.3, loss=0.1)
    service = msgspec.structs.replace(
        scaled(min=4, max=9, step_s=2, down_s=4), replicas=6, update=Update(parallelism=1, order="start-first")
    )
    cluster = deployed(4, service, seed=seed, world=world, load=300)
    checker = RolloutChecker(cluster, "shop", "web", 4, 1)  # of the slots that stay all the time
    for machine in cluster.machines:
        give_image(cluster, machine.removeprefix("node/"), "web-v2")
    held = cluster["vps-1"].disk["release/shop"]
    cluster.accept("vps-1", docs.release("shop", {"web": "web-v2"}, version=2, fallback=held.hash))  # type: ignore[union-attr]
    for connections in (450, 450, 100, 100, 400):
        load(cluster, connections)
        cluster.run(4.0)
    cluster.run(90.0)
    assert checker.wrong == [] and checker.most_missing == 0
    assert held_once(cluster) == []
    assert {row.version for row in cluster["vps-1"].core.rows()} == {"1.2"}  # type: ignore[union-attr]
    assert not [life for life in cluster.history if isinstance(life.effect, do.Note) and life.effect.kind == "verdict"]


# --- whose wish counts ------------------------------------------------------------------------------------------------


def pool_of(*names: str) -> Any:
    body = Pool(provider="manual", max=3, network="10.78.0.0/22", keepers={f"node/{name}": "0" * 64 for name in names})
    return docs.document("pool/burst", body)


def test_keepers_are_those_that_pools_name_and_without_a_pool_every_fixed_node_never_a_rented_one() -> None:
    cluster = cluster_of(3)
    core = cluster["vps-1"].core
    assert core is not None
    assert keepers(core._s) == ["node/vps-1", "node/vps-2", "node/vps-3"]
    cluster.accept("vps-1", msgspec.structs.replace(docs.node("vps-4"), path="node/burst/0"))
    cluster.run(1.0)
    assert "node/burst/0" in core._s.known.nodes
    assert keepers(core._s) == ["node/vps-1", "node/vps-2", "node/vps-3"]
    cluster.accept("vps-1", pool_of("vps-2", "burst/0"))
    cluster.run(1.0)
    assert keepers(core._s) == ["node/vps-2"]
    cluster.accept(
        "vps-1", docs.document("pool/burst", Pool(provider="manual", max=3, network="10.78.0.0/22", deleted=True), 2)
    )
    cluster.run(1.0)
    assert len(keepers(core._s)) == 3


def test_only_keepers_wish_and_when_none_lives_the_last_number_stands_and_then_slowly_the_apps() -> None:
    cluster = deployed(3, load=280)
    cluster.accept("vps-1", pool_of("vps-3"))
    cluster.run(15.0)
    say(cluster, "vps-1", "wish", Wish(replicas=1, step=10**9))
    cluster.run(15.0)
    assert numbers(cluster) == {6}, "vps-1 is no keeper"
    cluster["vps-3"].power_cut()
    cluster.run(55.0)
    assert numbers(cluster) == {6} and running(cluster) == 6, "its death took nothing from a service under load"
    seen = []
    for _ in range(24):
        cluster.run(10.0)
        seen += sorted(numbers(cluster), reverse=True)
    went = [number for number, _ in itertools.groupby(seen)]
    assert went == [6, 5, 4, 3, 2], "one in five steps of 10 s, once `down` is over"
    assert numbers(cluster) == {2} and held_once(cluster) == []
    cluster["vps-3"].boot()
    cluster.run(45.0)
    assert numbers(cluster) == {6}


def test_all_rebooted_without_their_only_keeper_go_on_at_the_last_number() -> None:
    cluster = deployed(3, load=280)
    cluster.accept("vps-1", pool_of("vps-3"))
    cluster.run(15.0)
    for name in ("vps-3", "vps-1", "vps-2"):
        cluster[name].power_cut()
    cluster.run(1.0)
    cluster["vps-1"].boot()
    cluster["vps-2"].boot()
    cluster.run(55.0)
    assert numbers(cluster) == {6} and running(cluster) == 6


def test_another_keeper_that_has_not_wished_yet_lowers_nothing() -> None:
    cluster = deployed(4, load=280)
    cluster.accept("vps-1", pool_of("vps-3"))
    cluster.run(15.0)
    cluster.accept("vps-1", docs.document("pool/burst", pool_of("vps-4").body, 2))
    seen = set()
    for _ in range(30):
        cluster.run(1.0)
        seen |= numbers(cluster)
    assert seen == {6}


def changes(cluster: Cluster, node: str) -> list[tuple[float, int, int]]:
    """(when, from, to) of each change of the number at a node."""
    told = [(life.at_s, life.effect) for life in cluster.history if life.node == f"node/{node}"]
    scaled = [(at_s, note.reason.split()) for at_s, note in told if isinstance(note, do.Note) and note.kind == "scaled"]
    return [(at_s, int(words[0]), int(words[2])) for at_s, words in scaled]


@pytest.mark.parametrize("every_s", [1.0, 7.0, 31.0, 45.0])
def test_one_of_two_that_wishes_much_and_little_by_turns_starts_nothing_twice_within_the_time_it_stays(
    every_s: float,
) -> None:
    cluster = deployed(2, load=60)
    cluster.run(60.0)
    assert numbers(cluster) == {2}
    began_s = cluster.clock.now_s
    for second in range(240):
        much = second // every_s % 2 == 0
        say(cluster, "vps-2", "wish", Wish(replicas=1000 if much else 1, step=step_now(cluster) + 2))
        cluster.run(1.0)
    for node in ("vps-1", "vps-2"):
        ways = [(at_s, now > before) for at_s, before, now in changes(cluster, node) if at_s >= began_s]
        assert ways[0][1], "of two the higher counts: it can raise the number to its bound"
        assert all(at_s - up_s > 29.9 for (up_s, up), (at_s, other) in itertools.pairwise(ways) if up and not other)
        if every_s < 30.0:
            assert len(ways) == 1, "half of `down` is not over since it was asked for last"


def test_what_is_held_for_who_lies_goes_once_it_is_silent() -> None:
    cluster = deployed(2, load=60)
    cluster.run(60.0)
    say(cluster, "vps-2", "wish", Wish(replicas=1000, step=10**9))
    cluster.run(1.0)
    assert numbers(cluster) == {6}
    say(cluster, "vps-2", "wish", Wish(replicas=1, step=10**9))
    cluster.run(25.0)
    assert numbers(cluster) == {6}
    cluster.run(8.0)
    assert numbers(cluster) == {5}, "what the honest one wishes: by one in five steps, as always"


@given(captured=st.integers(0, 1000), one=st.integers(1, 6), other=st.integers(1, 6))
def test_a_captured_keeper_moves_nothing_beyond_the_others(captured: int, one: int, other: int) -> None:
    for machine in THREE.machines.values():
        assert machine.core is not None
        s = machine.core._s
        for node, replicas in (("vps-1", one), ("vps-2", other), ("vps-3", captured)):
            s.known.put(f"node/{node}", "wish", "shop.web", Wish(replicas=replicas, step=1))
        assert min(one, other) <= number_of(s, KEY).replicas <= max(one, other)


@given(captured=st.integers(0, 1000), honest=st.integers(1, 6))
def test_one_of_two_can_raise_it_to_the_bound_and_never_lower_it(captured: int, honest: int) -> None:
    for machine in TWO.machines.values():
        assert machine.core is not None
        s = machine.core._s
        for node, replicas in (("vps-1", honest), ("vps-2", captured)):
            s.known.put(f"node/{node}", "wish", "shop.web", Wish(replicas=replicas, step=1))
        assert number_of(s, KEY).replicas == max(honest, min(captured, SCALE.max))
        s.known.put("node/vps-2", "wish", "shop.web", None)
        assert number_of(s, KEY).replicas == honest, "one that is withdrawn doesn't count"


TWO, THREE = deployed(2), deployed(3)


def test_a_wish_changes_only_with_its_step() -> None:
    cluster = deployed(3, load=120)
    cluster.run(200.0)
    told: dict[tuple[str, int], set[int]] = {}
    for life in cluster.history:
        if isinstance(life.effect, do.Publish) and isinstance(life.effect.body, Wish):
            told.setdefault((life.node, life.effect.body.step), set()).add(life.effect.body.replicas)
    assert len(told) > 30 and all(len(wishes) == 1 for wishes in told.values())


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_node_that_starts_anew_goes_on_with_its_ring_and_changes_no_number() -> None:
    cluster = deployed(3, load=280)
    cluster.run(60.0)
    before = cluster["vps-2"].core._s.known.about("load", "shop.web")["node/vps-2"]  # type: ignore[union-attr]
    assert isinstance(before, Load) and numbers(cluster) == {6}
    load(cluster, 30)
    cluster.run(12.0)
    for name in ("vps-1", "vps-2", "vps-3"):
        cluster[name].end_agent()
        cluster.run(1.0)
        cluster[name].boot()
        cluster.run(2.0)
        assert numbers(cluster) == {6}, "a keeper that forgot would tear down"
    cluster.run(20.0)
    after = cluster["vps-2"].core._s.known.about("load", "shop.web")["node/vps-2"]  # type: ignore[union-attr]
    assert isinstance(after, Load) and after.step > before.step
    assert after.connections[: len(before.connections)] == before.connections, "the past is still in it"
    assert numbers(cluster) == {6}


def test_a_node_that_has_nothing_to_do_tells_nothing() -> None:
    cluster = deployed(3, msgspec.structs.replace(scaled(max=1), replicas=1), load=20)
    cluster.run(30.0)
    told = cluster["vps-1"].core._s.known.about("load", "shop.web")  # type: ignore[union-attr]
    assert len(told) == 1


def test_where_nothing_follows_the_load_nothing_is_measured_or_told() -> None:
    cluster = deployed(3, msgspec.structs.replace(WEB, scale=None))
    cluster.run(60.0)
    assert not any(isinstance(life.effect, do.Measure) for life in cluster.history)
    assert not {"load", "wish"} & {life.effect.kind for life in cluster.history if isinstance(life.effect, do.Publish)}


def test_a_service_that_stops_following_the_load_withdraws_its_facts() -> None:
    cluster = deployed(3, load=120)
    cluster.run(20.0)
    cluster.accept("vps-1", docs.app("shop", {"web": msgspec.structs.replace(WEB, scale=None)}, version=2))
    cluster.run(30.0)
    for machine in cluster.machines.values():
        s = machine.core._s  # type: ignore[union-attr]
        assert not s.known.facts.get("load") and not s.known.facts.get("wish") and machine.gauges == ()
        assert len(s.standings) == 2


def test_figures_of_one_step_are_waited_for_a_moment_and_taken_as_before_if_they_stay_away() -> None:
    cluster = deployed(3, scaled(max=9), load=130)
    cluster.run(20.0)
    assert numbers(cluster) == {3}
    cluster["vps-2"].gauges = ()  # it lives and tells no figures any more
    load(cluster, 600)
    cluster.run(10.0)
    began = [life for life in cluster.history if isinstance(life.effect, do.Note) and "-> 9" in life.effect.reason]
    assert began and 1.9 < (CLOCK_AT_ZERO + began[0].at_s) % 10 < 2.2
    assert numbers(cluster) == {9}


# --- to zero and back -------------------------------------------------------------------------------------------------

SLEEPS = scaled(min=0, max=3, idle_s=30)


def test_what_nobody_connects_to_for_its_idle_time_stops_and_what_is_used_does_not() -> None:
    cluster = deployed(3, msgspec.structs.replace(SLEEPS, replicas=1))
    assert numbers(cluster) == {1}, "it has not been there for its idle time"
    cluster.run(35.0)
    assert numbers(cluster) == {0} and running(cluster) == 0
    cluster.run(300.0)
    assert numbers(cluster) == {0} and cluster["vps-1"].route is not None
    used = deployed(3, msgspec.structs.replace(SLEEPS, replicas=1), load=0.3)
    used.run(300.0)
    assert numbers(used) == {1}


def test_a_connection_that_waits_wakes_it_at_once_on_all_nodes_and_it_stays_for_its_idle_time() -> None:
    cluster = deployed(3, msgspec.structs.replace(SLEEPS, replicas=1))
    cluster.run(100.0)
    assert numbers(cluster) == {0}
    say(cluster, "vps-3", "wake", Wake(since=1.0))
    cluster.run(0.3)
    assert numbers(cluster) == {1} and running(cluster) == 1
    cluster.run(0.5)
    say(cluster, "vps-3", "wake", None)
    cluster.run(25.0)
    assert numbers(cluster) == {1}, "it is awake for its idle time"
    cluster.run(60.0)
    assert numbers(cluster) == {0}


def test_a_wake_counts_only_of_a_node_that_lives_and_never_beyond_the_bounds() -> None:
    cluster = deployed(3, msgspec.structs.replace(SLEEPS, replicas=1))
    cluster.run(100.0)
    cluster["vps-3"].disk["node/vps-3|wake|shop.web"] = docs.document(
        "node/none", Pool(provider="x", max=1, network="")
    )
    for name in ("vps-1", "vps-2"):
        cluster[name].core._s.known.put("node/vps-9", "wake", "shop.web", Wake(since=1.0))  # type: ignore[union-attr]
    cluster.run(50.0)
    assert numbers(cluster) == {0}, "vps-9 is nobody"
