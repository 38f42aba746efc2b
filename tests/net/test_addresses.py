"""Which container has which address."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadInput
from skerry.net.addresses import Addresses, NoAddressLeft, network_of


def test_the_first_container_comes_after_the_gateway() -> None:
    assert Addresses("10.77.3.0/24").take("a") == "10.77.3.2"


def test_asked_twice_it_is_the_same() -> None:
    addresses = Addresses("10.77.3.0/24")
    assert addresses.take("a") == addresses.take("a")


def test_a_freed_address_comes_last() -> None:
    addresses = Addresses("10.77.3.0/29")  # room for five
    first = [addresses.take(f"c{i}") for i in range(3)]
    addresses.free("c0")
    later = [addresses.take(f"d{i}") for i in range(3)]
    assert first == ["10.77.3.2", "10.77.3.3", "10.77.3.4"]
    assert later == ["10.77.3.5", "10.77.3.6", "10.77.3.2"]


def test_a_full_subnet_says_so() -> None:
    addresses = Addresses("10.77.3.0/29")
    for i in range(5):
        addresses.take(str(i))
    with pytest.raises(NoAddressLeft):
        addresses.take("one more")


def test_what_was_saved_is_loaded_and_goes_on_where_it_was(tmp_path: Path) -> None:
    addresses = Addresses("10.77.3.0/24")
    addresses.take("a")
    addresses.take("b")
    addresses.free("b")
    addresses.save(tmp_path / "a.json")
    loaded = Addresses.load(tmp_path / "a.json", "10.77.3.0/24")
    assert loaded.held() == {"a": "10.77.3.2"}
    assert loaded.take("c") == "10.77.3.4"


@given(st.binary(max_size=200))
def test_a_damaged_file_counts_as_empty(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("a") / "a.json"
    file.write_bytes(content)
    assert Addresses.load(file, "10.77.3.0/24").held() == {}


def test_a_file_of_another_subnet_counts_as_empty(tmp_path: Path) -> None:
    addresses = Addresses("10.77.3.0/24")
    addresses.take("a")
    addresses.save(tmp_path / "a.json")
    assert Addresses.load(tmp_path / "a.json", "10.77.4.0/24").held() == {}


def test_what_runs_is_right_when_the_list_differs() -> None:
    addresses = Addresses("10.77.3.0/24", {"old": "10.77.3.7"})
    addresses.adopt("running", "10.77.3.7")
    assert addresses.held() == {"running": "10.77.3.7"}


@pytest.mark.parametrize("address", ["10.77.3.1", "10.77.3.0", "10.77.3.255", "10.77.4.2", "x", "", "::1"])
def test_only_addresses_of_containers_are_adopted(address: str) -> None:
    with pytest.raises(BadInput):
        Addresses("10.77.3.0/24").adopt("a", address)


@pytest.mark.parametrize("text", ["", "10.77.3.1/24", "10.77.3.0/30", "2001:db8::/64", "10.77.3.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        network_of(text)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=60))
def test_no_two_containers_ever_share_an_address(steps: list[tuple[bool, int]]) -> None:
    addresses = Addresses("10.77.3.0/28")
    for take, number in steps:
        addresses.take(str(number)) if take else addresses.free(str(number))
        held = list(addresses.held().values())
        assert len(held) == len(set(held))
        assert "10.77.3.1" not in held
