"""Rules and wishes about places: what they come to on whole simulated clouds, and that whoever follows them comes to rest."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from skerry.core import effects as do
from skerry.core.intent import Needs, Probe, Service
from skerry.core.order import order_for, zones_of
from skerry.core.places import Placement
from skerry.core.placing import Placing, numbered
from skerry.core.records import Slot
from skerry.core.versions import AppWant, Want
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.scenario import cluster_of, give_image

PROBE = Probe(kind="tcp", port=80, start_period_s=5.0)
QUIET_S = 150.0


def service(replicas: int = 1, reserve: int = 0, **placement: object) -> Service:
    needs = Needs(reserve_memory_bytes=reserve << 20)
    return Service(replicas=replicas, probe=PROBE, needs=needs, placement=Placement(**placement))  # type: ignore[arg-type]


def deploy(cluster: Cluster, services: dict[str, Service], version: int = 1, app: str = "shop") -> None:
    via = next(path.removeprefix("node/") for path, machine in cluster.machines.items() if machine.on)
    if version == 1:
        for name in services:
            give_image(cluster, via, name)
        cluster.accept(via, docs.release(app, {name: name for name in services}))
    cluster.accept(via, docs.app(app, services, version=version))


def drain(cluster: Cluster, name: str, state: str, version: int, **more: str) -> None:
    cluster.accept(name, docs.node(name, state=state, version=version, **more))  # type: ignore[arg-type]


def places(cluster: Cluster) -> dict[str, str]:
    """slot -> host, as the first that is on sees it; "" for nobody."""
    core = next(machine.core for machine in cluster.machines.values() if machine.core is not None)
    return {row.slot: row.node if row.healthy else "" for row in core.rows()}


def claims(cluster: Cluster, since_s: float = 0.0) -> list[str]:
    return [
        f"{life.at_s:.1f} {life.node} {life.effect.key}: {life.effect.reason}"
        for life in cluster.history
        if isinstance(life.effect, do.Publish) and life.effect.kind == "claim" and life.effect.body is not None
        and life.at_s >= since_s and life.effect.reason.startswith("rank")
    ]  # fmt: skip


# --- one by one -------------------------------------------------------------------------------------------------------


def test_no_host_has_more_than_it_may_and_the_rest_stay_empty_and_say_why() -> None:
    cluster = cluster_of(3)
    deploy(cluster, {"web": service(5, max_per_node=1)})
    cluster.run(10.0)
    held = places(cluster)
    assert sorted(Counter(held.values()).items()) == [("", 2), ("vps-1", 1), ("vps-2", 1), ("vps-3", 1)]
    core = cluster["vps-1"].core
    assert core is not None
    empty = Slot.parse(next(slot for slot, node in held.items() if not node))
    told = core.explain(empty)
    assert {answer.answer for answer in told.order} == {"declined"}
    assert all("no more than 1 may be" in answer.why for answer in told.order)


def test_a_rule_that_comes_later_moves_the_surplus_one_after_another_with_no_gap() -> None:
    cluster = cluster_of(3)
    cluster["vps-2"].power_cut()
    cluster["vps-3"].power_cut()
    deploy(cluster, {"web": service(3)})
    cluster.run(30.0)
    assert set(places(cluster).values()) == {"vps-1"}
    cluster["vps-2"].boot()
    cluster["vps-3"].boot()
    cluster.run(1.0)
    deploy(cluster, {"web": service(3, max_per_node=1)}, version=2)
    for _ in range(200):
        cluster.run(0.1)
        assert all(places(cluster).values()), "each serves until another does"
    assert sorted(places(cluster).values()) == ["vps-1", "vps-2", "vps-3"]


def test_after_a_partition_the_better_rank_has_each_slot_and_no_host_too_many() -> None:
    cluster = cluster_of(4)
    deploy(cluster, {"web": service(4, max_per_node=1)})
    cluster.run(5.0)
    before = places(cluster)
    cluster.wires.part({"vps-1", "vps-2"}, {"vps-3", "vps-4"})
    cluster.run(60.0)
    cluster.wires.heal()
    cluster.run(60.0)
    assert places(cluster) == before


def test_what_is_apart_is_on_no_common_host_whichever_of_the_two_says_so() -> None:
    cluster = cluster_of(3)
    deploy(cluster, {"noise": service(2, apart=("web",)), "web": service(2, max_per_node=1)})
    cluster.run(30.0)
    held = places(cluster)
    hosts = {name: {held[f"shop.{name}/{i}"] for i in (0, 1)} - {""} for name in ("noise", "web")}
    assert hosts["noise"] and hosts["web"] and not hosts["noise"] & hosts["web"]


def test_apart_holds_across_apps_and_when_it_comes_later_the_one_that_asks_for_it_goes() -> None:
    cluster = cluster_of(2)
    deploy(cluster, {"web": service(2, max_per_node=1)})
    cluster.run(5.0)
    deploy(cluster, {"batch": service(1)}, app="jobs")
    cluster.run(5.0)
    deploy(cluster, {"web": service(1, max_per_node=1)}, version=2)
    cluster.run(5.0)
    deploy(cluster, {"batch": service(1, apart=("shop.web",))}, version=2, app="jobs")
    web = places(cluster)["shop.web/0"]
    cluster.run(60.0)
    held = places(cluster)
    assert held["shop.web/0"] == web and held["jobs.batch/0"] not in ("", web)


def test_near_goes_where_the_other_is_and_follows_it_and_the_gain_is_said() -> None:
    cluster = cluster_of(4)
    deploy(cluster, {"store": service(1), "web": service(2, near=("store",))})
    cluster.run(60.0)
    held = places(cluster)
    assert held["shop.web/0"] == held["shop.web/1"] == held["shop.store/0"]
    before, at_s = held["shop.store/0"], cluster.clock.now_s
    drain(cluster, before, "draining", 2)
    cluster.run(60.0)
    held = places(cluster)
    assert before not in held.values()
    assert held["shop.web/0"] == held["shop.web/1"] == held["shop.store/0"]
    drain(cluster, before, "active", 3)
    cluster.run(120.0)
    assert set(places(cluster).values()) == {before}
    assert any("near store" in line for line in claims(cluster, at_s))


def test_a_restart_of_what_others_are_near_moves_none_of_them() -> None:
    cluster = cluster_of(4)
    deploy(cluster, {"store": service(1), "web": service(2, near=("store",))})
    cluster.run(90.0)
    at_s = cluster.clock.now_s
    for machine in cluster.machines.values():
        for container in list(machine.containers.values()):
            if container.slot.service == "store":
                machine.kill(container.id, 1)
    cluster.run(90.0)
    assert claims(cluster, at_s) == []


def test_a_wish_to_be_near_a_full_host_leaves_nothing_empty() -> None:
    cluster = cluster_of(3)
    room = cluster["vps-1"].memory_bytes >> 20
    deploy(cluster, {"store": service(1, reserve=room), "web": service(3, reserve=64, near=("store",))})
    cluster.run(30.0)
    held = places(cluster)
    assert all(held.values()) and held["shop.web/0"] != held["shop.store/0"]


def test_away_is_a_wish() -> None:
    cluster = cluster_of(2)
    deploy(cluster, {"web": service(1), "batch": service(1, away=("web",))})
    cluster.run(60.0)
    held = places(cluster)
    assert held["shop.web/0"] != held["shop.batch/0"]
    drain(cluster, held["shop.batch/0"], "draining", 2)
    cluster.run(10.0)
    held = places(cluster)
    assert held["shop.web/0"] == held["shop.batch/0"] != ""


def test_global_is_one_on_each_host_and_who_comes_or_goes_moves_nothing_else() -> None:
    cluster = cluster_of(3)
    deploy(cluster, {"agent": service(every_node=True)})
    cluster.run(5.0)
    assert places(cluster) == {f"shop.agent/{n}": f"vps-{n}" for n in (1, 2, 3)}
    at_s = cluster.clock.now_s
    newcomer = docs.node("vps-9")
    machine = cluster.add("vps-9")
    machine.disk = dict(cluster["vps-1"].disk) | {newcomer.id: newcomer}
    cluster.accept("vps-1", newcomer)
    machine.boot()
    cluster.run(40.0)
    assert places(cluster)["shop.agent/9"] == "vps-9"
    drain(cluster, "vps-2", "draining", 2)
    cluster.run(10.0)
    assert places(cluster) == {f"shop.agent/{n}": f"vps-{n}" for n in (1, 3, 9)}
    assert not cluster["vps-2"].containers
    drain(cluster, "vps-2", "active", 3)
    cluster.run(10.0)
    assert places(cluster)["shop.agent/2"] == "vps-2"
    assert {line.split()[1] for line in claims(cluster, at_s)} == {"node/vps-9", "node/vps-2"}


def test_global_obeys_constraints_and_a_host_that_is_down_is_waited_for_by_nobody() -> None:
    cluster = cluster_of(3, zones=["a", "b"])
    placed = Service(probe=PROBE, constraints=("zone==a",), placement=Placement(every_node=True))
    deploy(cluster, {"agent": placed})
    cluster.run(5.0)
    assert places(cluster) == {"shop.agent/1": "vps-1", "shop.agent/3": "vps-3"}
    cluster["vps-3"].power_cut()
    cluster.run(60.0)
    assert places(cluster) == {"shop.agent/1": "vps-1", "shop.agent/3": ""}
    cluster["vps-3"].boot()
    cluster.run(30.0)
    assert places(cluster)["shop.agent/3"] == "vps-3"


def test_hosts_have_numbers_of_their_own() -> None:
    nodes = {f"node/vps-{n}": docs.node(f"vps-{n}").body for n in (4, 2, 7)}
    assert numbered(nodes) == {2: "node/vps-2", 4: "node/vps-4", 7: "node/vps-7"}  # type: ignore[arg-type]
    del nodes["node/vps-2"]
    assert numbered(nodes) == {4: "node/vps-4", 7: "node/vps-7"}  # type: ignore[arg-type]


# --- spread -----------------------------------------------------------------------------------------------------------


@given(
    hosts=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["r1", "r2", "r3"])), min_size=1, max_size=12),
    replicas=st.integers(1, 24),
)
def test_replicas_are_even_over_labels_then_zones_then_hosts(hosts: list[tuple[str, str]], replicas: int) -> None:
    nodes = {
        document.path: document.body
        for n, (zone, rack) in enumerate(hosts, 1)
        for document in [docs.node(f"vps-{n}", zone=zone, rack=rack)]
    }
    levels = zones_of(("label.rack",))
    first = [order_for("shop.web", i, nodes, levels)[0] for i in range(replicas)]  # type: ignore[arg-type]
    racks = Counter(nodes[path].labels["rack"] for path in first)  # type: ignore[union-attr]
    everywhere = {rack for _, rack in hosts}
    assert max(racks.values()) - min(racks.get(rack, 0) for rack in everywhere) <= 1
    for rack in everywhere:
        of = [path for path in first if nodes[path].labels["rack"] == rack]  # type: ignore[union-attr]
        zones = Counter(nodes[path].zone for path in of)  # type: ignore[union-attr]
        there = {zone for zone, other in hosts if other == rack}
        assert max(zones.values(), default=0) - min(zones.get(zone, 0) for zone in there) <= 1


# --- wishes that could chase each other ------------------------------------------------------------------------------


NAMES = ["a", "b", "c", "d"]


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, Service]:
    """Any services with any wishes and rules, rings of them too: trust takes what a compose file would refuse."""
    found = {}
    for name in NAMES[: draw(st.integers(1, 4))]:
        others = st.lists(st.sampled_from(NAMES), max_size=2).map(tuple)
        found[name] = service(
            draw(st.integers(1, 3)), draw(st.sampled_from([0, 0, 300])), max_per_node=draw(st.sampled_from([0, 0, 1, 2])),
            near=draw(others), away=draw(others), apart=draw(st.one_of(st.just(()), others)),
            spread=draw(st.sampled_from([(), ("label.rack",)])), every_node=draw(st.sampled_from([False] * 4 + [True])),
        )  # fmt: skip
    return found


@given(wishes())
def test_wishes_that_are_followed_lead_back_to_nobody(services: dict[str, Service]) -> None:
    wants = {"shop": AppWant(known=True, services={name: Want(of, "", "", (1, 1)) for name, of in services.items()})}
    placing = Placing()

    def reached(key: tuple[str, str], seen: set[tuple[str, str]]) -> set[tuple[str, str]]:
        ties = placing.ties(wants, *key)
        for other in {*ties.near, *ties.away} - seen:
            seen.add(other)
            reached(other, seen)
        return seen

    for name in services:
        assert ("shop", name) not in reached(("shop", name), set())


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(changes=st.lists(st.tuples(st.sampled_from(["shop", "blog", "wiki"]), wishes()), max_size=6))
def test_ties_kept_app_by_app_are_those_that_all_documents_make(changes: list[tuple[str, dict[str, Service]]]) -> None:
    wants: dict[str, AppWant] = {}
    kept = Placing()
    for app, services in changes:
        abroad = {name: msgspec.structs.replace(of, placement=_abroad(of.placement)) for name, of in services.items()}
        wants[app] = AppWant(known=True, services={name: Want(of, "", "", (1, 1)) for name, of in abroad.items()})
        kept.forget(app)
        anew = Placing()
        for key in [(app, service) for app, of in wants.items() for service in of.services]:
            assert kept.ties(wants, *key) == anew.ties(wants, *key)
            assert kept.followers(wants, *key) == anew.followers(wants, *key)


def _abroad(placement: Placement) -> Placement:
    """Some of its wishes are about the same service of another app."""
    near, away, apart = (
        tuple(f"blog.{name}" if name in "ab" else name for name in names)
        for names in (placement.near, placement.away, placement.apart)
    )
    return msgspec.structs.replace(placement, near=near, away=away, apart=apart)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])  # to shrink a cloud takes minutes
@given(
    hosts=st.integers(1, 5), services=wishes(), zones=st.sampled_from([[""], ["x", "y"]]), down=st.integers(0, 2),
    later=st.booleans(),
)  # fmt: skip
def test_any_wishes_come_to_rest_and_no_wish_leaves_a_slot_empty(
    hosts: int, services: dict[str, Service], zones: list[str], down: int, later: bool
) -> None:
    cluster = cluster_of(hosts, zones=zones)
    if later:  # rules and wishes come to what runs already
        deploy(
            cluster, {name: service(of.replicas, of.needs.reserve_memory_bytes >> 20) for name, of in services.items()}
        )
        cluster.run(20.0)
    deploy(cluster, services, version=2 if later else 1) if later else deploy(cluster, services)
    cluster.run(20.0)
    for n in range(min(down, hosts - 1)):
        cluster[f"vps-{n + 1}"].power_cut()
        cluster.run(15.0)
        cluster[f"vps-{n + 1}"].boot()
    cluster.run(QUIET_S)
    at_s = cluster.clock.now_s
    cluster.run(QUIET_S)
    assert claims(cluster, at_s) == []
    slots = max(1, len(places(cluster)))
    assert len(claims(cluster)) <= 8 * slots, "moves are bounded"
    _rules_hold(cluster, services)


def _rules_hold(cluster: Cluster, services: dict[str, Service]) -> None:
    held = places(cluster)
    at: dict[str, Counter[str]] = {}
    for slot, node in held.items():
        at.setdefault(Slot.parse(slot).service, Counter())[node] += bool(node)
    for name, of in services.items():
        if of.placement.max_per_node and not of.placement.every_node:
            assert max(at.get(name, Counter("")).values(), default=0) <= of.placement.max_per_node
    core = next(iter(cluster.machines.values())).core
    assert core is not None
    for slot, node in held.items():
        if not node:
            answers = core.explain(Slot.parse(slot)).order
            assert all(answer.answer == "declined" for answer in answers if answer.rank >= 0), answers


def test_the_order_of_a_service_is_looked_at_anew_when_what_it_is_near_has_moved() -> None:
    """A mutation that forgets to look again would leave web where store was."""
    cluster = cluster_of(3)
    deploy(cluster, {"store": service(1)}, app="base")
    deploy(cluster, {"web": service(1, near=("base.store",))})
    cluster.run(60.0)
    held = places(cluster)
    assert held["shop.web/0"] == held["base.store/0"]
    cluster[held["base.store/0"]].power_cut()
    cluster.run(60.0)
    held = places(cluster)
    assert held["shop.web/0"] == held["base.store/0"] != ""


@pytest.mark.parametrize("name", ["web", "shop.web"])
def test_a_service_that_names_itself_is_tied_to_nothing(name: str) -> None:
    wants = {"shop": AppWant(known=True, services={"web": Want(service(near=(name,), apart=(name,)), "", "", (1, 1))})}
    ties = Placing().ties(wants, "shop", "web")
    assert not ties.near and not ties.apart
