"""Published ports as rules: whole tables against a golden file, and what holds for any input."""

from __future__ import annotations

import os
import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.effects import Members, Target
from skerry.core.intent import Port
from skerry.core.records import Slot
from skerry.net.apart import Apart
from skerry.net.ports import Asleep, Ground, chosen, port_rules, purged, render

GROUND = Ground(
    subnet="10.77.1.0/24", cloud_net="10.77.0.0/16", gateway="10.77.1.1", tunnel="skerry0", veth_prefix="skv"
)
GOLDEN = Path(__file__).parent / "golden"


def target(address: str) -> Target:
    return Target(slot=Slot("guestbook", "web", 0), node="node/x", address=address)


WEB = Port(target=80, published=8000)
DNS = Port(target=53, published=5353, protocol="udp")
CASES = {
    "nothing published": [],
    "own host first, udp beside tcp, nothing healthy": [
        (WEB, [target("10.77.1.10"), target("10.77.2.10"), target("10.77.1.11")]),
        (DNS, [target("10.77.3.9")]),
        (Port(target=6379, published=6379), []),
    ],
    "all elsewhere": [(WEB, [target("10.77.3.10"), target("10.77.2.10"), target("10.77.20.10")])],
    "two asleep, one of them by its name too, one awake": [
        (WEB, []),
        (Port(target=6379, published=6379), [target("10.77.1.9")]),
    ],
    "two apps apart, one service of which lets a caller in": [(WEB, [target("10.77.2.10")])],
}
APART = {
    "two apps apart, one service of which lets a caller in": Apart(
        members=(
            Members("bank", "store", ("10.77.1.20", "10.77.2.20"), ("shop.report", "audit"), ("store.bank.internal",)),
            Members("bank", "web", ("10.77.3.21",), names=("web.bank.internal",)),
            Members("shop", "report", ("10.77.3.30",)),
            Members("shop", "web", ("10.77.1.10", "10.77.2.10", "not an address"), agents=True),
        ),
        own={
            "10.77.1.10": "shop.web",
            "10.77.1.20": "bank.store",
            "10.77.1.254": "bank.web",
            "10.77.1.11": "shop.report",
        },
        hosts=("10.93.0.2", "10.93.0.3"),
        gateways=("10.77.2.1", "10.77.3.1"),
    ),
}
ASLEEP = {
    "two asleep, one of them by its name too, one awake": Asleep(
        (8001, 8000, 6379, 0), ("10.77.1.254", "10.78.0.1", "x")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_table(name: str) -> None:
    file = GOLDEN / f"{name.replace(' ', '-').replace(',', '')}.nft"
    text = render(CASES[name], GROUND, ASLEEP.get(name, Asleep()), APART.get(name, Apart()))
    if os.environ.get("REWRITE"):  # read the difference before you commit it
        file.write_text(text)
    assert text == file.read_text()


def test_of_ipv6_containers_have_nothing() -> None:
    without, with_ = render([], GROUND), render([], msgspec.structs.replace(GROUND, ipv6=True))
    assert with_.startswith(without.rstrip("\n")) and with_.count('iifname "skv*" drop') == 2 and "ip6" not in without
    assert purged(msgspec.structs.replace(GROUND, ipv6=True)).count("delete table") == 2


@pytest.mark.parametrize("name", CASES)
def test_nft_takes_it(name: str) -> None:
    if not shutil.which("nft") or os.geteuid():
        pytest.skip("needs nft and root")
    text = render(CASES[name], GROUND, ASLEEP.get(name, Asleep()), APART.get(name, Apart()))
    done = subprocess.run(
        ["unshare", "-n", "nft", "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


addresses = st.integers(0x0A4D0002, 0x0A4DFFFE).map(lambda n: str(IPv4Address(n)))


@given(st.lists(addresses, max_size=20))
def test_own_replicas_are_all_that_is_used_if_there_are_any(found: list[str]) -> None:
    own = {a for a in found if a.startswith("10.77.1.")}
    assert set(chosen([target(a) for a in found], GROUND)) == (own or set(found))


@given(st.permutations([target(f"10.77.{i}.10") for i in range(1, 6)]))
def test_the_order_of_targets_changes_no_rule(targets: list[Target]) -> None:
    ground = Ground(
        subnet="10.77.9.0/24", cloud_net="10.77.0.0/16", gateway="10.77.9.1", tunnel="skerry0", veth_prefix="skv"
    )
    in_order = [target(f"10.77.{i}.10") for i in range(1, 6)]
    assert port_rules([(WEB, targets)], ground) == port_rules([(WEB, in_order)], ground)


@given(st.text(max_size=40))
def test_no_fact_of_another_host_can_write_rules(text: str) -> None:
    assert chosen([target(text)], GROUND) in ([], [text])
    assert "drop" not in port_rules([(WEB, [target(text)])], GROUND).__str__()


@pytest.mark.parametrize("address", ["8.8.8.8", "10.78.1.1", "127.0.0.1", "10.77.1.5; add rule", "::1", ""])
def test_an_address_outside_of_the_cloud_is_passed_over(address: str) -> None:
    assert port_rules([(WEB, [target(address), target("10.77.2.2")])], GROUND) == [
        "tcp dport 8000 dnat to 10.77.2.2:80"
    ]


def test_an_impossible_port_does_not_block_the_others() -> None:
    routes = [(Port(target=80, published=70000), [target("10.77.2.2")]), (WEB, [target("10.77.2.2")])]
    assert port_rules(routes, GROUND) == ["tcp dport 8000 dnat to 10.77.2.2:80"]
