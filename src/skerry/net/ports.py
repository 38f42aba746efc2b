"""The one nftables table of ours, as text: published ports, source addresses, and what containers may not do. Pure.

Every change replaces the whole table in one transaction: there is never a moment without it, and never half of it. (A
moment without it kills flows: their packets would pass untranslated.) Only the first packet of a flow meets the nat
rules, so flows that exist live through a replace that takes their target away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from ipaddress import IPv4Address

import msgspec

from skerry.core.effects import Target
from skerry.core.intent import Port
from skerry.net.addresses import network_of
from skerry.net.apart import REFUSED, Apart, chains, towards_hosts

Routes = Sequence[tuple[Port, Sequence[Target]]]
LINK_LOCAL = "169.254.0.0/16"  # where providers' metadata services are
HOLDER_PORT = 7079  # of the gateway address: whoever knocks at a service at zero is held there


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules of one host are made of besides the ports. `closed`: own ports that containers may not reach."""

    subnet: str
    cloud_net: str
    gateway: str
    tunnel: str
    veth_prefix: str
    closed: tuple[int, ...] = (7077, 7078)
    table: str = "skerry"
    holder: int = HOLDER_PORT
    ipv6: bool = (
        False  # the host has IPv6 (and rules for it): containers have none of it, whatever the host is set to later
    )


class Asleep(msgspec.Struct, frozen=True):
    """What leads to where connections are held, on the gateway address.

    `published`: TCP ports with nobody healthy behind them. `addresses`: of our subnet, each standing in for a service by its
    name, whether it sleeps now or not: a client may remember it.
    """

    published: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()


def render(routes: Routes, ground: Ground, asleep: Asleep = Asleep(), apart: Apart = Apart()) -> str:  # noqa: B008 - frozen
    """The whole table, as one transaction for `nft -f`: made if missing, deleted, filled."""
    g, veths, tunnel = ground, f'"{ground.veth_prefix}*"', f'"{ground.tunnel}"'
    closed = ", ".join(str(p) for p in g.closed)
    published = [(port.published, port.protocol) for port, _ in routes]
    stand_ins, holder = [a for a in asleep.addresses if _is_in(a, g.subnet)], f"{g.gateway}:{g.holder}"
    gateways, hosts = [", ".join(apart.gateways)] * bool(apart.gateways), [", ".join(apart.hosts)] * bool(apart.hosts)
    lines = [
        f"table ip {g.table}",
        f"delete table ip {g.table}",
        f"table ip {g.table} {{",
        "\tchain ports {",
        *(f"\t\t{rule}" for rule in port_rules(routes, g, asleep)),
        "\t}",
        *chains(apart, g.subnet),
        *towards_hosts(apart, g.closed, published),
        # Before connection tracking: sources that can't be where they come from, and the host's loopback,
        # which route_localnet would open to a container that forges packets.
        "\tchain sources {",
        "\t\ttype filter hook prerouting priority -300; policy accept;",
        f"\t\tiifname {veths} fib saddr . iif oif 0 drop",
        f"\t\tiifname {veths} ip daddr 127.0.0.0/8 drop",
        f"\t\tiifname {tunnel} ip saddr != {g.cloud_net} drop",
        f"\t\tiifname {tunnel} ip saddr {g.subnet} drop",
        f"\t\tiifname {tunnel} ip daddr 127.0.0.0/8 drop",
        "\t}",
        "\tchain pre {",
        "\t\ttype nat hook prerouting priority -100; policy accept;",
        "\t\tfib daddr type local jump ports",
        *(f"\t\tip protocol tcp ip daddr {{ {', '.join(stand_ins)} }} dnat to {holder}" for _ in stand_ins[:1]),
        "\t}",
        "\tchain out {",
        "\t\ttype nat hook output priority -100; policy accept;",
        "\t\tfib daddr type local jump ports",
        "\t}",
        # A client of a remote replica appears there as this host's gateway address: the answer then comes back
        # through the tunnel. Not masquerade: the tunnel has no address of its own, and the peer drops any other than
        # the subnet's.
        "\tchain post {",
        "\t\ttype nat hook postrouting priority 100; policy accept;",
        f"\t\toifname {tunnel} ip saddr != {g.cloud_net} snat to {g.gateway}",
        # So does a container that calls a published port: there it counts as anybody from outside, not by its app.
        f"\t\toifname {tunnel} ct status dnat snat to {g.gateway}",
        f"\t\toifname {veths} ip saddr 127.0.0.0/8 snat to {g.gateway}",
        # A container that meets itself through a published port would drop packets from its own address.
        f"\t\tct status dnat ip saddr {g.subnet} ip daddr {g.subnet} snat to {g.gateway}",
        f"\t\tip saddr {g.subnet} oifname != {tunnel} oifname != {veths} masquerade",
        "\t}",
        # The gateway address serves names, and holds who knocks at a service that sleeps; nothing else of the host is open to
        # containers, and to what comes through the tunnel.
        "\tchain input {",
        "\t\ttype filter hook input priority 0; policy accept;",
        f"\t\tiifname {veths} ip daddr {g.gateway} tcp dport {g.holder} jump between",
        f"\t\tiifname {tunnel} ip daddr {g.gateway} tcp dport {g.holder} jump between",
        "\t\tct state established,related accept",
        f"\t\tiifname {veths} jump inside",
        f"\t\tiifname {tunnel} jump inside",
        "\t}",
        "\tchain inside {",
        f"\t\tip daddr {g.gateway} udp dport 53 accept",
        f"\t\tip daddr {g.gateway} tcp dport 53 accept",
        f"\t\tip daddr {g.gateway} tcp dport {g.holder} ct status dnat accept",
        f"\t\tiifname {veths} ip daddr {g.gateway} icmp type echo-request accept",
        *(f"\t\tip saddr {{ {some} }} ip daddr {g.gateway} icmp type echo-request accept" for some in gateways),
        f"\t\ttcp dport {{ {closed} }} reject with tcp reset",  # at once: the API may be a container, and asks the other hosts
        f"\t\tip daddr {g.gateway} drop",
        f"\t\tiifname {veths} goto {REFUSED}",  # a metadata service that a host itself gives or passes on among it
        "\t\tdrop",
        "\t}",
        # From outside only what a published port let in. The provider's metadata service may hold the machine's
        # secrets.
        "\tchain forward {",
        "\t\ttype filter hook forward priority 0; policy accept;",
        # A port of the host that another program leads on (Docker's, say) is the host's own, not a published one.
        f"\t\tiifname {veths} oifname != {tunnel} oifname != {veths} ct direction original ct status dnat goto {REFUSED}",
        f"\t\toifname {veths} ct status dnat accept",
        f"\t\toifname {tunnel} ct status dnat accept",
        f"\t\tip saddr {g.cloud_net} ip daddr {g.cloud_net} jump between",
        "\t\tct state established,related accept",
        f"\t\tiifname {veths} ip daddr {LINK_LOCAL} reject",
        *(f"\t\tiifname {veths} ip daddr {{ {some} }} goto hosts" for some in hosts),
        f"\t\tiifname {veths} accept",
        f"\t\tiifname {tunnel} oifname {veths} accept",
        f"\t\toifname {veths} drop",
        f"\t\toifname {tunnel} drop",
        f"\t\tiifname {tunnel} drop",
        "\t}",
        "}",
        "",
    ]
    return "\n".join([*lines[:-1], *_no_ipv6(g), ""])


