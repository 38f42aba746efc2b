"""A proof that others come before a node in an order, and the whole order, agree; what is decided depends on neither."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import Claim, SlotState, Up
from skerry.core.field import Field, Order
from skerry.core.intent import Node, Service
from skerry.core.node import NodeCore
from skerry.core.order import order_by_name, order_for
from skerry.core.records import Fact, MachineSlot, Slot
from skerry.core.timing import Timing
from skerry.sim import documents as docs
from skerry.sim.scenario import Scenario


def enrolled(hosts: int, zones: int, machines: int, weights: tuple[int, ...]) -> dict[str, Node]:
    found = [
        docs.node(f"vps-{n}", zone=f"z{n % zones}" if zones and n % 7 else "", weight=weights[n % len(weights)])
        for n in range(hosts)
    ]
    found += [docs.machine(MachineSlot("burst", n), f"{n:064x}", "198.51.100.1") for n in range(machines)]
    return {document.path: document.body for document in found}  # type: ignore[misc]


clouds = st.builds(
    enrolled, st.integers(1, 60), st.sampled_from([0, 1, 3, 20]), st.sampled_from([0, 0, 4]),
    st.sampled_from([(100,), (100, 300), (0, 100)]),
)  # fmt: skip


@settings(max_examples=150)
@given(nodes=clouds, index=st.integers(0, 70), enough=st.integers(1, 4), deaf=st.integers(1, 5))
def test_who_is_said_to_come_before_a_node_does(nodes: dict[str, Node], index: int, enough: int, deaf: int) -> None:
    field, order = Field(nodes, small=False), order_for("shop.web", index, nodes)
    counts = {path for at, path in enumerate(sorted(nodes)) if at % deaf == 0}
    for rank, me in enumerate(order):
        found = field.before(me, "shop.web", index, enough, counts.__contains__)
        if found is not None:
            assert len(set(found)) == enough
            assert set(found) <= counts & set(order[:rank])
    assert field.before("node/stranger", "shop.web", index, enough, counts.__contains__) == ()


@pytest.mark.parametrize("zones", [0, 3])
def test_in_a_large_cloud_a_few_nodes_alone_have_to_make_the_whole_order_for_a_slot(zones: int) -> None:
    nodes = enrolled(300, zones, 0, (100,))
    unproven = 0
    for index in range(5):
        field = Field(nodes, small=False)
        unproven += sum(field.before(me, "shop.web", index, 3, lambda _: True) is None for me in nodes)
    assert unproven <= 5 * 16


@settings(max_examples=50)
@given(nodes=clouds, most=st.integers(1, 4))
def test_who_keeps_a_services_images_is_found_without_an_order(nodes: dict[str, Node], most: int) -> None:
    field = Field(nodes, small=False)
    fixed = {path: node for path, node in nodes.items() if MachineSlot.of_path(path) is None}
    assert {me for me in nodes if field.keeps(me, "shop.web", most)} == set(
        order_by_name("shop.web", fixed or nodes)[:most]
    )


def test_an_order_is_the_tuple_that_it_stands_for() -> None:
    nodes = enrolled(20, 3, 2, (100,))
    order, whole = Order(Field(nodes, small=False), "shop.web", 4), order_for("shop.web", 4, nodes)
    assert "node/vps-3" in order and "node/stranger" not in order and len(order) == 22
    assert (tuple(order), order[2], order[1:4], order.index(whole[7])) == (whole, whole[2], whole[1:4], 7)


def what_happens(seed: int, rank_all: int) -> list[str]:
    scenario = Scenario(seed, faults=4)
    scenario.cluster.timing = Timing(**{**_as_dict(scenario.cluster.timing), "rank_all": rank_all})
    assert scenario.run() == []
    kinds = (do.Start, do.Stop, do.Route)
    return [
        f"{life.at_s:.3f} {life.node} {life.effect!r}"
        for life in scenario.cluster.history
        if isinstance(life.effect, kinds)
    ]


def _as_dict(timing: Timing) -> dict[str, float]:
    return {name: getattr(timing, name) for name in timing.__struct_fields__}


@pytest.mark.parametrize("seed", range(3))
def test_a_cloud_that_ranks_only_what_is_its_business_passes_the_same_checks(seed: int) -> None:
    assert what_happens(seed, 0)


@settings(max_examples=80)
@given(nodes=clouds, service=st.sampled_from(["shop.web", "blog.db"]), index=st.integers(0, 200))
def test_an_order_made_by_hashes_alone_is_that_of_the_rules(nodes: dict[str, Node], service: str, index: int) -> None:
    assert Field(nodes, small=False).order(service, index) == order_for(service, index, nodes)


@settings(max_examples=60)
@given(nodes=clouds, indices=st.lists(st.integers(0, 70), min_size=2, max_size=8))
def test_what_was_found_out_about_a_service_holds_for_its_slots_in_any_sequence(
    nodes: dict[str, Node], indices: list[int]
) -> None:
    field = Field(nodes, small=False)
    for index in indices:
        order = order_for("shop.web", index, nodes)
        for rank, me in enumerate(order):
            found = field.before(me, "shop.web", index, 2, lambda _: True)
            assert found is None or set(found) <= set(order[:rank])
            assert rank or found is None


def test_who_leaned_on_a_node_that_fell_leans_on_others_some_milliseconds_later() -> None:
    nodes = [docs.node(f"h{n}") for n in range(40)]
    core = NodeCore(Timing(rank_all=0))
    core.step(ev.Booted(node="node/h0", boot=1, cpus=4.0, memory_bytes=1 << 32), 0.0)
    services = {"web": Service(replicas=30, probe=None)}
    for document in (*nodes, docs.app("shop", services), docs.release("shop", {"web": "web"})):
        core.step(ev.RecordAccepted(record=document, from_disk=True), 0.0)
    core.step(ev.Timer(), 0.0)

    def beat(now: float, leaving_out: str = "") -> None:
        for document in nodes[1:]:
            if document.path != leaving_out:
                core.step(ev.RecordAccepted(record=up(document.path, now)), now)

    beat(1.0)
    for index in range(30):
        hold(core, Slot("shop", "web", index), nodes[1 + index].path)
    beat(2.0)
    concern = core._s.concern
    fallen = max((d.path for d in nodes[1:]), key=lambda path: len(list(concern.leaning_on(path))))
    for second in range(3, 42):
        beat(float(second), leaving_out=fallen)
    leaned = set(concern.leaning_on(fallen))
    core.step(ev.Timer(), 42.0)
    assert core._s.presence.is_down(fallen)
    assert leaned and set(concern.leaning_on(fallen)) == leaned
    for step in range(1, 20):
        core.step(ev.Timer(), 42.0 + step * 0.01)
    assert not set(concern.leaning_on(fallen))
    assert all(concern.proof(slot) or slot in concern.of("shop", "web") for slot in leaned)


def hold(core: NodeCore, slot: Slot, node: str) -> None:
    """Another node holds a slot, well."""
    spec = core._s.newest_spec(slot)
    state = SlotState(
        spec=spec, image="web", state="running", address="10.77.1.2", healthy=True, since=1.0, versions=(1, 1)
    )
    for n, (kind, body) in enumerate(
        (("claim", Claim(spec=spec, image="web", rank=0, reason="rank 0")), ("slot", state))
    ):
        fact = Fact(node=node, kind=kind, key=str(slot), seq=(1, 1000 + n), time=1.0, body=body)
        core.step(ev.RecordAccepted(record=fact), 1.5)


def up(node: str, now: float) -> Fact:
    body = Up(root=1, policy=1, heads="", uptime_s=now, cpus=4.0, memory_bytes=1 << 32, free_cpus=4.0,
              free_memory_bytes=1 << 32)  # fmt: skip
    return Fact(node=node, kind="up", key="", seq=(1, int(now * 10) + 1), time=now, body=body)
