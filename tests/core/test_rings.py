"""Nodes' figures laid together: what is late, silent, dead, or told by a wrong clock."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.test_wishing import KEY, changes, deployed, numbers, say, scaled, step_now
from skerry.core.facts import Load
from skerry.core.rings import Placed, place, together
from skerry.sim.machine import CLOCK_AT_ZERO


def told(*figures: float, step: int = 0) -> Load:
    fresh = tuple(int(figure) for figure in figures)
    return Load(step_s=10, step=step, cpu=figures, connections=figures, fresh=fresh, replicas=(1,) * len(figures))


def test_rings_are_laid_together_at_their_steps_and_what_is_not_told_is_held_or_nothing() -> None:
    whole = Placed(told(1, 2, 3, 4), 0, 10)
    assert together([whole]).connections == [1, 2, 3, 4]
    assert together([whole, Placed(told(10, 20), 1, 10)]).connections == [1, 12, 23, 24], "as its newest"
    assert together([whole, Placed(told(10, 20), 2, 1)]).connections == [11, 22, 23, 4], "for so many steps"
    assert together([whole, Placed(told(10, 20), 1, 0)]).connections == [1, 12, 23, 4], "a dead one has nothing to do"
    assert together([whole, Placed(told(10, 20), -1, 10)]).connections == [1, 2, 3, 14], "its clock is ahead by a step"
    assert together([]).connections == []


@given(
    st.lists(st.tuples(st.lists(st.floats(0, 99), min_size=1, max_size=60), st.integers(-3, 59), st.integers(0, 10)))
)
def test_rings_laid_together_are_no_longer_than_the_rule_looks_and_lose_nothing(
    some: list[tuple[list[float], int, int]],
) -> None:
    sums = together([Placed(told(*figures), ends, held) for figures, ends, held in some])
    lengths = {len(ring) for ring in (sums.cpu, sums.connections, sums.fresh, sums.replicas)}
    assert len(lengths) == 1 and lengths.pop() <= 60
    assert sum(sums.cpu) >= sum(sum(figures[ends - 60 :]) for figures, ends, _ in some if ends >= 0) - 1e-6


@pytest.mark.parametrize("gone", ["silent", "dead"])
def test_who_falls_silent_or_dies_takes_nothing_from_the_past(gone: str) -> None:
    """A quarter of the connections was its; the others have them from then on."""
    cluster = deployed(4, scaled(max=9, down_s=100), load=190)
    cluster.run(304.0)
    assert numbers(cluster) == {4}
    if gone == "silent":
        cluster["vps-2"].gauges = ()
    else:
        cluster["vps-2"].power_cut()
    began_s = cluster.clock.now_s
    for _ in range(9):
        cluster.run(10.0)
        assert numbers(cluster) == {4}
    assert not [at_s for at_s, _, _ in changes(cluster, "vps-1") if at_s > began_s]


def test_who_lives_and_tells_nothing_is_held_for_ten_steps() -> None:
    cluster = deployed(3, scaled(max=9, down_s=20), load=290)
    cluster.run(304.0)
    share = together(*place(cluster["vps-1"].core._s, KEY, step_now(cluster))).connections[-1]  # type: ignore[union-attr]
    cluster["vps-2"].gauges = ()
    cluster.run(100.0)
    s = cluster["vps-1"].core._s  # type: ignore[union-attr]
    held = together(*place(s, KEY, step_now(cluster)))
    assert held.connections[-1] == pytest.approx(share) and "node/vps-2" in held.nodes
    cluster.run(20.0)
    late = together(*place(s, KEY, step_now(cluster)))
    assert late.connections[-1] < 0.8 * share and late.connections[0] == pytest.approx(share)
    assert "node/vps-2" not in late.nodes


def test_a_node_that_dies_is_left_out_and_one_whose_clock_is_wrong_counts() -> None:
    cluster = deployed(4, scaled(max=9), load=200)
    cluster.run(20.0)
    s = cluster["vps-1"].core._s  # type: ignore[union-attr]
    step = int((CLOCK_AT_ZERO + cluster.clock.now_s) // 10) - 1
    whole = together(*place(s, KEY, step))
    assert whole.connections[-1] == pytest.approx(200) and len(whole.nodes) == 4
    held = s.known.about("load", "shop.web")["node/vps-2"]
    assert isinstance(held, Load)
    ahead = msgspec.structs.replace(held, step=held.step + 360)  # an hour
    say(cluster, "vps-2", "load", ahead)
    cluster.run(0.5)
    assert together(*place(s, KEY, step)).connections[-1] == pytest.approx(200)
    cluster["vps-3"].power_cut()
    cluster.run(5.0)
    assert "node/vps-3" not in together(*place(s, KEY, step)).nodes
