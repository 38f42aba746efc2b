"""What `explain` advises is true: whoever does it, and nothing else, sees the slot placed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from core.test_placement import deploy, drain, service
from skerry.core.intent import Needs, Node, Service
from skerry.core.records import Slot
from skerry.core.view import Explanation
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.scenario import cluster_of

Setup = Callable[[], tuple[Cluster, dict[str, Service]]]


def explained(cluster: Cluster, slot: str) -> Explanation:
    core = next(machine.core for machine in cluster.machines.values() if machine.core is not None)
    return core.explain(Slot.parse(f"shop.{slot}"))


def enrolled(cluster: Cluster, name: str) -> Node:
    core = next(machine.core for machine in cluster.machines.values() if machine.core is not None)
    return core._s.known.nodes[f"node/{name}"]


def follow(cluster: Cluster, services: dict[str, Service], slot: str, what: str) -> None:
    """Do what the advice says, as a person would."""
    name = slot.partition("/")[0]
    of = services[name]

    def changed(**placement: Any) -> Service:
        return msgspec.structs.replace(of, placement=msgspec.structs.replace(of.placement, **placement))

    if found := re.fullmatch(r"undrain (\S+)", what):
        _sign(cluster, found[1], state="active")
    elif found := re.match(r"start (\S+):", what):
        cluster[found[1]].boot()
    elif found := re.fullmatch(r"label (\S+) (\S+)=(\S+)", what):
        _sign(cluster, found[1], labels=enrolled(cluster, found[1]).labels | {found[2]: found[3]})
    elif found := re.fullmatch(r"put (\S+) into zone (\S+)", what):
        _sign(cluster, found[1], zone=found[2])
    elif found := re.fullmatch(r"remove the constraint (\S+)", what):
        constraint = found[1].replace("node.labels.", "label.")
        left = tuple(each for each in of.constraints if each != constraint)
        deploy(cluster, services | {name: msgspec.structs.replace(of, constraints=left)}, version=2)
    elif found := re.fullmatch(r"write max_replicas_per_node: (\d+)", what):
        deploy(cluster, services | {name: changed(max_per_node=int(found[1]))}, version=2)
    elif found := re.fullmatch(r"take (\S+) out of apart, or .*", what):
        deploy(
            cluster,
            services | {name: changed(apart=tuple(each for each in of.placement.apart if each != found[1]))},
            version=2,
        )
    elif found := re.match(r"reserve no more than (\d+) MiB", what):
        less = msgspec.structs.replace(of, needs=Needs(reserve_memory_bytes=int(found[1]) << 20))
        deploy(cluster, services | {name: less}, version=2)
    elif what.startswith("add a host"):
        _add(cluster, what)
    else:
        raise AssertionError(f"nobody knows how to do this: {what}")


def _sign(cluster: Cluster, name: str, **changes: Any) -> None:
    body = msgspec.structs.replace(enrolled(cluster, name), **changes)
    via = next(path.removeprefix("node/") for path, machine in cluster.machines.items() if machine.on)
    cluster.accept(via, docs.document(f"node/{name}", body, version=50))


def _add(cluster: Cluster, what: str) -> None:
    named, zone = re.search(r"named (\S+)", what), re.search(r"in zone (\S+)", what)
    labels = dict(re.findall(r"the label (\S+?)=(\S+)", what))
    name = named[1] if named else "vps-9"
    newcomer = docs.node(name, zone=zone[1] if zone else "", **labels)
    machine = cluster.add(name)
    first = next(other for other in cluster.machines.values() if other.on)
    free = re.search(r"with (\d+) MiB free", what)
    machine.memory_bytes = int(free[1]) << 20 if free else 1 << 30
    machine.disk = dict(first.disk) | {newcomer.id: newcomer}
    cluster.accept(first.path.removeprefix("node/"), newcomer)
    machine.boot()


def advice_is_true(setup: Setup, slot: str) -> list[str]:
    """Follows each advice in a cloud of its own. Gives them all."""
    cluster, _ = setup()
    told = explained(cluster, slot)
    for advice in told.advice:
        cluster, services = setup()
        follow(cluster, services, slot, advice.what)
        cluster.run(45.0)
        assert explained(cluster, slot).holder, f"{advice.what} did not help: {explained(cluster, slot)}"
    return [advice.what for advice in told.advice]


def cloud(
    services: dict[str, Service],
    hosts: int = 2,
    *,
    zones: list[str] | None = None,
    before: Callable[[Cluster], None] | None = None,
) -> Setup:
    def setup() -> tuple[Cluster, dict[str, Service]]:
        cluster = cluster_of(hosts, zones=zones or [""])
        if before is not None:
            before(cluster)
            cluster.run(10.0)
        deploy(cluster, services)
        cluster.run(10.0)
        return cluster, services

    return setup


def test_a_label_that_no_host_has() -> None:
    placed = msgspec.structs.replace(service(), constraints=("label.disk==ssd",))
    assert advice_is_true(cloud({"web": placed}), "web/0") == [
        "label vps-1 disk=ssd",
        "label vps-2 disk=ssd",
        "remove the constraint node.labels.disk==ssd",
        "add a host with the label disk=ssd",
    ]


def test_of_two_constraints_none_alone_is_advised_where_both_fail() -> None:
    placed = msgspec.structs.replace(service(), constraints=("label.disk==ssd", "zone==b"))
    assert advice_is_true(cloud({"web": placed}, zones=["a", "b"]), "web/0") == [
        "label vps-2 disk=ssd",
        "remove the constraint node.labels.disk==ssd",
        "add a host with the label disk=ssd and in zone b",
    ]


def test_a_host_that_is_drained_or_down() -> None:
    def before(cluster: Cluster) -> None:
        drain(cluster, "vps-1", "draining", 2)
        cluster["vps-2"].power_cut()

    assert advice_is_true(cloud({"web": service()}, before=before), "web/0") == [
        "undrain vps-1",
        "start vps-2: it is down",
        "add a host",
    ]


def test_more_replicas_than_hosts_may_have() -> None:
    told = advice_is_true(cloud({"web": service(3, max_per_node=1)}), "web/2")
    assert told == ["write max_replicas_per_node: 2", "add a host"]


def test_what_is_apart_and_has_no_host_left() -> None:
    told = advice_is_true(cloud({"noise": service(2, max_per_node=1), "web": service(apart=("noise",))}), "web/0")
    assert told == [
        "take noise out of apart, or move noise off vps-1",
        "take noise out of apart, or move noise off vps-2",
        "add a host",
    ]


def test_more_memory_than_any_has_free() -> None:
    told = advice_is_true(cloud({"big": service(2, 600, max_per_node=1), "web": service(1, 500)}), "web/0")
    assert told == [
        "reserve no more than 424 MiB: so much is free on vps-1",
        "reserve no more than 424 MiB: so much is free on vps-2",
        "add a host with 500 MiB free",
    ]


def test_a_slot_that_is_held_says_why_there_and_needs_no_advice() -> None:
    cluster, _ = cloud({"web": service(2)})()
    told = explained(cluster, "web/0")
    assert told.because == "it is the first in the order of web/0" and told.advice == ()
    first = told.holder
    drain(cluster, first, "draining", 2)
    cluster.run(20.0)
    told = explained(cluster, "web/0")
    assert told.because == f"rank 1, after {first} (it is drained)"
    assert [one.command for one in told.advice] == [f"skerry host undrain {first}"]


@pytest.mark.parametrize("how", ["drained", "down", "constraint"])
def test_what_is_advised_of_a_slot_that_is_held_elsewhere_brings_it_there(how: str) -> None:
    """Its first host comes back into question by that one thing alone."""

    def setup() -> tuple[Cluster, dict[str, Service], str]:
        cluster, services = cloud({"web": service(1, 200)}, 3)()
        first = explained(cluster, "web/0").order[0].node
        if how == "drained":
            drain(cluster, first, "draining", 2)
        elif how == "down":
            cluster[first].power_cut()
        else:
            for name in {"vps-1", "vps-2", "vps-3"} - {first}:
                _sign(cluster, name, labels={"disk": "ssd"})
            services = {"web": msgspec.structs.replace(services["web"], constraints=("label.disk==ssd",))}
            deploy(cluster, services, version=2)
        cluster.run(30.0)
        return cluster, services, first

    cluster, services, first = setup()
    told = explained(cluster, "web/0")
    holder = told.holder
    if how == "constraint":  # it is in the order no more: where it is now is the first of those that may
        assert told.holder and told.holder != first and told.advice == ()
        return
    assert told.holder not in ("", first) and len(told.advice) == 1, told
    follow(cluster, services, "web/0", told.advice[0].what.removesuffix(", and it moves there"))
    cluster.run(60.0)
    assert explained(cluster, "web/0").holder == first != holder


def test_what_runs_and_moves_for_no_better_place_is_not_said_to_go_back() -> None:
    exclusive = msgspec.structs.replace(service(1), exclusive=True)
    voters = docs.policy("vps-1", "vps-2", "vps-3")
    cluster, _ = cloud({"web": exclusive}, 3, before=lambda made: made.accept("vps-1", voters))()
    first = explained(cluster, "web/0").holder
    assert first
    cluster[first].power_cut()
    cluster.run(30.0)
    cluster[first].boot()
    cluster.run(30.0)
    told = explained(cluster, "web/0")
    assert told.holder not in ("", first) and told.advice == ()
    assert "moves for no better place" in told.because and "may take it back" not in told.because


def test_what_a_better_place_is_better_by_is_told() -> None:
    """Of hosts in two zones: the one that comes back takes the slot that its zone begins with, and says so."""
    cluster, _ = cloud({"web": service(2)}, 2, zones=["a", "b"])()
    first = explained(cluster, "web/0").holder
    body = enrolled(cluster, first)
    for version, state in ((2, "draining"), (3, "active")):
        changed = msgspec.structs.replace(body, state=state)
        cluster.accept("vps-1", docs.document(f"node/{first}", changed, version=version))
        cluster.run(30.0)
    told = explained(cluster, "web/0")
    why = next(answer.why for answer in told.order if answer.node == first)
    assert told.holder == first and f"replicas are spread over zone, and web/0 begins at {body.zone}" in why


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    hosts=st.integers(1, 3), replicas=st.integers(1, 3), most=st.integers(0, 1), reserve=st.sampled_from([0, 700]),
    constraints=st.lists(st.sampled_from(["label.disk==ssd", "label.disk!=hdd", "zone==b", "node==vps-2"]), max_size=2, unique=True),
    drained=st.booleans(), off=st.booleans(), apart=st.booleans(),
)  # fmt: skip
def test_any_advice_is_true(
    hosts: int, replicas: int, most: int, reserve: int, constraints: list[str], drained: bool, off: bool, apart: bool
) -> None:
    placed = service(replicas, reserve, max_per_node=most, apart=("noise",) if apart else ())
    services = {"noise": service(), "web": msgspec.structs.replace(placed, constraints=tuple(constraints))}

    def before(cluster: Cluster) -> None:
        if drained and hosts > 1:
            drain(cluster, "vps-2", "draining", 2)
        if off and hosts > 2:
            cluster["vps-3"].power_cut()

    setup = cloud(services, hosts, zones=["a", "b"], before=before)
    cluster, _ = setup()
    for index in range(replicas):
        if not explained(cluster, f"web/{index}").holder:
            advice_is_true(setup, f"web/{index}")
            break


def test_a_slot_that_waits_for_its_data_is_helped_by_its_host_alone() -> None:
    from core.test_homes import KEEP

    cluster = cluster_of(3)
    from skerry.sim.scenario import give_image

    give_image(cluster, "vps-1", "keep")
    cluster.accept(
        "vps-1", docs.release("shop", {"keep": "keep"}), docs.app("shop", {"keep": KEEP}, volumes={"data": False})
    )
    cluster.run(20.0)
    home = explained(cluster, "keep/0").holder
    assert explained(cluster, "keep/0").because == "its data is there"
    cluster[home].power_cut()
    cluster.run(60.0)
    assert [advice.what for advice in explained(cluster, "keep/0").advice] == [f"start {home}: it is down"]
    cluster[home].boot()
    cluster.run(30.0)
    assert explained(cluster, "keep/0").holder == home
