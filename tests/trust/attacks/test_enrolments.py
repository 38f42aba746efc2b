"""Enrolments: expelled hosts and their keys, and impossible values."""

from __future__ import annotations

import pytest

from skerry.trust.refusals import NotYet, Stale
from trust.world import (
    OPERATORS,
    UP,
    app_body,
    cloud_of_three,
    enrol,
    fact,
    node_body,
    policy,
    policy_body,
    root_body,
    sign,
    signer,
    up,
)


def test_an_expelled_host_is_heard_no_more_and_its_facts_go():
    host = cloud_of_three()
    host.take(up("vps-1"))
    host.take(up("vps-2"))
    out = host.take(enrol("vps-1", state="expelled", header={"version": 2, "prev": host.hash("node/vps-1")}))
    assert out.expelled == ("node/vps-1",)
    assert list(host.trusted.fact_heads()) == ["node/vps-2|up|"]
    assert host.refuse(up("vps-1", 2)).code == "expelled"
    assert host.trusted.enrolled("node/vps-1") is None


def test_a_replayed_enrolment_does_not_bring_an_expelled_host_back():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="expelled", header={"version": 2}))
    assert isinstance(host.refuse(enrol("vps-1")), Stale)


def test_an_expelled_key_does_not_return_under_any_name_until_policy_says_so():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="expelled", header={"version": 2}))
    assert host.refuse(enrol("vps-1", header={"version": 3})).code == "barred-key"
    assert host.refuse(enrol("vps-9", keys="vps-1")).code == "barred-key"
    sealing_only = node_body("vps-9", sealing=node_body("vps-1").sealing)
    assert host.refuse(sign("node/vps-9", sealing_only)).code == "barred-key"
    host.take(
        policy(version=2, readmitted=tuple(getattr(node_body("vps-1"), k) for k in ("signing", "sealing", "wireguard")))
    )
    host.take(enrol("vps-9", keys="vps-1"))


def test_a_key_that_arrives_elsewhere_before_its_expulsion_lapses_with_it():
    early, expulsion = enrol("vps-9", keys="vps-1"), enrol("vps-1", state="expelled", header={"version": 2})
    one, other = cloud_of_three(), cloud_of_three()
    one.take_all([early, expulsion])
    other.take_all([expulsion, early])
    assert one.trusted.heads() == other.trusted.heads()
    assert one.trusted.enrolled("node/vps-9") is None


def test_a_host_that_returns_with_new_keys_keeps_its_old_ones_barred():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="expelled", header={"version": 2}))
    header = {"version": 3, "prev": host.hash("node/vps-1")}
    assert host.refuse(enrol("vps-1", keys="new", header=header), from_client=True).code == "conflicting"
    old = tuple(getattr(node_body("vps-1"), k) for k in ("signing", "sealing", "wireguard"))
    host.take(enrol("vps-1", keys="new", barred=old, header=header), from_client=True)
    assert host.refuse(enrol("vps-9", keys="vps-1")).code == "barred-key"
    assert host.trusted.enrolled("node/vps-1") is not None


def test_a_key_barred_by_policy_expels_its_host():
    host = cloud_of_three()
    host.take(up("vps-3"))
    out = host.take(policy(version=2, barred=(signer("vps-3").key,)))
    assert out.expelled == ("node/vps-3",) and out.lapsed == ("node/vps-3",)
    assert host.refuse(up("vps-3", 2)).code == "expelled"


def test_a_draining_host_is_still_heard():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="draining", header={"version": 2}))
    host.take(up("vps-1"))


def test_a_fact_under_an_older_key_of_its_host_is_not_yet_acceptable():
    host = cloud_of_three()
    host.take(up("vps-1"))
    assert host.take(enrol("vps-1", keys="rotated", header={"version": 2})).expelled == ("node/vps-1",)
    assert not host.trusted.fact_heads()
    refusal = host.refuse(up("vps-1"))
    assert refusal.code == "unknown-author" and isinstance(refusal, NotYet)
    host.take(fact("vps-1", "up", "", (1, 1), UP, by="rotated"))


@pytest.mark.parametrize("changes", [
    {"subnet": "8.8.8.0/24"}, {"subnet": "10.77.1.7/24"}, {"subnet": "10.0.0.0/8"}, {"subnet": "fd00::/64"}, {"signing": "AB" * 32},
    {"wireguard": "short"}, {"addresses": ("no port",)}, {"addresses": ("a:99999",)}, {"addresses": ("-rf:22",)}, {"weight": -1},
    {"labels": {"a b": "c"}}, {"zone": "a\nb"}, {"bundle": "../../etc/passwd"}, {"certificate": "AAAA"}, {"salt": "x" * 200},
    {"certificate": node_body("vps-2").certificate}, {"labels": {f"l{n}": "" for n in range(65)}}, {"floor": {"root": -1}},
    {"floor": {f"app/a{n}": 1 for n in range(1001)}}, {"barred": ("x",)}, {"labels": {"a": "b c"}}, {"floor": {"x" * 81: 1}},
    {"addresses": ("a:1",) * 17},
])  # fmt: skip
def test_an_enrolment_with_impossible_values_is_out_of_bounds(changes):
    assert cloud_of_three().refuse(enrol("vps-4", **changes)).code == "out-of-bounds"


@pytest.mark.parametrize("path", ["app", "app/", "app/web/1", "policy/x", "root/x", "app/" + "x" * 9000])
def test_a_document_lives_where_its_kind_does_and_no_refusal_repeats_a_long_path(path):
    body = {"app": app_body(), "policy": policy_body(), "root": root_body()}[path.partition("/")[0]]
    refusal = cloud_of_three().refuse(sign(path, body, OPERATORS))
    assert refusal.code == "out-of-bounds" and len(str(refusal)) < 300


@pytest.mark.parametrize("name", ["-rf", "a/b", "..", "", "A", "x" * 64, "a_b", "é"])
def test_a_path_that_is_no_plain_name_is_out_of_bounds(name):
    host = cloud_of_three()
    assert host.refuse(sign(f"app/{name}", app_body())).code in ("out-of-bounds", "malformed")
