"""Several providers in one pool, several pools for one need: the cheapest that has something, and what happens when it hasn't."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.effects import Note
from skerry.core.intent import Offer
from skerry.core.renting import offers
from skerry.core.renting.packing import Seller, Size, best_first
from skerry.sim.rented import Cloud
from skerry.sim.watched import Watch

NEAR = Offer(name="near", provider="sim")
MIB = 1 << 20
FAR_USD, NEAR_USD = 0.36, 0.2


def two_offers(**changed: Any) -> Cloud:
    """Pool `burst` at two providers: its own, and `near`, which is cheaper."""
    cloud = Cloud()
    cloud.provider.prices = {"burst/": FAR_USD, "burst/near": NEAR_USD}
    cloud.pool(**{"size": "", "cpus": 1.0, "memory_bytes": 1 << 30, "others": (NEAR,), **changed})
    return cloud


def there(cloud: Cloud) -> list[tuple[str, str]]:
    return sorted((droplet.slot, droplet.offer) for droplet in cloud.provider.living() if droplet.ours)


def notes(cloud: Cloud, kind: str) -> list[str]:
    found = (life.effect for life in cloud.cluster.history)
    return [f"{note.subject}: {note.reason}" for note in found if isinstance(note, Note) and note.kind == kind]


def creates(cloud: Cloud) -> int:
    return sum(call.act == "create" for call in cloud.provider.calls)


def test_of_two_providers_the_cheaper_one_is_asked() -> None:
    cloud = two_offers(min=2)
    cloud.run(60)
    assert there(cloud) == [("burst/0", "near"), ("burst/1", "near")]
    rows = {row.slot: row for row in cloud.core("vps-1").machines()}
    assert rows["burst/0"].provider == "near" and rows["burst/0"].id.startswith("near:")
    cloud.pool(min=0, max=0)
    cloud.run(60)
    assert there(cloud) == [] and cloud.provider.wrong == []


def test_sold_out_at_the_cheapest_the_next_one_is_asked_at_once_and_later_the_cheapest_again() -> None:
    cloud = two_offers(min=1)
    cloud.provider.sold_out.add("near")
    cloud.run(25)
    assert there(cloud) == [("burst/0", "")]
    assert creates(cloud) <= 3  # both its sizes there, and one that was to be had
    cloud.provider.sold_out.clear()
    cloud.run(30)
    cloud.pool(min=2)
    cloud.run(20)
    assert there(cloud) == [("burst/0", ""), ("burst/1", "near")]


@pytest.mark.parametrize("trouble", ["quota", "denied", "rate"])
def test_an_account_that_is_full_or_denied_closes_one_provider_and_not_the_pool(trouble: str) -> None:
    cloud = two_offers(min=1)
    cloud.provider.trouble = lambda number, act: trouble if act == "create" and not creates(cloud) else ""  # type: ignore[return-value]
    cloud.run(20)
    assert there(cloud) == [("burst/0", "")]
    assert any(f"provider-{trouble}" in note for note in notes(cloud, "provider"))


def test_a_provider_without_an_answer_is_waited_for_and_after_the_time_to_join_the_others_go_on() -> None:
    cloud = two_offers()
    cloud.run(20)
    cloud.provider.down.add("near")
    cloud.run(15)
    cloud.pool(min=1)
    cloud.run(15)
    assert there(cloud) == []  # it may have one of that name
    cloud.run(30)
    assert there(cloud) == [("burst/0", "")]
    cloud.provider.down.clear()
    cloud.pool(min=2)
    cloud.run(40)
    assert there(cloud) == [("burst/0", ""), ("burst/1", "near")]
    told = [note for note in notes(cloud, "provider") if note.startswith("burst: near ")]
    assert len(told) == 4 and "gives no list" in told[0] and "answers again" in told[-1]  # by each keeper once


def test_what_was_asked_for_where_nobody_answers_any_more_keeps_its_slot_and_another_slot_goes_on() -> None:
    cloud = two_offers()
    cloud.run(20)
    cloud.provider.trouble = lambda number, act: "late" if act == "create" and not creates(cloud) else ""
    cloud.pool(min=1)
    while not creates(cloud):
        cloud.run(0.5)
    cloud.provider.down.add("near")
    cloud.run(100)
    assert there(cloud) == [("burst/0", "near"), ("burst/1", "")]  # the first was made, and nobody could see it
    cloud.provider.down.clear()
    cloud.run(150)
    assert len(there(cloud)) == 1  # the one too many went back
    cloud.pool(min=0, max=0)
    cloud.run(100)
    assert there(cloud) == [] and cloud.provider.wrong == []


def test_what_was_forgotten_is_found_at_each_provider() -> None:
    cloud = two_offers()
    ghosts = [cloud.provider.add("burst/2", ours=True), cloud.provider.add("burst/1", ours=True, offer="near")]
    cloud.run(cloud.of.grace_s - 10)
    assert there(cloud) == [("burst/1", "near"), ("burst/2", "")]
    cloud.run(40)
    assert all(ghost.gone_s is not None for ghost in ghosts) and cloud.provider.wrong == []


def test_of_one_name_at_two_providers_one_goes() -> None:
    cloud = two_offers(min=1)
    cloud.run(40)
    cloud.provider.add("burst/0", ours=True)
    cloud.run(40)
    assert there(cloud) == [("burst/0", "near")] and cloud.provider.wrong == []


def test_a_price_above_what_was_signed_is_refused_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "KINDS_S", 120.0)
    cloud = two_offers(min=1, price_usd_month=150.0)
    cloud.run(40)
    assert there(cloud) == [("burst/0", "near")]  # 140 USD/month
    cloud.provider.prices["burst/near"] = 0.25  # 175, and 252 at the other
    cloud.pool(min=2)
    cloud.run(30)
    assert len(there(cloud)) == 2  # by the price list as it was read
    cloud.run(120)
    cloud.pool(min=3)
    cloud.run(60)
    assert len(there(cloud)) == 2
    why = notes(cloud, "machine-failed")[-1]
    assert "small of near, costs 175.00 USD/month now, and 150.00 is the most that was signed" in why


# --- several pools ----------------------------------------------------------------------------------------------------


def two_pools(**changed: Any) -> Cloud:
    """App `shop` may use `burst` (0.36 USD/hour) and `cheap` (0.1), each of one machine."""
    cloud = Cloud()
    cloud.provider.prices = {"burst/": FAR_USD, "cheap/": 0.1}
    cloud.pool(max=1)
    cloud.another_pool("cheap", **{"max": 1, **changed})
    cloud.run(10)
    return cloud


BOTH = ("burst", "cheap")


def test_of_two_pools_the_cheaper_one_rents_first_and_the_dearer_one_when_it_is_full() -> None:
    cloud = two_pools()
    cloud.deploy(3, pools=BOTH)
    cloud.run(40)
    assert there(cloud) == [("cheap/0", "")]
    cloud.deploy(4, pools=BOTH)
    cloud.run(40)
    assert there(cloud) == [("burst/0", ""), ("cheap/0", "")]
    assert all(row.healthy for row in cloud.core("vps-1").rows())


def test_what_is_left_over_goes_the_dearest_first() -> None:
    cloud = two_pools()
    cloud.deploy(4, pools=BOTH)
    cloud.run(80)
    assert there(cloud) == [("burst/0", ""), ("cheap/0", "")]
    cloud.deploy(3, pools=BOTH)
    cloud.run(150)
    assert there(cloud) == [("cheap/0", "")]
    assert all(row.healthy for row in cloud.core("vps-1").rows())


def test_a_pool_that_may_spend_no_more_leaves_the_need_to_the_next_one() -> None:
    cloud = two_pools(spend_usd_month=0.001)
    cloud.deploy(3, pools=BOTH)
    cloud.run(40)
    assert there(cloud) == [("burst/0", "")]


sellers = st.builds(
    Seller, st.sampled_from("abcdef"), st.sampled_from([0.1, 0.2, 0.3]),
    st.none() | st.builds(Size, st.sampled_from([1.0, 2.0]), st.sampled_from([512 * MIB, 1024 * MIB])), st.booleans(),
)  # fmt: skip


@given(st.lists(sellers, unique_by=lambda one: one.pool, max_size=6), st.randoms())
def test_no_pool_is_better_than_the_one_that_rents_whoever_reckons(pools: list[Seller], chance: random.Random) -> None:
    order = best_first(pools, 1.5, 600 * MIB)
    assert sorted(order) == sorted(one.pool for one in pools)
    chance.shuffle(pools)
    assert best_first(pools, 1.5, 600 * MIB) == order
    good = [one for one in pools if one.is_open and one.fits(1.5, 600 * MIB)]
    if good:
        assert order[0] == min(good, key=lambda one: (one.usd_hour, one.pool)).pool


# --- at random --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_whatever_comes_and_goes_at_two_providers_nothing_is_doubled_forgotten_or_above_the_ceiling(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "KINDS_S", 60.0)
    chance = random.Random(seed)
    cloud = Cloud(seed)
    cloud.provider.prices = {"burst/": FAR_USD, "burst/near": NEAR_USD}
    watch = Watch(cloud, 20.0)
    cloud.pool(size="", cpus=1.0, memory_bytes=1 << 30, others=(NEAR,))
    for _ in range(14):
        for offer in ("", "near"):
            for trouble in (cloud.provider.down, cloud.provider.sold_out):
                (trouble.add if chance.random() < 0.3 else trouble.discard)(offer)
        cloud.provider.prices["burst/near"] = chance.choice([0.1, 0.2, 0.5])
        cloud.deploy(chance.randrange(2, 6))
        cloud.run(chance.uniform(5, 90))
    cloud.provider.down.clear()
    cloud.provider.sold_out.clear()
    watch.healed()
    cloud.deploy(2)
    cloud.run(200)
    cloud.pool(min=0, max=0)
    cloud.run(200)
    wrong = [*watch.wrong, *cloud.provider.wrong, *watch.at_the_end()]
    assert wrong == []
