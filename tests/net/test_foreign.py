"""Which chains of others stop us, from what `nft -j` says."""

from __future__ import annotations

import pytest

from skerry.net.foreign import stops, strict_chains, wanted_rules
from skerry.net.ports import Ground

GROUND = Ground(
    subnet="10.77.1.0/24", cloud_net="10.77.0.0/16", gateway="10.77.1.1", tunnel="skerry0", veth_prefix="skv"
)
REJECT = {"expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}
SOME_DROP = {"expr": [{"match": {"op": "=="}}, {"drop": None}]}
LOG = {"expr": [{"counter": {}}, {"log": None}]}


def chain(**other: str) -> dict[str, str]:
    base = {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter", "hook": "forward", "policy": "drop"}
    return {**base, **other}


def test_only_filters_on_our_way_are_looked_at() -> None:
    listed = [
        {"metainfo": {}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}},
        {"chain": chain()},
        {"chain": chain(family="ip6")},
        {"chain": chain(hook="output")},
        {"chain": chain(type="nat")},
        {"chain": chain(table="skerry", name="forward")},
        {"chain": chain(family="inet", table="firewalld")},
    ]
    found = [(c["family"], c["table"]) for c in strict_chains(listed, GROUND)]
    assert found == [("ip", "filter"), ("inet", "firewalld")]


@pytest.mark.parametrize(
    ("policy", "rules", "stopped"),
    [
        ("drop", [], True),
        ("accept", [], False),
        ("accept", [SOME_DROP], False),
        ("accept", [SOME_DROP, REJECT], True),
        ("accept", [REJECT, LOG], False),
    ],
)
def test_a_chain_stops_us_by_policy_or_by_its_last_word(policy: str, rules: list[dict], stopped: bool) -> None:
    assert stops(chain(policy=policy), rules) is stopped


def test_the_least_that_must_pass() -> None:
    assert wanted_rules("forward", GROUND) == [
        'iifname "skv*" counter accept',
        'oifname "skv*" counter accept',
        'iifname "skerry0" counter accept',
        'oifname "skerry0" counter accept',
    ]
    assert wanted_rules("input", GROUND) == [
        'iifname "skv*" ip daddr 10.77.1.1 counter accept',
        'iifname "skerry0" ip daddr 10.77.1.1 counter accept',
        "ip daddr 10.77.1.1 tcp dport 7079 counter accept",
    ]
