"""`machine`: the machines of pools, as keepers tell of them, and what operators do to one of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from skerry.client import pools
from skerry.client.drain import drain
from skerry.client.session import Session
from skerry.client.walls import unwall
from skerry.core.intent import MANUAL, Node, Pool
from skerry.core.records import MachineSlot
from skerry.errors import BadInput, NotInTime, Unreachable
from skerry.machines.contract import name_of

POLL_S = 0.5
OVER = ("gone", "failed")
NOBODYS = ("gone", "enrolled")  # no keeper has anything to give back

Progress = Callable[[str], None]


class NoSuchMachine(BadInput):
    code = "no-such-machine"


class Told(msgspec.Struct, frozen=True):
    """What keepers say of one slot, as the host that was asked sees it. `state`: "enrolled" where none says anything."""

    slot: str
    state: str
    keeper: str
    id: str
    address: str
    size: str
    region: str
    usd_hour: float
    since: float
    up: bool
    why: str = ""
    asks: str = ""
    provider: str = ""


async def told(session: Session, pool: str = "") -> dict[MachineSlot, Told]:
    rows = msgspec.convert(await session.request("machines", {"subject": pool}), list[Told])
    return {slot: row for row in rows if (slot := MachineSlot.read(row.slot)) is not None}


async def ls(session: Session, pool: str = "") -> list[dict[str, Any]]:
    """Raises NoSuchPool."""
    await session.sync(1)
    if pool:
        pools.find_pool(session, pool)
    rows = [_row(session, slot, said) for slot, said in sorted((await told(session, pool)).items())]
    return [row for row in rows if row["state"] != "gone"]


def _row(session: Session, slot: MachineSlot, said: Told) -> dict[str, Any]:
    document = session.nodes.get(slot.path)
    node = document.body if document is not None and isinstance(document.body, Node) else None
    state = "joined" if said.state == "enrolled" else said.state
    if node is not None and node.state == "draining" and state == "joined":
        state = "draining"
    return {
        "slot": str(slot),
        "state": state,
        "up": said.up,
        "address": node.addresses[0].rpartition(":")[0] if node is not None and node.addresses else said.address,
        "provider": said.provider,
        "size": said.size,
        "region": said.region or (node.zone if node is not None else ""),
        "usd_hour": said.usd_hour,
        "id": said.id,
        "name": name_of(session.file.id, slot) if said.id else "",
        "since": said.since,
        "keeper": said.keeper,
        "why": said.why,
        "asks": said.asks,
    }


def slot_named(name: str) -> MachineSlot:
    """Raises NoSuchMachine."""
    slot = MachineSlot.read(name)
    if slot is None:
        raise NoSuchMachine(f"{name!r} is no machine", "a machine is called POOL/NUMBER", "see skerry machine ls")
    return slot


async def show(session: Session, name: str) -> dict[str, Any]:
    """One machine: what keepers say, what was signed, and what runs on it. Raises NoSuchMachine."""
    slot = slot_named(name)
    rows = {row["slot"]: row for row in await ls(session)}
    if str(slot) not in rows:
        known = ", ".join(rows) or "none"
        raise NoSuchMachine(f"there is no machine {slot}", f"there are: {known}", "see skerry machine ls")
    document = session.nodes.get(slot.path)
    node = document.body if document is not None and isinstance(document.body, Node) else None
    replicas = [row["slot"] for row in await session.request("ps", {"subject": ""}) if row["node"] == str(slot)]
    signed = {} if node is None else {"subnet": node.subnet, "apps_it_may_read": sorted(node.boxes)}
    return {**rows[str(slot)], **signed, "replicas": replicas}


async def rm(
    session: Session,
    name: str,
    *,
    token: Callable[[str], str],
    now: bool = False,
    timeout_s: float = 300.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Drain one machine (not if `now`), take it out of the cloud, and wait until its keeper has returned it. Where no host keeps
    its pool, it is returned from here: `token` gives the provider's.

    Raises NoSuchMachine, NotInTime.
    """
    await session.sync()
    slot = slot_named(name)
    if by_hand(session, slot.pool):
        from skerry.client.machine_up import down

        return await down(session, name, token=token, now=now, timeout_s=timeout_s, progress=progress)
    end_s = time.monotonic() + timeout_s
    document, said = session.nodes.get(slot.path), (await told(session)).get(slot)
    if document is None and said is None:
        raise NoSuchMachine(f"there is no machine {slot}", "it is neither enrolled nor rented", "see skerry machine ls")
    if document is not None:
        pool = pools.all_pools(session).get(slot.pool)
        if not now and pool is not None and slot.index < pool.max:
            await drain(session, str(slot), timeout_s, progress)
        await expel(session, slot)
        progress(f"{slot} is out of the cloud")
    id = said.id if said is not None else ""  # where it is wanted, another one follows at once

    def is_it(each: MachineSlot, now: Told) -> bool:
        return each == slot and (not id or now.id == id)

    await wait_gone(session, is_it, end_s, progress, f"skerry machine rm {slot}")
    return {"slot": str(slot), "state": "gone"}


