"""Flows that the kernel still leads to a replica which is no target any more:

found and cut, by conntrack's netlink interface.

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
from collections.abc import Set
from ipaddress import IPv4Address
from typing import NamedTuple

from skerry.net.commands import CommandFailed
from skerry.net.netlink import NETFILTER, Netlink, attribute, attributes, request

UDP = socket.IPPROTO_UDP
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_ORIG, _REPLY, _ID = 1, 2, 12
_TUPLE_IP, _TUPLE_PROTO, _V4_SRC, _PROTO_NUM = 1, 2, 1, 1
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)


class Flow(NamedTuple):
    """`target`: who answers (after the translation). `key`: the attributes by which the kernel deletes it."""

    target: IPv4Address
    protocol: int
    key: bytes


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
