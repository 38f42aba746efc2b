"""The messages that make a container's interface, as bytes, and what the kernel makes of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from skerry.net import interfaces
from skerry.net.netlink import attributes

SCRIPT = """
import os, subprocess
from skerry.net import interfaces as i
from skerry.net.netlink import ROUTE, Netlink
with Netlink(ROUTE) as kernel:
    kernel.do("make", [
        i.up(i.LOOPBACK),
        i.veth_pair(7, "skna", "02:73:0a:4d:03:02", "sknb", "02:73:6b:00:00:01", peer_process=os.getpid(), mtu=1420),
        i.address(7, "10.77.3.2"), i.neighbour(7, "10.77.3.1", "02:73:6b:00:00:01"),
        i.route(7, to="10.77.3.1", source="10.77.3.2"), i.route(7, via="10.77.3.1", source="10.77.3.2"),
    ])
print(subprocess.run(["ip", "-j", *{what!r}], capture_output=True, text=True).stdout)
"""


def show(*what: str) -> list[dict]:
    script = SCRIPT.replace("{what!r}", repr(list(what)))
    run = ["unshare", "-n", sys.executable, "-c", script]
    return json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


def test_a_message_says_its_length_and_wants_an_answer() -> None:
    message = interfaces.route(7, to="10.77.3.1", source="10.77.3.2")
    assert int.from_bytes(message[:4], sys.byteorder) == len(message)
    assert message[6] & 0b101 == 0b101  # a request, to be confirmed
    assert dict(attributes(message[16 + 12 :]))[1] == bytes([10, 77, 3, 1])


@pytest.mark.real
def test_the_kernel_makes_of_them_what_ip_would() -> None:
    link, other = (next(x for x in show("link") if x["ifname"] == name) for name in ("skna", "sknb"))
    assert (link["ifindex"], link["mtu"], link["address"]) == (7, 1420, "02:73:0a:4d:03:02")
    assert (other["mtu"], other["address"]) == (1420, "02:73:6b:00:00:01")
    (address,) = (x["addr_info"][0] for x in show("addr") if x["ifname"] == "skna")
    assert (address["local"], address["prefixlen"]) == ("10.77.3.2", 32)
    (neighbour,) = show("neigh", "show", "nud", "permanent")
    assert (neighbour["dst"], neighbour["lladdr"]) == ("10.77.3.1", "02:73:6b:00:00:01")


@pytest.mark.real
def test_a_refused_message_is_told_with_what_it_was_for() -> None:
    script = (
        "from skerry.net import interfaces as i\nfrom skerry.net.netlink import ROUTE, Netlink\n"
        "from skerry.net.commands import CommandFailed\n"
        "try: Netlink(ROUTE).do('make x', [i.address(99, '10.77.3.2')])\nexcept CommandFailed as e: print(e)\n"
    )
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "netlink make x failed: No such device\n"
