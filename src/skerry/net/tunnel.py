"""The WireGuard tunnel between hosts: the kernel's where it has one, else wireguard-go, which outlives the agent.

Lives here: bringing the device up, its peers, the routes to their subnets. Which hosts are peers is the caller's to
say.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from skerry.errors import BadInput, Refusal
from skerry.net.addresses import network_of
from skerry.net.commands import Binaries, CommandFailed, run, write_setting
from skerry.net.interfaces import OUR_ROUTES

SOCKETS = Path("/run/wireguard")  # wireguard-go's
GONE_S = 2.0  # it ends a moment after its device
HANDSHAKE_S = 180.0  # so long is a handshake good for (WireGuard's REJECT_AFTER_TIME); keepalives renew it before


class TunnelImpossible(Refusal):
    """This host can't have a tunnel: no WireGuard in the kernel, and no tun device for wireguard-go."""

    code = "tunnel-impossible"


class TunnelPeer(msgspec.Struct, frozen=True, kw_only=True):
    """Another host, from its enrolment.

    `public_key`: 64 hex digits or base64. `endpoints`: host:port candidates, best first. `subnet`: the containers'
    there.
    """

    public_key: str
    endpoints: tuple[str, ...]
    subnet: str


def wireguard_key(text: str) -> str:
    """WireGuard's base64, from that or from hex. Raises BadInput (without the text: it may be the private key)."""
    try:
        raw = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise BadInput("not a WireGuard key", f"{len(text)} characters, not 64 hex digits or 44 of base64")
    return base64.b64encode(raw).decode()


def render(private_key: str, port: int, peers: Iterable[tuple[TunnelPeer, str]]) -> str:
    """What `wg syncconf` reads. Each peer comes with its endpoint as address:port ("" while it is unknown)."""
    lines = ["[Interface]", f"PrivateKey = {private_key}", f"ListenPort = {port}"]
    for peer, endpoint in peers:
        lines += ["[Peer]", f"PublicKey = {wireguard_key(peer.public_key)}", f"AllowedIPs = {network_of(peer.subnet)}"]
        lines += [f"Endpoint = {endpoint}"] if endpoint else []
        # Keeps the way open through a host's own stateful firewall, and shows early whether an endpoint is right.
        lines += ["PersistentKeepalive = 25"]
    return "\n".join(lines) + "\n"


