"""What is held in the end doesn't depend on the order in which it came; and what a door gets told by a commit."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.facts import Claim
from skerry.trust import clock
from skerry.trust.accept import Trusted
from skerry.trust.refusals import FalseSignature, Malformed, NotNamed, NotYet, OutOfBounds, Stale, WrongCloud
from trust.world import (
    CLOUD,
    DAY_S,
    HOSTS,
    IMAGE,
    IMAGE_2,
    ROOT,
    T0,
    UP,
    YEAR_S,
    Host,
    app_body,
    cloud_of_three,
    enrol,
    fact,
    hash_of,
    operator,
    policy,
    policy_body,
    release_body,
    root_body,
    sign,
    signer,
    up,
)

FUTURE = T0 + YEAR_S


def story() -> list[bytes]:
    """A year of a cloud: roots, policies, an expelled host, a stolen CI key, twins, claims and withdrawals."""
    operators = (operator("anna"), operator("carl"))
    root_2 = sign("root", root_body(), ("root-a", "root-b"), version=2, prev=hash_of(ROOT), expires=T0 + 5 * YEAR_S)
    root_3 = sign(
        "root", root_body(operators=operators, policy_epoch=1), ("root-b", "root-c"), version=3, prev=hash_of(root_2),
        expires=T0 + 5 * YEAR_S,
    )  # fmt: skip
    policies = [
        policy(),
        policy(version=2, roles=policy_body().roles[:1], epochs={"release/*": 1}),
        policy(
            ("anna", "carl"), version=1, epoch=1, roles=policy_body().roles[:1], epochs={"release/*": 1, "app/shop": 1}
        ),
    ]
    claim = Claim(spec="s", image=IMAGE, rank=0, reason="")
    return [
        ROOT, root_2, root_3, *policies,
        *(enrol(name) for name in HOSTS),
        enrol("vps-3", state="expelled", header={"version": 2}),
        enrol("vps-9", keys="vps-3"),
        enrol("vps-2", keys="rotated", header={"version": 2}),
        sign("app/web", app_body()),
        sign("app/web", app_body(volumes={"a": True}), version=2),
        sign("app/web", app_body(volumes={"b": True}), "ben", version=2),
        sign("app/web", app_body(volumes={"c": True}), version=2, issued=T0 + DAY_S - 1),
        sign("app/shop", app_body(), "ben"),
        sign("app/shop", app_body(deleted=True, services={}), epoch=1),
        sign("release/web", release_body(), "ci"),
        sign("release/web", release_body(IMAGE_2), "ci", version=2**50),
        sign("release/web", release_body(), epoch=1),
        *(up(name, n) for name in HOSTS for n in (1, 2)),
        fact("vps-2", "up", "", (2, 1), UP, by="rotated"),
        fact("vps-1", "claim", "web.web/0", (1, 3), claim),
        fact("vps-1", "claim", "web.web/0", (1, 4), None),
        fact("vps-1", "claim", "web.web/1", (1, 5), claim),
        fact("vps-1", "claim", "web.web/1", (1, 5), msgspec.structs.replace(claim, rank=1)),
    ]  # fmt: skip


STORY = story()


def told(host: Host) -> tuple[object, ...]:
    trusted = host.trusted
    enrolled = {path for path in trusted.nodes if trusted.enrolled(path) is not None}
    return trusted.heads(), trusted.fact_heads(), enrolled, trusted.operator_keys(), trusted.barred()


def ending() -> tuple[object, ...]:
    host = Host(now_s=T0 + 2 * DAY_S)
    host.take_all(STORY)
    return told(host)


END = ending()


def test_the_story_ends_as_it_should():
    heads, facts, enrolled, operators, _ = END
    assert {path: head[:2] for path, head in heads.items()} == {
        "root": (0, 3), "policy": (1, 1), "node/vps-1": (0, 1), "node/vps-2": (0, 2), "node/vps-3": (0, 2),
        "app/web": (0, 2), "app/shop": (1, 1), "release/web": (1, 1),
    }  # fmt: skip
    assert enrolled == {"node/vps-1", "node/vps-2"}
    assert {id: mark[:2] for id, mark in facts.items()} == {
        "node/vps-1|up|": (1, 2), "node/vps-2|up|": (2, 1),
        "node/vps-1|claim|web.web/0": (1, 4), "node/vps-1|claim|web.web/1": (1, 5),
    }  # fmt: skip
    assert operators == {signer("anna").key, signer("carl").key}


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 10))
def test_any_order_even_twice_ends_alike(rng: random.Random, doubled: int):
    records = STORY + rng.sample(STORY, doubled)
    rng.shuffle(records)
    host = Host(now_s=T0 + 2 * DAY_S)
    host.take_all(records)
    host.take_all(records)  # what was refused for now is offered again when heads are compared
    assert told(host) == END


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_two_hosts_that_each_saw_a_part_agree_once_they_compare(rng: random.Random):
    # Newest root and policy reach both: before that, what one accepted under older ones may have lapsed there.
    sure = {ROOT, *STORY[1:3], STORY[5]}
    parts = [[raw for raw in STORY if raw in sure or rng.random() < 0.6] for _ in range(2)]
    hosts = [Host(now_s=T0 + 2 * DAY_S) for _ in parts]
    for host, part in zip(hosts, parts, strict=True):
        host.take_all(part)
    both = parts[0] + parts[1]
    for host in hosts:
        host.take_all(both)
        host.take_all(both)
    assert told(hosts[0]) == told(hosts[1])


# -- what a commit tells


def test_a_fallback_is_kept_as_long_as_it_is_named():
    host = cloud_of_three()
    one = sign("release/web", release_body(), "ci")
    two = sign("release/web", release_body(IMAGE_2, fallback=hash_of(one)), "ci", version=2)
    three = sign("release/web", release_body(fallback=hash_of(one)), "ci", version=3)
    four = sign("release/web", release_body(IMAGE_2), "ci", version=4)
    host.take(one)
    assert host.take(two).named == ((hash_of(one), one),)
    out = host.take(three)
    assert (out.named, out.unnamed) == ((), ())
    assert host.trusted.named(hash_of(one)) is not None
    assert host.take(four).unnamed == (hash_of(one),)
    assert host.trusted.named(hash_of(one)) is None


def test_a_fallback_that_is_missing_is_taken_by_its_hash_and_only_then():
    host = cloud_of_three()
    one = sign("release/web", release_body(), "ci")
    host.take(sign("release/web", release_body(IMAGE_2, fallback=hash_of(one)), "ci", version=2))
    with pytest.raises(NotNamed):
        host.trusted.judge_named(sign("release/web", release_body(fits=2), "ci"), hash_of(one))
    other = sign("release/shop", release_body())
    with pytest.raises(NotNamed):
        host.trusted.judge_named(other, hash_of(other))
    assert host.trusted.judge_named(one, hash_of(one)).version == 1
    assert host.trusted.named(hash_of(one)) is not None


def test_roots_of_the_chain_are_kept_by_hash():
    host = cloud_of_three()
    second = sign("root", root_body(), ("root-a", "root-b"), version=2, prev=hash_of(ROOT), expires=T0 + 5 * YEAR_S)
    assert host.take(second).named == ((hash_of(ROOT), ROOT),)
    again = Trusted(CLOUD)
    again.load(second)
    assert again.judge_named(ROOT, hash_of(ROOT)).version == 1


def test_a_record_that_was_overtaken_between_judging_and_committing_is_not_taken():
    host = cloud_of_three()
    old = sign("app/web", app_body())
    record = host.trusted.judge(old, now_s=host.now_s)
    host.take(sign("app/web", app_body(volumes={"v": True}), version=2))
    with pytest.raises(Stale):
        host.trusted.commit(record, old)
    claim = up("vps-1", 1)
    record = host.trusted.judge(claim, now_s=host.now_s)
    host.take(up("vps-1", 2))
    with pytest.raises(Stale):
        host.trusted.commit(record, claim)


def test_judging_changes_nothing():
    host = cloud_of_three()
    before = told(host)
    for raw in (sign("app/web", app_body()), up("vps-1"), enrol("vps-4"), policy(version=2)):
        host.trusted.judge(raw, now_s=host.now_s)
    assert told(host) == before


# -- from disk


def test_a_disk_is_loaded_in_any_order_that_rests_on_itself():
    host = Host(now_s=T0 + 2 * DAY_S)
    host.take_all(STORY)
    disk = [host.trusted.raw(path) for path in ("root", "policy", *sorted(host.trusted.heads()))]
    again = Trusted(CLOUD)
    for raw in disk[:2]:
        again.load(raw)
    for raw in disk[2:]:
        if again.document("root") is None or raw not in disk[:2]:
            again.load(raw)
    assert again.heads() == host.trusted.heads()
    assert again.load(up("vps-1", 9)).seq == (1, 9)


def test_what_lapsed_is_loaded_as_lapsed():
    again = Trusted(CLOUD)
    stolen = sign("release/web", release_body(), "ci")
    for raw in (ROOT, policy(version=2, epochs={"release/web": 1}), stolen):
        again.load(raw)
    assert again.document("release/web") is not None and again.lapsed("release/web")
    assert "release/web" not in again.heads()


def test_a_disk_without_root_or_policy_loads_nothing_yet():
    again = Trusted(CLOUD)
    for raw in (policy(), sign("app/web", app_body()), enrol("vps-1")):
        with pytest.raises(NotYet):
            again.load(raw)
    with pytest.raises(NotYet):
        again.load(up("vps-1"))
    assert not again.heads()


def test_a_chain_of_roots_is_walked_on_the_way_from_disk_too():
    again = Trusted(CLOUD)
    again.load(ROOT)
    false = sign("root", root_body(), ("root-a", "anna"), version=2, prev=hash_of(ROOT), expires=T0 + 5 * YEAR_S)
    with pytest.raises(NotYet):
        again.load(false)
    assert again.heads() == {"root": (0, 1, CLOUD)}


def test_a_record_from_disk_keeps_its_bounds():
    from skerry.trust import envelope

    again = Trusted(CLOUD)
    again.load(ROOT)
    again.load(policy())
    swapped = envelope.sign("app", envelope.parse(sign("release/web", app_body())).payload, [signer("anna")])
    with pytest.raises(OutOfBounds):
        again.load(swapped)


def test_another_clouds_disk_is_not_loaded():
    again = Trusted(CLOUD)
    again.load(ROOT)
    again.load(policy())
    again.load(enrol("vps-1"))
    for raw in (sign("app/web", app_body(), cloud="0" * 64), fact("vps-1", "up", "", (1, 1), UP, cloud="0" * 64)):
        with pytest.raises(WrongCloud):
            again.load(raw)


def test_of_two_twins_on_a_disk_the_winner_is_held():
    again = Trusted(CLOUD)
    early, late = (sign("app/web", app_body(), issued=T0 + n) for n in (2, 3))
    for raw in (ROOT, policy(), late):
        again.load(raw)
    with pytest.raises(Stale):
        again.load(early)
    assert again.heads()["app/web"][2] == hash_of(late)


@pytest.mark.parametrize("spoil, error", [
    (lambda one: sign("release/web", release_body(), "ci", cloud="0" * 64), WrongCloud),
    (lambda one: sign("release/web", release_body("nginx"), "ci"), OutOfBounds),
    (lambda one: one.replace(one[-40:-30], one[-41:-31]), FalseSignature),
    (lambda one: up("vps-1"), Malformed),
])  # fmt: skip
def test_a_fallback_is_checked_in_all_but_its_role(spoil, error):
    host = cloud_of_three()
    spoilt = spoil(sign("release/web", release_body(), "ci"))
    host.take(sign("release/web", release_body(IMAGE_2, fallback=hash_of(spoilt)), "ci", version=2))
    with pytest.raises(error):
        host.trusted.judge_named(spoilt, hash_of(spoilt))


def test_a_disk_that_was_changed_is_not_believed():
    again = Trusted(CLOUD)
    again.load(ROOT)
    again.load(policy())
    raw = sign("app/web", app_body())
    with pytest.raises(FalseSignature):
        again.load(raw.replace(raw[-40:-30], raw[-41:-31]))


# -- accessors


def test_a_new_host_knows_when_it_is_behind_what_held_at_its_enrolment():
    joined = enrol("vps-4", floor={"policy": 2, "root": 1, "app/web": 1})
    host = Host(ROOT, policy(), joined)
    assert host.trusted.below_floor("node/vps-4") == ("policy", "app/web")
    host.take(policy(version=2))
    host.take(sign("app/web", app_body()))
    assert host.trusted.below_floor("node/vps-4") == ()


def test_clients_are_operators_and_holders_of_roles():
    certificates = cloud_of_three().trusted.client_certificates()
    assert set(certificates) == {signer(name).key for name in ("anna", "ben", "ci")}


def test_lapsed_bytes_with_new_signatures_are_taken_again():
    host = cloud_of_three()
    raw = sign("app/web", app_body(), "ben")
    host.take(raw)
    host.take(policy(version=2, barred=(signer("ben").key,)))
    assert host.trusted.lapsed("app/web")
    from skerry.trust.envelope import add_signature

    host.take(add_signature(raw, signer("anna")))
    assert "app/web" in host.trusted.heads()


def test_the_clock_that_counts_is_the_median_and_never_before_the_newest_policy():
    assert clock.agreed_s(100.0, (200.0, 300.0)) == 200.0
    assert clock.agreed_s(100.0, (), not_before_s=150.0) == 150.0
    assert clock.agreed_s(100.0, (9e15,)) == clock.agreed_s(100.0, (0.0,)) == 100.0, (
        "one neighbour alone decides nothing"
    )
    assert clock.agreed_s(100.0, (99.0, 9e15, 104.0)) in (100.0, 104.0)
    assert clock.differs(3600.0, (0.0, 10.0)) == 3590.0
    assert clock.differs(50.0, (0.0, 10.0)) is None
