"""How a container whose time is over is ended: by its cgroup, by its wire, and by rules of the kernel that need nobody.

The rules come first in time: each guarded address stands in a set whose elements go by themselves. Whose element is gone
is spoken with no more, in neither direction, though agent, guard and systemd all stand still. The kernel's own time here
is of jiffies, which stop while the machine is suspended; the guard's, which kills, does not.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterable, Mapping

from skerry.guarding.words import Kept
from skerry.net import interfaces
from skerry.net.commands import CommandFailed
from skerry.net.netlink import ROUTE, Netlink
from skerry.runtime.cgroups import Cgroups

TABLE = "skerry_leases"
SOONER_MS = 50  # between our look at the clock and the kernel's

log = logging.getLogger(__name__)


def render(guarded: Iterable[str], alive: Mapping[str, float], table: str = TABLE) -> str:
    """The whole table as one transaction. `guarded`: all addresses; `alive`: those that may speak, and for how many seconds yet.

    Priorities: before connection tracking on the way in, so that flows that exist are cut as well; after the translation of
    addresses on the other two ways, as a published port is only then a container's.
    """
    addresses = sorted(guarded)
    times = {address: int(left_s * 1000) - SOONER_MS for address, left_s in alive.items()}
    living = [f"{address} timeout {ms}ms" for address, ms in sorted(times.items()) if ms > 0 and address in addresses]
    return "\n".join(
        [
            f"table ip {table}",
            f"delete table ip {table}",
            f"table ip {table} {{",
            f"\tset guarded {{ type ipv4_addr; {_elements(addresses)}}}",
            f"\tset alive {{ type ipv4_addr; flags timeout; {_elements(living)}}}",
            "\tchain from {",
            "\t\ttype filter hook prerouting priority -310; policy accept;",
            "\t\tip saddr @guarded ip saddr != @alive drop",
            "\t}",
            "\tchain to {",
            "\t\ttype filter hook forward priority -10; policy accept;",
            "\t\tip daddr @guarded ip daddr != @alive drop",
            "\t}",
            "\tchain own {",
            "\t\ttype filter hook output priority 10; policy accept;",
            "\t\tip daddr @guarded ip daddr != @alive drop",
            "\t}",
            "}",
            "",
        ]
    )


def removed(table: str = TABLE) -> str:
    """The transaction that takes it away, whether it is there or not."""
    return f"table ip {table}\ndelete table ip {table}\n"


def runs(kept: Kept, cgroups: Cgroups) -> bool:
    return bool(cgroups.pids(kept.cgroup))


def end(kept: Kept, cgroups: Cgroups) -> bool:
    """Kill and cut off, once; whether nothing of it runs any more. Safe to repeat."""
    cgroups.kill(kept.cgroup)
    try:
        cut_wire(kept.interface)
    except CommandFailed as failed:
        log.warning("the wire of %s was not cut: %s", kept.id, failed)
        return False
    return not runs(kept, cgroups)


def cut_wire(interface: str) -> None:
    """Raises CommandFailed; gone already counts as done."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return
    with Netlink(ROUTE) as kernel:
        try:
            kernel.do("cut a wire", [interfaces.delete_link(index)])
        except CommandFailed:
            with contextlib.suppress(OSError):
                socket.if_nametoindex(interface)
                raise


def _elements(texts: list[str]) -> str:
    return f"elements = {{ {', '.join(texts)} }}; " if texts else ""
