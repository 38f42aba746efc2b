"""What conntrack's dump says: recorded, and any bytes."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from skerry.net.flows import Flow, Open, parse, parse_open
from skerry.net.netlink import attribute, attributes


def side(source: str, target: str, protocol: int) -> bytes:
    addresses = attribute(1, IPv4Address(source).packed) + attribute(2, IPv4Address(target).packed)
    return attribute(0x8001, addresses) + attribute(0x8002, attribute(1, bytes([protocol])) + attribute(2, b"\x1f\x40"))


def test_a_translated_flow_is_known_by_who_answers() -> None:
    there, back = side("10.93.0.254", "10.93.0.3", 6), side("10.77.2.2", "10.77.3.1", 6)
    message = b"\x02\0\0\0" + attribute(0x8001, there) + attribute(0x8002, back) + attribute(12, b"\0\0\0\x07")
    key = attribute(0x8001, there) + attribute(12, b"\0\0\0\x07")
    assert parse(message) == Flow(IPv4Address("10.77.2.2"), 6, key)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(data: bytes) -> None:
    list(attributes(data))
    parse(data)


def entry(source: str, dialled: str, target: str, *, protocol: int = 6, status: int = 0x2E, state: int = 3) -> bytes:
    """As the kernel writes a TCP or UDP flow over IPv4 (Linux 6.1, recorded; the rest of it is left out)."""

    def ports_side(one: str, other: str, port: int, other_port: int) -> bytes:
        addresses = attribute(1, IPv4Address(one).packed) + attribute(2, IPv4Address(other).packed)
        ports = attribute(2, port.to_bytes(2)) + attribute(3, other_port.to_bytes(2))
        return attribute(0x8001, addresses) + attribute(0x8002, attribute(1, bytes([protocol])) + ports)

    there, back = ports_side(source, dialled, 40000, 8080), ports_side(target, source, 80, 40000)
    tcp = attribute(0x8004, attribute(0x8001, attribute(1, bytes([state]))))
    rest = attribute(3, status.to_bytes(4)) + attribute(12, (7).to_bytes(4)) + (tcp if protocol == 6 else b"")
    return b"\x02\0\0\0" + attribute(0x8001, there) + attribute(0x8002, back) + rest


def number(text: str) -> int:
    return int(IPv4Address(text))


def test_a_flow_to_a_replica_is_known_with_its_port_and_whether_it_still_is_one() -> None:
    ends = ("10.93.0.254", "10.93.0.3", "10.77.2.2")
    targets = {number(ends[2])}
    expected = Open(number(ends[0]), number(ends[1]), number(ends[2]), 80, 6, True, 7)
    assert parse_open(entry(*ends), targets) == expected
    assert parse_open(entry(*ends, state=7), targets) == expected._replace(established=False)
    assert parse_open(entry(*ends, protocol=17), targets) == expected._replace(protocol=17)
    assert parse_open(entry(*ends, protocol=17, status=0), targets) == expected._replace(protocol=17, established=False)
    assert parse_open(entry(*ends), {number("10.77.2.3")}) is None, "of others only the target is read"


@given(st.binary(max_size=300), st.binary(max_size=200))
def test_any_bytes_are_a_flow_or_none(data: bytes, rest: bytes) -> None:
    parse_open(data, {0})
    parse_open(entry("0.0.0.0", "0.0.0.0", "0.0.0.0")[:108] + rest, {0})
