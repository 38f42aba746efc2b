"""libvirt's XML for a machine of each kind, and back. Pure: golden files and libvirt's own schema hold it.

What is ours travels in the domain's metadata, in a namespace of its own: name, size, tags, address, when it was made.
"""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from typing import NamedTuple

import msgspec

from skerry.errors import BadFormat, BadInput

XMLNS = "urn:skerry:machine:1"
FIRST_CONTAINER = 101  # lower numbers are OpenVZ's own
CONTAINERS = 2_000_000_000
NETWORK = re.compile(r"(?P<type>bridge|network):(?P<name>[A-Za-z0-9_.-]{1,63})|user")
_DOMAIN = re.compile(r"^\s*<domain .*?^\s*</domain>$", re.DOTALL | re.MULTILINE)
ET.register_namespace("skerry", XMLNS)


class _Kind(NamedTuple):
    domain: str
    machine: str
    os: str
    bus: str
    disk: str  # the first two letters of its disks' names
    own_kernel: bool = True


KINDS = {
    "kvm": _Kind("kvm", "q35", "hvm", "virtio", "vd"),
    "qemu": _Kind("qemu", "q35", "hvm", "virtio", "vd"),
    "xenpv": _Kind("xen", "xenpv", "linux", "xen", "xvd"),
    "xenpvh": _Kind("xen", "xenpvh", "xenpvh", "xen", "xvd"),
    "xenfv": _Kind("xen", "xenfv", "hvm", "xen", "xvd"),
    "openvz": _Kind("openvz", "", "exe", "", "", own_kernel=False),
}


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What is ours of a domain."""

    name: str
    tags: tuple[str, ...] = ()
    size: str = ""
    region: str = ""
    address: str = ""
    made_s: float = 0.0


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """A machine to be. Paths are the hypervisor host's; `network`: bridge:NAME, network:NAME, or user.

    `kernel` "": it boots from its disk. OpenVZ has neither disk nor kernel of its own: `disk` names the template.
    `domain_type`: instead of the kind's own (libvirt's test driver takes the XML of all kinds as type `test`).
    """

    kind: str
    uuid: str
    cpus: int
    memory_bytes: int
    disk: str
    network: str
    marks: Marks
    seed: str = ""
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    domain_type: str = ""


def domain(guest: Guest) -> str:
    """Raises BadInput for a network, or a way to boot, that this kind can't have."""
    kind = KINDS[guest.kind]
    emulated = kind.domain in ("kvm", "qemu")
    root = ET.Element("domain", type=guest.domain_type or kind.domain)
    _text(root, "name", domain_name(guest.kind, guest.uuid, guest.marks.name))
    _text(root, "uuid", guest.uuid)
    _write_marks(ET.SubElement(root, "metadata"), guest.marks)
    _text(root, "memory", str(guest.memory_bytes >> 10), unit="KiB")
    _text(root, "vcpu", str(guest.cpus))
    _boot(root, guest, kind)
    if kind.os == "hvm":
        features = ET.SubElement(root, "features")
        ET.SubElement(features, "acpi")
        ET.SubElement(features, "apic")
    if emulated:
        ET.SubElement(root, "cpu", mode="host-passthrough" if guest.kind == "kvm" else "maximum")
    devices = ET.SubElement(root, "devices")
    if kind.own_kernel:
        _disk(devices, guest.disk, kind, "a", "qcow2", readonly=False)
        if guest.seed:
            _disk(devices, guest.seed, kind, "b", "raw", readonly=True)
    else:
        system = ET.SubElement(devices, "filesystem", type="template")
        ET.SubElement(system, "source", name=guest.disk)
        ET.SubElement(system, "target", dir="/")
    _interface(devices, guest, emulated)
    if emulated:
        _emulated(devices, guest)
    elif kind.own_kernel:
        console = ET.SubElement(devices, "console", type="pty")
        ET.SubElement(console, "target", type="serial" if kind.os == "hvm" else "xen", port="0")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def domain_name(kind: str, id: str, name: str) -> str:
    """What libvirt calls it. OpenVZ wants a number: derived from the uuid, so that the same machine has the same again."""
    return name if KINDS[kind].own_kernel else str(FIRST_CONTAINER + uuid.UUID(id).int % CONTAINERS)


def mac_of(id: str) -> str:
    """Its network card's address, the same whenever it is made anew."""
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x54, 0x00, *uuid.UUID(id).bytes[:3]))


def probe(name: str, kernel: str) -> str:
    """A guest that has nothing, and so ends by itself once its kernel has come to the end of its own start."""
    root = ET.Element("domain", type="kvm")
    _text(root, "name", name)
    _text(root, "memory", "128", unit="MiB")
    _text(root, "vcpu", "1")
    os = ET.SubElement(root, "os")
    _text(os, "type", "hvm", arch="x86_64", machine="q35")
    _text(os, "kernel", kernel)
    _text(os, "cmdline", "panic=-1 root=/dev/none")
    ET.SubElement(root, "cpu", mode="host-passthrough")
    _text(root, "on_reboot", "destroy")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """What libvirt tells of one. `marks` None: not made by us, or its driver keeps no metadata."""

    uuid: str
    name: str
    type: str
    running: bool
    marks: Marks | None
    xml: str


