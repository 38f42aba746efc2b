"""Machines as guests of a host that somebody rented whole, or owns: KVM, QEMU, Xen, OpenVZ, by libvirt.

Unlike a provider in the cloud it can't make two of one name, and a repeated create finds the first: uuids are derived. The
base image and each machine's disks are volumes of a storage pool of libvirt's.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
import uuid
from typing import ClassVar

import msgspec

from skerry.errors import BadFormat, BadInput, SkerryError
from skerry.machines import kvm
from skerry.machines.contract import (
    NAMESPACE,
    Billing,
    NoCapacity,
    NoSuchServer,
    Order,
    ProviderRefused,
    ProviderSilent,
    Server,
    Size,
    check_same,
    check_user_data,
)
from skerry.machines.domains import (
    KINDS,
    NETWORK,
    Domain,
    Guest,
    Marks,
    domain,
    mac_of,
    read_domains,
    resized,
)
from skerry.machines.seed import nocloud
from skerry.machines.tables import read_sizes
from skerry.machines.virsh import NotSupported, Virsh
from skerry.machines.volumes import NoSuchImage, Volumes

log = logging.getLogger(__name__)

ENDPOINT = re.compile(r"(?P<driver>qemu|xen|openvz|test)(?:\+[a-z0-9]{1,16})?://(?:[^@/?]*@)?(?P<host>[^/?]*)/[!-~]*")
OPTIONS = {
    "kind",
    "sizes",
    "storage",
    "network",
    "outside",
    "address",
    "gateway",
    "dns",
    "cmdline",
    "host_key",
}
SIZES = "small=1,1g,10g;medium=2,2g,20g;large=4,4g,40g"
CMDLINE = "root=LABEL=skerry rw panic=30"  # disks have other names under each hypervisor
SHUTDOWN_LIMIT_S = 60.0
POLL_S = 0.25
_ADDRESS = re.compile(r"ipv4\s+([0-9.]+)/")


class Libvirt:
    """`endpoint`: as virsh's --connect. `token`: a private SSH key for `…+ssh://`; "": this machine's own."""

    name: ClassVar[str] = "libvirt"
    billing: ClassVar[Billing] = Billing(step_s=1.0, least_s=0.0)
    least_scopes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, token: str, endpoint: str, options: dict[str, str], virsh: Virsh | None = None) -> None:
        match = ENDPOINT.fullmatch(endpoint)
        if match is None:
            raise BadInput(
                f"{endpoint!r} is no libvirt",
                "",
                "for example qemu+ssh://root@198.51.100.7/system, qemu:///system or xen+ssh://root@198.51.100.7/",
            )
        if unknown := sorted(set(options) - OPTIONS):
            raise BadInput(f"libvirt takes no option {unknown[0]!r}", "", f"one of: {', '.join(sorted(OPTIONS))}")
        self._driver = match["driver"]
        self._kind = options.get("kind", {"xen": "xenpv", "openvz": "openvz"}.get(self._driver, ""))
        if self._kind and self._kind not in KINDS:
            raise BadInput(f"there is no kind {self._kind!r} of machine", "", f"one of: {', '.join(KINDS)}")
        self._network = options.get("network", "network:default")
        if not NETWORK.fullmatch(self._network):
            raise BadInput(f"network={self._network} is none", "", "bridge:br0, network:default or user")
        if self._network == "user" and self._kind not in ("", "kvm", "qemu"):
            raise BadInput(f"{self._kind} has no network=user", "it is QEMU's own", "network=bridge:br0")
        self._sizes = {size.name: size for size in read_sizes(options.get("sizes", SIZES))}
        self._first_address = _interface(options.get("address", ""))
        self._options = options
        self._virsh = virsh or Virsh(endpoint, token, options.get("host_key", ""))
        self.volumes = Volumes(self._virsh, options.get("storage", "default"))

    def check(self) -> list[str]:
        """A tiny guest is started where KVM was not ruled out: that /dev/kvm is there proves nothing."""
        self._virsh.run("uri")
        warnings = []
        if self._kind == "openvz":
            return ["containers of OpenVZ get no user data: what makes them join has to be in their template"]
        volumes = self.volumes.paths()
        if not self._kind and self._driver == "qemu" and (why := kvm.fails(self._virsh, volumes)):
            warnings.append(f"machines are emulated, some ten times slower, as KVM does not work there: {why}")
        if self._is_behind_nat() and not self._options.get("outside"):
            warnings.append(
                f"machines on {self._network} come from another address than their own, and are let in from theirs alone: "
                "name that address by the option outside"
            )
        return warnings

    def check_image(self, image: str) -> None:
        """Raises NoSuchImage. What templates an OpenVZ host has only itself could say."""
        if self._kind != "openvz":
            self.volumes.image(image, self.volumes.paths())
        elif not image:
            raise NoSuchImage(
                "no image was named to make machines of", "", "name a template of that host: --image NAME"
            )

    def sizes(self) -> list[Size]:
        return [*self._sizes.values()]

    def list(self, *, name: str = "", tag: str = "") -> list[Server]:
        ids = self._virsh.run("list", "--all", "--uuid").split()
        found = _read(self._virsh.each([("dumpxml", id) for id in ids]))
        meant = [one for one in found if not name or _name(one, name) == name]
        return [self._server(one, name) for one in meant if not tag or (one.marks and tag in one.marks.tags)]

    def get(self, id: str) -> Server:
        return self._server(self._domain(id))

    def create(self, order: Order) -> Server:
        check_user_data(order)
        size = self._size(order.size, order.name)
        id = _id(order, self._kind)
        there = next((s for s in self.list() if s.id == id or s.name == order.name), None)
        if there is None:
            self._make(order, size, id)
        elif there.id != id:
            raise ProviderRefused(f"{order.name} was not made", f"{there.id} has its name", f"virsh dumpxml {there.id}")
        elif there.state != "active":  # an earlier create was cut off: its disks were made before it was defined
            self._virsh.run("start", id)
        return self.get(id)

    def destroy(self, server: Server) -> None:
        try:
            found = self._domain(server.id)
            check_same(server, self._server(found, server.name))
            if found.running:
                self._virsh.run("destroy", server.id)
            if self._kind != "openvz":
                self.volumes.delete(server.name)
            self._virsh.run("undefine", server.id)
        except NoSuchServer:
            return

    def reboot(self, server: Server) -> None:
        running = self._domain(server.id).running
        self._virsh.run("reboot" if running else "start", server.id)

    def resize(self, server: Server, size: str) -> None:
        """It is stopped for it. A disk only grows."""
        wanted, found = self._size(size, server.name), self._domain(server.id)
        if found.running:
            self._shut_down(server.id)
        if self._kind != "openvz":
            self.volumes.grow(server.name, wanted.disk_bytes)
        whole = self._virsh.run("dumpxml", "--inactive", server.id)
        self._virsh.define(resized(whole, cpus=int(wanted.cpus), memory_bytes=wanted.memory_bytes, size=size))
        self._virsh.run("start", server.id)

    def rebuild(self, server: Server, order: Order) -> Server:
        self.destroy(server)
        return self.create(order)

    def _make(self, order: Order, size: Size, id: str) -> None:
        """Disks, then the domain, then its start; what is half made by a failure is taken away again."""
        address, volumes = self._address(order.name), {} if self._kind == "openvz" else self.volumes.paths()
        kernel, initrd = (
            volumes.get(f"{order.image.removesuffix('.qcow2')}.{what}", "") for what in ("vmlinuz", "initrd")
        )
        kind = self._kind or ("qemu" if self._driver == "test" else self._best_kind(volumes))
        self._check_room(size)
        guest = Guest(
            kind=kind,
            uuid=id,
            cpus=int(size.cpus),
            memory_bytes=size.memory_bytes,
            disk=order.image,
            network=self._network,
            kernel=kernel,
            initrd=initrd,
            cmdline=self._options.get(
                "cmdline", f"{CMDLINE} console={'hvc0' if kind.startswith('xenpv') else 'ttyS0'}"
            ),
            domain_type="test" if self._driver == "test" else "",
            marks=Marks(
                name=order.name,
                tags=order.tags,
                size=size.name,
                region=order.region,
                address=address,
                made_s=time.time(),
            ),
        )
        if KINDS[kind].own_kernel:
            guest = msgspec.structs.replace(
                guest, disk=self.volumes.make_disk(order.name, order.image, size.disk_bytes)
            )
        try:
            if KINDS[kind].own_kernel:
                guest = msgspec.structs.replace(guest, seed=self._make_seed(order, id, address))
            self._virsh.define(_written(guest))
            self._virsh.run("autostart", id)  # its host may be started anew
            self._virsh.run("start", id)
        except SkerryError:
            self._unmake(order.name, id)
            raise

    def _make_seed(self, order: Order, id: str, address: str) -> str:
        """What cloud-init reads; its path on the host."""
        data = nocloud(
            id=uuid.uuid4().hex,  # a new disk: cloud-init begins at the beginning
            name=order.name,
            user_data=order.user_data,
            mac=mac_of(id),
            address=address,
            gateway=self._options.get("gateway", ""),
            dns=self._options.get("dns", ""),
        )
        return self.volumes.make_seed(order.name, data)

    def _unmake(self, name: str, id: str) -> None:
        for argv in (("destroy", id), ("undefine", id)):
            try:
                self._virsh.run(*argv)
            except SkerryError as error:
                log.debug("%s: %s", name, error)
        try:
            if self._kind != "openvz":
                self.volumes.delete(name)
        except SkerryError as error:
            log.warning("%s: its disks are left: %s", name, error)

    def _domain(self, id: str) -> Domain:
        try:
            found = _read(self._virsh.run("dumpxml", str(uuid.UUID(id))))
        except ValueError:
            found = []
        if not found:
            raise NoSuchServer(f"there is no machine {id}")
        return found[0]

    def _server(self, one: Domain, meant: str = "") -> Server:
        marks = one.marks or Marks(name=_name(one, meant))
        return Server(
            id=one.uuid,
            name=marks.name,
            state="active" if one.running else "off",
            addresses=self._addresses(one),
            tags=marks.tags,
            size=marks.size,
            region=marks.region,
            price_usd_hour=self._sizes[marks.size].price_usd_hour if marks.size in self._sizes else 0.0,
            created_s=marks.made_s,
            behind_nat=bool(self._options.get("outside")) and not marks.address,
        )

    def _addresses(self, one: Domain) -> tuple[str, ...]:
        """From where its connections come, as others see them: its own address, or behind NAT the host's."""
        if one.marks is None:
            return ()
        if one.marks.address:
            return (one.marks.address.partition("/")[0],)
        if outside := self._options.get("outside", ""):
            return (outside,)
        if not one.running or self._network == "user":
            return ()
        source = "lease" if self._network.startswith("network:") else "arp"
        try:
            found = _ADDRESS.findall(self._virsh.run("domifaddr", one.uuid, "--source", source))
        except (NotSupported, NoSuchServer):
            return ()
        return tuple(dict.fromkeys(found))

    def _is_behind_nat(self) -> bool:
        kind, _, name = self._network.partition(":")
        if kind == "network":
            return bool(re.search(r"<forward[^>]* mode=['\"]nat", self._virsh.run("net-dumpxml", name)))
        return kind == "user"

    def _size(self, name: str, machine: str) -> Size:
        if name not in self._sizes:
            raise ProviderRefused(
                f"{machine} gets no size {name!r}", "there is none of that name", f"one of: {', '.join(self._sizes)}"
            )
        return self._sizes[name]

    def _address(self, name: str) -> str:
        """Machine i has the i-th address from the option's on; "": it asks by DHCP."""
        if self._first_address is None:
            return ""
        index = name.rpartition("-")[2]
        address = self._first_address.ip + (int(index) if index.isdigit() else 0)
        return f"{address}/{self._first_address.network.prefixlen}"

    def _check_room(self, size: Size) -> None:
        """A host that gives away more memory than it has ends guests at random."""
        try:
            told = dict(re.findall(r"^(\w+)\s*:\s+(\d+) KiB", self._virsh.run("nodememstats"), re.MULTILINE))
        except NotSupported:
            return
        room = sum(int(told.get(key, 0)) for key in ("free", "buffers", "cached")) << 10
        if told and room < size.memory_bytes:
            raise NoCapacity(f"no room for a machine of size {size.name}", f"{room >> 20} MiB are free on the host")

    def _shut_down(self, id: str) -> None:
        self._virsh.run("shutdown", id)
        end_s = time.monotonic() + SHUTDOWN_LIMIT_S
        while self._domain(id).running:
            if time.monotonic() > end_s:
                self._virsh.run("destroy", id)
                return
            time.sleep(POLL_S)

    def _best_kind(self, volumes: dict[str, str]) -> str:
        why = kvm.fails(self._virsh, volumes)
        if why:
            log.warning("machines are emulated: KVM does not work there: %s", why)
        return "qemu" if why else "kvm"


def _read(text: str) -> list[Domain]:
    try:
        return read_domains(text)
    except BadFormat as bad:
        raise ProviderSilent(bad.what, bad.why, bad.fix) from None


def _written(guest: Guest) -> str:
    try:
        return domain(guest)
    except BadInput as bad:
        raise ProviderRefused(bad.what, bad.why, bad.fix) from None


def _interface(text: str) -> ipaddress.IPv4Interface | None:
    try:
        return ipaddress.IPv4Interface(text) if text else None
    except ValueError as error:
        raise BadInput(
            f"address={text} is none", str(error), "the first machine's, with its network: 198.51.100.40/24"
        ) from None


def _id(order: Order, kind: str) -> str:
    """OpenVZ keeps no metadata: there a machine is found again by a uuid that its name alone gives."""
    return order.uuid if order.uuid and kind != "openvz" else str(uuid.uuid5(NAMESPACE, order.name))


def _name(one: Domain, meant: str) -> str:
    if one.marks:
        return one.marks.name
    by_name = one.type == "openvz" and meant and str(uuid.uuid5(NAMESPACE, meant)) == one.uuid
    return meant if by_name else one.name
