"""Clocks: what is from the future, what has expired, and who is wrong about the time."""

from __future__ import annotations

from skerry.trust.accept import Trusted
from skerry.trust.refusals import NotYet
from trust.forging import next_root
from trust.world import (
    CLOUD,
    DAY_S,
    ROOT,
    T0,
    YEAR_S,
    app_body,
    cloud_of_three,
    policy,
    sign,
    up,
)


def test_a_document_from_the_future_waits():
    host = cloud_of_three()
    soon = sign("app/web", app_body(), issued=host.now_s + 301, expires=host.now_s + YEAR_S)
    refusal = host.refuse(soon)
    assert refusal.code == "from-the-future" and isinstance(refusal, NotYet)
    host.now_s += 2
    host.take(soon)


def test_one_wrong_clock_is_outvoted_by_its_neighbours():
    host = cloud_of_three()
    raw = sign("app/web", app_body(), issued=host.now_s, expires=host.now_s + YEAR_S)
    right_s = host.now_s
    host.now_s -= 3600
    assert host.refuse(raw).code == "from-the-future"
    host.take(raw, neighbours_s=(right_s, right_s + 1))


def test_a_clock_set_back_does_not_bring_back_what_has_expired():
    host = cloud_of_three()
    host.take(policy(version=2, issued=T0 + DAY_S))
    host.now_s = T0 + 1
    gone = sign("app/web", app_body(), issued=T0 + 1, expires=T0 + DAY_S / 2)
    assert host.refuse(gone).code == "expired"


def test_nothing_is_first_seen_after_its_expiry_and_what_was_accepted_goes_on():
    host = cloud_of_three()
    kept = sign("app/web", app_body(), expires=T0 + 3 * DAY_S)
    host.take(kept)
    host.now_s = T0 + 4 * DAY_S
    late = sign("app/late", app_body(), expires=T0 + 3 * DAY_S)
    assert host.refuse(late).code == "expired"
    assert "app/web" in host.trusted.heads()
    again = Trusted(CLOUD)
    for raw in (ROOT, policy(), kept):
        again.load(raw)
    assert "app/web" in again.heads()


def test_an_expired_policy_admits_no_change_but_its_own_renewal_while_facts_flow():
    host = cloud_of_three()
    host.now_s = T0 + 2 * YEAR_S
    fresh = {"issued": host.now_s, "expires": host.now_s + YEAR_S}
    assert host.refuse(sign("app/web", app_body(), **fresh)).code == "expired"
    host.take(up("vps-1"))
    host.take(policy(version=2, **fresh))
    host.take(sign("app/web", app_body(), **fresh))


def test_an_expired_root_admits_no_policy_but_the_next_root():
    host = cloud_of_three()
    host.now_s = T0 + 6 * YEAR_S
    fresh = {"issued": host.now_s, "expires": host.now_s + YEAR_S}
    renewal = policy(version=2, **fresh)
    assert host.refuse(renewal).code == "expired"
    host.take(next_root(host, **fresh))
    host.take(renewal)
