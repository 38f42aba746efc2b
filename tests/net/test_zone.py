"""Names: what containers are told, and that no bytes from them do harm."""

from __future__ import annotations

import contextlib

import pytest
from dnslib import QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadFormat
from skerry.net.names import servers_of
from skerry.net.zone import MOST_ADDRESSES, Zone, parse


def zone() -> Zone:
    made = Zone()
    made.set(
        {
            "store.guestbook.internal": ["10.77.1.5"],
            "web.guestbook.internal": ["10.77.1.6", "10.77.2.6", "10.77.3.6"],
            "idle.guestbook.internal": [],
            "many.guestbook.internal": [f"10.77.4.{i}" for i in range(2, 200)],
        }
    )
    return made


def ask(made: Zone, name: str, kind: str = "A") -> tuple[int, list[str]] | None:
    answer = made.answer(parse(DNSRecord.question(name, kind).pack()))
    if answer is None:
        return None
    reply = DNSRecord.parse(answer)
    assert len(answer) <= 512
    assert str(reply.q.qname).rstrip(".") == name.rstrip(".")
    assert all(record.ttl == 1 and record.rtype == QTYPE.A for record in reply.rr)
    return reply.header.rcode, [str(record.rdata) for record in reply.rr]


@pytest.mark.parametrize("name", ["store.guestbook.internal", "store.guestbook.internal.", "STORE.Guestbook.internal"])
def test_a_name_with_a_healthy_replica(name: str) -> None:
    assert ask(zone(), name) == (RCODE.NOERROR, ["10.77.1.5"])


def test_all_healthy_replicas_each_first_in_turn() -> None:
    made = zone()
    answers = [ask(made, "web.guestbook.internal") for _ in range(3)]
    assert {frozenset(found) for _, found in answers} == {frozenset(["10.77.1.6", "10.77.2.6", "10.77.3.6"])}
    assert {found[0] for _, found in answers} == {"10.77.1.6", "10.77.2.6", "10.77.3.6"}


def test_a_name_without_healthy_replicas_exists() -> None:
    assert ask(zone(), "idle.guestbook.internal") == (RCODE.NOERROR, [])


def test_an_unknown_name_of_ours_does_not_exist() -> None:
    assert ask(zone(), "nobody.guestbook.internal") == (RCODE.NXDOMAIN, [])


def test_before_names_are_known_no_name_is_said_not_to_exist() -> None:
    assert ask(Zone(), "store.guestbook.internal") == (RCODE.SERVFAIL, [])


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "SRV"])
def test_other_kinds_of_a_known_name_are_empty(kind: str) -> None:
    assert ask(zone(), "store.guestbook.internal", kind) == (RCODE.NOERROR, [])


def test_an_answer_is_bounded() -> None:
    assert len(ask(zone(), "many.guestbook.internal")[1]) == MOST_ADDRESSES


@pytest.mark.parametrize("name", ["example.org", "internal.example.org", "notinternal"])
def test_names_of_others_are_not_answered_here(name: str) -> None:
    assert ask(zone(), name) is None


def test_what_is_no_address_is_not_told() -> None:
    made = Zone()
    made.set({"a.b.internal": ["10.77.1.5", "nonsense", "::1", ""]})
    assert ask(made, "a.b.internal") == (RCODE.NOERROR, ["10.77.1.5"])


@given(st.binary(max_size=1400))
def test_any_bytes_are_a_question_or_bad_format(data: bytes) -> None:
    try:
        question = parse(data)
    except BadFormat:
        return
    answer = zone().answer(question)
    assert answer is None or answer[:2] == data[:2]


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_question_with_one_byte_changed(place: int, value: int) -> None:
    data = bytearray(DNSRecord.question("store.guestbook.internal").pack())
    data[place % len(data)] = value
    with contextlib.suppress(BadFormat):
        zone().answer(parse(bytes(data)))


def test_a_name_that_points_to_itself_is_refused() -> None:
    with pytest.raises(BadFormat):
        parse(bytes.fromhex("000101000001000000000000") + b"\xc0\x0c\x00\x01\x00\x01")


def test_the_hosts_servers_without_ourselves() -> None:
    text = (
        "# c\nnameserver 10.77.1.1\nnameserver 192.0.2.53\nnameserver nonsense\noptions x\nnameserver ::1\nnameserver\n"
    )
    assert servers_of(text, "10.77.1.1") == ["192.0.2.53", "::1"]


@given(st.text(max_size=300))
def test_any_resolv_conf_can_be_read(text: str) -> None:
    assert len(servers_of(text, "10.77.1.1")) <= 3
