"""The guard's table and its rules as text, without a clock or a kernel."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadFormat
from skerry.guarding.cutting import render
from skerry.guarding.table import Table
from skerry.guarding.words import KEPT_MAX, Ask, Kept, read_ask


def kept(id: str = "a", until_s: float = 10.0, **more: object) -> Kept:
    values = {"cgroup": f"/skerry/{id}", "interface": "skv0", "address": "10.77.1.2", "number": 1, **more}
    return Kept(id=id, until_s=until_s, **values)  # type: ignore[arg-type]


def runs(each: Kept) -> bool:
    return True


def gone(each: Kept) -> bool:
    return False


def test_who_is_not_renewed_ends_once_and_no_later_word_brings_it_back() -> None:
    table = Table()
    table.want([kept("a", 10), kept("b", 20)], runs)
    assert table.end_due(9.9) == []
    assert [each.id for each in table.end_due(10)] == ["a"]
    assert table.end_due(11) == []
    table.want([kept("a", 30), kept("b", 30)], runs)
    assert [each.id for each in table.ended()] == ["a"]
    assert table.alive(12) == {"10.77.1.2": 18}
    assert [each.kept.id for each in table.lately] == ["a"]


def test_an_agent_that_knows_nothing_yet_frees_nobody_who_runs() -> None:
    table = Table()
    table.want([kept("a", 10)], runs)
    table.want([], runs)
    assert [each.id for each in table.end_due(10)] == ["a"], "it has the time that it had, and no more"
    table.want([], gone)
    assert table.held == ()


def test_a_lease_that_is_given_back_is_over_at_once() -> None:
    table = Table()
    table.want([kept("a", 10)], runs)
    table.want([kept("a", 0)], runs)
    assert [each.id for each in table.end_due(1)] == ["a"]


def test_a_guard_that_is_begun_anew_goes_on_where_the_last_one_was() -> None:
    table = Table()
    table.want([kept("a", 10), kept("b", 20)], runs)
    table.end_due(10)
    again = Table.decode(table.encode())
    assert (again.held, again.lately, again.next_s()) == (table.held, table.lately, 20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "../a"}, {"cgroup": "/"}, {"cgroup": "/skerry"}, {"cgroup": "/skerry/../a"}, {"cgroup": "skerry/a"},
        {"address": "10.77.1.2 } drop"}, {"interface": "a b"}, {"number": 0}, {"until_s": 1e9}, {"until_s": float("inf")},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    packet = msgspec.json.encode(Ask(wanted=(kept(**{"until_s": 10.0, **wrong}),)))  # type: ignore[arg-type]
    with pytest.raises(BadFormat):
        read_ask(packet, 5.0)
    read_ask(msgspec.json.encode(Ask(wanted=(kept(),) * KEPT_MAX)), 5.0)
    with pytest.raises(BadFormat):
        read_ask(msgspec.json.encode(Ask(wanted=(kept(),) * (KEPT_MAX + 1))), 5.0)


@given(st.binary(max_size=300))
def test_any_packet_is_read_or_refused(packet: bytes) -> None:
    with contextlib.suppress(BadFormat):
        read_ask(packet, 0.0)


def test_the_rules_name_all_and_let_only_those_speak_that_have_time() -> None:
    text = render(["10.77.1.2", "10.77.1.3", "10.77.1.4"], {"10.77.1.2": 4.0, "10.77.1.3": 0.04})
    assert "set guarded { type ipv4_addr; elements = { 10.77.1.2, 10.77.1.3, 10.77.1.4 }; }" in text
    assert "set alive { type ipv4_addr; flags timeout; elements = { 10.77.1.2 timeout 3950ms }; }" in text
