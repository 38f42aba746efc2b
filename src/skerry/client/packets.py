"""A pcap stream, packet by packet, in a line each: for who has no tcpdump. Pure; what it reads may be anything.

Sources: the pcap file format; IEEE 802.3; RFC 791, 8200, 9293, 768, 792.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import Any

from skerry.errors import BadFormat

HEAD_BYTES, RECORD_BYTES = 24, 16
PACKET_BYTES = 1 << 18
MAGIC_NS = 0xA1B23C4D
_FLAGS = ((0x02, "S"), (0x10, "."), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x20, "U"))
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}


class Reader:
    """Fed with pieces as they come."""

    def __init__(self) -> None:
        self._held = b""
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[dict[str, Any]]:
        """What is whole by now. Raises BadFormat for what is no such stream."""
        self._held += piece
        if not self._begun:
            if len(self._held) < HEAD_BYTES:
                return
            if struct.unpack_from("<I", self._held)[0] != MAGIC_NS:
                raise BadFormat("a capture was not read", "it does not begin as one", "look at the host")
            self._begun, self._held = True, self._held[HEAD_BYTES:]
        at = 0
        while len(self._held) - at >= RECORD_BYTES:
            seconds, nanoseconds, length, whole = struct.unpack_from("<IIII", self._held, at)
            if length > PACKET_BYTES:
                raise BadFormat("a capture was not read", f"a packet of {length} bytes", "look at the host")
            if len(self._held) - at - RECORD_BYTES < length:
                break
            at += RECORD_BYTES
            yield {"time": seconds + nanoseconds / 1e9, "size_bytes": whole} | described(self._held[at : at + length])
            at += length
        self._held = self._held[at:]


def described(frame: bytes) -> dict[str, Any]:
    """Of an Ethernet frame: protocol, source, target, flags; as much of it as is there."""
    if len(frame) < 14:
        return {"protocol": "ethernet"}
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IPV4 and len(frame) >= 34:
        length = (frame[14] & 0xF) * 4
        fragment = int.from_bytes(frame[20:22], "big") & 0x1FFF
        return _transport(frame[23], frame[26:30], frame[30:34], b"" if fragment else frame[14 + max(length, 20) :])
    if kind == _IPV6 and len(frame) >= 54:
        return _transport(frame[20], frame[22:38], frame[38:54], frame[54:])
    return {"protocol": {_ARP: "arp", _IPV4: "ip", _IPV6: "ip6"}.get(kind, f"ethertype 0x{kind:04x}")}


def _transport(protocol: int, source: bytes, target: bytes, rest: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {"protocol": _NAMES.get(protocol, f"ip protocol {protocol}")}
    ports = ("", "")
    if protocol in (6, 17, 132) and len(rest) >= 4:
        ports = tuple(f":{number}" for number in struct.unpack_from(">HH", rest))  # type: ignore[assignment]
    told |= {"from": f"{_host(source)}{ports[0]}", "to": f"{_host(target)}{ports[1]}"}
    if protocol == 6 and len(rest) >= 14:
        told["flags"] = "".join(sign for bit, sign in _FLAGS if rest[13] & bit)
    if protocol in (1, 58) and len(rest) >= 2:
        told["type"] = f"{rest[0]}/{rest[1]}"
    return told


def _host(raw: bytes) -> str:
    address = ipaddress.ip_address(raw)
    return f"[{address}]" if address.version == 6 else str(address)
