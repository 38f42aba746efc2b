"""Clients: what an operator's machine hands over is held to more than what neighbours pass on."""

from __future__ import annotations

from trust.forging import next_root
from trust.world import (
    app_body,
    cloud_of_three,
    enrol,
    hash_of,
    operator,
    policy,
    policy_body,
    release_body,
    root_body,
    sign,
)


def test_a_client_signs_over_what_is_held_and_takes_the_next_number():
    host = cloud_of_three()
    first = sign("app/web", app_body())
    host.take(first, from_client=True)
    blind = sign("app/web", app_body(volumes={"v": True}), version=2)
    assert host.refuse(blind, from_client=True).code == "prev-mismatch"
    leap = sign("app/web", app_body(volumes={"v": True}), version=7, prev=hash_of(first))
    assert host.refuse(leap, from_client=True).code == "prev-mismatch"
    host.take(blind)  # between peers the number alone decides
    assert host.held("app/web").version == 2


def test_a_clients_enrolment_takes_nobodys_subnet_or_key():
    host = cloud_of_three()
    assert host.refuse(enrol("vps-4", subnet="10.77.1.128/25"), from_client=True).code == "conflicting"
    assert host.refuse(enrol("vps-4", keys="vps-1"), from_client=True).code == "conflicting"
    host.take(enrol("vps-4"), from_client=True)


def test_a_clients_policy_leaves_nothing_behind_that_nobody_may_have_signed():
    host = cloud_of_three()
    host.take(sign("release/web", release_body(), "ci"))
    without = {"version": 2, "prev": host.hash("policy"), "roles": policy_body().roles[:1]}
    assert host.refuse(policy(**without), from_client=True).code == "epoch-not-raised"
    host.take(policy(**without, epochs={"release/web": 1}), from_client=True)
    lower = policy(version=3, prev=host.hash("policy"), roles=policy_body().roles[:1])
    host.take(sign("release/web", release_body(), "anna", epoch=1, prev=host.hash("release/web")), from_client=True)
    assert host.refuse(lower, from_client=True).code == "epoch-not-raised"


def test_a_clients_root_leaves_no_policy_behind_that_nobody_may_have_signed():
    host = cloud_of_three()
    operators = (operator("anna"), operator("carl"))
    assert (
        host.refuse(next_root(host, body=root_body(operators=operators)), from_client=True).code == "epoch-not-raised"
    )
    host.take(next_root(host, body=root_body(operators=operators, policy_epoch=1)), from_client=True)
    lower = next_root(host, body=root_body(operators=operators))
    assert host.refuse(lower, from_client=True).code == "epoch-not-raised"
