"""Rollback, numbers and epochs: what is older, or of the same number, or of an epoch that is over."""

from __future__ import annotations

import pytest

from skerry.trust import envelope
from skerry.trust.refusals import AlreadyHeld, FalseSignature, NotYet, Stale, Twin
from trust.forging import forge, next_root
from trust.world import (
    DAY_S,
    HOSTS,
    IMAGE_2,
    ROOT,
    T0,
    Host,
    app_body,
    cloud_of_three,
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


def test_an_older_document_is_refused_by_the_number_of_what_is_held():
    host = cloud_of_three()
    old = sign("app/web", app_body())
    host.take(old)
    host.take(sign("app/web", app_body(volumes={"v": True}), version=2))
    refusal = host.refuse(old)
    assert isinstance(refusal, Stale)
    assert (refusal.id, refusal.offered, refusal.held) == ("app/web", (0, 1), (0, 2))


def test_a_restarted_host_refuses_what_it_refused_before():
    old = sign("app/web", app_body())
    new = sign("app/web", app_body(volumes={"v": True}), version=2)
    again = Host(now_s=T0 + 2 * DAY_S)
    for raw in (ROOT, policy(), new):
        again.trusted.load(raw)
    assert isinstance(again.refuse(old), Stale)


def test_the_same_again_is_dropped_silently_whatever_signatures_it_bears():
    host = cloud_of_three()
    raw = sign("app/web", app_body())
    host.take(raw)
    assert isinstance(host.refuse(raw), AlreadyHeld)
    assert isinstance(host.refuse(envelope.add_signature(raw, signer("ben"))), AlreadyHeld)


@pytest.mark.parametrize("first", [0, 1])
def test_the_same_version_twice_ends_alike_in_both_orders(first):
    twins = [
        sign("app/web", app_body(), issued=T0 + DAY_S),
        sign("app/web", app_body(volumes={"v": True}), issued=T0 + DAY_S + 1),
    ]
    host = cloud_of_three()
    out = host.take(twins[first])
    if first == 0:
        out = host.take(twins[1])
        assert out.evidence == (("app/web", twins[0]),)
    else:
        refusal = host.refuse(twins[0])
        assert isinstance(refusal, Twin) and refusal.record.hash == hash_of(twins[0])
        assert not isinstance(host.refuse(twins[0]), Twin)  # one is evidence enough, and costs no second check
    assert host.hash("app/web") == hash_of(twins[1])


def test_of_one_version_and_time_the_lower_hash_wins():
    twins = sorted((sign("app/web", app_body(volumes={name: True})) for name in "abc"), key=hash_of)
    for order in (twins, twins[::-1]):
        host = cloud_of_three()
        host.take_all(order)
        assert host.hash("app/web") == hash_of(twins[0])


def test_a_false_twin_is_no_evidence():
    host = cloud_of_three()
    host.take(sign("app/web", app_body(), issued=T0 + DAY_S + 1))
    assert isinstance(host.refuse(forge(sign("app/web", app_body()), b'"replicas":3', b'"replicas":9')), FalseSignature)


def test_a_huge_version_of_a_stolen_key_is_cured_by_an_epoch():
    host = cloud_of_three()
    good = sign("release/web", release_body(), "ci")
    host.take(good)
    stolen = sign("release/web", release_body(IMAGE_2), "ci", version=2**53)
    host.take(stolen)
    cure = policy(version=2, prev=host.hash("policy"), roles=policy_body().roles[:1], epochs={"release/web": 1})
    out = host.take(cure)
    assert out.lapsed == ("release/web",)
    assert "release/web" not in host.trusted.heads()
    assert host.hash("release/web") == hash_of(
        stolen
    )  # it runs on until the next word, as losing a signer must stop nothing
    host.take(sign("release/web", release_body(), "anna", epoch=1, prev=hash_of(stolen)), from_client=True)
    assert host.trusted.heads()["release/web"][:2] == (1, 1)
    assert host.refuse(stolen).code == "stale"


def test_after_a_new_epoch_the_old_ones_records_are_refused_and_later_ones_wait():
    host = Host(ROOT, policy(epochs={"release/*": 2, "release/web": 1}))
    assert host.refuse(sign("release/web", release_body(), epoch=1)).code == "epoch-mismatch"
    ahead = host.refuse(sign("release/web", release_body(), epoch=3))
    assert ahead.code == "epoch-ahead" and isinstance(ahead, NotYet)
    host.take(sign("release/web", release_body(), epoch=2))


def test_a_stolen_operators_huge_policy_is_cured_by_the_root():
    host = cloud_of_three()
    host.take(policy(version=2**53))
    body = root_body(operators=(operator("anna"), operator("carl")), policy_epoch=1)
    host.take(next_root(host, body=body))
    assert host.trusted.lapsed("policy") and set(host.trusted.heads()) == {"root"}
    assert (
        host.trusted.enrolled("node/vps-1") is not None
    )  # all goes on, but nothing new is let in by what the thief signed
    assert host.refuse(sign("app/web", app_body())).code == "not-yet"
    host.take(up("vps-1"))
    assert host.refuse(policy(version=2**53, issued=T0 + DAY_S)).code in ("epoch-mismatch", "threshold-not-met")
    host.take(policy(("anna", "carl"), epoch=1), from_client=False)
    assert host.trusted.heads()["policy"][:2] == (1, 1)
    assert set(host.trusted.heads()) == {"root", "policy", *(f"node/{name}" for name in HOSTS)}


def test_a_barred_operator_signs_nothing_any_more():
    host = Host(ROOT, policy(barred=(signer("ben").key,)))
    assert host.refuse(sign("app/web", app_body(), "ben")).code == "role-does-not-cover"
    assert signer("ben").key not in host.trusted.operator_keys()
    assert signer("ben").key not in host.trusted.client_certificates()
