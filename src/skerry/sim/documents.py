"""Documents for simulated clouds, short enough to write by hand in a story or a test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from skerry.core.intent import App, Body, Node, Policy, Release, Service
from skerry.core.records import Document, MachineSlot


def document(path: str, body: Body, version: int = 1, issued: float = 0.0) -> Document:
    """A document as trust would hand it over; its hash is over path, version and body."""
    digest = hashlib.sha256(f"{path} {version} ".encode() + msgspec.json.encode(body, order="sorted")).hexdigest()
    return Document(
        path=path, kind=path.partition("/")[0], epoch=0, version=version, prev="", issued=issued, expires=1e12, hash=digest,
        body=body,
    )  # fmt: skip


def node(
    name: str, *, zone: str = "", weight: int = 100, state: str = "active", version: int = 1, **labels: str
) -> Document:
    number = int("".join(filter(str.isdigit, name)) or 0)
    body = Node(
        signing=f"{number:064x}", sealing=f"{number:064x}", wireguard=f"{number:064x}", certificate="",
        addresses=(f"10.0.0.{number}:7077",), subnet=f"10.77.{number}.0/24", salt=f"salt of {name}", zone=zone, weight=weight,
        labels=labels, state=state,  # type: ignore[arg-type]
    )  # fmt: skip
    return document(f"node/{name}", body, version)


def voter_only(name: str, *, version: int = 1) -> Document:
    """A host that votes and runs nothing."""
    of = node(name)
    assert isinstance(of.body, Node)
    return document(of.path, msgspec.structs.replace(of.body, voter_only=True), version)


def machine(slot: MachineSlot, key: str, address: str, *, version: int = 1) -> Document:
    """An enrolment as a keeper of the pool signs it, for the key that a machine made at its first boot."""
    body = Node(
        signing=key, sealing=key, wireguard=key, certificate="", addresses=(f"{address}:7077",),
        subnet=f"10.77.{machine_number(slot)}.0/24", salt=f"salt of {slot}", zone=slot.pool,
    )  # fmt: skip
    return document(slot.path, body, version)


def machine_number(slot: MachineSlot) -> int:
    return 100 + slot.index + 10 * sum(slot.pool.encode()) % 100 * (slot.pool != "burst")


def policy(*voters: str, before: Sequence[str] = (), version: int = 1, voting: int = 0) -> Document:
    """A policy that says no more than who votes about leases: names of hosts."""
    paths, old = tuple(f"node/{name}" for name in voters), tuple(f"node/{name}" for name in before)
    return document("policy", Policy(roles=(), voters=paths, voters_before=old, voting=voting), version)


def app(name: str, services: dict[str, Service], *, version: int = 1, fallback: str = "", deleted: bool = False,
        volumes: dict[str, bool] | None = None, pools: tuple[str, ...] = ()) -> Document:  # fmt: skip
    body = App(services=dict(services), fallback=fallback, deleted=deleted, volumes=volumes or {}, pools=pools)
    return document(f"app/{name}", body, version)


def release(name: str, images: dict[str, str], *, version: int = 1, fits: int = 1, fallback: str = "") -> Document:
    """`images`: service (or "<service>.init") -> a word; the digest is made of it."""
    digests = {service: image_of(word) for service, word in images.items()}
    return document(f"release/{name}", Release(images=digests, fits=fits, fallback=fallback), version)


def image_of(word: str) -> str:
    return "sha256:" + word.encode().hex().ljust(64, "0")[:64]


def word_of(image: str) -> str:
    """The word that `image_of` was given."""
    return bytes.fromhex(
        image.removeprefix("sha256:").rstrip("0").ljust(2, "0") + "0" * (len(image.rstrip("0")) % 2 == 0)
    ).decode(errors="replace")
