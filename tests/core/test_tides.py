"""Whatever the load, the machines and a liar among them do. `print(Tides(SEED).run())` plays one again."""

from __future__ import annotations

import pytest

from skerry.sim.tides import Tides

FOUND = {
    98: "figures of a node whose clock is an hour off were laid a step too early or too late, and each change looked like a rise",
    159: "down under a steady load just before its ups and downs were known, and up again for them",
    112: "one of two keepers that are left lies: the number went up and down with its words",
}


def test_numbers_stay_within_their_bounds_and_all_nodes_come_to_the_one_that_the_load_needs() -> None:
    for seed in range(6):
        assert Tides(seed).run() == [], f"seed {seed}"


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_seed_once_showed_stays_mended(seed: int) -> None:
    assert Tides(seed).run() == []


def test_the_same_with_real_trust_and_gossip() -> None:
    assert Tides(1, whole=True).run() == []
