"""Small clouds of real cores on virtual time. A seed says all: `python -m skerry.sim.run --seeds 1 --first SEED --show`."""

from __future__ import annotations

import msgspec
import pytest

from skerry.core import effects as do
from skerry.core.events import RecordAccepted, Timer
from skerry.core.facts import Claim, SlotState
from skerry.core.intent import Needs, Port, Probe, Service, Update, VolumeMount
from skerry.core.order import order_by_name, order_for
from skerry.core.records import Fact, Slot
from skerry.sim import documents as docs
from skerry.sim.checkers import EffectChecker, NoGap, RolloutChecker, held_once
from skerry.sim.cluster import Cluster, World
from skerry.sim.scenario import Scenario, cluster_of, give_image

PROBE = Probe(kind="tcp", port=80, start_period_s=10.0)


def deployed(nodes: int, service: Service, *, seed: int = 0, world: World | None = None) -> Cluster:
    """A cloud whose only service `web` of the app `shop` is up and quiet."""
    cluster = cluster_of(nodes, seed, world)
    for machine in cluster.machines:
        give_image(cluster, machine.removeprefix("node/"), "web-v1")
    cluster.accept("vps-1", docs.release("shop", {"web": "web-v1"}), docs.app("shop", {"web": service}))
    cluster.run(30.0)
    assert held_once(cluster) == []
    return cluster


def update(cluster: Cluster, word: str = "web-v2") -> None:
    for machine in cluster.machines:
        give_image(cluster, machine.removeprefix("node/"), word)
    held = cluster["vps-1"].disk["release/shop"]
    cluster.accept("vps-1", docs.release("shop", {"web": word}, version=held.version + 1, fallback=held.hash))  # type: ignore[union-attr]


@pytest.mark.parametrize("first", range(0, 32, 8))
def test_whatever_happens_peace_brings_one_healthy_holder_of_each_slot(first: int) -> None:
    for seed in range(first, first + 8):
        wrong = Scenario(seed, faults=5).run()
        assert wrong == [], f"seed {seed}"


@pytest.mark.parametrize("first", [0, 4])
def test_the_same_with_real_trust_and_gossip_and_nothing_accepted_is_lost(first: int) -> None:
    for seed in range(first, first + 4):
        wrong = Scenario(seed, faults=6, whole=True).run()
        assert wrong == [], f"seed {seed}"


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_rollout_keeps_its_limit_whatever_the_network_does(order: str, parallelism: int) -> None:
    for seed in range(7):
        world = World(latency_s=0.02, jitter_s=0.3, loss=0.1)
        service = Service(replicas=6, probe=PROBE, update=Update(parallelism=parallelism, order=order))  # type: ignore[arg-type]
        cluster = deployed(4, service, seed=seed, world=world)
        checker = RolloutChecker(cluster, "shop", "web", 6, parallelism)
        update(cluster)
        cluster.run(120.0)
        assert checker.wrong == [], f"seed {seed}"
        assert held_once(cluster) == [], f"seed {seed}"
        assert {row.version for row in cluster["vps-1"].core.rows()} == {"1.2"}  # type: ignore[union-attr]
        if order == "start-first":
            assert checker.most_missing == 0, f"seed {seed}: a slot was without a replica"


def test_six_replicas_one_at_a_time_are_updated_within_two_seconds() -> None:
    service = Service(replicas=6, probe=PROBE, update=Update(order="start-first"))
    cluster = deployed(3, service)
    update(cluster)
    cluster.run(2.0)
    assert {row.version for row in cluster["vps-2"].core.rows() if row.healthy} == {"1.2"}  # type: ignore[union-attr]
    assert len([row for row in cluster["vps-2"].core.rows() if row.healthy]) == 6  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(5))
def test_a_power_cut_is_healed_within_five_seconds(seed: int) -> None:
    service = Service(replicas=3, probe=PROBE, ports=(Port(target=80, published=8000),))
    cluster = deployed(3, service, seed=seed, world=World(jitter_s=0.05, start_s=0.3))
    victim = f"vps-{1 + seed % 3}"
    cluster[victim].power_cut()
    cluster.run(5.0)
    for machine in cluster.machines.values():
        if machine.core is not None:
            rows = machine.core.rows()
            assert all(row.healthy and row.node != victim for row in rows), f"{machine.path}: {rows}"
            assert machine.route is not None and len(machine.route.ports[0][1]) == 3


