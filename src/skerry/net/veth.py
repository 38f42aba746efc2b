"""A network namespace and a routed veth for each container: no bridge, so nothing of the host's own networks changes.

The container sees one interface with a /32 address and the gateway as its only neighbour; the host has a /32 route to
it. Both neighbours are written down on both sides, so that no ARP setting of the host matters and the first packet
needn't wait.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import os
import re
import socket
import threading
from hashlib import blake2s
from pathlib import Path

import msgspec

from skerry.errors import BadInput
from skerry.net import interfaces
from skerry.net.commands import CommandFailed, write_setting
from skerry.net.netlink import ROUTE, Netlink

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_ETH0 = 2  # the index of the container's end, in its own namespace
_HOST_MAC = "02:73:6b:00:00:01"
IPV6 = Path("/proc/sys/net/ipv6")  # missing in a kernel without it
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

_libc = ctypes.CDLL(None, use_errno=True)


class Attachment(msgspec.Struct, frozen=True):
    """`netns`: path of the prepared network namespace; `address`: the container's IPv4 address."""

    netns: str
    address: str


class Veths:
    """Makes and removes them. `run_dir`/netns/ID is where a namespace is mounted."""

    def __init__(self, run_dir: Path, *, prefix: str, gateway: str, mtu: int) -> None:
        self._folder, self._prefix = run_dir / "netns", prefix
        self._gateway, self._mtu = gateway, mtu

    def name(self, container_id: str) -> str:
        """The host's end.

        By the id, which is never used twice: the kernel removes a veth some time after it was told to.
        """
        return self._prefix + blake2s(container_id.encode(), digest_size=5).hexdigest()

    def path(self, container_id: str) -> Path:
        if not _ID.fullmatch(container_id):
            raise BadInput(f"{container_id[:140]!r} is not a container id", "", "1 to 128 of A-Z a-z 0-9 _ . -")
        return self._folder / container_id

    def is_attached(self, container_id: str) -> bool:
        return os.path.ismount(self.path(container_id)) and _exists(self.name(container_id))

    async def attach(self, container_id: str, address: str) -> Attachment:
        """Raises CommandFailed; then nothing is left of it."""
        path = self.path(container_id)
        if not self.is_attached(container_id):
            try:
                await asyncio.to_thread(self._attach, container_id, path, address)
            except Exception:
                await asyncio.to_thread(self._detach, container_id, path)
                raise
        return Attachment(str(path), address)

    async def detach(self, container_id: str) -> None:
        await asyncio.to_thread(self._detach, container_id, self.path(container_id))

    async def purge(self) -> None:
        """All that bear our prefix and all namespaces in our folder, known or not."""
        for _, name in socket.if_nameindex():
            if name.startswith(self._prefix):
                await asyncio.to_thread(self._delete_link, name)
        for path in sorted(self._folder.glob("*")):
            await asyncio.to_thread(_unmount, path)

    def _attach(self, container_id: str, path: Path, address: str) -> None:
        name = self.name(container_id)
        if path.exists() or _exists(name):
            self._detach(container_id, path)  # half of it, from an agent that was killed meanwhile
        self._folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o444)
        failures: list[BaseException] = []

        def inside() -> None:  # a thread of its own: it enters the new namespace and ends with it
            try:
                _new_namespace(path)
                self._furnish(name, address)
            except BaseException as e:
                failures.append(e)

        thread = threading.Thread(target=inside, name=f"netns {container_id}")
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        write_setting(f"net/ipv4/conf/{name}/route_localnet", "1")  # 127.0.0.1:PORT of the host reaches it
        if IPV6.exists():
            write_setting(f"net/ipv6/conf/{name}/disable_ipv6", "1")  # our rules speak IPv4 only
        index = socket.if_nametoindex(name)
        with Netlink(ROUTE) as kernel:
            kernel.do(
                f"set up {name}",
                [
                    interfaces.up(index),
                    interfaces.neighbour(index, address, _mac(address)),
                    interfaces.route(index, to=address, source=self._gateway),
                ],
            )

    def _furnish(self, name: str, address: str) -> None:
        """In the new namespace: settings, interface, address, way out."""
        write_setting("net/ipv4/ip_unprivileged_port_start", "0")  # port 80 without a capability
        if IPV6.exists():
            write_setting("net/ipv6/conf/default/disable_ipv6", "1")  # eth0 takes it over; ::1 stays
        mac, host = _mac(address), os.getpid()
        with Netlink(ROUTE) as kernel:
            kernel.do(
                f"make {name}",
                [
                    interfaces.up(interfaces.LOOPBACK),
                    interfaces.veth_pair(_ETH0, "eth0", mac, name, _HOST_MAC, peer_process=host, mtu=self._mtu),
                    interfaces.address(_ETH0, address),
                    interfaces.neighbour(_ETH0, self._gateway, _HOST_MAC),
                    interfaces.route(_ETH0, to=self._gateway, source=address),
                    interfaces.route(_ETH0, via=self._gateway, source=address),
                ],
            )

    def _detach(self, container_id: str, path: Path) -> None:
        # The link first and by name: who else holds the namespace (a tool that looks in, say) can't keep the address
        # reachable.
        self._delete_link(self.name(container_id))
        _unmount(path)

    def _delete_link(self, name: str) -> None:
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return
        try:
            with Netlink(ROUTE) as kernel:
                kernel.do(f"delete {name}", [interfaces.delete_link(index)])
        except CommandFailed:
            if _exists(name):  # else it went by itself meanwhile
                raise


def _new_namespace(path: Path) -> None:
    """Give this thread a new network namespace and mount it at `path`."""
    if _libc.unshare(_CLONE_NEWNET):
        raise CommandFailed(["unshare", "--net"], os.strerror(ctypes.get_errno()))
    if _libc.mount(b"/proc/thread-self/ns/net", os.fsencode(path), b"none", _MS_BIND, None):
        raise CommandFailed(["mount", "--bind", "/proc/thread-self/ns/net", str(path)], os.strerror(ctypes.get_errno()))


def _unmount(path: Path) -> None:
    while path.exists() and _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass  # an agent that died in between may have left two, one above the other
    path.unlink(missing_ok=True)


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _mac(address: str) -> str:
    """Locally administered, from the address: the same after a restart, and never another container's."""
    return "02:73:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)
