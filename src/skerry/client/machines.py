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
from skerry.core.facts import Machine
from skerry.core.intent import Node
from skerry.core.records import MachineSlot
from skerry.errors import BadInput, NotInTime

POLL_S = 0.5
OVER = ("gone", "failed")
MANUAL = "manual"  # its machines are brought and taken away by people

Progress = Callable[[str], None]


class NoSuchMachine(BadInput):
    code = "no-such-machine"


class Told(msgspec.Struct, frozen=True):
    """What is said of one slot: by which keeper, and what."""

    keeper: str
    fact: Machine


async def told(session: Session) -> dict[MachineSlot, Told]:
    """The fact that counts of each slot: of several keepers' one that is not over, of these the newest."""
    answer = await session.request("facts", {"kind": "machine"})
    facts = msgspec.convert(answer, dict[str, dict[str, Machine]], strict=False)
    found: dict[MachineSlot, Told] = {}
    for key, about in facts.items():
        slot = MachineSlot.read(key)
        if slot is not None and about:
            keeper = max(about, key=lambda node: (about[node].state not in OVER, about[node].since, node))
            found[slot] = Told(keeper, about[keeper])
    return found


async def ls(session: Session, pool: str = "") -> list[dict[str, Any]]:
    """Raises NoSuchPool."""
    await session.sync(1)
    if pool:
        pools.find_pool(session, pool)
    said = await told(session)
    joined = {slot for path in session.nodes if (slot := MachineSlot.of_path(path)) is not None}
    slots = sorted(slot for slot in {*said, *joined} if pool in ("", slot.pool))
    rows = [_row(session, slot, said.get(slot)) for slot in slots]
    return [row for row in rows if row["state"] != "gone"]


def _row(session: Session, slot: MachineSlot, said: Told | None) -> dict[str, Any]:
    document = session.nodes.get(slot.path)
    node = document.body if document is not None and isinstance(document.body, Node) else None
    fact = said.fact if said is not None else None
    state = fact.state if fact is not None else "joined"
    if node is not None and node.state == "draining" and state == "joined":
        state = "draining"
    at = node.addresses[0].rpartition(":")[0] if node is not None else ""
    return {
        "slot": str(slot),
        "state": state,
        "address": (fact.address if fact is not None else "") or at,
        "size": fact.size if fact is not None else "",
        "region": (fact.region if fact is not None else "") or (node.zone if node is not None else ""),
        "usd_hour": fact.price_usd_hour if fact is not None else 0.0,
        "id": fact.id if fact is not None else "",
        "name": fact.name if fact is not None else "",
        "since": fact.since if fact is not None else 0.0,
        "keeper": said.keeper.removeprefix("node/") if said is not None else "",
        "why": fact.why if fact is not None else "",
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
    document = session.nodes.get(slot.path)
    if document is None and slot not in await told(session):
        raise NoSuchMachine(f"there is no machine {slot}", "it is neither enrolled nor rented", "see skerry machine ls")
    if document is not None:
        pool = pools.all_pools(session).get(slot.pool)
        if not now and pool is not None and slot.index < pool.max:
            await drain(session, str(slot), timeout_s, progress)
        await expel(session, slot)
        progress(f"{slot} is out of the cloud")
    await wait_gone(session, lambda each: each == slot, end_s, progress, f"skerry machine rm {slot}")
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
    session: Session, which: Callable[[MachineSlot], bool], end_s: float, progress: Progress, again: str
) -> None:
    """Wait until no keeper says any more that it has one of these. Raises NotInTime."""
    before = ""
    while True:
        left = {slot: said for slot, said in (await told(session)).items() if which(slot) and said.fact.state != "gone"}
        words = ", ".join(f"{slot} {said.fact.state}" for slot, said in sorted(left.items()))
        if not left:
            return
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
    now: bool = False,
    timeout_s: float = 600.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """No machine of the pool any more, then no pool. `now`: they are not drained first. `token`: as `rm` has it.

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
    await wait_gone(session, lambda slot: slot.pool == name, end_s, progress, again)
    await session.sync()
    for path in list(session.nodes):  # what no keeper spoke of any more
        left = MachineSlot.of_path(path)
        if left is not None and left.pool == name:
            await expel(session, left)
    await pools.forget(session, name)
    return {"pool": name, "returned": [str(slot) for slot in slots]}


async def cost(session: Session) -> list[dict[str, Any]]:
    """What the machines of each pool cost now."""
    await session.sync(1)
    said = await told(session)
    rows = []
    for name, pool in pools.all_pools(session).items():
        facts = [
            told.fact
            for slot, told in said.items()
            if slot.pool == name and told.fact.state not in OVER and told.fact.id
        ]
        rows.append(
            {
                "pool": name,
                "machines": len(facts),
                "usd_hour": round(sum(fact.price_usd_hour for fact in facts), 5),
                "spend_usd_month": pool.spend_usd_month,
            }
        )
    return rows
