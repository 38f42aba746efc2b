"""Exclusive slots in small clouds of real cores on virtual time: never two, soon again, and by whom.

A seed says all: `python -m skerry.sim.contest --seeds 1 --first SEED --show`.
"""

from __future__ import annotations

import pytest

from skerry.core.facts import Ask, Claim, SlotState
from skerry.core.intent import Probe, Service, Update
from skerry.core.records import Fact, Slot
from skerry.sim import documents as docs
from skerry.sim.checkers import held_once
from skerry.sim.cluster import Cluster, World
from skerry.sim.contest import Contest
from skerry.sim.exclusive import OneHolder
from skerry.sim.scenario import cluster_of, give_image
from skerry.sim.still import Container

ONE = Slot("shop", "db", 0)
SERVICE = Service(exclusive=True, probe=Probe(kind="tcp", port=80, start_period_s=10.0))
NAMES = ("vps-1", "vps-2", "vps-3")


def holding(
    nodes: int = 3,
    voters: tuple[str, ...] = NAMES,
    *,
    seed: int = 0,
    world: World | None = None,
    service: Service = SERVICE,
) -> tuple[Cluster, OneHolder]:
    """A cloud whose one exclusive slot is held and quiet."""
    cluster = cluster_of(nodes, seed, world)
    one = OneHolder(cluster)
    for machine in cluster.machines:
        give_image(cluster, machine.removeprefix("node/"), "db-v1")
    cluster.accept(
        "vps-1", docs.policy(*voters), docs.release("shop", {"db": "db-v1"}), docs.app("shop", {"db": service})
    )
    cluster.run(20.0)
    assert held_once(cluster) == [] and one.wrong == []
    return cluster, one


def holder(one: OneHolder) -> tuple[str, int]:
    """Host and number of what runs; there has to be just one."""
    ((machine, container),) = one.running(ONE)
    return machine.path.removeprefix("node/"), container.fencing


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_whatever_happens_no_exclusive_slot_runs_twice_and_peace_brings_it_back(first: int) -> None:
    for seed in range(first, first + 8):
        wrong = Contest(seed, faults=10).run()
        assert wrong == [], f"seed {seed}"


def test_who_wins_with_a_number_that_another_gave_back_while_voters_changed_is_believed() -> None:
    assert Contest(423, faults=12).run() == []


def test_the_same_with_real_trust_and_gossip() -> None:
    for seed in range(2):
        wrong = Contest(seed, faults=6, most_nodes=5, whole=True).run()
        assert wrong == [], f"seed {seed}"


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_of_the_holder_is_taken_over_within_ten_seconds(seed: int) -> None:
    cluster, one = holding(5, seed=seed, world=World(jitter_s=0.05, start_s=0.5))
    cluster.run(cluster.chance.uniform(0.0, 2.0))
    name, number = holder(one)
    cluster[name].power_cut()
    cluster.run(7.5)
    assert holder(one)[1] > number and holder(one)[0] != name
    assert held_once(cluster) == [] and one.wrong == []


def test_a_stopped_agent_is_dead_to_its_container_by_the_guard_before_another_starts() -> None:
    cluster, one = holding()
    name, number = holder(one)
    cluster[name].stop_agent()
    cluster.run(120.0)
    assert holder(one)[0] != name and holder(one)[1] == number + 1
    cluster[name].go_on()
    cluster.run(20.0)
    assert holder(one)[1] == number + 1 and one.wrong == []


def test_an_agent_that_is_back_in_time_goes_on_with_its_container_and_its_number() -> None:
    cluster, one = holding()
    name, number = holder(one)
    ((_, before),) = one.running(ONE)
    cluster[name].end_agent()
    cluster.run(2.0)
    cluster[name].boot()
    cluster.run(30.0)
    ((_, after),) = one.running(ONE)
    assert (after.id, holder(one)) == (before.id, (name, number)) and one.wrong == []


