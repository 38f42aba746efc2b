"""The room's door: what the agent asks of the network of its host. Joins tunnel, veths, ports and names; decides nothing.

What runs in the kernel (tunnel, veths, rules) outlives the agent; only the name server lives and dies with it. A container
therefore knows the name servers of two other hosts as well (see `resolv_conf`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from skerry.core.effects import Target
from skerry.core.intent import Port
from skerry.net.commands import Binaries
from skerry.net.tunnel import TunnelPeer
from skerry.net.veth import Attachment


class Network:
    """The network of one host.

    `subnet`: the containers' IPv4 network on this host, `cloud_net`: the one that all of those lie in. The gateway is the
    first address of `subnet`. `wireguard_private_key`: 64 hex digits, as keys stand in enrolments, or WireGuard's base64.
    `directory` keeps addresses and the last routes over restarts; `run_dir` holds the network namespaces and must outlive
    the agent (systemd's `RuntimeDirectory` takes it away unless `RuntimeDirectoryPreserve=yes`).
    """

    def __init__(
        self,
        directory: Path = Path("/var/lib/skerry/net"),
        run_dir: Path = Path("/run/skerry"),
        *,
        subnet: str,
        wireguard_private_key: str,
        cloud_net: str = "10.77.0.0/16",
        port: int = 7077,
        binaries: Binaries = Binaries(),  # noqa: B008 - frozen
        tunnel_name: str = "skerry0",
        veth_prefix: str = "skv",
        mtu: int = 1420,
    ) -> None:
        """Raises BadInput for a subnet, a key or a name that can't be."""
        raise NotImplementedError

    @property
    def gateway(self) -> str:
        """The host's address on the containers' side: their router and name server."""
        raise NotImplementedError

    async def start(self) -> list[str]:
        """Tunnel, gateway address, forwarding, rules, name server. May be called again; keeps all that runs.

        Gives what it changed outside of its own things (a line each, for events and `host add`): forwarding switched on, rules
        let into a foreign firewall. Raises CommandFailed (passing), TunnelImpossible, NamesTaken (final).
        """
        raise NotImplementedError

    async def set_peers(self, peers: Iterable[TunnelPeer]) -> None:
        """The whole wanted set. Keys, endpoints, allowed addresses and routes; who is not in it is cut off. No change: no cost."""
        raise NotImplementedError

    async def attach(self, container_id: str) -> Attachment:
        """A network namespace with an address of its own, ready before the container is made. Repeated: the same one.

        Raises NoAddressLeft, CommandFailed (both passing), BadInput for an id that is no plain name.
        """
        raise NotImplementedError

    async def detach(self, container_id: str) -> None:
        """Take it away and let go of the address, which is used again only after all others. Already gone counts as done."""
        raise NotImplementedError

    def adopt(self, container_id: str, address: str) -> None:
        """After a restart of the agent: this container lives and has this address."""
        raise NotImplementedError

    async def route(self, ports: Sequence[tuple[Port, Sequence[Target]]], names: Mapping[str, Sequence[str]]) -> None:
        """The whole wanted state of published ports and names (as in the effect Route), in one atomic step."""
        raise NotImplementedError

    async def forget(self, addresses: Iterable[str]) -> None:
        """Cut established flows to these container addresses (their host was found dead), so that clients fail now and not at
        their time-out. Does nothing where the tool `conntrack` is missing."""
        raise NotImplementedError

    def resolv_conf(self, app: str) -> bytes:
        """A container's /etc/resolv.conf: own gateway, then the gateways of two peers, for while this agent is not there."""
        raise NotImplementedError

    def hosts(self, address: str, hostname: str) -> bytes:
        """A container's /etc/hosts."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop answering names; let everything else run."""
        raise NotImplementedError

    async def purge(self) -> None:
        """Take all of ours away: rules, tunnel, veths, namespaces, routes, address, and what `start` changed."""
        raise NotImplementedError
