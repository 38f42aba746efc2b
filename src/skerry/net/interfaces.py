"""The few messages that make a container's interface: link, address, neighbour, route. Pure; `netlink` carries them.

Source: Linux, man 7 rtnetlink; include/uapi/linux/{if_link,if_addr,neighbour,rtnetlink,veth}.h.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

from skerry.net.netlink import CREATE, EXCLUSIVE, REPLACE, attribute, request

_NEW_LINK, _DELETE_LINK, _NEW_ADDRESS, _NEW_ROUTE, _NEW_NEIGHBOUR = 16, 17, 20, 24, 28
_UP = 1
_HARDWARE, _NAME, _MTU, _INFO, _NAMESPACE_OF = 1, 3, 4, 18, 19  # IFLA_*
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_PERMANENT = 0x80
_MAIN_TABLE, _UNICAST, _EVERYWHERE, _ON_LINK = 254, 1, 0, 253
OUR_ROUTES = 77  # marks our routes in the kernel's table (a number free for any program's use)
LOOPBACK = 1  # its index in every namespace


def up(index: int) -> bytes:
    return request(_NEW_LINK, _link(index, _UP))


def veth_pair(index: int, name: str, mac: str, peer: str, peer_mac: str, *, peer_process: int, mtu: int) -> bytes:
    """A pair: `name` here and up, with this index; `peer` in the network namespace of the process `peer_process`."""
    other = _link(0, 0) + _named(peer, peer_mac, mtu) + attribute(_NAMESPACE_OF, struct.pack("=I", peer_process))
    info = attribute(_INFO_KIND, b"veth") + attribute(_INFO_DATA, attribute(_VETH_PEER, other))
    return request(_NEW_LINK, _link(index, _UP) + _named(name, mac, mtu) + attribute(_INFO, info), CREATE | EXCLUSIVE)


def delete_link(index: int) -> bytes:
    return request(_DELETE_LINK, _link(index, 0))


def address(index: int, ip: str) -> bytes:
    """A /32."""
    raw = IPv4Address(ip).packed
    head = struct.pack("=BBBBI", socket.AF_INET, 32, 0, _EVERYWHERE, index)
    return request(_NEW_ADDRESS, head + attribute(2, raw) + attribute(1, raw), CREATE | REPLACE)


def neighbour(index: int, ip: str, mac: str) -> bytes:
    """Written down for good: never asked for by ARP."""
    head = struct.pack("=BxxxiHBB", socket.AF_INET, index, _PERMANENT, 0, 0)
    return request(
        _NEW_NEIGHBOUR, head + attribute(1, IPv4Address(ip).packed) + attribute(2, _mac(mac)), CREATE | REPLACE
    )


def route(index: int, *, to: str = "", via: str = "", source: str) -> bytes:
    """To one address, or to everywhere; through a neighbour, or straight."""
    scope = _EVERYWHERE if via else _ON_LINK
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 32 if to else 0, 0, 0, _MAIN_TABLE, OUR_ROUTES, scope, _UNICAST, 0)
    body = attribute(4, struct.pack("=I", index)) + attribute(7, IPv4Address(source).packed)
    body += attribute(1, IPv4Address(to).packed) if to else b""
    body += attribute(5, IPv4Address(via).packed) if via else b""
    return request(_NEW_ROUTE, head + body, CREATE | REPLACE)


def _link(index: int, flags: int) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _named(name: str, mac: str, mtu: int) -> bytes:
    return (
        attribute(_NAME, name.encode() + b"\0")
        + attribute(_MTU, struct.pack("=I", mtu))
        + attribute(_HARDWARE, _mac(mac))
    )


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