def read_domains(text: str) -> list[Domain]:
    """All `<domain>`s that `virsh dumpxml` printed one after another. Raises BadFormat for what is no XML."""
    return [_read(found[0]) for found in _DOMAIN.finditer(text)]


def resized(xml: str, *, cpus: int, memory_bytes: int, size: str) -> str:
    """The same domain with another size. Raises BadFormat."""
    root = _parse(xml)
    for name, value in (("memory", memory_bytes >> 10), ("currentMemory", memory_bytes >> 10), ("vcpu", cpus)):
        element = root.find(name)
        if element is not None:
            element.text = str(value)
            if name != "vcpu":
                element.set("unit", "KiB")
    marks = root.find(f"metadata/{{{XMLNS}}}machine")
    if marks is not None:
        marks.set("size", size)
    root.attrib.pop("id", None)
    return ET.tostring(root, encoding="unicode") + "\n"


def _read(xml: str) -> Domain:
    root = _parse(xml)
    ours = root.find(f"metadata/{{{XMLNS}}}machine")
    marks = None
    if ours is not None:
        told = {key: value for key, value in ours.attrib.items() if key in Marks.__struct_fields__}
        told["tags"] = told.get("tags", "").split()  # type: ignore[assignment]
        try:
            marks = msgspec.convert(told, Marks, strict=False)
        except msgspec.ValidationError as error:
            raise BadFormat("libvirt's answer can't be read", f"what is ours of a machine: {error}", _BY_HAND) from None
    return Domain(
        uuid=root.findtext("uuid", ""),
        name=root.findtext("name", ""),
        type=root.get("type", ""),
        running="id" in root.attrib,
        marks=marks,
        xml=xml,
    )


_BY_HAND = "look at it by hand: virsh dumpxml NAME"


def _parse(xml: str) -> ET.Element:
    try:
        return ET.fromstring(xml)
    except ET.ParseError as error:
        raise BadFormat("libvirt's answer can't be read", str(error), _BY_HAND) from None


def _text(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text


def _write_marks(parent: ET.Element, marks: Marks) -> None:
    element = ET.SubElement(parent, f"{{{XMLNS}}}machine", name=marks.name, tags=" ".join(marks.tags))
    for key in ("size", "region", "address"):
        if value := getattr(marks, key):
            element.set(key, value)
    if marks.made_s:
        element.set("made_s", f"{marks.made_s:.0f}")


def _boot(root: ET.Element, guest: Guest, kind: _Kind) -> None:
    if not guest.kernel and kind.os == "xenpvh":
        raise BadInput(
            f"{guest.marks.name} can't boot", "a Xen PVH guest needs a kernel from outside", "use an image with one"
        )
    if not guest.kernel and kind.os == "linux":
        _text(root, "bootloader", "pygrub")  # reads the kernel from the guest's disk
    os = ET.SubElement(root, "os")
    _text(os, "type", kind.os, **({"arch": "x86_64", "machine": kind.machine} if kind.machine else {}))
    if not kind.own_kernel:
        _text(os, "init", "/sbin/init")
    for name in ("kernel", "initrd", "cmdline"):
        if guest.kernel and kind.own_kernel and (value := getattr(guest, name)):
            _text(os, name, value)


def _disk(devices: ET.Element, path: str, kind: _Kind, letter: str, format: str, *, readonly: bool) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type=format)
    ET.SubElement(disk, "source", file=path)
    ET.SubElement(disk, "target", dev=kind.disk + letter, bus=kind.bus)
    if readonly:
        ET.SubElement(disk, "readonly")


def _interface(devices: ET.Element, guest: Guest, emulated: bool) -> None:
    match = NETWORK.fullmatch(guest.network)
    if match is None or (match["type"] is None and not emulated):
        raise BadInput(
            f"{guest.marks.name} gets no network",
            f"{guest.network!r} is not what {guest.kind} can have",
            "network=bridge:br0 or network=network:default" + (", or network=user" if emulated else ""),
        )
    interface = ET.SubElement(devices, "interface", type=match["type"] or "user")
    ET.SubElement(interface, "mac", address=mac_of(guest.uuid))
    if match["type"]:
        ET.SubElement(interface, "source", {match["type"]: match["name"]})
    if emulated:
        ET.SubElement(interface, "model", type="virtio")


def _emulated(devices: ET.Element, guest: Guest) -> None:
    """QEMU's and KVM's: a console whose words are kept on the host, the channel of a guest agent, and chance to begin with."""
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=f"/var/log/libvirt/qemu/{guest.marks.name}.console", append="off")
    ET.SubElement(serial, "target", port="0")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
