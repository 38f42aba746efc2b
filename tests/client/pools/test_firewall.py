"""`--firewall` against the simulator of DigitalOcean over HTTP: what is closed, by whose token, again, and gone with the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.small import Aside
from client.pools.test_tokens import pool_of, readable, sealing_of
from client.test_pools import held
from client.test_roles import Person
from skerry.lab.ocean import Simulator
from skerry.lab.ocean.serving import Server
from skerry.machines.digitalocean import DigitalOcean

pytestmark = pytest.mark.usefixtures("quick_age")
KEEPERS, WALLS, BOTH = "dop_v1_keepers", "dop_v1_walls", "dop_v1_both"
EVERYWHERE = {"addresses": ["0.0.0.0/0", "::/0"]}


@pytest.fixture
def ocean() -> Iterator[Simulator]:
    least, walls = set(DigitalOcean.least_scopes), {*DigitalOcean.firewall_scopes, "tag:create"}
    simulator = Simulator(tokens={KEEPERS: least, WALLS: walls, BOTH: least | walls})
    server = Server(simulator, ("127.0.0.1", 0)).start()
    simulator.endpoint = server.endpoint  # type: ignore[attr-defined]
    yield simulator
    server.stop()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def written(token: str) -> str:
        (tmp_path / token).write_text(token)
        return str(tmp_path / token)

    return written


@pytest.fixture
def add(ann: Person, small: Aside, bundle: Path, ocean: Simulator, file: Callable[[str], str]) -> Callable[..., Any]:
    def run(token: str, *more: str, **how: Any) -> Any:
        of = ("--provider", "digitalocean", "--endpoint", ocean.endpoint, "--size", "s-1vcpu-1gb", "--max", "2")  # type: ignore[attr-defined]
        return ann.run("machine", "pool", "add", "burst", *of, "--token-file", file(token), *more, **how)

    return run


def test_made_by_a_token_for_this_alone_it_lets_in_skerrys_port_and_the_keepers_token_may_not_open_it(
    add: Callable[..., Any], ann: Person, small: Aside, ocean: Simulator, file: Callable[[str], str]
) -> None:
    answer = add(KEEPERS, "--firewall", "--firewall-token-file", file(WALLS), "--keepers", "vps-1")
    assert answer["warnings"] == [] and "warning" not in ann.said
    assert "7077 alone is open from outside" in ann.said
    (made,) = ocean.firewalls.rows()
    assert made["tags"] == [f"skerry-pool:{small.cloud.cloud[:10]}-burst"] and made["droplet_ids"] == []
    assert made["inbound_rules"] == [
        {"protocol": protocol, "ports": "7077", "sources": EVERYWHERE} for protocol in ("tcp", "udp")
    ]
    assert made["outbound_rules"] == [
        {"protocol": protocol, "ports": "0", "destinations": EVERYWHERE} for protocol in ("tcp", "udp", "icmp")
    ]
    assert pool_of(small).firewall
    for holder in (small.cloud.files["vps-1"].seed("sealing"), sealing_of(ann)):
        assert readable(holder, pool_of(small)) == {KEEPERS}
    again = ("machine", "pool", "set", "burst", "--firewall")
    before = small.look(lambda: small.cloud.agents["vps-1"].trusted.heads())
    made["inbound_rules"].append({"protocol": "tcp", "ports": "22", "sources": EVERYWHERE})
    for _ in range(2):  # mended, then as it should be
        ann.run(*again, "--firewall-token-file", file(WALLS))
        (now,) = ocean.firewalls.rows()
        assert now["id"] == made["id"] and [rule["ports"] for rule in now["inbound_rules"]] == ["7077", "7077"]
    assert [n for call, n in ocean.calls.items() if call.startswith(("PUT /v2/firewalls", "POST /v2/firewalls"))] == [
        1,
        1,
    ]
    assert small.look(lambda: small.cloud.agents["vps-1"].trusted.heads()) == before
    assert ann.run(*again, code=1)["code"] == "provider-denied", "the keepers' token can't"
    removed = ann.run("machine", "pool", "rm", "burst", "--firewall-token-file", file(WALLS))
    assert removed["firewall_left"] == "" and ocean.firewalls.rows() == []


def test_with_the_pools_own_token_that_is_warned_of_and_one_that_may_not_changes_nothing(
    add: Callable[..., Any], ann: Person, small: Aside, ocean: Simulator, file: Callable[[str], str]
) -> None:
    error = add(KEEPERS, "--firewall", code=1)
    assert error["code"] == "provider-denied" and "firewall:" in error["why"]
    assert error["fix"] == "give another one for this once: --firewall-token-file FILE"
    assert held(small, "pool/burst") is None and ocean.firewalls.rows() == []
    assert add(KEEPERS, "--firewall-token-file", file(WALLS), code=2)["code"] == "usage"
    add(BOTH, "--firewall")
    assert "the pool's own token, which its keepers get, may change firewalls" in ann.said
    assert len(ocean.firewalls.rows()) == 1
    ann.run("machine", "pool", "set", "burst", "--token-file", file(KEEPERS))
    removed = ann.run("machine", "pool", "rm", "burst")
    assert "its firewall is still at the provider, that of tag skerry-pool:" in ann.said
    assert removed["firewall_left"] and len(ocean.firewalls.rows()) == 1
    add(BOTH, "--firewall")  # the one that was left is taken
    assert len(ocean.firewalls.rows()) == 1
    assert ann.run("machine", "pool", "rm", "burst")["firewall_left"] == "" and ocean.firewalls.rows() == []


def test_a_provider_without_one_says_so(
    ann: Person, small: Aside, bundle: Path, folder: Path, file: Callable[[str], str]
) -> None:
    of = ("--provider", "folder", "--endpoint", f"file://{folder}", "--image", "plain", "--size", "s-1", "--max", "1")
    error = ann.run("machine", "pool", "add", "burst", *of, "--firewall", code=2)
    assert error["why"] == "folder has none of its own" and held(small, "pool/burst") is None