def test_a_container_whose_number_the_agent_no_longer_knows_is_ended_and_started_under_another() -> None:
    cluster, one = holding()
    name, number = holder(one)
    machine = cluster[name]
    machine.end_agent()
    machine.disk = {id: record for id, record in machine.disk.items() if record.kind != "ask"}
    cluster.wires.part({name}, {*NAMES} - {name})
    machine.boot()
    cluster.run(2.0)
    assert one.running(ONE) == []
    cluster.wires.heal()
    cluster.run(30.0)
    assert holder(one)[1] > number and one.wrong == []


def test_a_voter_that_starts_anew_costs_nothing_while_the_others_are_there() -> None:
    cluster, one = holding(4)
    name, number = holder(one)
    for voter in NAMES:
        if voter != name:
            cluster[voter].power_cut()
            cluster.run(3.0)
            cluster[voter].boot()
            cluster.run(10.0)
    assert holder(one) == (name, number) and one.wrong == []


def test_every_link_of_the_holder_cut_one_by_one_and_one_way() -> None:
    cluster, one = holding(4)
    name, number = holder(one)
    for other in sorted({f"vps-{n}" for n in range(1, 5)} - {name})[:2]:
        cluster.wires.part_one_way(name, other)
        cluster.run(10.0)
        assert holder(one) == (name, number), "the rest goes by the others"
    cluster.wires.part({name}, {f"vps-{n}" for n in range(1, 5)} - {name})
    cluster.run(10.0)
    assert holder(one)[0] != name and holder(one)[1] == number + 1 and one.wrong == []


def test_a_machine_frozen_whole_and_thawed_is_let_through_by_nobody() -> None:
    """What no lease can prevent: it ran on for a moment, under a number that no host lets pass any more."""
    cluster, one = holding()
    name, number = holder(one)
    one.frozen.add(f"node/{name}")
    cluster[name].freeze()
    cluster.run(60.0)
    others = [machine for path, machine in cluster.machines.items() if path != f"node/{name}"]
    assert {machine.fence[ONE].number for machine in others} == {number + 1}
    assert len(one.running(ONE)) == 2, "its guard could not know"
    stale = tuple(container.address for container in cluster[name].containers.values())
    assert stale and all(machine.core is not None and machine.core._s.refused == stale for machine in others)
    cluster[name].thaw()
    cluster.run(1.0)
    assert holder(one)[1] == number + 1 and one.wrong == []
    assert all(machine.fence[ONE].number == number + 1 for machine in cluster.machines.values())


def test_an_update_never_starts_the_new_one_first() -> None:
    cluster, one = holding(service=Service(exclusive=True, probe=SERVICE.probe, update=Update(order="start-first")))
    name, number = holder(one)
    for machine in cluster.machines:
        give_image(cluster, machine.removeprefix("node/"), "db-v2")
    cluster.accept("vps-1", docs.release("shop", {"db": "db-v2"}, version=2))
    cluster.run(10.0)
    assert holder(one) == (name, number) and one.wrong == [] and held_once(cluster) == []
    assert [row.version for row in cluster["vps-1"].core.rows()] == ["1.2"]  # type: ignore[union-attr]


def test_a_guard_that_kills_is_no_failure_of_the_version() -> None:
    cluster, one = holding(2, ("vps-1",))
    for _ in range(5):
        cluster.wires.part({"vps-1"}, {"vps-2"})
        cluster["vps-1"].stop_agent()
        cluster.run(15.0)
        cluster["vps-1"].go_on()
        cluster.wires.heal()
        cluster.run(20.0)
    assert held_once(cluster) == [] and one.wrong == []
    assert not any(row.failed for row in cluster["vps-2"].core.rows())  # type: ignore[union-attr]


def test_with_one_voter_of_one_the_slot_follows_that_host() -> None:
    cluster, one = holding(2, ("vps-2",))
    cluster["vps-2"].power_cut()
    cluster.run(15.0)
    assert not [m for m, _ in one.running(ONE) if m.path != "node/vps-2"]
    cluster["vps-2"].boot()
    cluster.run(30.0)
    assert holder(one) and one.wrong == []


