"""How many machines: first-fit-decreasing over hosts as they are filled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.core.renting.packing import Bin, Item, Size, pack, spared

MIB = 1 << 20
FIXED = frozenset({"node/a", "node/b"})


def item(
    name: str, memory: int, *, cpus: float = 0.0, at: str = "", hosts: frozenset[str] = FIXED, pools: tuple[str, ...] = ("burst",)
) -> Item:  # fmt: skip
    return Item(name, cpus, memory * MIB, hosts | {"node/burst/0", "node/burst/1"}, pools, at)


def bins(**free: int) -> list[Bin]:
    return [Bin(f"node/{name.replace('_', '/')}", 4.0, memory * MIB) for name, memory in free.items()]


def test_what_fits_on_fixed_hosts_wants_no_machine() -> None:
    packed = pack([item("x", 300), item("y", 600)], bins(a=600, b=300), "burst", Size(1.0, 800 * MIB), 9)
    assert (packed.more, packed.placed) == (0, {"y": "node/a", "x": "node/b"})


def test_the_rest_goes_onto_new_machines_the_large_first() -> None:
    items = [item("a", 500), item("b", 500), item("c", 300), item("d", 300)]
    assert pack(items, bins(), "burst", Size(4.0, 800 * MIB), 9).more == 2
    assert pack(items, bins(), "burst", Size(4.0, 800 * MIB), 1).more == 1


def test_without_a_reservation_everything_fits_everywhere() -> None:
    assert pack([item(f"i{i}", 0) for i in range(50)], bins(a=0), "burst", Size(1.0, MIB), 9).more == 0


def test_what_no_machine_of_the_pool_can_hold_wants_none_and_is_told() -> None:
    packed = pack([item("x", 900)], bins(a=100), "burst", Size(1.0, 800 * MIB), 9)
    assert (packed.more, packed.homeless) == (0, ("x",))


def test_a_machine_on_its_way_takes_what_is_open_to_its_pool() -> None:
    coming = Bin("node/burst/5", 1.0, 800 * MIB, enrolled=False)
    packed = pack([item("x", 500), item("y", 200, pools=())], [coming], "burst", Size(1.0, 800 * MIB), 9)
    assert (packed.more, packed.placed) == (0, {"x": "node/burst/5"})


def test_processors_count_as_well_as_memory() -> None:
    items = [item(f"i{i}", 10, cpus=0.6) for i in range(3)]
    assert pack(items, bins(), "burst", Size(1.0, 800 * MIB), 9).more == 3


def test_a_machine_may_go_only_if_all_on_it_fits_elsewhere() -> None:
    items = [item("x", 400, at="node/burst/0"), item("y", 400, at="node/burst/1")]
    both = ["node/burst/1", "node/burst/0"]
    assert spared(items, bins(a=0, burst_0=400, burst_1=400), both) == ["node/burst/1"]
    assert spared(items, bins(a=800, burst_0=0, burst_1=0), both) == both
    assert spared(items, bins(a=399, burst_0=100, burst_1=100), both) == []


sizes = st.integers(1, 800)


@given(st.lists(sizes, max_size=30), st.lists(sizes, max_size=4))
def test_it_never_overfills_and_never_wants_a_machine_too_many_by_far(needs: list[int], hosts: list[int]) -> None:
    there = [Bin(f"node/h{i}", 4.0, free * MIB) for i, free in enumerate(hosts)]
    everywhere = frozenset(bin.path for bin in there)
    items = [item(f"i{i:02}", need, hosts=everywhere) for i, need in enumerate(needs)]
    packed = pack(items, there, "burst", Size(4.0, 800 * MIB), 100)
    assert all(bin.memory_bytes >= 0 for bin in there)
    assert set(packed.placed) == {entry.name for entry in items}
    left = sum(
        need for need, entry in zip(needs, items, strict=True) if packed.placed[entry.name].startswith("node/burst")
    )
    assert packed.more <= max(-(-2 * left // 800), 0)  # no two machines are half empty
    assert packed.more >= -(-left // 800)
