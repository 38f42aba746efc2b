"""One captured node against honest ones, with real trust and gossip (design section 7, sentences 1 to 4).

`python -m skerry.sim.run --siege --seeds 1 --first SEED --show` plays one again.
"""

from __future__ import annotations

import pytest

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