def _no_ipv6(ground: Ground) -> list[str]:
    """A table of its own family; in the same transaction."""
    veths, table = f'"{ground.veth_prefix}*"', f"table ip6 {ground.table}"
    if not ground.ipv6:
        return []
    return [
        table,
        f"delete {table}",
        f"{table} {{",
        "\tchain input {",
        "\t\ttype filter hook input priority 0; policy accept;",
        f"\t\tiifname {veths} drop",
        "\t}",
        "\tchain forward {",
        "\t\ttype filter hook forward priority 0; policy accept;",
        f"\t\tiifname {veths} drop",
        f"\t\toifname {veths} drop",
        "\t}",
        "}",
    ]


def port_rules(routes: Routes, ground: Ground, asleep: Asleep = Asleep()) -> list[str]:  # noqa: B008 - frozen
    """One rule for each published port that has a healthy replica, or is asleep.

    The others are left to the host, which refuses at once. Of two apps with one port, the first given has it.
    """
    rules = []
    held = set(asleep.published)
    for port, targets in sorted(routes, key=lambda route: (route[0].published, route[0].protocol)):
        possible = 0 < port.published < 65536 and 0 < port.target < 65536  # one that isn't must not block the others
        if possible and (addresses := chosen(targets, ground)):
            rules.append(f"{port.protocol} dport {port.published} dnat to {_spread(addresses)}:{port.target}")
            held -= {port.published} if port.protocol == "tcp" else set()
    if held := {port for port in held if 0 < port < 65536}:
        ports = ", ".join(map(str, sorted(held)))
        rules.append(f"tcp dport {{ {ports} }} dnat to {ground.gateway}:{ground.holder}")
    return rules


def chosen(targets: Sequence[Target], ground: Ground) -> list[str]:
    """Own replicas if there are any, else all: a way through the tunnel costs time and the client's address.

    Addresses come from facts of other hosts: what isn't an address of the containers' networks is passed over.
    """
    own, cloud = network_of(ground.subnet), network_of(ground.cloud_net)
    found = []
    for text in {target.address for target in targets}:
        with contextlib.suppress(ValueError):
            if (address := IPv4Address(text)) in cloud:
                found.append(address)
    found.sort()
    return [str(address) for address in found if address in own] or [str(address) for address in found]


def _is_in(address: str, subnet: str) -> bool:
    try:
        return IPv4Address(address) in network_of(subnet)
    except ValueError:
        return False


def _spread(addresses: list[str]) -> str:
    if len(addresses) == 1:
        return addresses[0]
    return f"numgen inc mod {len(addresses)} map {{ {', '.join(f'{i} : {a}' for i, a in enumerate(addresses))} }}"


def purged(ground: Ground) -> str:
    """The transaction that takes the table away, whether it is there or not."""
    families = ("ip", "ip6") if ground.ipv6 else ("ip",)
    return "".join(f"table {family} {ground.table}\ndelete table {family} {ground.table}\n" for family in families)
