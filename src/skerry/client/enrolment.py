"""The enrolment of a host, `node/<name>`: what is signed when it joins, changes its state, or leaves. No SSH here."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.client import alerts
from skerry.client.session import PORT, Session
from skerry.core.intent import App, Body, Node, Pool, Secret
from skerry.core.records import Document, MachineSlot
from skerry.errors import BadInput, Refusal, TrustRefusal, Unreachable
from skerry.trust import joining, seal

if TYPE_CHECKING:  # every deploy comes by here
    from skerry.client.bundle import Bundle
    from skerry.machines.survey import Survey

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NETWORK = ipaddress.IPv4Network("10.77.0.0/16")  # containers' addresses; a /24 per host
ROOM_BITS = 4  # a pool's block has sixteen of them or more: it may grow


class NoSuchHost(BadInput):
    """This cloud has no host of that name."""

    code = "no-such-host"


class NameTaken(Refusal):
    """Another host has this name."""

    code = "name-taken"
    exit_code = 2


class HostBarred(TrustRefusal):
    """The host was expelled from this cloud and still has the keys it had then."""

    code = "host-barred"


class Enrolment(msgspec.Struct, frozen=True):
    """What is to be signed. `held`: exactly this is in force already. `readmitted`: keys that policy must let in again."""

    path: str
    body: Node
    held: bool
    readmitted: tuple[str, ...] = ()


def find(session: Session, name: str, *, expelled: bool = False) -> tuple[Document, Node]:
    """A host of this cloud by its name. `expelled`: also one that was expelled. Raises NoSuchHost."""
    path = f"node/{name}"
    document = (session.trusted.nodes if expelled else session.nodes).get(path)
    if document is None or not isinstance(document.body, Node):
        known = ", ".join(sorted(n.removeprefix("node/") for n in session.nodes)) or "none"
        why = "it was expelled" if path in session.trusted.nodes else f"this cloud has: {known}"
        raise NoSuchHost(f"there is no host {name}", why, "see skerry host ls")
    return document, document.body


def ssh_target(node: Node) -> str:
    """Where ssh most likely reaches it."""
    return f"root@{node.addresses[0].rpartition(':')[0]}"


def name_for(session: Session, found: Survey, name: str | None) -> str:
    """The name of a host that joins: the given one, else the first part of its own. Raises BadInput, NameTaken, HostBarred.

    A host that comes back has the name that it had.
    """
    if found.skerry_cloud == session.file.id and found.skerry_node in session.trusted.nodes:
        return found.skerry_node.removeprefix("node/")
    name = name or found.hostname.lower().partition(".")[0]
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} can't be a host's name", "it has small letters, digits and dashes, at most 63",
            "give one: --name vps-1",
        )  # fmt: skip
    if f"node/{name}" in session.nodes or name in pool_networks(session):
        what = "another host" if f"node/{name}" in session.nodes else "a pool"
        raise NameTaken(
            f"the host was not joined as {name}", f"{what} of this cloud has that name", "choose one: --name OTHER"
        )
    return name


def check_barred(session: Session, name: str, keys: Sequence[str], readmit: bool) -> tuple[str, ...]:
    """Those of a host's keys that policy would have to let in again. Raises HostBarred unless `readmit`."""
    barred = tuple(key for key in keys if key in session.trusted.barred())
    if barred and not readmit:
        raise HostBarred(
            f"{name} was not joined",
            "it was taken out of this cloud, and its keys are barred since",
            "give it new keys: skerry host rm NAME --purge, then host add; or, if nobody else ever had them: "
            "skerry host add --readmit",
        )
    return barred


