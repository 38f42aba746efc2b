"""Who may meet whom: containers of one app each other, those of others only where the called service lets them. Pure.

Of this host's own containers it is known for certain whose they are; of those elsewhere by what their hosts say. A pair is refused
by either of its two hosts, as soon as that host knows both ends and they may not meet: what only one of them knows yet (a container
that has just begun, an address that stands in for a service there) is left to the other. docs/decisions/0038 says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

import msgspec

from skerry.core.effects import Members
from skerry.net.addresses import network_of

REFUSED = "refused"  # the chain that answers at once: a client fails now, not at its time-out


def may_reach(caller: str, callee: Members) -> bool:
    """`caller`: "app.service"."""
    app = caller.partition(".")[0]
    return app == callee.app or app in callee.callers or caller in callee.callers


class Apart(msgspec.Struct, frozen=True):
    """`members`: all services, as in the effect Route. `own`: address of this host -> "app.service", of containers and of what stands
    in for a service at zero. `hosts`: addresses of other hosts, as their enrolments say; `gateways`: theirs on the containers' side.
    """

    members: tuple[Members, ...] = ()
    own: Mapping[str, str] = {}
    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


class Sides(msgspec.Struct, frozen=True):
    """`of`: by name; `known`: address -> names of the services whose containers' it is (one, if nobody lies)."""

    of: dict[str, Members]
    known: dict[str, set[str]]

    def reach(self, caller: str) -> list[str]:
        """Addresses that this service's containers may call."""
        return _in_order(
            a for a, names in self.known.items() if any(may_reach(caller, self.of[name]) for name in names)
        )

    def callers(self, callee: str) -> list[str]:
        """Addresses from which this service may be called."""
        to = self.of[callee]
        return _in_order(a for a, names in self.known.items() if any(may_reach(name, to) for name in names))


def sides(apart: Apart, subnet: str) -> Sides:
    """Of addresses in our own subnet only our own word counts."""
    own = network_of(subnet)
    of = {members.name: members for members in apart.members}
    known: dict[str, set[str]] = {}
    for members in apart.members:
        for address in members.addresses:
            if _is_address(address) and IPv4Address(address) not in own:
                known.setdefault(address, set()).add(members.name)
    for address, name in apart.own.items():
        app, _, service = name.partition(".")
        of.setdefault(name, Members(app, service))
        known[address] = {name}
    return Sides(of, known)


def chains(apart: Apart, subnet: str) -> list[str]:
    """The chain `between`, for packets from one address of the containers to another, and what it leads to.

    By the addresses with which the flow began, for its answers too: so a flow ends with the permission it was begun under.
    """
    known = sides(apart, subnet)
    services = sorted(set(apart.own.values()))
    lines = [f"\tchain {REFUSED} {{", "\t\tmeta l4proto tcp reject with tcp reset"]
    lines += ["\t\treject with icmp type admin-prohibited", "\t}"]
    if known.known:
        elements = f"\t\telements = {{ {', '.join(_in_order(known.known))} }}"
        lines += ["\tset containers {", "\t\ttype ipv4_addr", elements, "\t}"]
    for name in services:
        for chain, other, those in (("from", "daddr", known.reach(name)), ("to", "saddr", known.callers(name))):
            lines += [f"\tchain {chain}-{name} {{", f"\t\tct original ip {other} {{ {', '.join(those)} }} return"]
            lines += [f"\t\tct original ip {other} @containers goto {REFUSED}", "\t}"]
    lines += ["\tchain between {", "\t\tct state invalid,untracked drop"]
    for side, chain in (("saddr", "from"), ("daddr", "to")) if apart.own else ():
        pairs = ", ".join(f"{a} : goto {chain}-{apart.own[a]}" for a in _in_order(apart.own))
        lines.append(f"\t\tct original ip {side} vmap {{ {pairs} }}")
    return [*lines, "\t}"]


def towards_hosts(apart: Apart, closed: tuple[int, ...], published: Sequence[tuple[int, str]]) -> list[str]:
    """The chain `hosts`: what containers may call of other hosts' own addresses. Published ports, as from anywhere outside."""
    lines = ["\tchain hosts {"]
    agents = [a for a in _in_order(apart.own) if any(m.agents and m.name == apart.own[a] for m in apart.members)]
    if agents:
        lines.append(f"\t\tip saddr {{ {', '.join(agents)} }} tcp dport {closed[0]} accept")
    for protocol in ("tcp", "udp"):
        ports = sorted({port for port, of in published if of == protocol and port not in closed and 0 < port < 65536})
        if ports:
            lines.append(f"\t\t{protocol} dport {{ {', '.join(map(str, ports))} }} accept")
    return [*lines, f"\t\tgoto {REFUSED}", "\t}"]


class Askers:
    """Whose question is it: what the name server may tell whom."""

    def __init__(self, apart: Apart, subnet: str, cloud_net: str) -> None:
        known = sides(apart, subnet)
        self._known, self._of = known.known, known.of
        self._cloud = network_of(cloud_net)
        self._gateways = {*apart.gateways, str(network_of(subnet)[1])}
        self._named: dict[str, list[Members]] = {}
        for members in apart.members:
            for name in members.names:
                self._named.setdefault(name.lower(), []).append(members)

    def who(self, source: str) -> set[str] | None:
        """The services that ask from this address; None: a host itself, which may know all names. Raises KeyError: nobody we know."""
        if source in self._gateways or not _is_address(source) or IPv4Address(source) not in self._cloud:
            return None
        return self._known[source]

    def sees(self, who: set[str], name: str) -> bool:
        """Whether they may know this name. Names of one replica go with their service's."""
        owners = self._named.get(name) or self._named.get(name.partition(".")[2], [])
        return any(may_reach(caller, members) for members in owners for caller in who)

    def may_call(self, who: set[str], address: str) -> bool:
        """Whether an address of a name that they see is one that they may reach: an alias may be several services'."""
        of = [self._of[name] for name in self._known.get(address, ())]
        return not of or any(may_reach(caller, members) for members in of for caller in who)


def _in_order(addresses: object) -> list[str]:
    return sorted(addresses, key=IPv4Address)  # type: ignore[call-overload,no-any-return]


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
