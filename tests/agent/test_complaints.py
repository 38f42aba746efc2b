"""Misdeeds: each culprit is told once a minute at most, whatever it does and however many there are."""

from __future__ import annotations

import pytest

from skerry.agent import complaints as c
from skerry.mesh import door, links
from skerry.trust.refusals import FalseSignature, NotNamed, Quota


class Diary:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.told: list[tuple[str, str, dict[str, str]]] = []
        self.complaints = c.Complaints(self._note, lambda: self.now_s)

    def _note(self, kind: str, subject: str, reason: str, more: dict[str, str]) -> None:
        assert kind == "misdeed"
        self.told.append((subject, reason, more))

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            self.complaints.look()


@pytest.fixture
def diary() -> Diary:
    return Diary()


def forged(what: str = "app/web was not accepted") -> FalseSignature:
    return FalseSignature(what, "key 1234 did not sign it", "close the link")


def test_what_comes_at_once_is_one_event_with_how_many(diary: Diary) -> None:
    for _ in range(500):
        diary.complaints.refused(forged(), "node/vps-3")
    diary.complaints.against("node/vps-3", c.NO_FRAME)
    diary.pass_s(1)
    assert not diary.told, "more of it may come"
    diary.pass_s(10)
    ((subject, reason, more),) = diary.told
    assert (subject, more) == ("node/vps-3", {c.FORGED: "500", c.NO_FRAME: "1"})
    assert reason.startswith(f"{c.FORGED}: 500, {c.NO_FRAME}: 1; within 2 s; such as: app/web was not accepted")
    assert diary.complaints.latest[1].startswith(f"vps-3: {c.FORGED}: 500")


def test_who_goes_on_for_hours_is_told_once_a_minute(diary: Diary) -> None:
    for _ in range(3600):
        diary.complaints.refused(forged(), "node/vps-3")
        diary.pass_s(1)
    assert 55 <= len(diary.told) <= 61
    assert all(int(more[c.FORGED]) in (2, 3, 57, 58, 59, 60, 61) for _, _, more in diary.told)


def test_what_honest_hosts_may_meet_is_no_misdeed_until_there_is_too_much_of_it(diary: Diary) -> None:
    for _ in range(10):
        for _ in range(c.FROM[c.NOT_TO_SIGN] - 1):
            diary.complaints.against("node/vps-2", c.NOT_TO_SIGN)
        diary.complaints.refused(NotNamed("a", "b", "c"), "node/vps-2")
        diary.pass_s(70)
    assert not diary.told and not diary.complaints.latest[1]
    for _ in range(c.FROM[c.NOT_TO_SIGN]):
        diary.complaints.against("node/vps-2", c.NOT_TO_SIGN)
    diary.pass_s(5)
    assert [more for _, _, more in diary.told] == [{c.NOT_TO_SIGN: str(c.FROM[c.NOT_TO_SIGN])}]


def test_too_many_facts_are_their_authors_not_who_passed_them_on(diary: Diary) -> None:
    for _ in range(50):
        refusal = Quota("a fact of node/vps-3 was not taken", "one node may hold 1000", "withdraw some")
        refusal.author = "node/vps-3"
        diary.complaints.refused(refusal, "node/vps-2")
    diary.pass_s(5)
    assert [subject for subject, _, _ in diary.told] == ["node/vps-3"]


def test_strangers_of_a_million_addresses_fill_neither_memory_nor_the_diary(diary: Diary) -> None:
    for n in range(20_000):
        diary.complaints.against(f"198.51.{n // 250}.{n % 250}", door.TURNED_AWAY)
        if n % 100 == 0:
            diary.pass_s(1)
        assert len(diary.complaints._strangers) <= c.STRANGERS + 1
    assert 2 <= len(diary.told) <= 5, "in 200 s"
    counted = sum(int(more[door.TURNED_AWAY]) for _, _, more in diary.told)
    assert counted > 10_000 and all(subject.startswith("strangers at ") for subject, _, _ in diary.told)


def test_the_busiest_strangers_are_named(diary: Diary) -> None:
    for n in range(10):
        diary.complaints.against(f"203.0.113.{n}", door.UNFINISHED_ONES, count=30 + n)
    diary.pass_s(100)
    assert [subject for subject, _, _ in diary.told[:4]] == [f"203.0.113.{n}" for n in (9, 8, 7, 6)]
    assert len(diary.told) == 5 and diary.told[4][2] == {door.UNFINISHED_ONES: str(sum(range(30, 36)))}
    assert not diary.complaints.latest[1], "strangers knock everywhere: that is no alarm"
    diary.pass_s(200)
    assert not diary.complaints._strangers and len(diary.told) == 5


def test_an_operators_script_may_come_often(diary: Diary) -> None:
    for who in ("client 12ab", "node/vps-3"):
        for _ in range(1000):
            diary.complaints.against(who, links.CONNECTIONS)
    diary.pass_s(5)
    assert [subject for subject, _, _ in diary.told] == ["node/vps-3"]
