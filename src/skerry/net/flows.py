"""Flows that the kernel still leads to a replica which is no target any more: found and cut, by conntrack's netlink interface.

Rules decide for the first packet of a flow only. A TCP flow to a lost host would hang until its client gives up, and a UDP
client that never changes its port would speak to nobody for ever. Without its entry, the flow's next packet is a first one:
UDP goes to a healthy replica, TCP gets a reset. A netlink socket, as the tool `conntrack` would be one more binary to ship.

Source: Linux, include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Set
from ipaddress import IPv4Address
from typing import NamedTuple

from skerry.net.commands import CommandFailed

UDP = socket.IPPROTO_UDP
_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_ORIG, _REPLY, _ID = 1, 2, 12
_TUPLE_IP, _TUPLE_PROTO, _V4_SRC, _PROTO_NUM = 1, 2, 1, 1
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)


class Flow(NamedTuple):
    """`target`: who answers (after the translation). `key`: the attributes by which the kernel deletes it."""

    target: IPv4Address
    protocol: int
    key: bytes


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each netlink attribute; stops where the form ends."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def parse(message: bytes) -> Flow | None:
    """One entry of the dump (behind its header); None for what has no IPv4 answer side."""
    found = dict(attributes(message[4:]))
    reply = dict(attributes(found.get(_REPLY, b"")))
    source = dict(attributes(reply.get(_TUPLE_IP, b""))).get(_V4_SRC, b"")
    protocol = dict(attributes(reply.get(_TUPLE_PROTO, b""))).get(_PROTO_NUM, b"")
    if len(source) != 4 or len(protocol) != 1 or _ORIG not in found:
        return None
    key = _attribute(_ORIG | 0x8000, found[_ORIG])
    if _ID in found:  # so that a newer flow between the same ends is never meant
        key += _attribute(_ID, found[_ID])
    return Flow(IPv4Address(source), protocol[0], key)


def cut(targets: Set[IPv4Address], *, protocol: int | None = None) -> int:
    """Forget all flows to these addresses (of one protocol); how many. Blocking. Raises CommandFailed."""
    if not targets:
        return 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
            kernel.settimeout(5)
            found = [
                flow for flow in _dump(kernel) if flow.target in targets and protocol in (None, flow.protocol)
            ]  # first all, then delete: the dump and the answers share the socket
            for flow in found:
                _ask(kernel, _DELETE, _REQUEST | _ACK, flow.key)
                kernel.recv(4096)  # the answer; an error only says that it ended by itself meanwhile
    except OSError as e:
        raise CommandFailed(["conntrack", "-D"], str(e)) from None
    return len(found)


def _dump(kernel: socket.socket) -> Iterator[Flow]:
    _ask(kernel, _GET, _REQUEST | _DUMP, b"")
    while True:
        data, at = kernel.recv(1 << 17), 0
        while at + _HEADER.size <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind in (_DONE, _ERROR) or length < _HEADER.size:
                return
            if flow := parse(data[at + _HEADER.size : at + length]):
                yield flow
            at += (length + 3) & ~3


def _ask(kernel: socket.socket, kind: int, flags: int, key: bytes) -> None:
    kernel.send(_HEADER.pack(_HEADER.size + len(_FAMILY) + len(key), kind, flags, 1, 0) + _FAMILY + key)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)
