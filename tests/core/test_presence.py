"""Who lives, by what comes from where and when."""

from __future__ import annotations

from skerry.core.facts import FactBody, Lost
from skerry.core.presence import Presence
from skerry.core.timing import Timing

A, B, C, D = (f"node/vps-{i}" for i in range(1, 5))
ALL = [A, B, C, D]


class Eyes:
    """A presence at vps-1, with the clock turned by hand."""

    def __init__(self) -> None:
        self.p = Presence(Timing())
        self.p.me = A
        self.votes: dict[str, dict[str, FactBody]] = {}
        self.at(0.0)

    def at(self, now: float) -> list[tuple[str, str]]:
        self.p.now_s = self.now = now
        changes, asks = self.p.review(ALL, self.votes, now)
        self.fell = [change.node for change in changes if not change.up]
        return asks

    def linked(self, *nodes: str) -> Eyes:
        for node in nodes:
            self.p.link_up(node, self.now)
        return self


def test_a_silent_node_is_down_when_another_can_not_reach_it_either() -> None:
    eyes = Eyes().linked(B, C, D)
    eyes.p.link_down(B, False, 5.0)
    assert sorted(eyes.at(5.0)) == [(B, C), (B, D)]
    assert eyes.p.is_up(B)
    eyes.p.reached(B, C, False)
    eyes.at(5.1)
    assert eyes.fell == [B]


def test_a_node_that_another_reaches_is_not_down() -> None:
    eyes = Eyes().linked(B, C)
    eyes.p.link_down(B, False, 5.0)
    eyes.at(5.0)
    eyes.p.reached(B, C, True)
    for second in range(6, 30):
        eyes.at(float(second))
        assert eyes.p.is_up(B)


def test_a_vote_counts_only_while_no_newer_up_came_and_the_voter_lives() -> None:
    eyes = Eyes().linked(B, C, D)
    eyes.p.beat(B, (1, 9), False, 4.0)
    eyes.p.link_down(B, False, 5.0)
    eyes.votes = {B: {C: Lost(boot=1, beat=8)}}
    eyes.at(5.0)
    assert eyes.p.is_up(B)
    eyes.votes = {B: {B: Lost(boot=1, beat=9), C: Lost(boot=1, beat=9)}}
    eyes.at(5.1)
    assert eyes.fell == [B]


def test_a_vote_of_a_node_that_is_down_counts_for_nothing() -> None:
    eyes = Eyes().linked(B, C, D)
    eyes.p.link_down(C, False, 5.0)
    eyes.p.reached(C, D, False)
    eyes.at(5.0)
    assert eyes.fell == [C]
    eyes.p.link_down(B, False, 6.0)
    eyes.votes = {B: {C: Lost(boot=1, beat=9)}}
    eyes.at(6.0)
    assert eyes.p.is_up(B)
    eyes.votes = {B: {D: Lost(boot=1, beat=9)}}
    eyes.at(6.1)
    assert eyes.fell == [B]


def test_a_liar_that_keeps_silent_about_a_dead_node_delays_it_to_forty_seconds_at_most() -> None:
    eyes = Eyes().linked(B, C)
    eyes.p.link_down(B, False, 5.0)
    fell_at = next((t for t in range(5, 60) if eyes.at(float(t)) is not None and eyes.p.is_down(B)), None)
    assert fell_at == 40


def test_with_nobody_left_to_ask_silence_is_enough() -> None:
    eyes = Eyes().linked(B)
    eyes.p.link_down(B, False, 5.0)
    eyes.at(5.0)
    assert eyes.fell == [B]


def test_an_agent_that_said_goodbye_has_two_seconds_to_come_back() -> None:
    eyes = Eyes().linked(B)
    eyes.p.link_down(B, True, 5.0)
    eyes.at(6.9)
    assert eyes.p.is_up(B) and eyes.p.lost(ALL, 6.9) == {}
    eyes.linked(B)
    eyes.at(7.5)
    assert eyes.p.is_up(B)
    eyes.p.link_down(B, True, 10.0)
    eyes.at(12.0)
    assert eyes.fell == [B]
    assert list(eyes.p.lost(ALL, 12.0)) == [B]


def test_one_late_up_does_not_raise_the_dead_and_two_a_second_apart_do() -> None:
    eyes = Eyes().linked(B, C)
    eyes.p.link_down(B, False, 5.0)
    eyes.at(5.0)
    eyes.p.reached(B, C, False)
    eyes.at(5.0)
    assert eyes.p.is_down(B)
    assert eyes.p.beat(B, (1, 7), False, 6.0) is None
    assert eyes.p.is_down(B)
    assert eyes.p.beat(B, (1, 8), False, 7.0) is not None
    assert eyes.p.is_up(B)


def test_what_the_disk_held_is_no_sign_of_life() -> None:
    eyes = Eyes()
    eyes.p.beat(B, (3, 100), True, 0.0)
    assert eyes.p.status(B) == "unknown"
    eyes.at(19.9)
    assert eyes.p.status(B) == "unknown"
    eyes.at(20.0)
    assert eyes.p.is_down(B)


def test_two_votes_are_enough_about_a_node_that_we_never_linked_with() -> None:
    eyes = Eyes().linked(C, D)
    eyes.p.beat(B, (1, 5), False, 1.0)
    eyes.votes = {B: {C: Lost(boot=1, beat=5)}}
    eyes.at(2.0)
    assert eyes.p.is_up(B)
    eyes.votes[B][D] = Lost(boot=1, beat=5)
    eyes.at(2.1)
    assert eyes.fell == [B]


def test_what_a_node_told_of_its_containers_before_it_was_down_no_longer_counts() -> None:
    eyes = Eyes().linked(B)
    eyes.p.beat(B, (1, 1), False, 0.0)
    assert eyes.p.counts(B, 1)
    eyes.p.link_down(B, False, 5.0)
    eyes.at(5.0)
    eyes.now = 9.0
    eyes.linked(B)
    assert not eyes.p.counts(B, 1)
    eyes.p.beat(B, (2, 1), False, 9.1)
    assert not eyes.p.counts(B, 1) and eyes.p.counts(B, 2)
