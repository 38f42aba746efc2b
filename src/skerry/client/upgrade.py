"""`host upgrade`: the agent's bundle is swapped, one host after the other, over the cloud's own links.

The host takes only the bundle whose hash its enrolment names, and goes back by itself when the new agent does not rejoin
(agent/upgrade.py, agent/guard.py). So nothing here has to be there for it to end well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.client.bundle import Bundle, find_bundle
from skerry.client.enrolment import find
from skerry.client.session import Session
from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.errors import NotInTime, Passing, SkerryError, Unreachable
from skerry.machines.providers import MEETING
from skerry.mesh.streams import offer_objects

REJOIN_LIMIT_S = 60.0
SPARE_S = 30.0  # for going back, beyond the limit
POLL_S = 0.2

Progress = Callable[[str], None]


class TurnedBack(Passing):
    """The new agent did not rejoin in time; the host runs the one before again."""

    code = "upgrade-turned-back"


class OneFile:
    """The bundle as a store of one object."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def path(self, hash: str, /) -> Path:
        return self._bundle.path


async def upgrade(
    session: Session,
    names: Sequence[str],
    *,
    limit_s: float = REJOIN_LIMIT_S,
    progress: Progress = lambda line: None,
) -> list[dict[str, Any]]:
    """Hosts `names`, or all if there are none; the first that turns back ends it. Raises TurnedBack, NoSuchHost, Unreachable."""
    bundle = find_bundle()
    await session.sync()
    names = list(names) or [n.removeprefix("node/") for n in sorted(session.nodes)]
    for name in names:
        find(session, name)
    rows = [await _one(session, name, bundle, limit_s, progress) for name in names]
    await _of_pools(session, bundle, progress)
    return rows


async def _of_pools(session: Session, bundle: Bundle, progress: Progress) -> None:
    """Once all fixed hosts run it, machines that are rented from now on begin with it, too."""
    fixed = [document.body for path, document in session.nodes.items() if MachineSlot.of_path(path) is None]
    if any(isinstance(body, Node) and body.bundle != bundle.sha256 for body in fixed):
        return
    for document in session.documents("pool"):
        pool = document.body
        if not isinstance(pool, Pool) or pool.deleted or pool.bundle == bundle.sha256:
            continue
        await hand_bundle(session, bundle, [*pool.keepers] or [f"node/{pool.options.get(MEETING, '')}"], progress)
        await session.change([(document.path, msgspec.structs.replace(pool, bundle=bundle.sha256))])


async def hand_bundle(session: Session, bundle: Bundle, paths: Sequence[str], progress: Progress) -> None:
    """The agent that new machines begin with lies on whoever gives it to them."""
    for path in paths:
        progress(f"handing agent {bundle.version} to {path.removeprefix('node/')} for its machines")
        stream, _ = await session.open("/objects/put", path)
        try:
            await offer_objects(stream, [bundle.sha256], OneFile(bundle))
        finally:
            await stream.close()


async def _one(session: Session, name: str, bundle: Bundle, limit_s: float, progress: Progress) -> dict[str, Any]:
    document, node = find(session, name)
    path = document.path
    before = (await session.request("status", node=path))["bundle"]
    row = {"name": name, "from": before, "to": bundle.version, "bundle": bundle.sha256}
    if before == bundle.version and node.bundle == bundle.sha256:
        progress(f"{name}: runs agent {bundle.version} already")
        return row
    progress(f"{name}: handing over agent {bundle.version}")
    stream, _ = await session.open("/objects/put", path)
    try:
        await offer_objects(stream, [bundle.sha256], OneFile(bundle))
    finally:
        await stream.close()
    if node.bundle != bundle.sha256:
        await session.change([(path, msgspec.structs.replace(node, bundle=bundle.sha256))])
    if (await session.request("upgrade", {"limit_s": limit_s}, node=path))["trying"]:
        progress(f"{name}: trying it")
    why = await _decided(session, path, bundle.version, limit_s)
    if why:
        _, now = find(session, name)
        await session.change([(path, msgspec.structs.replace(now, bundle=node.bundle))])
        raise TurnedBack(
            f"{name} was not upgraded", why, "its own words: journalctl -u skerry; nothing else was changed"
        )
    progress(f"{name}: agent {bundle.version}")
    return row


async def _decided(session: Session, path: str, version: str, limit_s: float) -> str:
    """Wait until the host has kept the new agent ("") or gone back (why). Raises NotInTime: it goes on by itself."""
    deadline_s = time.monotonic() + limit_s + SPARE_S
    last = ""
    while time.monotonic() < deadline_s:
        try:
            status = await session.request("status", node=path)
        except (Unreachable, SkerryError) as error:
            last = str(error)
        else:
            if not status["trial"]:
                return "" if status["bundle"] == version else status["turned_back"] or "it runs the one before"
        await asyncio.sleep(POLL_S)
    raise NotInTime(
        f"{path.removeprefix('node/')} has not said how its upgrade went",
        last,
        "it decides by itself, and goes back if the new agent does not rejoin: skerry doctor",
    )
