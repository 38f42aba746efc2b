"""Hosts: join, list, drain, upgrade, expel, adopt, remove. What joins SSH (machines), signing (trust) and asking (session)."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.client.bundle import Bundle, find_bundle
from skerry.client.session import PORT, Session
from skerry.client.views import hosts as hosts_view
from skerry.core.intent import Body, Node, Secret
from skerry.core.records import Document
from skerry.errors import BadInput, NotInTime, Refusal, SkerryError, Unreachable
from skerry.machines.install import Install
from skerry.machines.ssh import Ssh
from skerry.machines.survey import judge, survey
from skerry.trust import seal

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NETWORK = ipaddress.IPv4Network("10.77.0.0/16")  # containers' addresses; a /24 per host
JOIN_TIMEOUT_S = 30.0
REJOIN_TIMEOUT_S = 60.0  # an upgraded agent that isn't back by then is turned back

Progress = Callable[[str], None]


class NoSuchHost(BadInput):
    code = "no-such-host"


class NameTaken(Refusal):
    """Another host has this name."""

    code = "name-taken"
    exit_code = 2


class HostUnfit(Refusal):
    """What the survey found rules the host out."""

    code = "host-unfit"


async def add(
    session: Session,
    target: str,
    *,
    name: str | None = None,
    labels: dict[str, str] | None = None,
    zone: str = "",
    ssh_config: Path | None = None,
    identity: Path | None = None,
    address: str | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Join the host behind `target` (root@address) over one SSH session; afterwards SSH is never used again.

    Run again it changes nothing, and mends a broken agent. Raises HostUnfit, NameTaken, OtherCloud, Unreachable, NotInTime.
    """
    bundle = find_bundle()
    if session.nodes:
        await session.sync()
    with Ssh(target, config=ssh_config, identity=identity) as ssh:
        found = await asyncio.to_thread(survey, ssh)
        for line in found.lines():
            progress(line)
        if problems := judge(found, cloud=session.file.id):
            raise (
                problems[0]
                if len(problems) == 1
                else HostUnfit(
                    f"{target} was not joined", "; ".join(str(p) for p in problems), "; ".join(p.fix for p in problems)
                )
            )
        install = Install(ssh, progress)
        await asyncio.to_thread(install.bundle, bundle.path)
        keys = await asyncio.to_thread(install.keys, bundle.version)
        path, body, known = _enrolment(session, found, keys, bundle, name, labels or {}, zone, address)
        alone = not [n for n in session.nodes if n != path]
        if not known:
            progress(f"signing {path}: {body.addresses[0]}, containers in {body.subnet}")
            changes: list[tuple[str, Body]] = [(path, body), *_resealed(session, path, body.sealing)]
            raws = [session.draft(p, b) for p, b in changes]
            if alone:
                session.adopt_own(raws)
            else:
                await session.put(raws)
        records = msgspec.json.encode(
            {"cloud": session.file.id, "node": path, "network": str(NETWORK), "records": session.all_records()}
        )
        await asyncio.to_thread(install.join, bundle.version, records)
        changed = await asyncio.to_thread(install.unit, bundle.version)
        await asyncio.to_thread(install.start, JOIN_TIMEOUT_S)
    await wait_for_answer(session, path, JOIN_TIMEOUT_S)
    closed = await _closed_from(session, path, body.addresses[0])
    return {
        "name": path.removeprefix("node/"),
        "address": body.addresses[0],
        "subnet": body.subnet,
        "new": not known,
        "mended": known and changed,
        "unreachable_from": closed,
        "open_ports": [f"{PORT}/tcp", f"{PORT}/udp"],
        "found": found.lines(),
    }


def _enrolment(
    session: Session,
    found: Any,
    keys: dict[str, Any],
    bundle: Bundle,
    name: str | None,
    labels: dict[str, str],
    zone: str,
    address: str | None,
) -> tuple[str, Node, bool]:
    """The enrolment to sign: (path, body, whether exactly this one is held already)."""
    same = next((d for d in session.nodes.values() if d.body.signing == keys["signing"]), None)  # type: ignore[union-attr]
    path = same.path if same is not None else f"node/{_name(session, name or found.hostname)}"
    held: Node | None = same.body if same is not None else None  # type: ignore[assignment]
    addresses = (f"{address or found.address}:{PORT}",)
    if held is not None:
        wanted = msgspec.structs.replace(
            held,
            addresses=addresses if address else held.addresses,
            labels={**held.labels, **labels},
            zone=zone or held.zone,
            bundle=bundle.sha256,
            state="active" if held.state == "expelled" else held.state,
        )
        return path, wanted, wanted == held
    body = Node(
        signing=keys["signing"],
        sealing=keys["sealing"],
        wireguard=keys["wireguard"],
        certificate=keys["certificate"],
        addresses=addresses,
        subnet=_subnet(session),
        salt=secrets.token_hex(8),
        zone=zone,
        labels=labels,
        bundle=bundle.sha256,
        floor={path: head[1] for path, head in session.trusted.heads().items() if path in ("root", "policy")},
    )
    return path, body, False