def test_after_all_machines_rebooted_nothing_starts_twice_and_nothing_moves() -> None:
    service = Service(replicas=20, probe=PROBE)
    cluster = deployed(5, service, world=World(jitter_s=0.1, loss=0.1))
    before = {row.slot: row.node for row in cluster["vps-1"].core.rows()}  # type: ignore[union-attr]
    for machine in cluster.machines.values():
        machine.power_cut()
    checker = EffectChecker(cluster)
    for delay, machine in enumerate(cluster.machines.values()):
        cluster.clock.after(delay * 1.5, machine.boot)
    cluster.run(90.0)
    assert {row.slot: row.node for row in cluster["vps-1"].core.rows()} == before  # type: ignore[union-attr]
    assert checker.starts == {Slot("shop", "web", index): 1 for index in range(20)}


def test_a_nearly_full_cloud_loses_one_of_eight_and_only_its_slots_start_anew() -> None:
    needs = Needs(reserve_memory_bytes=200 << 20)  # five fit on each: 35 places are left for 34
    cluster = deployed(8, Service(replicas=34, probe=PROBE, needs=needs), world=World(jitter_s=0.05))
    theirs = {row.slot for row in cluster["vps-1"].core.rows() if row.node == "vps-4"}  # type: ignore[union-attr]
    checker = EffectChecker(cluster)
    cluster["vps-4"].power_cut()
    cluster.run(20.0)
    assert {str(slot): starts for slot, starts in checker.starts.items()} == dict.fromkeys(theirs, 1)
    assert held_once(cluster) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_healed_partition_leaves_no_gap_and_no_double_after_a_second(seed: int) -> None:
    service = Service(replicas=6, probe=PROBE)
    cluster = deployed(6, service, seed=seed, world=World(latency_s=0.01, jitter_s=0.05))
    one = set(cluster.chance.sample([f"vps-{n}" for n in range(1, 7)], 3))
    cluster.wires.part(one, {f"vps-{n}" for n in range(1, 7)} - one)
    cluster.run(30.0)
    slots = [Slot("shop", "web", index) for index in range(6)]
    checker = NoGap(cluster, slots)
    assert all(checker.serving(slot) == 2 for slot in slots), "each half has made itself whole"
    cluster.wires.heal()
    cluster.run(cluster.world.dial_s + 1.0)
    assert [checker.serving(slot) for slot in slots] == [1] * 6
    cluster.run(30.0)
    assert checker.wrong == []
    assert held_once(cluster) == []


def test_two_of_three_die_at_once_and_the_third_serves_what_fits() -> None:
    cluster = deployed(3, Service(replicas=3, probe=PROBE))
    cluster["vps-1"].power_cut()
    cluster["vps-3"].power_cut()
    cluster.run(6.0)
    assert [row.node for row in cluster["vps-2"].core.rows() if row.healthy] == ["vps-2"] * 3  # type: ignore[union-attr]


def test_a_captured_node_that_claims_everything_gets_no_slot_and_no_traffic() -> None:
    service = Service(replicas=6, probe=PROBE, ports=(Port(target=80, published=8000),))
    cluster = deployed(4, service)
    liar = cluster["vps-3"]
    own = {row.slot for row in cluster["vps-1"].core.rows() if row.node == "vps-3"}  # type: ignore[union-attr]
    spec = next(iter(liar.containers.values())).spec
    image = docs.image_of("web-v1")
    liar.step = lambda event: None  # type: ignore[method-assign]
    liar.containers.clear()

    def lie() -> None:
        for index in range(6):
            slot = Slot("shop", "web", index)
            claim = Claim(spec=spec, image=image, rank=0, reason="mine")
            state = SlotState(spec=spec, image=image, state="running", address="10.77.3.66", healthy=True)
            for kind, body in (("claim", claim), ("slot", state)):
                liar._n += 1
                fact = Fact(node=liar.path, kind=kind, key=str(slot), seq=(liar.boots, liar._n), time=0.0, body=body)
                liar.disk[fact.id] = fact
                for other in ("vps-1", "vps-2", "vps-4"):
                    cluster[other].receive(fact, liar.path)

    lie()
    cluster.run(30.0)
    for name in ("vps-1", "vps-2", "vps-4"):
        rows = cluster[name].core.rows()  # type: ignore[union-attr]
        assert all(row.healthy for row in rows if row.slot not in own), rows
        assert all(row.node != "vps-3" for row in rows if row.healthy), rows
        route = cluster[name].route
        assert route is not None and all(target.address != "10.77.3.66" for target in route.ports[0][1])


def test_one_node_alone_does_not_condemn_a_version_for_the_others() -> None:
    cluster = deployed(3, Service(replicas=2, probe=PROBE, update=Update(order="start-first")))
    cluster.wires.part({"vps-1"}, {"vps-2", "vps-3"})
    cluster.run(5.0)
    cluster.bad_health.add(("node/vps-1", "web-v2"))
    update(cluster)
    cluster.run(30.0)
    cluster.wires.heal()
    cluster.run(120.0)
    assert {(row.version, row.healthy) for row in cluster["vps-3"].core.rows()} == {("1.2", True)}  # type: ignore[union-attr]


