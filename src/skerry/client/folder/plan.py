"""What differs between a folder and the cloud, as steps in the order in which they are good. Changes nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.client import alerts, deploy, kits, pools
from skerry.client.apps import live
from skerry.client.folder import alerts as alerting
from skerry.client.folder import tools as tooling
from skerry.client.folder.read import Folder, HostWish, PoolWish, RoleWish
from skerry.client.folder.steps import ORDER, CantBePlanned, Field, Kind, Step
from skerry.client.images import LocalImages, Progress
from skerry.client.session import PORT, Session
from skerry.core.intent import Node, Pool, Role
from skerry.core.records import MachineSlot

_OF_HOSTS = ("zone", "labels", "addresses", "state", "image_budget_bytes")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`unmanaged`: what is there and not in the folder, "app/shop"; removed only where that was asked for."""

    steps: tuple[Step, ...]
    unmanaged: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        return {action: sum(s.action == action for s in self.steps) for action in ("add", "change", "remove")}


async def plan(
    session: Session,
    folder: Folder,
    images: LocalImages,
    *,
    prune: bool = False,
    progress: Progress = lambda line: None,
) -> Plan:
    """`prune`: what the folder's files don't have goes; of kinds that it has files for. Images are built, as a deploy would.

    Raises CantBePlanned, and what building raises.
    """
    if session.nodes:  # else it is a cloud that begins
        await session.sync()
    steps = [*_roles(session, folder.roles or {}), *_hosts(session, folder.hosts or {})]
    steps += _pools(session, folder.pools or {})
    steps += await tooling.steps(session, folder.tools or {}, images, progress)
    steps += alerting.receiver_steps(session, folder.receivers or {})
    steps += alerting.rule_steps(session, folder.rules or {})
    for name, app in (folder.apps or {}).items():
        rows = await deploy.diff(session, app, images, progress) if session.nodes else []
        new = name not in live(session)
        fields = tuple(Field(f"{row['path']} {row['field']}", row["old"], row["new"]) for row in rows)
        if new or fields:
            steps.append(Step(action="add" if new else "change", kind="app", name=name, fields=() if new else fields))
    lost = [(kind, name) for kind in reversed(ORDER) for name in _unmanaged(session, folder, kind)]
    removals = [Step(action="remove", kind=kind, name=name) for kind, name in lost] if prune else []
    steps.sort(key=lambda step: ORDER.index(step.kind))
    return Plan(steps=(*steps, *removals), unmanaged=tuple(f"{kind}/{name}" for kind, name in lost))


def fixed_hosts(session: Session) -> dict[str, Node]:
    """Without pools' machines."""
    bodies = {path.removeprefix("node/"): document.body for path, document in session.nodes.items()}
    return {n: b for n, b in bodies.items() if isinstance(b, Node) and MachineSlot.read(n) is None}


def ci_roles(session: Session) -> dict[str, Role]:
    """Operators, and keepers, are not a folder's business."""
    return {role.name: role for role in session.policy.roles if role.kinds == ("release",)}


def _unmanaged(session: Session, folder: Folder, kind: Kind) -> list[str]:
    said: dict[str, Any] | None = getattr(folder, kind if kind == "tools" else f"{kind}s")
    if said is None:
        return []
    there: dict[Kind, Any] = {
        "role": ci_roles(session),
        "host": fixed_hosts(session),
        "pool": pools.all_pools(session),
        "tools": kits.all_tools(session),
        "receiver": alerts.receivers(session),
        "rule": {**alerts.settings(session).rules, **alerts.settings(session).measures},
        "app": live(session),
    }
    return sorted(there[kind].keys() - said.keys())


def _roles(session: Session, wishes: dict[str, RoleWish]) -> list[Step]:
    steps: list[Step] = []
    there = ci_roles(session)
    for name, wish in wishes.items():
        role = there.get(name)
        if role is None:
            if wish.public is None:
                raise CantBePlanned(
                    f"role {name} can't be added", "only its key is named", "name the file: public: FILE"
                )
            steps.append(Step(action="add", kind="role", name=name))
            continue
        if role.keys != (wish.key,):
            raise CantBePlanned(
                f"role {name} can't be changed", "it has another key", f"take it away first: skerry role rm {name}"
            )
        old = {path.removeprefix("release/") for path in role.paths}
        if gone := old - set(wish.apps):
            raise CantBePlanned(
                f"role {name} can't be changed",
                f"{', '.join(sorted(gone))} would be taken from it, and what it signed there would stand on nothing",
                f"take it away, and add one with a new key: skerry role rm {name}",
            )
        if more := set(wish.apps) - old:
            field = Field("apps", sorted(old), sorted(old | more))
            steps.append(Step(action="change", kind="role", name=name, fields=(field,)))
    return steps


def _hosts(session: Session, wishes: dict[str, HostWish]) -> list[Step]:
    steps: list[Step] = []
    there = fixed_hosts(session)
    for name, wish in wishes.items():
        node = there.get(name)
        if node is None:
            if not wish.target:
                raise CantBePlanned(f"host {name} can't join", "it has no target", "add target: root@ADDRESS")
            steps.append(Step(action="add", kind="host", name=name))
            continue
        wished = wished_node(node, wish)
        said = ((f, getattr(node, f), getattr(wished, f)) for f in _OF_HOSTS)
        fields = tuple(Field(f, old, new) for f, old, new in said if old != new)
        if fields:
            steps.append(Step(action="change", kind="host", name=name, fields=fields))
    return steps


def wished_node(node: Node, wish: HostWish) -> Node:
    """Its enrolment as the folder wants it."""
    said: dict[str, Any] = {
        "zone": wish.zone,
        "labels": wish.labels,
        "state": wish.state or None,
        "addresses": (f"{wish.address}:{PORT}",) if wish.address else None,
        "image_budget_bytes": wish.image_budget_bytes,
    }
    return msgspec.structs.replace(node, **{field: value for field, value in said.items() if value is not None})


def _pools(session: Session, wishes: dict[str, PoolWish]) -> list[Step]:
    steps: list[Step] = []
    there = pools.all_pools(session)
    for name, wish in wishes.items():
        pool = there.get(name)
        if pool is None:
            steps.append(Step(action="add", kind="pool", name=name))
            continue
        for fixed in ("provider", "endpoint", "others"):
            if wish.fields.get(fixed, getattr(pool, fixed)) != getattr(pool, fixed):
                raise CantBePlanned(
                    f"pool {name} can't be changed", f"its {fixed} would be another one", "add a pool of another name"
                )
        fields = tuple(Field(f, getattr(pool, f), new) for f, new in pool_changes(pool, wish).items())
        kept = tuple(sorted(path.removeprefix("node/") for path in pool.keepers))
        if wish.keepers is not None and tuple(sorted(wish.keepers)) != kept:
            fields += (Field("keepers", kept, wish.keepers),)
        if fields:
            steps.append(Step(action="change", kind="pool", name=name, fields=fields))
    return steps


def pool_changes(pool: Pool, wish: PoolWish) -> dict[str, Any]:
    """Fields that differ. What an absent amount means was settled when the pool was signed: it stays."""
    return {field: value for field, value in wish.fields.items() if getattr(pool, field) != value}