class Tunnel:
    """One device and its peers. `gateway`: the source address of what the host itself sends through it."""

    def __init__(
        self, binaries: Binaries, *, name: str, private_key: str, port: int, gateway: str, mtu: int = 1420
    ) -> None:
        self._binaries, self._name, self._port, self._gateway, self._mtu = binaries, name, port, gateway, mtu
        self._private_key = wireguard_key(private_key)
        self._peers: tuple[TunnelPeer, ...] = ()
        self._known = False  # an earlier agent may have left peers in the device: the first `set_peers` always counts
        self._turn: dict[str, int] = {}  # public key -> which of its endpoints is tried
        self._lock = asyncio.Lock()

    @property
    def is_there(self) -> bool:
        try:
            socket.if_nametoindex(self._name)
        except OSError:
            return False
        return True

    @property
    def subnets(self) -> tuple[str, ...]:
        """The peers' subnets, in order."""
        return tuple(sorted(peer.subnet for peer in self._peers))

    async def start(self) -> None:
        """Adopt the device that runs, or make it. Peers of an earlier agent stay until `set_peers`."""
        async with self._lock:
            if self.is_there and not await self._answers():
                await run([self._binaries.ip, "link", "delete", self._name])
            made = not self.is_there
            if made:
                await self._make()
            await run([self._binaries.ip, "link", "set", self._name, "mtu", str(self._mtu), "up"])
            self._let_loopback_out()
            if made:
                await self._configure()

    async def set_peers(self, peers: Iterable[TunnelPeer]) -> None:
        wanted = tuple(sorted(peers, key=lambda peer: peer.public_key))
        async with self._lock:
            if wanted != self._peers or not self._known:
                for peer in wanted:  # all checked before anything changes
                    wireguard_key(peer.public_key), network_of(peer.subnet)
                before, self._peers = self._peers, wanted
                try:
                    await self._configure()
                except BaseException:
                    self._peers = before
                    raise
                self._known = True

    async def try_other_endpoints(self) -> None:
        """Peers with several endpoints and no handshake that still counts: the next one's turn."""
        several = {wireguard_key(p.public_key): p for p in self._peers if len(p.endpoints) > 1}
        if not several:
            return
        silent = []
        for line in (await run([self._binaries.wg, "show", self._name, "latest-handshakes"])).splitlines():
            key, _, seconds = line.partition("\t")
            if key in several and time.time() - int(seconds or 0) > HANDSHAKE_S:
                silent.append(several[key].public_key)
        if silent:
            async with self._lock:
                for key in silent:
                    self._turn[key] = self._turn.get(key, 0) + 1
                await self._configure()

    async def purge(self) -> None:
        """The device goes, and with it its routes and wireguard-go."""
        async with self._lock:
            if self.is_there:
                await run([self._binaries.ip, "link", "delete", self._name])
            self._peers = ()
            await asyncio.to_thread(_tidy, SOCKETS / f"{self._name}.sock")

    def _let_loopback_out(self) -> None:
        """Requests of the host itself to 127.0.0.1:PORT may go to a remote replica."""
        write_setting(f"net/ipv4/conf/{self._name}/route_localnet", "1")

    async def _answers(self) -> bool:
        try:
            await run([self._binaries.wg, "show", self._name, "listen-port"])
        except CommandFailed:
            return False
        return True

    async def _make(self) -> None:
        try:
            await run([self._binaries.ip, "link", "add", self._name, "type", "wireguard"])
        except CommandFailed as kernel:
            said = await asyncio.to_thread(self._start_user_space)
            if not self.is_there:
                raise TunnelImpossible(
                    f"the tunnel {self._name} can't be made",
                    f"kernel: {kernel.output.strip()}; wireguard-go: {said or 'it said nothing'}",
                    "load the kernel module wireguard, or give this host /dev/net/tun",
                ) from None

    def _start_user_space(self) -> str:
        # It sends itself to the background once the device is there. Its output goes to a file, not to a pipe: the part
        # in the background would keep a pipe open.
        with tempfile.TemporaryFile() as said:
            try:
                subprocess.run(
                    [self._binaries.wireguard_go, self._name],
                    stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=10, check=False, start_new_session=True,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as e:
                return str(e)
            said.seek(0)
            return said.read(2000).decode(errors="replace").strip()

    async def _configure(self) -> None:
        peers = [(peer, await self._endpoint(peer)) for peer in self._peers]
        # By stdin, so that the private key stands in no file and no argument list.
        text = render(self._private_key, self._port, peers)
        await run([self._binaries.wg, "syncconf", self._name, "/dev/stdin"], text)
        await self._set_routes()

    async def _set_routes(self) -> None:
        shown = await run([self._binaries.ip, "-4", "-json", "route", "show", "dev", self._name])
        there = {str(entry.get("dst")) for entry in msgspec.json.decode(shown or "[]")}
        wanted = {str(network_of(subnet)) for subnet in self.subnets}
        lines = [
            f"route replace {subnet} dev {self._name} src {self._gateway} proto {OUR_ROUTES}"
            for subnet in sorted(wanted - there)
        ]
        lines += [f"route delete {subnet} dev {self._name}" for subnet in sorted(there - wanted)]
        if lines:
            await run([self._binaries.ip, "-batch", "-"], "\n".join(lines) + "\n")

    async def _endpoint(self, peer: TunnelPeer) -> str:
        """The candidate whose turn it is, with an address instead of a name; "" if it has none:

        then the peer must call.
        """
        if not peer.endpoints:
            return ""
        chosen = peer.endpoints[self._turn.get(peer.public_key, 0) % len(peer.endpoints)]
        host, _, port = chosen.rpartition(":")
        if not (host and port.isascii() and port.isdigit()):
            raise BadInput(f"{chosen!r} is not an endpoint", "", "write it as host:port")
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            loop = asyncio.get_running_loop()
            try:
                found = await asyncio.wait_for(loop.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM), 3)
            except (OSError, TimeoutError):
                return ""
            address = ipaddress.ip_address(found[0][4][0])
        return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _tidy(own: Path) -> None:
    """Remove the folder of wireguard-go's socket once that is gone, unless other tunnels have theirs there."""
    end = time.monotonic() + GONE_S
    while own.exists() and time.monotonic() < end:
        time.sleep(0.02)
    with contextlib.suppress(OSError):
        own.parent.rmdir()
