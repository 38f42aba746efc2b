"""What is pure in the contract of providers: names, and the cheapest size over several providers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.records import MachineSlot
from skerry.errors import BadInput
from skerry.machines.contract import (
    NoSuchServer,
    Order,
    Server,
    Size,
    cheapest,
    name_of,
    slot_of,
    tags_of,
    uuid_of,
)
from skerry.machines.manual import BringOne
from skerry.machines.providers import open_provider

REGIONS = ("ams3", "fra1", "host-1")
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).filter(lambda w: w.strip("-") == w)
slots = st.builds(MachineSlot, words, st.integers(0, 999))
sizes = st.lists(
    st.builds(
        Size,
        name=words,
        cpus=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
        memory_bytes=st.sampled_from([512 << 20, 1 << 30, 2 << 30]),
        disk_bytes=st.just(10 << 30),
        price_usd_hour=st.floats(0, 1),
        price_usd_month=st.sampled_from([0.0, 4.0, 6.0, 12.0]),
        regions=st.lists(st.sampled_from(REGIONS), unique=True).map(tuple),
    ),
    max_size=8,
)


def key(size: Size | None) -> tuple[float, int, str] | None:
    return size and (size.price_usd_month, size.memory_bytes, size.name)


@given(
    sizes,
    sizes,
    st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from([0, 1 << 30]),
    st.sampled_from([0.0, 5.0]),
    st.sampled_from(["", *REGIONS]),
)
def test_the_cheapest_fits_and_none_that_fits_is_cheaper(
    one: list[Size], other: list[Size], cpus: float, memory: int, most: float, region: str
) -> None:
    def wanted(size: Size) -> bool:
        enough = size.cpus >= cpus and size.memory_bytes >= memory
        return enough and (not most or size.price_usd_month <= most) and (not region or region in size.regions)

    def choose(among: list[Size]) -> Size | None:
        return cheapest(among, cpus=cpus, memory_bytes=memory, most_usd_month=most, region=region)

    both = choose(one + other)
    assert (both is None) == (not any(map(wanted, one + other)))
    assert both is None or wanted(both)
    assert all(both.price_usd_month <= size.price_usd_month for size in one + other if both and wanted(size))
    assert key(both) == key(choose([*reversed(other), *reversed(one)])), "in whichever order they are told"
    best = [size for size in (choose(one), choose(other)) if size]
    assert key(choose(best)) == key(both), "the cheapest over several providers is the cheapest of their cheapest"


@given(slots, slots)
def test_names_and_uuids_are_a_slots_own_and_lead_back_to_it(one: MachineSlot, other: MachineSlot) -> None:
    cloud = "c0ffee" * 10
    assert slot_of(cloud, name_of(cloud, one)) == one
    assert slot_of("beef" * 16, name_of(cloud, one)) is None
    assert (uuid_of(cloud, one) == uuid_of(cloud, other)) == (one == other)
    assert uuid_of(cloud, one) != uuid_of("beef" * 16, one)
    assert all(set(tag) <= set("abcdefghijklmnopqrstuvwxyz0123456789-:") for tag in tags_of(cloud, one.pool))


@given(slots)
def test_a_machine_that_a_person_brings_is_asked_for_by_the_very_command(slot: MachineSlot) -> None:
    provider = open_provider("manual")
    cloud = "c0ffee" * 10
    order = Order(name=name_of(cloud, slot), size="", region="", image="", user_data="", tags=tags_of(cloud, slot.pool))
    with pytest.raises(BringOne) as caught:
        provider.create(order)
    assert caught.value.fix == f"skerry host add root@ADDRESS --slot {slot}"
    assert provider.list(name=order.name) == provider.list() == [] and provider.sizes()[0].name == "any"
    there = Server(id="1", name=order.name, state="active")
    provider.destroy(there)
    with pytest.raises(NoSuchServer):
        provider.reboot(there)


def test_what_no_provider_takes_is_told() -> None:
    for name, options in (
        ("clouds-r-us", {}),
        ("manual", {"token": "x"}),
        ("libvirt", {"endpoint": "https://example.net"}),
    ):
        with pytest.raises(BadInput) as caught:
            open_provider(name, **options)
        assert caught.value.fix