def test_data_survives_its_machine_and_nobody_starts_it_empty() -> None:
    service = Service(probe=PROBE, volumes=(VolumeMount(volume="data", target="/data"),))
    cluster = deployed(3, service)
    checker = EffectChecker(cluster)
    home = cluster["vps-1"].core.rows()[0].node  # type: ignore[union-attr]
    cluster[home].power_cut()
    cluster.run(120.0)
    other = next(name for name in ("vps-1", "vps-2") if name != home)
    row = cluster[other].core.rows()[0]  # type: ignore[union-attr]
    assert (row.node, row.state, row.why) == ("", "waiting", f"its data is on {home}, which is down")
    assert checker.starts == {}
    cluster[home].boot()
    cluster.run(5.0)
    assert cluster[other].core.rows()[0].node == home  # type: ignore[union-attr]


def test_a_quiet_node_does_little_each_second() -> None:
    """Figures stand in docs/benchmarks.md; here only that the work doesn't grow with what is held."""
    cluster = deployed(10, Service(replicas=20, probe=PROBE))
    core = cluster["vps-1"].core
    assert core is not None
    now = cluster.clock.now_s + 0.9
    effects = core.step(Timer(), now + 0.2)
    assert [type(effect) for effect in effects] == [do.Publish, do.Wake]
    assert core.step(Timer(), now + 0.3) == [do.Wake(at_s=core._wake_s)]


def test_the_echo_of_our_own_facts_changes_nothing() -> None:
    cluster = deployed(2, Service(replicas=2, probe=PROBE))
    machine = cluster["vps-1"]
    assert machine.core is not None
    for record in list(machine.disk.values()):
        if isinstance(record, Fact) and record.node == machine.path and record.kind != "up":
            effects = machine.core.step(RecordAccepted(record=record), cluster.clock.now_s)
            assert all(isinstance(effect, do.Wake) for effect in effects)


def test_an_agent_that_starts_anew_every_few_minutes_forgets_old_images_all_the_same() -> None:
    cluster = deployed(1, Service(probe=PROBE))
    machine, old = cluster["vps-1"], docs.image_of("web-v0")
    machine.images.add(old)
    ready = machine._image_event
    machine._image_event = lambda image: msgspec.structs.replace(ready(image), age_s=3600.0)  # type: ignore[method-assign]
    for _ in range(2):
        machine.end_agent()
        machine.boot()
        cluster.run(50.0)
        assert old in machine.images, "neighbours could still tell that something refers to it"
    cluster.run(20.0)
    assert old not in machine.images
    assert docs.image_of("web-v1") in machine.images


def test_where_all_before_it_have_no_room_a_node_claims_at_once() -> None:
    """Each decline spares the next its waiting: the last of four in the order would else begin after a second and a half."""
    needs = Needs(reserve_memory_bytes=600 << 20)
    cluster = deployed(4, Service(replicas=3, probe=PROBE, needs=needs))
    core = cluster["vps-1"].core
    assert core is not None
    full = {f"node/{row.node}" for row in core.rows()}
    nodes = core._s.known.nodes
    app = next(name for n in range(100) if set(order_for(f"{(name := f'a{n}')}.web", 0, nodes)[:3]) == full)
    cluster.accept("vps-1", docs.release(app, {"web": "web-v1"}), docs.app(app, {"web": Service(needs=needs)}))
    cluster.run(0.4)
    (free,) = nodes.keys() - full
    assert [f"node/{row.node}" for row in core.rows() if row.app == app] == [free]


def test_the_first_three_of_a_services_order_keep_its_image_whoever_runs_it() -> None:
    cluster = cluster_of(6)
    give_image(cluster, "vps-1", "web-v1")
    cluster.accept("vps-1", docs.release("shop", {"web": "web-v1"}), docs.app("shop", {"web": Service(replicas=1)}))
    cluster.run(30.0)
    core = cluster["vps-1"].core
    assert core is not None
    keepers = order_by_name("shop.web", core._s.known.nodes)[:3]
    assert {path.removeprefix("node/") for path in keepers} <= set(core.hosts_with(docs.image_of("web-v1")))


def test_a_slot_does_not_move_for_bad_health_while_no_other_of_its_version_is_well() -> None:
    cluster = deployed(3, Service(replicas=1, probe=PROBE))
    core = cluster["vps-1"].core
    assert core is not None
    (before,) = core.rows()
    for container in cluster[before.node].containers.values():
        container.answers_s = 1e9
    cluster.run(1.0)
    assert not core.rows()[0].healthy
    for _ in range(12):  # after 10 s another would take it, after 15 s its owner starts it anew
        assert core.rows()[0].claims == (before.node,)
        cluster.run(1.0)