def _name(session: Session, name: str) -> str:
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} can't be a host's name",
            "it has letters, digits and dashes, at most 63",
            "give one: --name vps-1",
        )
    if f"node/{name}" in session.trusted.nodes:
        raise NameTaken(
            f"the host was not joined as {name}",
            "another host of this cloud has, or had, that name",
            "choose one: --name OTHER",
        )
    return name


def _subnet(session: Session) -> str:
    """The lowest /24 that no enrolment ever had; the first is left to the cloud itself."""
    taken = {d.body.subnet for d in session.trusted.nodes.values()}  # type: ignore[union-attr]
    for subnet in list(NETWORK.subnets(new_prefix=24))[1:]:
        if str(subnet) not in taken:
            return str(subnet)
    raise Refusal(
        "the host was not joined", "all 255 container networks are taken", "remove hosts that are gone: skerry host rm"
    )


def _resealed(session: Session, path: str, sealing: str) -> list[tuple[str, Body]]:
    """The secrets of all apps, opened to one more host."""
    changes: list[tuple[str, Body]] = []
    for document in session.documents("secret"):
        body: Secret = document.body  # type: ignore[assignment]
        key = session.content_key(document)
        changes.append(
            (
                document.path,
                msgspec.structs.replace(
                    body, boxes={**body.boxes, path: seal.make_box(key, sealing, secrets.token_bytes(32))}
                ),
            )
        )
    return changes


async def wait_for_answer(session: Session, path: str, timeout_s: float) -> dict[str, Any]:
    """Wait until that host's agent answers an operator. Raises NotInTime with the last reason."""
    deadline_s = time.monotonic() + timeout_s
    why = ""
    while time.monotonic() < deadline_s:
        try:
            return dict(await session.request("status", node=path))
        except (Unreachable, SkerryError) as error:
            why = str(error)
        await asyncio.sleep(0.1)
    raise NotInTime(
        f"{path.removeprefix('node/')} did not answer within {timeout_s:.0f} s",
        why,
        f"open {PORT}/tcp and {PORT}/udp on it; its own words: journalctl -u skerry",
    )


async def _closed_from(session: Session, path: str, address: str) -> list[str]:
    """Which other hosts can't reach the new one."""
    others = [n for n in session.nodes if n != path]
    closed = []
    for node in others:
        try:
            answer = await session.request("reach", {"address": address}, node=node)
        except SkerryError:
            continue
        if not answer["ok"]:
            closed.append(f"{node.removeprefix('node/')}: {answer['why']}")
    return closed


async def ls(session: Session) -> list[dict[str, Any]]:
    """As the first host that answers sees them."""
    await session.sync(1)
    return await hosts_view(session)


async def drain(
    session: Session, name: str, timeout_s: float, progress: Progress = lambda line: None
) -> dict[str, Any]:
    """Move every replica off; wait until none is left. Slots that wait for their data stay, and are named."""
    await _set_state(session, name, "draining")
    deadline_s = time.monotonic() + timeout_s
    last = -1
    while True:
        rows = [
            r for r in await session.request("ps", {"subject": ""}) if r["node"] == name and r["state"] != "waiting"
        ]
        movable = [r for r in rows if not r.get("pinned")]
        if len(movable) != last:
            last = len(movable)
            progress(f"{last} replicas left on {name}")
        if not movable:
            return {"name": name, "state": "draining", "left": [r["slot"] for r in rows]}
        if time.monotonic() > deadline_s:
            raise NotInTime(
                f"{name} is not empty yet",
                f"{', '.join(r['slot'] for r in movable)} still run there",
                f"it goes on; look with skerry ps, or take it back: skerry host undrain {name}",
            )
        await asyncio.sleep(0.2)


async def undrain(session: Session, name: str) -> dict[str, Any]:
    await _set_state(session, name, "active")
    return {"name": name, "state": "active"}


async def expel(session: Session, name: str) -> dict[str, Any]:
    """Cut a host off everywhere: its links, facts, tunnel and keys. Lists the secrets that it could read."""
    document = await _set_state(session, name, "expelled")
    readable = [d.path.removeprefix("secret/") for d in session.documents("secret") if document.path in d.body.boxes]  # type: ignore[union-attr]
    return {"name": name, "state": "expelled", "secrets_it_could_read": readable}


