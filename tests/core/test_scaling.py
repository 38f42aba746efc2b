"""The rule of how many (core/scaling.py): what it says, what it never does, and who can move it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.core.intent import Scale, Schedule
from skerry.core.scaling import Rule, bounds, median_wish, wish

figures = st.lists(st.floats(0, 50), min_size=1, max_size=60)


@given(demand=figures, now=st.integers(0, 60))
def test_the_same_rings_give_the_same_wish(demand: list[float], now: int) -> None:
    counts = [now] * len(demand)
    assert wish(demand, counts, Rule()) == wish(tuple(demand), tuple(counts), Rule())


@given(wishes=st.lists(st.integers(0, 1000), max_size=9), low=st.integers(0, 5), more=st.integers(0, 20))
def test_the_median_stays_within_the_bounds(wishes: list[int], low: int, more: int) -> None:
    number = median_wish(wishes, low, low + more)
    assert (number is None) == (not wishes)
    assert number is None or low <= number <= low + more


def test_a_schedule_holds_from_its_first_minute_to_before_its_last() -> None:
    monday = 4 * 86_400  # 1970-01-05
    scale = Scale(min=1, max=5, schedules=(Schedule(days=(0,), from_minute=480, to_minute=1200, min=3),))
    at = [bounds(scale, monday + minute * 60) for minute in (479, 480, 1199, 1200)]
    assert at == [(1, 5), (3, 5), (3, 5), (1, 5)]
