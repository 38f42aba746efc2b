"""Flows that the kernel leads to replicas, by conntrack's netlink interface: those to one that is no target any more are cut,

those to others are counted.

Rules decide for the first packet of a flow only. A TCP flow to a lost host would hang until its client gives up, and
a UDP client that never changes its port would speak to nobody for ever. Without its entry, the flow's next packet is
a first one: UDP goes to a healthy replica, TCP gets a reset. Not by the tool `conntrack`, which would be one more
binary to ship.

Source: Linux, include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Collection, Set
from ipaddress import IPv4Address
from typing import NamedTuple

from skerry.net.commands import CommandFailed
from skerry.net.netlink import NETFILTER, Netlink, attribute, attributes, request

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_ORIG, _REPLY, _ID = 1, 2, 12
_TUPLE_IP, _TUPLE_PROTO, _V4_SRC, _PROTO_NUM = 1, 2, 1, 1
_STATUS, _PROTOINFO, _PROTOINFO_TCP, _TCP_STATE, _TCP_ESTABLISHED, _SEEN_REPLY = 3, 4, 1, 1, 3, 2
_PORTS_SIDE = 52  # bytes of one side of a TCP or UDP flow over IPv4, its header included
_SIDE_LENGTH = struct.pack("=H", _PORTS_SIDE)
_ADDRESS, _TWO_ADDRESSES, _PORT = struct.Struct(">I"), struct.Struct(">I4xI"), struct.Struct(">H")
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)


class Flow(NamedTuple):
    """`target`: who answers (after the translation). `key`: the attributes by which the kernel deletes it."""

    target: IPv4Address
    protocol: int
    key: bytes


class Open(NamedTuple):
    """A TCP or UDP flow. Addresses as numbers: `source` dialled `dialled`; `target` answers, at `port`. `id`: the kernel's."""

    source: int
    dialled: int
    target: int
    port: int
    protocol: int
    established: bool
    id: int


def parse_open(entry: bytes, targets: Collection[int]) -> Open | None:
    """One entry of the dump if it is a TCP or UDP flow to one of `targets`, else None.

    A busy host has a hundred thousand, so the two sides are read at the places where the kernel always writes them.
    """
    sides_end = 4 + 2 * _PORTS_SIDE
    if len(entry) < sides_end or entry[4:6] != _SIDE_LENGTH or entry[4 + _PORTS_SIDE : 6 + _PORTS_SIDE] != _SIDE_LENGTH:
        return None
    (target,) = _ADDRESS.unpack_from(entry, 4 + _PORTS_SIDE + 12)
    if target not in targets:
        return None
    source, dialled = _TWO_ADDRESSES.unpack_from(entry, 16)
    protocol, (port,) = entry[36], _PORT.unpack_from(entry, 96)
    status, id, state = 0, 0, -1
    for kind, value in attributes(entry[sides_end:]):
        if kind == _STATUS and len(value) == 4:
            (status,) = _ADDRESS.unpack(value)
        elif kind == _ID and len(value) == 4:
            (id,) = _ADDRESS.unpack(value)
        elif kind == _PROTOINFO:
            for state_kind, state_value in attributes(dict(attributes(value)).get(_PROTOINFO_TCP, b"")):
                if state_kind == _TCP_STATE and state_value:
                    state = state_value[0]
    established = state == _TCP_ESTABLISHED if protocol == TCP else bool(status & _SEEN_REPLY)
    return Open(source, dialled, target, port, protocol, established, id)


def towards(targets: Collection[int]) -> list[Open]:
    """All TCP and UDP flows that this host's kernel knows to these addresses. Blocking. Raises CommandFailed."""
    with Netlink(NETFILTER) as kernel:
        entries = kernel.dump("list flows", _GET, _FAMILY)
        return [flow for entry in entries if (flow := parse_open(entry, targets)) is not None]


def parse(entry: bytes) -> Flow | None:
    """One entry of the dump; None for what has no IPv4 answer side."""
    found = dict(attributes(entry[len(_FAMILY) :]))
    reply = dict(attributes(found.get(_REPLY, b"")))
    source = dict(attributes(reply.get(_TUPLE_IP, b""))).get(_V4_SRC, b"")
    protocol = dict(attributes(reply.get(_TUPLE_PROTO, b""))).get(_PROTO_NUM, b"")
    if len(source) != 4 or len(protocol) != 1 or _ORIG not in found:
        return None
    key = attribute(_ORIG | 0x8000, found[_ORIG])
    if _ID in found:  # so that a newer flow between the same ends is never meant
        key += attribute(_ID, found[_ID])
    return Flow(IPv4Address(source), protocol[0], key)


def cut(targets: Set[IPv4Address], *, protocol: int | None = None) -> int:
    """Forget all flows to these addresses (of one protocol); how many. Blocking. Raises CommandFailed."""
    with Netlink(NETFILTER) as kernel:
        entries = kernel.dump(
            "list flows", _GET, _FAMILY
        )  # a busy host has a hundred thousand: keep only what is meant
        found = (flow for entry in entries if (flow := parse(entry)))
        meant = [flow for flow in found if flow.target in targets and protocol in (None, flow.protocol)]
        for flow in meant:
            with contextlib.suppress(CommandFailed):  # it ended by itself meanwhile
                kernel.do("cut a flow", [request(_DELETE, _FAMILY + flow.key)])
    return len(meant)
