"""The lab's network: a bridge in a namespace of its own, one wire to each host, one to this machine; and its faults.

A namespace of its own, because what crosses a bridge of the machine's own also crosses the machine's firewall, and a
machine with Docker drops it there. This machine has one interface of the lab, `sklab<n>`, with the address .254.
The namespace is held by a mount at `<directory>/wires`, not by `ip netns`, whose own mount would stay for ever.
"""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path

from skerry.lab.errors import LabBadInput, LabFailed, LabNeedsKernel
from skerry.lab.programs import run
from skerry.lab.state import Host, State

NETWORKS = 2560
MARK = "skerry-lab:"  # the alias of our interface: whose it is, should everything else be lost


def free_networks(name: str) -> list[int]:
    """Numbers of networks that nothing on this machine has an address in or a route to, best first."""
    taken = []
    for route in json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"])):
        if route["dst"] != "default":
            taken.append(ipaddress.ip_network(route["dst"], strict=False))
    free = []
    for number in range(NETWORKS):
        subnet = ipaddress.ip_network(State(name=name, base="", network=number, hosts=[]).subnet + ".0/24")
        if not any(subnet.overlaps(other) for other in taken):
            free.append(number)
    return free


def lay(directory: Path, name: str, base: str) -> State:
    """Make the namespace, the bridge and our own wire. Returns the state of a lab without hosts.

    Making the interface is what takes a network's number: of two labs at once one gets the next.
    """
    wires = directory / "wires"
    wires.touch()
    run(["unshare", f"--net={wires}", "true"], what="no network namespace for the lab")
    _ip(wires, "link set lo up\nlink add name bridge0 type bridge\nlink set dev bridge0 up\n")
    own = Path("/proc/self").resolve().name
    for number in free_networks(name)[:50]:
        state = State(name=name, base=base, network=number, hosts=[])
        try:
            _ip(wires, f"link add name machine0 type veth peer name {state.interface} netns {own}\n")
        except LabFailed as refused:
            if "exists" in refused.why:
                continue
            raise
        _ip(wires, "link set dev machine0 master bridge0\nlink set dev machine0 up\n")
        run(
            ["ip", "-batch", "-"],
            input=f"link set {state.interface} alias {MARK}{name}\n"
            f"addr add {state.subnet}.254/24 dev {state.interface}\nlink set {state.interface} up\n",
        )
        return state
    raise LabFailed("no network is free for the lab", "every 10.90.0.0/16 to 10.99.0.0/16 is in use", "skerry lab down")


def unplug(directory: Path, host: Host) -> None:
    """Take the wire away: both of its ends are gone, and nobody is told. Not there counts as done."""
    _ip(directory / "wires", f"link del {host.link}\n", force=True)


def set_link(directory: Path, host: Host, *, up: bool) -> None:
    _ip(directory / "wires", f"link set {host.link} {'up' if up else 'down'}\n")


def apply_rules(directory: Path, state: State) -> None:
    """Put partition and loss of all hosts in force, in one atomic replacement."""
    run(
        ["nsenter", f"--net={directory / 'wires'}", "nft", "-f", "-"],
        input=rules(state),
        what="the lab's faults could not be set",
    )


def rules(state: State) -> str:
    """The bridge's rules, from the state alone. One transaction: the table is made, emptied and filled anew."""
    lines = ["table bridge lab", "delete table bridge lab", "table bridge lab {", " chain faults {"]
    lines.append("  type filter hook forward priority 0; policy accept;")
    for host in state.hosts:
        others = [
            other.link for other in state.hosts if None not in (other.group, host.group) and other.group != host.group
        ]
        if others:
            names = ", ".join(f'"{name}"' for name in others)
            lines.append(f'  iifname "{host.link}" oifname {{ {names} }} drop')
        if host.loss:
            share = round(host.loss * 10000)
            lines += [f'  {way} "{host.link}" numgen random mod 10000 < {share} drop' for way in ("iifname", "oifname")]
    return "\n".join([*lines, " }", "}", ""])


def set_speed(directory: Path, host: Host, *, rate: str | None, delay: str | None) -> None:
    """Shape both ends of the host's wire. Raises LabNeedsKernel for a delay where there is no netem."""
    ends = [
        (["nsenter", f"--net={directory / 'wires'}"], host.link),
        (["nsenter", f"--net=/proc/{host.pid}/ns/net"], "eth0"),
    ]
    for prefix, device in ends:
        if delay:
            arguments = ["netem", "delay", delay, *(["rate", rate] if rate else [])]
        elif rate:
            arguments = ["tbf", "rate", rate, "burst", str(max(32768, _bits(rate) // 8 // 250)), "latency", "50ms"]
        else:
            _quiet([*prefix, "tc", "qdisc", "del", "dev", device, "root"])
            continue
        try:
            run([*prefix, "tc", "qdisc", "replace", "dev", device, "root", *arguments])
        except LabFailed as refused:
            if not delay:
                raise
            raise LabNeedsKernel(
                "this lab can't delay packets",
                f"the kernel has no netem: {refused.why}",
                "leave --delay out; --rate and --loss work here",
            ) from None


def check_rate(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,6}(\.\d{1,3})?[kmg]bit", text):
        raise LabBadInput(f"{text!r} is not a rate", "a rate is a number and kbit, mbit or gbit", "--rate 10mbit")
    return text


def check_loss(text: str) -> float:
    """A share, 0.0 to 1.0, from a percentage."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,2})?%", text) or not 0 <= float(text[:-1]) <= 100:
        raise LabBadInput(f"{text!r} is not a loss", "a loss is a percentage from 0% to 100%", "--loss 1%")
    return float(text[:-1]) / 100


def check_delay(text: str) -> str:
    if not re.fullmatch(r"\d{1,5}(\.\d{1,3})?ms", text):
        raise LabBadInput(f"{text!r} is not a delay", "a delay is a number of milliseconds", "--delay 20ms")
    return text


def _bits(rate: str) -> int:
    return int(float(rate[:-4]) * {"k": 10**3, "m": 10**6, "g": 10**9}[rate[-4]])


def _ip(wires: Path, batch: str, *, force: bool = False) -> None:
    argv = ["nsenter", f"--net={wires}", "ip", *(["-force"] if force else []), "-batch", "-"]
    if force:
        _quiet(argv, batch)
    else:
        run(argv, input=batch, what="the lab's network could not be changed")


def _quiet(argv: list[str], batch: str = "") -> None:
    try:
        run(argv, input=batch)
    except LabFailed:
        return  # what should go is not there