def enrol(
    session: Session,
    found: Survey,
    keys: dict[str, str],
    bundle: Bundle,
    name: str,
    *,
    labels: dict[str, str],
    zone: str,
    address: str | None,
    readmit: bool = False,
    like: Node | None = None,
    voter_only: bool = False,
) -> Enrolment:
    """The enrolment of a host with these public keys. A host that has one keeps what isn't given anew.

    `like`: what it was in another cloud; it keeps its place in all orders, its containers their addresses.
    """
    path = f"node/{name}"
    earlier = session.trusted.nodes.get(path)
    was = earlier.body if earlier is not None and isinstance(earlier.body, Node) else None
    addresses = (f"{address}:{PORT}",) if address else ()
    if was is not None and was.state != "expelled" and was.signing == keys["signing"]:
        body = msgspec.structs.replace(
            was,
            addresses=addresses or was.addresses,
            labels={**was.labels, **labels},
            zone=zone or was.zone,
            bundle=bundle.sha256,
            voter_only=was.voter_only or voter_only,
        )
        return Enrolment(path, body, body == was)
    own = (keys["signing"], keys["sealing"], keys["wireguard"])
    readmitted = check_barred(session, name, own, readmit)
    old = (was.signing, was.sealing, was.wireguard, *was.barred) if was is not None else ()
    body = Node(
        signing=keys["signing"],
        sealing=keys["sealing"],
        wireguard=keys["wireguard"],
        certificate=keys["certificate"],
        addresses=addresses or (f"{found.address}:{PORT}",),
        subnet=_subnet(session, path),
        salt=secrets.token_hex(8),
        zone=zone,
        labels=labels,
        voter_only=voter_only,
        bundle=bundle.sha256,
        barred=tuple(dict.fromkeys(key for key in old if key not in own)),
        floor={path: head[1] for path, head in session.trusted.heads().items() if path in ("root", "policy")},
    )
    if like is not None:
        body = msgspec.structs.replace(
            body, addresses=addresses or like.addresses, subnet=like.subnet, salt=like.salt, zone=zone or like.zone,
            weight=like.weight, labels={**like.labels, **labels},
        )  # fmt: skip
    return Enrolment(path, body, False, readmitted)


def enrol_machine(
    session: Session, slot: MachineSlot, pool: Pool, keys: joining.Keys, address: str, region: str = ""
) -> Enrolment:
    """The enrolment of a pool's machine by an operator: for those that people bring, and for pools without keepers.

    Raises BadInput, NameTaken.
    """
    held = session.trusted.nodes.get(slot.path)
    was = held.body if held is not None and isinstance(held.body, Node) else None
    mine = was is not None and was.state != "expelled"
    if mine and was is not None and was.signing != keys.signing:
        raise NameTaken(f"{slot} was not enrolled", "it has another machine already", f"skerry machine rm {slot}")
    if slot.index >= pool.max:
        raise BadInput(
            f"{slot} was not enrolled", f"pool {slot.pool} has {pool.max} machines at most",
            f"skerry machine pool set {slot.pool} --max {slot.index + 1}",
        )  # fmt: skip
    body = joining.node_of(
        session.file.id,
        slot,
        pool,
        keys,
        address=address,
        region=region,
        floor={path: head[1] for path, head in session.trusted.heads().items() if path in ("root", "policy")},
        boxes=machine_boxes(session, slot.pool, keys.sealing, was.boxes if mine and was is not None else {}),
        was=was,
    )
    if mine and was is not None:  # it comes again: nothing is signed anew but what differs
        body = msgspec.structs.replace(body, barred=was.barred, floor=was.floor, state=was.state)
    return Enrolment(slot.path, body, body == was)


def machine_boxes(session: Session, pool: str, sealing: str, held: dict[str, str]) -> dict[str, str]:
    """The content keys of all apps that are opened to the pool; what is good already stays as it is."""
    boxes: dict[str, str] = {}
    for document in session.documents("app"):
        app = document.path.removeprefix("app/")
        secret = session.document(f"secret/{app}")
        if not isinstance(document.body, App) or document.body.deleted or pool not in document.body.pools:
            continue
        if secret is None or not isinstance(secret.body, Secret):
            continue
        if held.get(app, "").partition(":")[0] == secret.body.key_id:
            boxes[app] = held[app]
        else:
            box = seal.make_box(session.content_key(secret), sealing, secrets.token_bytes(32))
            boxes[app] = f"{secret.body.key_id}:{box}"
    return boxes


def opened(session: Session) -> list[tuple[str, Body]]:
    """Enrolments of machines that no keeper looks after, whose boxes are not what they should be by now."""
    changes: list[tuple[str, Body]] = []
    for path, document in session.nodes.items():
        slot, node = MachineSlot.of_path(path), document.body
        pool = session.document(f"pool/{slot.pool}") if slot is not None else None
        if slot is None or pool is None or not isinstance(pool.body, Pool) or not isinstance(node, Node):
            continue
        if pool.body.keepers or pool.body.deleted or slot.index >= pool.body.max:
            continue
        boxes = machine_boxes(session, slot.pool, node.sealing, node.boxes)
        if boxes != node.boxes:
            changes.append((path, msgspec.structs.replace(node, boxes=boxes)))
    return changes