async def rm(
    session: Session,
    name: str,
    purge: bool,
    *,
    target: str | None = None,
    ssh_config: Path | None = None,
    identity: Path | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Take a host out of the cloud and leave the machine as it was; `purge` also deletes its volumes and keys there."""
    await session.sync()
    document = _find(session, name)
    enrolment: Node = document.body  # type: ignore[assignment]
    others = [n for n in session.nodes if n != document.path]
    where = target or f"root@{enrolment.addresses[0].rpartition(':')[0]}"
    if others:
        await _set_state(session, name, "expelled")
    else:
        session.adopt_own([session.draft(document.path, msgspec.structs.replace(enrolment, state="expelled"))])
    with Ssh(where, config=ssh_config, identity=identity) as ssh:
        removed = await asyncio.to_thread(Install(ssh, progress).rm, purge=purge)
    return {"name": name, "removed": removed, "volumes_kept": not purge}


async def upgrade(
    session: Session,
    names: Sequence[str],
    *,
    ssh_config: Path | None = None,
    identity: Path | None = None,
    progress: Progress = lambda line: None,
) -> list[dict[str, Any]]:
    """Swap the agent's bundle one host at a time; containers are untouched. A host that has not rejoined in 60 s goes back."""
    bundle = find_bundle()
    await session.sync()
    done = []
    for name in names or [n.removeprefix("node/") for n in sorted(session.nodes)]:
        document = _find(session, name)
        enrolment: Node = document.body  # type: ignore[assignment]
        before = (await session.request("status", node=document.path))["version"]
        await session.change([(document.path, msgspec.structs.replace(enrolment, bundle=bundle.sha256))])
        target = f"root@{enrolment.addresses[0].rpartition(':')[0]}"
        with Ssh(target, config=ssh_config, identity=identity) as ssh:
            install = Install(ssh, progress)
            old = await asyncio.to_thread(install.status)
            await asyncio.to_thread(install.bundle, bundle.path)
            await asyncio.to_thread(install.unit, bundle.version)
            try:
                await asyncio.to_thread(install.start, REJOIN_TIMEOUT_S)
                await wait_for_answer(session, document.path, REJOIN_TIMEOUT_S)
            except SkerryError:
                progress(f"{name} has not rejoined: going back to {old['version']}")
                await asyncio.to_thread(install.unit, old["version"])
                await asyncio.to_thread(install.start, REJOIN_TIMEOUT_S)
                await session.change([(document.path, enrolment)])
                raise
        done.append({"name": name, "from": before, "bundle": bundle.sha256})
        progress(f"{name}: agent {bundle.version}")
    return done


async def adopt(
    session: Session,
    target: str,
    *,
    ssh_config: Path | None = None,
    identity: Path | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Take a host over by SSH alone, whatever cloud it was in: a new root replaces the old one, containers run on."""
    bundle = find_bundle()
    with Ssh(target, config=ssh_config, identity=identity) as ssh:
        found = await asyncio.to_thread(survey, ssh)
        install = Install(ssh, progress)
        await asyncio.to_thread(install.bundle, bundle.path)
        keys = await asyncio.to_thread(install.keys, bundle.version)
        path, body, known = _enrolment(session, found, keys, bundle, None, {}, "", None)
        old = await asyncio.to_thread(install.node)
        if old.get("subnet") and not known:
            body = msgspec.structs.replace(body, subnet=old["subnet"])
        if not known:
            raws = [
                session.draft(path, body),
                *[session.draft(p, b) for p, b in _resealed(session, path, body.sealing)],
            ]
            if session.nodes:
                await session.put(raws)
            else:
                session.adopt_own(raws)
        records = msgspec.json.encode(
            {"cloud": session.file.id, "node": path, "network": str(NETWORK), "records": session.all_records()}
        )
        await asyncio.to_thread(lambda: install.join(bundle.version, records, adopt=True))
        await asyncio.to_thread(install.unit, bundle.version)
        await asyncio.to_thread(install.restart, JOIN_TIMEOUT_S)
    await wait_for_answer(session, path, JOIN_TIMEOUT_S)
    return {"name": path.removeprefix("node/"), "address": body.addresses[0], "adopted": True}


def _find(session: Session, name: str) -> Document:
    document = session.nodes.get(f"node/{name}")
    if document is None:
        known = ", ".join(sorted(n.removeprefix("node/") for n in session.nodes)) or "none"
        raise NoSuchHost(f"there is no host {name}", f"this cloud has: {known}", "see skerry host ls")
    return document


async def _set_state(session: Session, name: str, state: str) -> Document:
    """Sign the enrolment anew with this state; nothing is signed when it is so already."""
    await session.sync()
    document = _find(session, name)
    enrolment: Node = document.body  # type: ignore[assignment]
    if enrolment.state == state:
        return document
    changes: list[tuple[str, Body]] = [(document.path, msgspec.structs.replace(enrolment, state=state))]
    others = [n for n in session.nodes if n != document.path]
    await session.change(changes, node=None if not others else others[0])
    return document
