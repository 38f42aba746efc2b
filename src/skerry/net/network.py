"""The room's door: what the agent asks of the network of its host.

Joins tunnel, veths, rules and names; decides nothing.

What runs in the kernel (tunnel, veths, rules) outlives the agent; only the name server lives and dies with it. A
container therefore knows the name servers of two other hosts as well (see `resolv_conf`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from skerry.core.effects import Members, Target
from skerry.core.intent import Port
from skerry.errors import BadInput, SkerryError
from skerry.net import fencing, flows
from skerry.net import ports as rules
from skerry.net.addresses import Addresses, NoAddressLeft, network_of
from skerry.net.apart import Apart, Askers
from skerry.net.commands import Binaries, CommandFailed
from skerry.net.foreign import Foreign
from skerry.net.forwarding import Forwarding
from skerry.net.names import NameServer
from skerry.net.nft import Nft
from skerry.net.tunnel import Tunnel, TunnelPeer
from skerry.net.veth import IPV6, Attachment, Veths
from skerry.outside import UNREADABLE

LOOK_S = 5.0  # how often it is looked whether tunnel, address and rules are still there
LOOK_WIDER_S = 30.0  # the same for endpoints that don't answer
_STAND_IN = "="  # before a service's name among the holders of addresses: no container's id begins so

log = logging.getLogger(__name__)


class _Routes(msgspec.Struct, frozen=True):
    """What `route` was told last; kept on disk, so that a new agent knows names before the first decision."""

    ports: tuple[tuple[Port, tuple[Target, ...]], ...] = ()
    names: dict[str, tuple[str, ...]] = {}
    asleep: rules.Asleep = rules.Asleep()
    members: tuple[Members, ...] = ()
    hosts: tuple[str, ...] = ()  # addresses of other hosts, as `set_peers` had them


class Network:
    """The network of one host.

    `subnet`: the containers' IPv4 network on this host; `cloud_net`: the one that all of those lie in. The gateway is
    the first address of `subnet`. `wireguard_private_key`: 64 hex digits, as keys stand in enrolments, or base64.
    `directory` keeps addresses and the last routes over restarts. `run_dir` holds the network namespaces and must
    outlive the agent: systemd's `RuntimeDirectory` takes it away unless `RuntimeDirectoryPreserve=yes`.
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
        own, cloud = network_of(subnet), network_of(cloud_net)
        if not own.subnet_of(cloud):
            raise BadInput(f"{subnet} is not a subnet of {cloud_net}", "all containers' networks lie in the cloud's")
        if not re.fullmatch(r"[a-z]{1,5}", veth_prefix) or not re.fullmatch(r"[a-z][a-z0-9]{0,14}", tunnel_name):
            raise BadInput("interface names can't be", f"{tunnel_name!r}, {veth_prefix!r}")
        self._gateway = str(own[1])
        self._own = own
        self._directory = directory
        self._binaries = binaries
        self._ground = rules.Ground(
            subnet=str(own), cloud_net=str(cloud), gateway=self._gateway, tunnel=tunnel_name, veth_prefix=veth_prefix,
            closed=(port, port + 1),
        )  # fmt: skip
        self._tunnel = Tunnel(
            binaries, name=tunnel_name, private_key=wireguard_private_key, port=port, gateway=self._gateway, mtu=mtu
        )
        self._veth_prefix, self._tunnel_name = veth_prefix, tunnel_name
        self._veths = Veths(run_dir, prefix=veth_prefix, gateway=self._gateway, mtu=mtu)
        self._forwarding = Forwarding(
            binaries, gateway=self._gateway, subnet=str(own), cloud_net=str(cloud), note=directory / "forwarding"
        )
        self._nft = Nft(binaries.nft)
        self._foreign = Foreign(self._nft, self._ground, binaries)
        self._names = NameServer(self._gateway)
        self._addresses = Addresses.load(directory / "addresses.json", str(own))
        self._routes = self._saved_routes()
        self._looked_at = -1  # the generation of this host's rules when they were last found right
        self._fenced: frozenset[str] | None = None  # not known yet what an earlier agent has left
        self._applied = ""  # the text of the table that is in force, as far as this object knows
        self._lock = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def gateway(self) -> str:
        """The host's address on the containers' side: their router and name server."""
        return self._gateway

    async def start(self) -> list[str]:
        """Tunnel, gateway address, forwarding, rules, name server. May be called again; keeps all that runs.

        Gives what it changed outside of its own things, a line each: forwarding switched on, rules let into a foreign
        firewall. Raises CommandFailed (passing), TunnelImpossible, NamesTaken (final).
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._look_for_ipv6()
        changed = await self._forwarding.start()
        await self._tunnel.start()
        async with self._lock:
            # After a boot the own containers are gone and the saved rules would lead nowhere; names are right either
            # way.
            if not self._nft.has(f"table ip {self._ground.table}"):
                self._routes = msgspec.structs.replace(self._routes, ports=(), asleep=rules.Asleep())
            await self._apply()
        changed += await self._foreign.let_in()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="net keeper")
        if self._routes.names:
            self._names.set(self._routes.names, self._askers())
        await self._names.start()  # last: all else works even if another program has the port
        return changed

    async def set_peers(self, peers: Iterable[TunnelPeer]) -> None:
        """The whole wanted set: keys, endpoints, allowed addresses, routes. Who is not in it is cut off.

        No change, no cost.
        """
        wanted = tuple(peers)
        await self._tunnel.set_peers(wanted)
        hosts = tuple(sorted({host for peer in wanted for host in map(_host_of, peer.endpoints) if host}))
        async with self._lock:
            self._routes = msgspec.structs.replace(self._routes, hosts=hosts)
            await self._apply()

    def interface(self, container_id: str) -> str:
        """The host's end of its wire."""
        return self._veths.name(container_id)

    async def attach(self, container_id: str, of: str = "") -> Attachment:
        """A network namespace with an address of its own, ready before the container is made. Repeated: the same one.

        `of`: its service, "app.service": the walls around it stand before it begins.
        Raises NoAddressLeft, CommandFailed (both passing), BadInput for an id that is no plain name.
        """
        self._veths.path(container_id)
        address = self._addresses.take(container_id)
        if of:
            self._addresses.is_of(container_id, of)
        self._save_addresses()  # before it is used: a crash in between must not lead to using it twice
        try:
            async with self._lock:
                await self._apply()
            return await self._veths.attach(container_id, address)
        except Exception:
            self._addresses.free(container_id)
            self._save_addresses()
            raise

    async def detach(self, container_id: str) -> None:
        """Take it away and let go of the address, which is used again only after all others.

        Already gone counts as done.
        """
        await self._veths.detach(container_id)
        if self._addresses.free(container_id):
            self._save_addresses()

    def adopt(self, container_id: str, address: str, of: str = "") -> None:
        """After a restart of the agent: this container lives and has this address. `of`: as in `attach`; counts with the next `route`.

        Raises BadInput for a foreign one.
        """
        if self._addresses.get(container_id) != address:
            self._addresses.adopt(container_id, address)
        if of:
            self._addresses.is_of(container_id, of)
        self._save_addresses()

    def host_end(self, container_id: str) -> str:
        """The name of the interface on this host that leads to the container."""
        return self._veths.name(container_id)

    def is_ours(self, interface: str) -> bool:
        """Whether it is a container's or the tunnel, and not one of the host's own."""
        return interface.startswith(self._veth_prefix) or interface == self._tunnel_name

    def attached(self) -> dict[str, str]:
        """Container id -> address, as on the list: what no container answers to may be detached."""
        return {id: address for id, address in self._addresses.held().items() if id[0] != _STAND_IN}

    @property
    def holder(self) -> str:
        """Where rules lead whoever knocks at a service at zero: address:port, for the activator to listen on."""
        return f"{self._gateway}:{self._ground.holder}"

    def stand_in(self, service: str) -> str:
        """The address that stands in for a service by its name while nobody is there, "" if there is none left."""
        key = f"{_STAND_IN}{service}"
        held = self._addresses.get(key)
        if held is None:
            try:
                held = self._addresses.take(key)
            except NoAddressLeft as error:
                log.warning("%s can't be woken by its name: %s", service, error)
                return ""
            self._save_addresses()
        return held

    def free_stand_ins(self, keep: Collection[str]) -> None:
        """Of all services but these."""
        gone = [key for key in self._addresses.held() if key[0] == _STAND_IN and key[1:] not in keep]
        for key in gone:
            self._addresses.free(key)
        if gone:
            self._save_addresses()

    async def route(
        self,
        ports: Sequence[tuple[Port, Sequence[Target]]],
        names: Mapping[str, Sequence[str]],
        asleep: rules.Asleep = rules.Asleep(),  # noqa: B008 - frozen
        members: Sequence[Members] = (),
    ) -> None:
        """The whole wanted state of published ports, names and walls (as in the effect Route), in one atomic step."""
        async with self._lock:
            routes = _Routes(
                tuple((port, tuple(targets)) for port, targets in ports),
                {name: tuple(a) for name, a in names.items()},
                asleep,
                tuple(members),
                self._routes.hosts,
            )
            before, self._routes = self._routes, routes
            try:
                await self._apply()
            except BaseException:
                self._routes = before
                raise
            self._names.set(routes.names, self._askers())
            _write(self._directory / "routes.json", msgspec.json.encode(routes))
        # UDP has no end to wait for: who spoke to a replica that left speaks to another from the next packet on.
        left = _udp_targets(before) - _udp_targets(routes)
        if left:
            try:
                await asyncio.to_thread(flows.cut, left, protocol=flows.UDP)
            except CommandFailed as e:  # the routes are right all the same
                log.warning("UDP flows to %s could not be cut: %s", sorted(map(str, left)), e)

    async def fence(self, addresses: Iterable[str]) -> None:
        """The whole set of container addresses that are spoken with no more, through or from this host, whoever asks.

        Flows that exist are cut as well. Raises CommandFailed.
        """
        async with self._lock:
            await self._fence(frozenset(fencing.possible(addresses, self._ground)))

    async def _fence(self, refused: frozenset[str]) -> None:
        if refused != self._fenced:
            await self._nft.run(fencing.render(refused))
            self._fenced = refused

    async def begin_fence(self) -> None:
        """Once all is known that this host's disk holds: what an earlier agent refused goes, unless it was said anew."""
        async with self._lock:
            if self._fenced is None:
                await self._fence(frozenset())

    async def forget(self, addresses: Iterable[str]) -> None:
        """Cut flows to these container addresses (their host was found dead): clients fail now, not at their time-out.

        Call it after `route`, else the flow is only taken up again. Not for replicas that drain: their flows shall end
        by themselves. Raises CommandFailed, BadInput.
        """
        await asyncio.to_thread(flows.cut, _addresses(addresses))

    def flows_to(self, addresses: Collection[int]) -> list[flows.Open]:
        """TCP and UDP flows through or from this host to these container addresses. Blocking. Raises CommandFailed."""
        return flows.towards(addresses)

    @property
    def leads(self) -> Sequence[tuple[Port, Sequence[Target]]]:
        """Published ports, by the rules in force. After `start` that is what an earlier agent left, and nothing after a boot."""
        return self._routes.ports

    def resolv_conf(self, app: str) -> bytes:
        """A container's /etc/resolv.conf:

        own gateway, then those of two peers, for while this host's agent is not there.

        A closed port is answered at once, so the detour costs no time-out; which two differs from host to host.
        """
        others = sorted(str(network_of(subnet)[1]) for subnet in self._tunnel.subnets)
        start = next((i for i, gateway in enumerate(others) if _after(gateway, self._gateway)), 0)
        servers = [self._gateway, *(others[start:] + others[:start])[:2]]
        lines = [f"nameserver {server}" for server in servers]
        return "\n".join([*lines, f"search {app}.internal", "options timeout:1 attempts:2", ""]).encode()

    def hosts(self, address: str, hostname: str) -> bytes:
        """A container's /etc/hosts."""
        own = f"{address} {hostname}\n" if hostname else ""
        return f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{own}".encode()

    async def close(self) -> None:
        """Stop answering names; let everything else run."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._names.close()
        await asyncio.to_thread(self._nft.close)

    async def purge(self) -> None:
        """Take all of ours away: rules, tunnel, veths, namespaces, routes, address, and what `start` changed.

        Ends in `close`.
        """
        if self._keeper is not None:
            self._keeper.cancel()
        await self._names.close()
        await self._veths.purge()
        await self._tunnel.purge()
        await self._foreign.purge()
        self._look_for_ipv6()
        await self._nft.run(rules.purged(self._ground) + fencing.render(()))
        await self._forwarding.purge()
        for name in ("addresses.json", "routes.json"):
            (self._directory / name).unlink(missing_ok=True)
        await self.close()

    def _apart(self) -> Apart:
        """Of what is ours we know for certain whose it is; of a service at zero, by what stands in for it."""
        own = {a: key[1:] for key, a in self._addresses.held().items() if key[0] == _STAND_IN}
        gateways = tuple(str(network_of(subnet)[1]) for subnet in self._tunnel.subnets)
        return Apart(self._routes.members, own | self._addresses.owners(), self._routes.hosts, gateways)

    def _askers(self) -> Askers:
        return Askers(self._apart(), self._ground.subnet, self._ground.cloud_net)

    def _look_for_ipv6(self) -> None:
        """A kernel may have IPv6 and no rules for it: a table that names them would be refused whole."""
        table = f"table ip6 {self._ground.table}"
        there = IPV6.exists()
        if there and not self._ground.ipv6:
            try:
                self._nft.run_now(f"add {table}\n")
            except CommandFailed as error:
                log.warning("no rules for IPv6 here: %s", error)
                there = False
        self._ground = msgspec.structs.replace(self._ground, ipv6=there)

    async def _apply(self) -> None:
        text = rules.render(self._routes.ports, self._ground, self._routes.asleep, self._apart())
        if text != self._applied:
            await self._nft.run(text)
            self._applied = text

    async def _keep(self) -> None:
        """Others may take away what is ours: a firewall that is reloaded, a wireguard-go that is killed.

        Put it back.
        """
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            try:
                await self.look_after(wider=looks % round(LOOK_WIDER_S / LOOK_S) == 0)
            except SkerryError as e:
                log.warning("the network could not be mended: %s", e)

    async def look_after(self, *, wider: bool = False) -> None:
        """Put back what is missing; `wider`: look at endpoints, too. Rules are read only after somebody has changed any."""
        if not self._forwarding.is_there:
            await self._forwarding.start()
        if not self._tunnel.is_there:
            log.warning("the tunnel was gone; making it again")
            await self._tunnel.start()
        await self._names.start()
        if (generation := self._nft.generation()) != self._looked_at:
            async with self._lock:
                if not self._nft.has(f"chain ip {self._ground.table} ports"):
                    log.warning("the rules were gone; putting them back")
                    self._applied = ""
                    await self._apply()
                if self._fenced and not self._nft.has(f"chain ip {fencing.TABLE} own"):
                    await self._nft.run(fencing.render(self._fenced))
            for line in await self._foreign.let_in():
                log.warning("again: %s", line)
            self._looked_at = generation  # from before: what was changed meanwhile, by us too, is looked at once more
        if wider:
            await self._tunnel.try_other_endpoints()

    def _saved_routes(self) -> _Routes:
        try:
            return msgspec.json.decode((self._directory / "routes.json").read_bytes(), type=_Routes)
        except (OSError, *UNREADABLE):
            return _Routes()

    def _save_addresses(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._addresses.save(self._directory / "addresses.json")


def _addresses(texts: Iterable[str]) -> set[ipaddress.IPv4Address]:
    try:
        return {ipaddress.IPv4Address(text) for text in texts}
    except ValueError as e:
        raise BadInput("not an address", str(e)) from None


def _udp_targets(routes: _Routes) -> set[ipaddress.IPv4Address]:
    found = set()
    for port, targets in routes.ports:
        for target in targets if port.protocol == "udp" else ():
            with contextlib.suppress(ValueError):  # another host's word
                found.add(ipaddress.IPv4Address(target.address))
    return found


def _host_of(endpoint: str) -> str:
    """Its IPv4 address, "" for a name or another kind: of those only published ports could be told from the rest of the world."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.IPv4Address(endpoint.rpartition(":")[0]))
    return ""


def _after(one: str, other: str) -> bool:
    return ipaddress.IPv4Address(one) > ipaddress.IPv4Address(other)


def _write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
