"""The ceiling: what is counted, when no more may be rented, when all must go back."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.intent import Pool
from skerry.core.renting import spending
from skerry.core.renting.spending import Paid, Terms

POOL = Pool(provider="p", max=9, network="10.78.0.0/16", spend_usd_month=1.0, age_s=600, join_s=600, drain_s=300)
SLACK_S = 1800.0
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp()


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(("month", "begin", "end"), [
    ("2026-11", at(2026, 11, 1), at(2026, 12, 1)), ("2026-12", at(2026, 12, 1), at(2027, 1, 1)),
    ("2024-02", at(2024, 2, 1), at(2024, 3, 1)),
])  # fmt: skip
def test_a_month_begins_and_ends_where_calendars_say(month: str, begin: float, end: float) -> None:
    assert (spending.begin_of(month), spending.end_of(month)) == (begin, end)
    assert spending.month_of(begin) == spending.month_of(end - 1) == month


def test_a_machine_costs_by_its_time_in_this_month_rounded_up_and_at_least_the_least() -> None:
    terms = Terms(least_s=60.0, step_s=10.0)
    assert spending.cost(Paid(3.6, NOW - 95), NOW, terms) == pytest.approx(0.1)
    assert spending.cost(Paid(3.6, NOW - 5), NOW, terms) == pytest.approx(0.06)
    early = at(2026, 12, 1, 1)
    assert spending.cost(Paid(3.6, NOW), early, terms) == pytest.approx(3.6)  # November has paid the rest


def test_ten_minutes_may_cost_an_hour_and_a_minute_a_cent() -> None:
    hourly, cent = Terms(least_s=3600.0, step_s=3600.0), Terms(least_s=60.0, step_s=1.0, least_usd=0.01)
    assert spending.cost(Paid(0.36, NOW - 600), NOW, hourly) == pytest.approx(0.36)
    assert spending.cost(Paid(0.36, NOW - 3601), NOW, hourly) == pytest.approx(0.72)
    assert spending.cost(Paid(0.009, NOW - 600), NOW, cent) == 0.01  # 0.0015 by its time
    assert spending.cost(Paid(0.009, NOW - 7200), NOW, cent) == pytest.approx(0.018)
    assert spending.cost(Paid(0.0, NOW - 600), NOW, cent) == 0.0
    early = at(2026, 12, 1) + 60.0
    assert spending.cost(Paid(0.009, early - 600), early, cent) == pytest.approx(
        0.009 / 60
    )  # November has paid the least


def test_the_least_amount_of_one_more_must_have_room_below_the_ceiling() -> None:
    terms = Terms(least_usd=0.5)
    assert spending.may_rent(POOL, 0.001, 0.5, [], NOW, terms, SLACK_S) == ""
    assert "one more costs 0.50" in spending.may_rent(POOL, 0.001, 0.51, [], NOW, terms, SLACK_S)


def test_a_new_month_begins_at_nothing_and_the_last_one_is_not_forgotten_at_once() -> None:
    ledger = spending.booked({"2026-09": 1.0, "2026-10": 2.0}, NOW, 0.5)
    assert ledger == {"2026-10": 2.0, "2026-11": 0.5}
    assert spending.gone_usd({"a": ledger, "b": {"2026-11": 0.25}}, NOW) == 0.75
    assert spending.gone_usd({"a": ledger}, at(2026, 12, 1, 1)) == 0.0


def test_the_last_machine_is_rented_only_if_its_least_time_has_room() -> None:
    least = 0.1 * (600 + 300 + SLACK_S + 1 + spending.MARGIN_S) / 3600
    assert spending.may_rent(POOL, 0.1, 1.0 - least, [], NOW, Terms(), SLACK_S) == ""
    assert "ceiling of 1.00 USD" in spending.may_rent(POOL, 0.1, 1.0001 - least, [], NOW, Terms(), SLACK_S)


def test_what_is_free_has_no_ceiling() -> None:
    none = msgspec.structs.replace(POOL, spend_usd_month=0.0)
    assert spending.may_rent(none, 0.0, 0.0, [], NOW, Terms(), SLACK_S) == ""
    assert spending.may_rent(none, 0.001, 0.0, [], NOW, Terms(), SLACK_S) != ""
    assert spending.must_return(none, 0.0, [Paid(0.0, NOW - 9e6)], NOW, Terms(), SLACK_S) == ""


def test_at_the_months_end_the_next_one_pays() -> None:
    last = at(2026, 12, 1) - 30.0
    machines = [Paid(0.1, NOW)]
    spent = spending.so_far(0.0, machines, last, Terms())
    of = msgspec.structs.replace(POOL, spend_usd_month=spent + 0.001)
    assert spending.must_return(of, 0.0, machines, last, Terms(), SLACK_S) == ""
    middle = last - 10 * 86400
    of = msgspec.structs.replace(POOL, spend_usd_month=spending.so_far(0.0, machines, middle, Terms()) + 0.001)
    assert "giving all back may cost" in spending.must_return(of, 0.0, machines, middle, Terms(), SLACK_S)


@given(
    prices=st.lists(st.floats(0.001, 0.5), max_size=8),
    ages=st.lists(st.floats(0.0, 1e6), min_size=8, max_size=8),
    room=st.floats(0.0, 1.0),
    terms=st.sampled_from((Terms(), Terms(60.0, 1.0), Terms(3600.0, 3600.0))),
    later_s=st.floats(0.0, 600.0),
)
def test_what_is_rented_need_not_go_back_for_the_ceiling_before_it_is_old_enough(
    prices: list[float], ages: list[float], room: float, terms: Terms, later_s: float
) -> None:
    """Once broken: rented, given back in the same second, and rented again in the next slot."""
    machines = [Paid(price, NOW - age) for price, age in zip(prices, ages, strict=False)]
    spent = spending.so_far(0.0, machines, NOW, terms)
    of = msgspec.structs.replace(POOL, spend_usd_month=spent + room)
    if not spending.may_rent(of, 0.1, 0.0, machines, NOW, terms, SLACK_S):
        machines.append(Paid(0.1, NOW))
        assert spending.must_return(of, 0.0, machines, NOW + later_s, terms, SLACK_S) == ""


@given(
    ceiling=st.floats(0.0, 3.0),
    prices=st.lists(st.floats(0.001, 0.5), max_size=60),
    gaps=st.lists(st.floats(1.0, 4000.0), min_size=60, max_size=60),
    slow=st.floats(0.0, 1.0),
    terms=st.builds(
        Terms,
        st.sampled_from([0.0, 60.0, 3600.0]),
        st.sampled_from([1.0, 60.0, 3600.0]),
        st.sampled_from([0.0, 0.01, 0.2]),
    ),
)
def test_whatever_is_asked_for_and_however_slowly_it_goes_back_the_ceiling_holds(
    ceiling: float, prices: list[float], gaps: list[float], slow: float, terms: Terms
) -> None:
    of = msgspec.structs.replace(POOL, spend_usd_month=ceiling)
    now, gone, machines = NOW, 0.0, []  # type: float, float, list[Paid]
    for price, gap in zip(prices, gaps, strict=False):
        if not spending.may_rent(of, price, gone, machines, now, terms, SLACK_S):
            machines.append(Paid(price, now))
        end = now + gap
        while now < end:
            now += 30.0
            if spending.must_return(of, gone, machines, now, terms, SLACK_S):
                now += slow * (of.drain_s + SLACK_S)
                gone, machines = spending.so_far(gone, machines, now, terms), []
        assert spending.so_far(gone, machines, now, terms) <= ceiling + 1e-6
