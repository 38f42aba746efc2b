"""Machines as guests of a host that somebody rented whole, or owns: KVM, QEMU, Xen, OpenVZ, by libvirt.

Unlike a provider in the cloud it can't make two of one name, and a repeated create finds the first: uuids are derived. The
base image and each machine's disks are volumes of a storage pool of libvirt's.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from skerry.errors import BadInput, SkerryError
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
    probe,
    read_domains,
    resized,
)
from skerry.machines.seed import nocloud
from skerry.machines.tables import read_sizes
from skerry.machines.virsh import NotSupported, Virsh

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
UPLOAD_LIMIT_S = 120.0
IMAGE_LIMIT_S = 3600.0
MAKE_LIMIT_S = 300.0  # so long a disk without a machine is somebody's work, and no leftover
PROBE_LIMIT_S = 20.0
PROBES = 16  # names that they have: libvirt keeps a log for each
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
        self._storage = options.get("storage", "default")
        self._network = options.get("network", "network:default")
        if not NETWORK.fullmatch(self._network):
            raise BadInput(f"network={self._network} is none", "", "bridge:br0, network:default or user")
        self._sizes = {size.name: size for size in read_sizes(options.get("sizes", SIZES))}
        self._first_address = _interface(options.get("address", ""))
        self._options = options
        self._virsh = virsh or Virsh(endpoint, token, options.get("host_key", ""))

    def check(self) -> list[str]:
        """A tiny guest is started where KVM was not ruled out: that /dev/kvm is there proves nothing."""
        self._virsh.run("uri")
        warnings = []
        if self._kind == "openvz":
            return ["containers of OpenVZ get no user data: what makes them join has to be in their template"]
        volumes = self._volumes()
        if not any(name.endswith(".qcow2") for name in volumes):
            warnings.append(f"there is no image in the storage pool {self._storage}: skerry machine image makes one")
        if not self._kind and self._driver == "qemu" and (why := self._kvm_fails(volumes)):
            warnings.append(f"machines are emulated, some ten times slower, as KVM does not work there: {why}")
        return warnings

    def sizes(self) -> list[Size]:
        return [*self._sizes.values()]

    def list(self, *, name: str = "", tag: str = "") -> list[Server]:
        ids = self._virsh.run("list", "--all", "--uuid").split()
        found = read_domains(self._virsh.each([("dumpxml", id) for id in ids]))
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
            self._delete_volumes(server.name)
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
        disk = f"{server.name}.qcow2"
        if disk in self._volumes() and self._capacity(disk) < wanted.disk_bytes:
            self._virsh.run("vol-resize", "--pool", self._storage, disk, f"{wanted.disk_bytes}B")
        self._define(resized(found.xml, cpus=int(wanted.cpus), memory_bytes=wanted.memory_bytes, size=size))
        self._virsh.run("start", server.id)

    def rebuild(self, server: Server, order: Order) -> Server:
        self.destroy(server)
        return self.create(order)

    def put_image(
        self, name: str, files: Mapping[str, Path], progress: Callable[[str], None] = lambda line: None
    ) -> None:
        """Into the host's storage pool: `files` by part (qcow2, vmlinuz, initrd). What is whole there stays: machines stand on it."""
        volumes = self._volumes()
        if {f"{name}.{part}" for part in files} <= volumes.keys():
            progress(f"{name} is there already")
            return
        for part, file in files.items():
            volume = f"{name}.{part}"
            progress(f"sending {volume}, {file.stat().st_size / 1e6:.0f} MB")
            if volume in volumes:  # of an upload that was cut off
                self._virsh.run("vol-delete", "--pool", self._storage, volume)
            self._virsh.run("vol-create-as", self._storage, volume, f"{file.stat().st_size}B", "--format", "raw")
            try:
                self._virsh.run("vol-upload", "--pool", self._storage, volume, str(file), limit_s=IMAGE_LIMIT_S)
            except BaseException:
                self._virsh.run("vol-delete", "--pool", self._storage, volume)
                raise
        self._virsh.run("pool-refresh", self._storage)

    def _make(self, order: Order, size: Size, id: str) -> None:
        """Disks, then the domain, then its start; what is half made by a failure is taken away again."""
        address, volumes = self._address(order.name), self._volumes()
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
            guest = msgspec.structs.replace(guest, disk=self._make_disk(order, size, volumes))
        try:
            if KINDS[kind].own_kernel:
                guest = msgspec.structs.replace(guest, seed=self._make_seed(order, id, address))
            self._define(domain(guest))
            self._virsh.run("autostart", id)  # its host may be started anew
            self._virsh.run("start", id)
        except SkerryError:
            self._unmake(order.name, id)
            raise

    def _make_disk(self, order: Order, size: Size, volumes: dict[str, str]) -> str:
        """Over the image; its path on the host. Whoever makes it goes on alone: libvirt makes no volume twice."""
        base = next((name for name in (order.image, f"{order.image}.qcow2") if name in volumes), None)
        if base is None:
            raise ProviderRefused(
                f"{order.name} was not made",
                f"there is no image {order.image!r} in the storage pool {self._storage}",
                f"one of: {', '.join(sorted(v for v in volumes if v.endswith('.qcow2'))) or 'none yet: skerry machine image'}",
            )
        disk = f"{order.name}.qcow2"
        if disk in volumes:
            if (age_s := self._age_s(disk)) < MAKE_LIMIT_S:
                raise ProviderSilent(f"{order.name} is being made", f"its disk is there since {age_s:.0f} s")
            self._delete_volumes(order.name)  # a create was cut off, and nothing has run on it yet
        self._virsh.run(
            *("vol-create-as", self._storage, disk, f"{size.disk_bytes}B", "--format", "qcow2"),
            *("--backing-vol", base, "--backing-vol-format", "qcow2"),
        )
        return self._volumes()[disk]

    def _make_seed(self, order: Order, id: str, address: str) -> str:
        """What cloud-init reads; its path on the host."""
        seed = f"{order.name}.iso"
        data = nocloud(
            id=uuid.uuid4().hex,  # a new disk: cloud-init begins at the beginning
            name=order.name,
            user_data=order.user_data,
            mac=mac_of(id),
            address=address,
            gateway=self._options.get("gateway", ""),
            dns=self._options.get("dns", ""),
        )
        self._virsh.run("vol-create-as", self._storage, seed, f"{len(data)}B", "--format", "raw")
        with tempfile.TemporaryDirectory(prefix="skerry-") as folder:
            file = Path(folder) / "seed.iso"
            file.touch(mode=0o600)  # the enrolment's token is in it
            file.write_bytes(data)
            self._virsh.run("vol-upload", "--pool", self._storage, seed, str(file), limit_s=UPLOAD_LIMIT_S)
        return self._volumes()[seed]

    def _unmake(self, name: str, id: str) -> None:
        for argv in (("destroy", id), ("undefine", id)):
            try:
                self._virsh.run(*argv)
            except SkerryError as error:
                log.debug("%s: %s", name, error)
        try:
            self._delete_volumes(name)
        except SkerryError as error:
            log.warning("%s: its disks are left: %s", name, error)

    def _delete_volumes(self, name: str) -> None:
        for volume in {f"{name}.qcow2", f"{name}.iso"} & self._volumes().keys():
            self._virsh.run("vol-delete", "--pool", self._storage, volume)

    def _define(self, xml: str) -> None:
        with tempfile.TemporaryDirectory(prefix="skerry-") as folder:
            file = Path(folder) / "domain.xml"
            file.write_text(xml)
            self._virsh.run("define", str(file))

    def _domain(self, id: str) -> Domain:
        try:
            found = read_domains(self._virsh.run("dumpxml", str(uuid.UUID(id))))
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

    def _volumes(self) -> dict[str, str]:
        """Name -> path on the host."""
        if self._kind == "openvz":
            return {}
        try:
            text = self._virsh.run("vol-list", self._storage)
        except SkerryError as error:
            if "not active" in error.why:
                self._virsh.run("pool-start", self._storage)
                text = self._virsh.run("vol-list", self._storage)
            elif "Storage pool not found" in error.why or "failed to get pool" in error.why:
                raise ProviderRefused(
                    "machines have no place for their disks",
                    error.why,
                    f"virsh pool-define-as {self._storage} dir --target /var/lib/libvirt/images, then pool-start and pool-autostart",
                ) from None
            else:
                raise
        return dict(line.split(None, 1) for line in map(str.strip, text.splitlines()) if len(line.split()) == 2)

    def _age_s(self, volume: str) -> float:
        """Since it was made, by both clocks; a driver that tells no times knows of nothing young."""
        text = self._virsh.run("vol-dumpxml", "--pool", self._storage, volume)
        match = re.search(r"<ctime>(\d+)", text)
        return time.time() - float(match[1]) if match else float("inf")

    def _capacity(self, volume: str) -> int:
        text = self._virsh.run("vol-info", "--bytes", "--pool", self._storage, volume)
        match = re.search(r"^Capacity:\s+(\d+)", text, re.MULTILINE)
        return int(match[1]) if match else 0

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
        why = self._kvm_fails(volumes)
        if why:
            log.warning("machines are emulated: KVM does not work there: %s", why)
        return "qemu" if why else "kvm"

    def _kvm_fails(self, volumes: dict[str, str]) -> str:
        """Why KVM can't be used, "" if it can: a guest's kernel has to come to the end of its start in time."""
        kernel = next((path for name, path in sorted(volumes.items()) if name.endswith(".vmlinuz")), "")
        if not kernel:
            return "there is no kernel in the storage pool to try it with"
        name = f"skerry-probe-{uuid.uuid4().int % PROBES}"
        try:
            self._virsh.run("domcapabilities", "--virttype", "kvm", "--machine", "q35")
            self._define(probe(name, kernel))
        except ProviderRefused as refused:
            if "already exists" not in refused.why:
                return refused.why
            self._virsh.run("undefine", name)  # left by a probe that was cut off; one that runs goes on
            raise ProviderSilent("KVM is being tried", f"{name} is there") from None
        try:
            self._virsh.run("start", name)
            end_s = time.monotonic() + PROBE_LIMIT_S
            while (state := self._virsh.run("domstate", name, "--reason").strip()).startswith("running"):
                if time.monotonic() > end_s:
                    self._virsh.run("destroy", name)
                    return f"a guest's kernel had not started after {PROBE_LIMIT_S:.0f} s"
                time.sleep(POLL_S)
            return "" if state == "shut off (shutdown)" else f"a guest ended at once: {state}"
        except SkerryError as error:
            return _last_words(error.why)
        finally:
            self._virsh.run("undefine", name)


def _last_words(text: str) -> str:
    """QEMU's own, of all that libvirt tells of a start that failed."""
    return text.rpartition("qemu-system-")[2].partition(": ")[2] or text


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
