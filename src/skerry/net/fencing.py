"""Addresses that are spoken with no more: of an exclusive slot's containers that another lease has overtaken. Text alone; pure.

A table of its own beside that of `ports`: it changes when a lease does, and is not there while nothing is refused. The guard
has one more for this host's own containers (guarding/cutting.py); this one is for those of others, above all of a machine
that stood still and doesn't know yet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from skerry.net.addresses import network_of
from skerry.net.ports import Ground

TABLE = "skerry_fence"


def possible(addresses: Iterable[str], ground: Ground) -> set[str]:
    """They come from facts of other hosts: what isn't a container's address in this cloud is passed over, and so is our gateway."""
    found = set()
    for text in addresses:
        with contextlib.suppress(ValueError):
            address = IPv4Address(text)
            if address in network_of(ground.cloud_net) and text != ground.gateway:
                found.add(str(address))
    return found


def render(refused: Collection[str], table: str = TABLE) -> str:
    """One transaction: the whole table, or its end.

    Before connection tracking on the way in, so that flows that exist are cut as well; after the translation of addresses on
    the way through and out, for those who knock at a published port.
    """
    made = [f"table ip {table}", f"delete table ip {table}"]
    if refused:
        made += [
            f"table ip {table} {{",
            f"\tset refused {{ type ipv4_addr; elements = {{ {', '.join(sorted(refused))} }}; }}",
            "\tchain from {",
            "\t\ttype filter hook prerouting priority -310; policy accept;",
            "\t\tip saddr @refused drop",
            "\t\tip daddr @refused drop",
            "\t}",
            "\tchain to {",
            "\t\ttype filter hook forward priority -10; policy accept;",
            "\t\tip daddr @refused drop",
            "\t}",
            "\tchain own {",
            "\t\ttype filter hook output priority 10; policy accept;",
            "\t\tip daddr @refused drop",
            "\t}",
            "}",
        ]
    return "\n".join([*made, ""])
