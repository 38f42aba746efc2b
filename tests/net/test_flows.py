"""What conntrack's dump says: recorded, and any bytes."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from skerry.net.flows import Flow, parse
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