def test_a_host_that_only_votes_is_in_no_order_and_keeps_no_image() -> None:
    cluster = cluster_of(3)
    enrolment = cluster["vps-1"].disk["node/vps-2"]
    cluster.accept("vps-1", docs.voter_only("vps-2", version=2))
    give_image(cluster, "vps-1", "db-v1")
    cluster.accept(
        "vps-1", docs.policy(*NAMES), docs.release("shop", {"db": "db-v1"}), docs.app("shop", {"db": SERVICE})
    )
    cluster.run(20.0)
    core = cluster["vps-3"].core
    assert core is not None and enrolment is not None
    assert [answer.answer for answer in core.explain(ONE).order if answer.node == "vps-2"] == ["no candidate"]
    assert cluster["vps-2"].images == set() and held_once(cluster) == []


def test_too_few_voters_are_told_as_an_alert_and_that_it_is_over() -> None:
    cluster, _ = holding(4)
    cluster.run(60.0)
    cluster["vps-2"].power_cut()
    cluster.run(60.0)
    core = cluster["vps-1"].core
    assert core is not None and "voters" not in {row.rule for row in core.alerts()}
    cluster["vps-3"].power_cut()
    cluster.run(40.0)
    assert [(r.subject, r.why) for r in core.alerts() if r.rule == "voters"] == [
        ("policy", "1 of 3 answer, silent are vps-2, vps-3")
    ]
    cluster["vps-3"].boot()
    cluster.run(60.0)
    assert "voters" not in {row.rule for row in core.alerts()}


def test_who_asks_without_being_meant_is_granted_nothing() -> None:
    """A captured host that votes nothing: it stands in no order, claims nothing, and asks for ever."""
    cluster, one = holding(4, service=Service(exclusive=True, probe=SERVICE.probe, constraints=("node!=vps-4",)))
    name, number = holder(one)
    for turn in range(30):
        ask = Ask(life=1, turn=10**9 + turn, leases={str(ONE): number + 1, "shop.db/7": 1})
        fact = Fact(node="node/vps-4", kind="ask", key="", seq=(10**6, turn), time=0.0, body=ask)
        for voter in NAMES:
            cluster[voter].receive(fact, "node/vps-4")
        if turn == 10:
            cluster[name].power_cut()
        cluster.run(1.0)
    told = cluster["vps-4"].disk
    assert not [r for r in told.values() if isinstance(r, Fact) and r.kind == "grant" and r.body.holder == "node/vps-4"]  # type: ignore[union-attr]
    assert holder(one)[0] not in (name, "vps-4") and one.wrong == []


def test_who_claims_and_serves_without_the_lease_is_in_nobodys_routes() -> None:
    """A captured host that nobody grants the lease says that it runs the slot well, and does answer all who probe it."""
    cluster, one = holding(4, service=Service(exclusive=True, probe=SERVICE.probe, constraints=("node!=vps-4",)))
    name, number = holder(one)
    liar = "node/vps-4"
    honest = [machine for path, machine in cluster.machines.items() if path != liar]
    ((_, real),) = one.running(ONE)
    fake = Container(id="fake", slot=ONE, spec=real.spec, image=real.image, address="10.77.200.66")
    cluster.machines[liar].containers[fake.id] = fake
    claim = Claim(spec=real.spec, image=real.image, rank=0, reason="mine")
    state = SlotState(
        spec=real.spec, image=real.image, state="running", address=fake.address, healthy=True, fencing=number
    )
    cluster[name].power_cut()
    for turn in range(12):
        for machine in honest:
            for n, (kind, body) in enumerate((("claim", claim), ("slot", state))):
                fact = Fact(node=liar, kind=kind, key=str(ONE), seq=(10**6, 2 * turn + n), time=0.0, body=body)
                if machine.on:
                    machine.receive(fact, liar)
        cluster.run(1.0)
        routed = {address for m in honest if m.route for _, all_of in m.route.names for address in all_of}
        assert fake.address not in routed, f"after {turn + 1} s"
    assert routed - {real.address}, "another has taken it over"