def _subnet(session: Session, path: str) -> str:
    """The lowest /24 that no other host has; the first is left to the cloud itself."""
    nodes = {p: d.body for p, d in session.trusted.nodes.items() if isinstance(d.body, Node)}
    if path in nodes:  # it comes back: containers' addresses stay what they were, if nobody has them now
        mine = nodes[path].subnet
        if not any(p != path and n.subnet == mine and n.state != "expelled" for p, n in nodes.items()):
            return mine
    blocks = [ipaddress.IPv4Network(block) for block in pool_networks(session).values()]
    ours = [s for s in list(NETWORK.subnets(new_prefix=24))[1:] if not any(s.subnet_of(block) for block in blocks)]
    taken = {node.subnet for node in nodes.values()}
    free = [str(subnet) for subnet in ours if str(subnet) not in taken]
    if not free:  # those of hosts that are gone for good, too
        taken = {node.subnet for node in nodes.values() if node.state != "expelled"}
        free = [str(subnet) for subnet in ours if str(subnet) not in taken]
    if not free:
        raise Refusal(
            "the host was not joined",
            "all 255 container networks are taken",
            "remove hosts that are gone: skerry host rm, or pools: skerry machine pool rm",
        )
    return free[0]


def pool_networks(session: Session) -> dict[str, str]:
    """The blocks that pools hold, by the pool's name: a removed one's is free again."""
    bodies = {d.path.removeprefix("pool/"): d.body for d in session.documents("pool")}
    return {name: body.network for name, body in bodies.items() if isinstance(body, Pool) and not body.deleted}


def pool_block(session: Session, machines: int, *, but: str = "") -> str:
    """The lowest free block with a /24 for each of so many machines, with room to grow where there is some.

    `but`: the pool that it is for. Raises Refusal.
    """
    fixed = {path: d.body for path, d in session.nodes.items() if MachineSlot.of_path(path) is None}
    hosts = [body.subnet for body in fixed.values() if isinstance(body, Node)]
    pools = [block for name, block in pool_networks(session).items() if name != but]
    taken = [next(NETWORK.subnets(new_prefix=24)), *map(ipaddress.IPv4Network, (*hosts, *pools))]
    least = max(machines - 1, 0).bit_length()
    for bits in range(max(least, ROOM_BITS), least - 1, -1):
        for block in NETWORK.subnets(new_prefix=24 - bits):
            if not any(block.overlaps(other) for other in taken):
                return str(block)
    raise Refusal(
        f"there is no room for {machines} machines",
        f"hosts and pools have taken too much of {NETWORK}",
        "give it a lower --max, or remove a pool: skerry machine pool rm",
    )


def signed(session: Session, enrolment: Enrolment) -> list[bytes]:
    """The records that bring an enrolment into force: policy if keys are let in again, the node, every app's secrets."""
    changes: list[tuple[str, Body]] = []
    if enrolment.readmitted:
        policy = session.policy
        readmitted = tuple(dict.fromkeys((*policy.readmitted, *enrolment.readmitted)))
        changes.append(("policy", msgspec.structs.replace(policy, readmitted=readmitted)))
    changes.append((enrolment.path, enrolment.body))
    if MachineSlot.of_path(enrolment.path) is None:  # a pool's machine has its boxes with it
        changes += [] if enrolment.body.voter_only else resealed(session, enrolment.path, enrolment.body.sealing)
    return [session.draft(path, body) for path, body in changes]


def resealed(session: Session, path: str, sealing: str) -> list[tuple[str, Body]]:
    """The secrets of all apps, and the addresses of alerts' receivers, opened to one more host."""
    changes: list[tuple[str, Body]] = []
    for document in session.documents("secret"):
        assert isinstance(document.body, Secret)
        box = seal.make_box(session.content_key(document), sealing, secrets.token_bytes(32))
        boxes = {**document.body.boxes, path: box}
        changes.append((document.path, msgspec.structs.replace(document.body, boxes=boxes)))
    return changes + alerts.opened_to(session, path, sealing)


async def hand_over(session: Session, raws: Sequence[bytes], *, without: Collection[str]) -> None:
    """Records to any host but these: they are not in yet, or on its way out. If there is no other, they are only kept here."""
    others = [node for node in session.candidates() if node not in without]
    unreachable: Unreachable | None = None
    for other in others:
        try:
            await session.put(raws, node=other)
        except Unreachable as error:
            unreachable = error
        else:
            return
    if unreachable is not None:
        raise unreachable
    session.adopt_own(raws)


def handed_over(session: Session, path: str, facts: Sequence[str] = ()) -> bytes:
    """What a host is given on its way in: who it is, and all records that it starts with."""
    content: dict[str, Any] = {
        "cloud": session.file.id, "node": path, "network": str(NETWORK), "records": [*session.all_records(), *facts]
    }  # fmt: skip
    return msgspec.json.encode(content)
