"""One captured node against honest ones, with real trust and gossip (design section 7, sentences 1 to 4).

`print(Siege(SEED).run())` plays one again.
"""

from __future__ import annotations

import pytest

from skerry.core import effects as do
from skerry.sim.captured import Captured
from skerry.sim.siege import Siege

QUICK_S = (
    15.0  # a version fails, a node is called down, a slot is taken within so long, or a minute won't show it either
)


@pytest.mark.parametrize("trick", Captured.all_tricks())
def test_no_trick_of_a_captured_node_changes_what_the_others_run(trick: str) -> None:
    siege = Siege(0, (trick,), nodes=3, lies_s=QUICK_S)
    assert siege.run() == [], siege.log


def test_one_that_holds_a_services_only_slot_does_not_turn_the_whole_app_back() -> None:
    siege = Siege(3, ("condemns",), lies_s=5.0)
    assert siege.run() == [], siege.log


def test_claims_that_are_never_let_go_do_not_hold_up_rebalancing() -> None:
    siege = Siege(0, ("claims_all",), lies_s=5.0)
    assert siege.run() == [], siege.log


def test_who_grabs_and_drops_is_soon_barred() -> None:
    """Bars double: without them its share would start anew every few seconds, for ever (notes: 26 changes in 30 s)."""
    siege = Siege(2, ("grabs_and_drops",), nodes=4, lies_s=60.0)
    starts: list[str] = []
    siege.cluster.watchers.append(
        lambda machine, effect: (
            starts.append(str(effect.slot)) if siege.watched and isinstance(effect, do.Start) else None
        )
    )
    assert siege.run() == [], siege.log
    assert all(starts.count(slot) <= 6 for slot in starts), starts


def test_a_dead_machine_that_a_captured_one_calls_alive_is_missed_after_40_seconds() -> None:
    siege = Siege(1, ("withholds",), nodes=3, lies_s=1.0)
    siege.lose_another = True
    assert siege.run() == [], siege.log
    assert "loses power" in siege.log[-1]
