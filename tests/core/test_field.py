"""A proof that others come before a node in an order, and the whole order, agree; what is decided depends on neither."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core import effects as do
from skerry.core.field import Field, Order
from skerry.core.intent import Node
from skerry.core.order import order_by_name, order_for
from skerry.core.records import MachineSlot
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