def by_hand(session: Session, pool: str) -> bool:
    """Whether operators rent and return the machines of this pool."""
    held = pools.all_pools(session).get(pool)
    return held is not None and not held.keepers and held.provider != MANUAL


async def expel(session: Session, slot: MachineSlot) -> None:
    """Its enrolment is over: whatever keeps it returns it now, and its keys are good for nothing any more."""
    await session.sync(1)
    document = session.nodes.get(slot.path)
    if document is not None and isinstance(document.body, Node):
        await session.change([(slot.path, msgspec.structs.replace(document.body, state="expelled"))])


async def wait_gone(
    session: Session, which: Callable[[MachineSlot, Told], bool], end_s: float, progress: Progress, again: str
) -> None:
    """Wait until no keeper says any more that it has one of these. Raises NotInTime, at once where only people can go on: they
    do it by commands, and those wait for this one to end.
    """
    before = ""
    while True:
        left = {
            slot: said
            for slot, said in (await told(session)).items()
            if which(slot, said) and said.state not in NOBODYS
        }
        words = ", ".join(f"{slot} {said.state}" for slot, said in sorted(left.items()))
        if not left:
            return
        if all(said.asks and said.state == "returning" and slot.path in session.nodes for slot, said in left.items()):
            asks = "; ".join(said.asks for _, said in sorted(left.items()))
            raise NotInTime(
                "not all is returned yet", f"people have to take it away: {words}", f"{asks}; then: {again}"
            )
        if words != before:
            progress(words)
            before = words
        if time.monotonic() > end_s:
            raise NotInTime("not all is returned yet", words, f"its keepers go on; look again: {again}")
        await asyncio.sleep(POLL_S)


async def pool_rm(
    session: Session,
    name: str,
    *,
    token: Callable[[str], str],
    firewall_token: str = "",
    now: bool = False,
    timeout_s: float = 600.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """No machine of the pool any more, then no firewall, then no pool. `now`: they are not drained first. `token`: as `rm` has it.

    Raises NoSuchPool, NotInTime.
    """
    await session.sync()
    pool = pools.find_pool(session, name)
    end_s = time.monotonic() + timeout_s
    if (pool.min, pool.max) != (0, 0):
        progress(f"{name}: no machines any more")
        await session.change([(f"pool/{name}", msgspec.structs.replace(pool, min=0, max=0))])
    slots = [slot for path in session.nodes if (slot := MachineSlot.of_path(path)) is not None and slot.pool == name]
    if by_hand(session, name):
        for slot in slots:
            await rm(session, str(slot), token=token, now=now, timeout_s=timeout_s, progress=progress)
    elif now:
        for slot in slots:
            await expel(session, slot)
    again = f"skerry machine pool rm {name}"
    await wait_gone(session, lambda slot, _: slot.pool == name, end_s, progress, again)
    await session.sync()
    for path in list(session.nodes):  # what no keeper spoke of any more
        left = MachineSlot.of_path(path)
        if left is not None and left.pool == name:
            await expel(session, left)
    pool = pools.find_pool(session, name)
    wall = await asyncio.to_thread(unwall, session, name, pool, firewall_token) if pool.firewall else ""
    await pools.forget(session, name)
    return {"pool": name, "returned": [str(slot) for slot in slots], "firewall_left": wall}


async def cost(session: Session) -> list[dict[str, Any]]:
    """What the machines of each pool cost now, and have cost this month, as a keeper of it reckons."""
    await session.sync(1)
    said = await told(session)
    rows = []
    for name, pool in pools.all_pools(session).items():
        paid = [row for slot, row in said.items() if slot.pool == name and row.state not in OVER and row.id]
        reckoned = await _reckoned(session, name, pool)
        rows.append(
            {
                "pool": name,
                "machines": len(paid),
                "wanted": reckoned.get("wanted", -1),
                "usd_hour": round(sum(row.usd_hour for row in paid), 5),
                "spent_usd_month": reckoned.get("spent_usd_month", -1.0),
                "spend_usd_month": pool.spend_usd_month,
                "why": reckoned.get("why", ""),
            }
        )
    return rows


async def _reckoned(session: Session, name: str, pool: Pool) -> dict[str, Any]:
    """By the first of its keepers that answers; {} where there is none."""
    for keeper in pool.keepers:
        try:
            rows = await session.request("pools", {"subject": name}, node=keeper)
        except Unreachable:
            continue
        if rows:
            return dict(rows[0])
    return {}
