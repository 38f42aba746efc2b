"""Lines of several hosts in the order of their times, while they come."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from skerry.client.merging import HOLD_S, Merge


def row(time: str, text: str = "") -> dict[str, Any]:
    return {"time": time, "text": text or time}


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["text"] for row in rows]


def test_a_line_waits_until_every_host_has_told_all_that_it_wrote_before() -> None:
    merge = Merge()
    merge.join("a")
    merge.join("b")
    merge.add("a", [row("1"), row("3")], 0.0)
    assert merge.ready(0.0) == []
    merge.add("b", [row("2")], 0.1)
    assert texts(merge.ready(0.1)) == ["1", "2"]
    merge.add("b", [], 0.2, mark="5")
    assert texts(merge.ready(0.2)) == ["3"]
    assert merge.next_s() is None


def test_a_silent_host_holds_back_for_a_stated_time_only() -> None:
    merge = Merge()
    merge.join("silent")
    merge.add("a", [row("1")], 0.0, mark="9")
    assert merge.ready(HOLD_S / 2) == []
    assert merge.next_s() == HOLD_S
    assert texts(merge.ready(HOLD_S)) == ["1"]
    merge.add("a", [row("2")], HOLD_S, mark="9")
    merge.leave("silent")
    assert texts(merge.ready(HOLD_S)) == ["2"], "who is known to be gone holds nothing back"
    merge.add("silent", [row("0", "late")], 2 * HOLD_S)
    assert texts(merge.ready(2 * HOLD_S)) == ["late"]


def test_lines_of_one_time_stay_together_and_in_their_order() -> None:
    merge = Merge()
    merge.add("a", [row("1", f"trace {n}") for n in range(5)], 0.0, mark="2")
    merge.add("b", [row("1", f"other {n}") for n in range(5)], 0.0, mark="2")
    shown = texts(merge.ready(0.0))
    assert shown == [f"trace {n}" for n in range(5)] + [f"other {n}" for n in range(5)]


TIMES = st.lists(st.integers(0, 50).map(lambda n: f"{n:03}"), max_size=20).map(sorted)


@given(st.lists(TIMES, min_size=1, max_size=5), st.data())
def test_hosts_that_tell_in_time_are_shown_in_order_and_wholly(hosts: list[list[str]], data: st.DataObject) -> None:
    merge = Merge()
    for n in range(len(hosts)):
        merge.join(str(n))
    left = [list(times) for times in hosts]
    shown: list[str] = []
    while any(left):
        n = data.draw(st.sampled_from([n for n, times in enumerate(left) if times]))
        some = data.draw(st.integers(1, len(left[n])))
        batch, left[n] = left[n][:some], left[n][some:]
        merge.add(str(n), [row(time) for time in batch], 0.0)
        shown += texts(merge.ready(0.0))
    for n in range(len(hosts)):
        merge.add(str(n), [], 0.0, mark="999")
    shown += texts(merge.ready(0.0))
    assert shown == sorted(shown) == sorted(time for times in hosts for time in times)
