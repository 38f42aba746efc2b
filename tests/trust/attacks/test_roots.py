"""Roots: skipped, forked, brought back, signed by too few, or such that they would not hold."""

from __future__ import annotations

import msgspec
import pytest

from skerry.trust.refusals import RootAhead, Stale
from trust.forging import next_root
from trust.world import (
    DAY_S,
    OPERATORS,
    ROOT,
    ROOT_KEYS,
    T0,
    YEAR_S,
    Host,
    cloud_of_three,
    hash_of,
    operator,
    policy,
    root_body,
    sign,
    signer,
)


def test_another_clouds_first_root_is_not_ours():
    other = sign("root", root_body(threshold=3), ("root-a", "root-b", "root-c"), cloud="", issued=T0, expires=0)
    assert Host().refuse(other).code == "wrong-cloud"


def test_a_first_root_needs_its_own_threshold():
    lonely = sign("root", root_body(), "root-a", cloud="", issued=T0, expires=0)
    assert Host(cloud=hash_of(lonely)).refuse(lonely).code == "threshold-not-met"


def test_a_second_root_of_the_same_version_is_never_taken():
    host = cloud_of_three()
    fork = next_root(host, body=root_body(policy_threshold=1), issued=T0 + 1.5 * DAY_S)
    host.take(next_root(host))
    assert host.refuse(fork).code == "root-fork"


def test_a_root_that_follows_another_one_is_a_fork():
    host = cloud_of_three()
    assert host.refuse(next_root(host, prev="0" * 64)).code == "root-fork"


def test_a_root_is_not_skipped_and_says_which_one_is_missing():
    host = cloud_of_three()
    second = next_root(host)
    third = sign("root", root_body(), ("root-a", "root-c"), version=3, prev=hash_of(second), expires=T0 + 5 * YEAR_S)
    refusal = host.refuse(third)
    assert isinstance(refusal, RootAhead) and refusal.prev == hash_of(second)
    host.take_all([third, second])
    assert host.held("root").version == 3


def test_an_older_root_does_not_come_back():
    host = cloud_of_three()
    host.take(next_root(host))
    assert isinstance(host.refuse(ROOT), Stale)


def test_new_root_keys_need_enough_old_ones_and_enough_of_themselves():
    host = cloud_of_three()
    new = root_body(keys=tuple(signer(n).key for n in ("root-x", "root-y", "root-z")))
    assert host.refuse(next_root(host, ("root-x", "root-y"), body=new)).code == "threshold-not-met"
    assert host.refuse(next_root(host, ("root-a", "root-b"), body=new)).code == "threshold-not-met"
    assert host.refuse(next_root(host, ("root-a", "root-x", "root-y"), body=new)).code == "threshold-not-met"
    host.take(next_root(host, ("root-a", "root-b", "root-x", "root-y"), body=new))


def test_operators_change_no_root_and_root_keys_no_policy():
    host = cloud_of_three()
    assert host.refuse(next_root(host, OPERATORS)).code == "threshold-not-met"
    assert host.refuse(policy(("root-a", "root-b"), version=2)).code == "unknown-key"


KEY_A, KEY_B, KEY_C = (signer(name).key for name in ROOT_KEYS)


ANNA, BEN = operator("anna"), operator("ben")


@pytest.mark.parametrize("changes", [
    {"threshold": 1}, {"threshold": 0, "keys": ()}, {"keys": (KEY_A, KEY_B, KEY_B)}, {"keys": (KEY_A, KEY_B, "x")},
    {"policy_threshold": 3}, {"policy_threshold": 0}, {"policy_epoch": -1}, {"operators": (), "policy_threshold": 0},
    {"operators": (ANNA, ANNA)}, {"operators": (ANNA, msgspec.structs.replace(ANNA, name="other"))},
    {"keys": (signer("anna").key, KEY_A, KEY_B)}, {"operators": (ANNA, msgspec.structs.replace(BEN, name="anna"))},
    {"operators": (ANNA, msgspec.structs.replace(BEN, name="-b"))}, {"operators": (ANNA, msgspec.structs.replace(BEN, sealing="x"))},
    {"operators": tuple(operator(f"o{n}") for n in range(65))},
    {"operators": (ANNA, msgspec.structs.replace(BEN, certificate=ANNA.certificate))},
])  # fmt: skip
def test_a_root_that_would_not_hold_is_out_of_bounds(changes):
    host = cloud_of_three()
    assert host.refuse(next_root(host, ROOT_KEYS, body=root_body(**changes))).code == "out-of-bounds"
