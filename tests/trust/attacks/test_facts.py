"""Facts: older ones, second ones of one number, impossible ones."""

from __future__ import annotations

import msgspec
import pytest

from skerry.core.facts import Have, Lost, SlotState, Verdict
from skerry.trust import envelope
from skerry.trust.refusals import AlreadyHeld, Quota, Stale, Twin
from trust.forging import CLAIM, payload_of
from trust.world import (
    IMAGE,
    UP,
    cloud_of_three,
    fact,
    hash_of,
    signer,
    up,
)


def test_an_older_or_second_fact_of_one_number_is_settled_by_number_and_hash():
    host = cloud_of_three()
    one = fact("vps-1", "claim", "web.web/0", (1, 5), CLAIM)
    host.take(one)
    assert isinstance(host.refuse(one), AlreadyHeld)
    older = host.refuse(fact("vps-1", "claim", "web.web/0", (1, 4), None))
    assert isinstance(older, Stale) and not isinstance(older, Twin), "late, and no second word under one number"
    other = fact("vps-1", "claim", "web.web/0", (1, 5), msgspec.structs.replace(CLAIM, rank=1))
    if hash_of(other) < hash_of(one):
        host.take(other)
    else:
        assert isinstance(host.refuse(other), Twin)
    winner = min(hash_of(one), hash_of(other))
    assert host.trusted.fact_heads()["node/vps-1|claim|web.web/0"] == (1, 5, winner)


def test_a_host_that_starts_again_is_newer_than_its_last_life():
    host = cloud_of_three()
    host.take(up("vps-1", 900, boot=1))
    host.take(up("vps-1", 1, boot=2))
    assert isinstance(host.refuse(up("vps-1", 901, boot=1)), Stale)


def test_a_withdrawn_fact_does_not_come_back():
    host = cloud_of_three()
    claimed = fact("vps-1", "claim", "web.web/0", (1, 1), CLAIM)
    host.take(claimed)
    host.take(fact("vps-1", "claim", "web.web/0", (1, 2), None))
    assert isinstance(host.refuse(claimed), Stale)


@pytest.mark.parametrize("kind, key, body", [
    ("up", "x", UP), ("claim", "web", CLAIM), ("claim", "web.web/01", CLAIM), ("claim", "web.web/1000", CLAIM),
    ("claim", "../x.web/0", CLAIM),
    ("claim", "web.a_b/0", CLAIM), ("claim", "a_b.web/0", CLAIM), ("saw", "web.web/0@vps-1", None), ("saw", "web/0@node/vps-1", None),
    ("slot", "web.web/0", SlotState(spec="s", image="nginx", state="running")),
    ("slot", "web.web/0", SlotState(spec="s", image=IMAGE, state="running", restarts=-1)),
    ("slot", "web.web/0", SlotState(spec="s", image=IMAGE, state="running", address="not one")),
    ("object", "nginx", Have()), ("lost", "node/vps-2", Lost(boot=-1, beat=0)),
    ("lost", "node/vps-2", Lost(boot=0, beat=-1)),
    ("verdict", "web.-x", None), ("verdict", "a_b.web", None), ("verdict", "web.web", Verdict(spec="s", evidence={"vps-1": "x"})),
    ("up", "", msgspec.structs.replace(UP, uptime_s=-1)), ("up", "", msgspec.structs.replace(UP, memory_bytes=1 << 51)),
    ("up", "", msgspec.structs.replace(UP, free_cpus=-1e30)),
    ("claim", "web.web/0", msgspec.structs.replace(CLAIM, image="nginx")),
    ("claim", "web.web/0", msgspec.structs.replace(CLAIM, rank=-1)), ("lost", "vps-2", None), ("saw", "web.web/0", None),
    ("verdict", "web", None), ("up", "", msgspec.structs.replace(UP, cpus=1e9)),
])  # fmt: skip
def test_a_fact_with_impossible_values_is_out_of_bounds(kind, key, body):
    assert cloud_of_three().refuse(fact("vps-1", kind, key, (1, 1), body)).code == "out-of-bounds"


@pytest.mark.parametrize("change, to", [
    (b'"key":""', b'"key":"","key":""'), (b'"seq":[1,1]', b'"seq":[-1,1]'), (b'"seq":[1,1]', b'"seq":[1,9007199254740993]'),
    (b'"time":1800000000.0', b'"time":-1'), (b'"seq":[1,1]', b'"seq":[1]'), (b'"kind":"up"', b'"kind":"down"'),
])  # fmt: skip
def test_a_fact_that_is_not_strict_is_malformed(change, to):
    payload = payload_of(up("vps-1"))
    assert change in payload
    assert (
        cloud_of_three().refuse(envelope.sign("fact", payload.replace(change, to), [signer("vps-1")])).code
        == "malformed"
    )


def test_a_fact_of_two_signers_is_malformed():
    raw = envelope.add_signature(up("vps-1"), signer("vps-2"))
    assert cloud_of_three().refuse(raw).code == "malformed"


def test_two_facts_of_one_number_end_alike_in_both_orders():
    twins = sorted(
        (fact("vps-1", "claim", "web.web/0", (1, 5), msgspec.structs.replace(CLAIM, rank=r)) for r in (0, 1)),
        key=hash_of,
    )
    host = cloud_of_three()
    host.take(twins[0])
    with pytest.raises(Twin):
        host.trusted.judge(twins[1], now_s=host.now_s)
    host = cloud_of_three()
    host.take(twins[1])
    host.take(twins[0])
    assert host.trusted.fact_heads()["node/vps-1|claim|web.web/0"] == (1, 5, hash_of(twins[0]))


def test_a_fact_that_can_not_be_committed_is_not_judged_good():
    host = cloud_of_three()
    for n in range(1000):
        host.take(fact("vps-1", "claim", f"web.web{n}/0", (1, n), CLAIM))
    with pytest.raises(Quota):  # before its bytes are stored
        host.trusted.judge(fact("vps-1", "claim", "web.more/0", (1, 1000), CLAIM), now_s=host.now_s)
    with pytest.raises(Stale):
        host.trusted.judge(fact("vps-1", "claim", "web.web9/0", (1, 1), CLAIM), now_s=host.now_s)
