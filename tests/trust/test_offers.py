"""What a pool may say of several providers, and a keeper of the machine that it would rent next."""

from __future__ import annotations

import msgspec
import pytest

from skerry.core.facts import Next, Rent
from skerry.core.intent import Offer, Pool
from skerry.core.records import Fact
from skerry.sim import documents as docs
from skerry.trust import checks_fact, checks_pool, seal
from skerry.trust.refusals import CannotOpen, OutOfBounds

POOL = Pool(
    provider="a", max=1, network="10.77.0.0/16", cpus=1.0, others=(Offer(name="b", provider="a", endpoint="http://x"),)
)


def changed(**fields: object) -> Offer:
    return msgspec.structs.replace(POOL.others[0], **fields)


def test_a_pool_may_name_further_providers_and_ids_of_theirs_begin_with_their_names() -> None:
    checks_pool.pool(POOL)
    assert [offer.name for offer in POOL.offers().values()] == ["", "b"]
    assert [POOL.offer_of(id) for id in ("7", "b:7", "c:7", Pool.id_at("b", "7"))] == ["", "b", "", "b"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"others": (POOL.others[0], POOL.others[0])},
        {"others": tuple(changed(name=f"b{i}") for i in range(8))},
        {"others": (changed(name=""),)},
        {"others": (changed(name="b:c"),)},
        {"others": (changed(provider="A b"),)},
        {"others": (changed(endpoint="file"),)},
        {"others": (changed(image="a b"),)},
        {"others": (changed(options={"x": "1\n2"}),)},
        {"others": (changed(provider="manual"),)},
        {"provider": "manual"},
        {"size": "s-1"},
    ],
    ids=str,
)
def test_nothing_else_is_taken(wrong: dict[str, object]) -> None:
    with pytest.raises(OutOfBounds):
        checks_pool.pool(msgspec.structs.replace(POOL, **wrong))


@pytest.mark.parametrize("next", [Next(usd_hour=-2.0), Next(usd_hour=1e300), Next(cpus=-1.0), Next(memory_bytes=-1)])
def test_a_keeper_tells_no_price_and_no_room_beyond_all_bounds(next: Next) -> None:
    author = docs.node("vps-1").body

    def fact(body: Rent) -> Fact:
        return Fact(node="node/vps-1", kind="rent", key="burst", seq=(1, 1), time=0.0, body=body)

    checks_fact.fact(fact(Rent(next=Next(usd_hour=0.5, cpus=1.0, memory_bytes=1 << 30))), author)  # type: ignore[arg-type]
    with pytest.raises(OutOfBounds):
        checks_fact.fact(fact(Rent(next=next)), author)  # type: ignore[arg-type]


def test_a_box_holds_one_token_or_those_of_all_offers() -> None:
    one = msgspec.structs.replace(POOL, others=())
    assert seal.tokens_of(one, seal.token_text({"": "t"})) == {"": "t"}
    assert seal.tokens_of(POOL, seal.token_text({"": "t", "b": "u"})) == {"": "t", "b": "u"}
    assert seal.tokens_of(POOL, seal.token_text({"": "", "b": "u"})) == {"b": "u"}
    with pytest.raises(CannotOpen):
        seal.tokens_of(POOL, '{"b": 1}')
