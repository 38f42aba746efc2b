"""`machine reboot`, `resize`, `rebuild`: done by a keeper of the pool, or from here where no host keeps it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

from skerry.client import machine_up, machines, pools
from skerry.client.join import wait_for_answer
from skerry.client.machines import NoSuchMachine, by_hand, slot_named, told
from skerry.client.session import Session
from skerry.core.records import MachineSlot
from skerry.errors import NotInTime, Refusal, Unreachable
from skerry.machines.contract import name_of, tags_of
from skerry.machines.providers import provider_of

POLL_S = 0.5

Progress = Callable[[str], None]
Token = Callable[[str], str]


class HoldsLast(Refusal):
    """Nobody else could serve while the machine is away."""

    code = "holds-last-replica"


async def act(
    session: Session,
    name: str,
    what: Literal["reboot", "resize"],
    size: str = "",
    *,
    token: Token,
    now: bool = False,
    timeout_s: float = 300.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Its replicas are taken over by others while it is away, so the last healthy one of a service has to be elsewhere, too,
    unless `now`. Raises NoSuchMachine, HoldsLast, what the provider refuses, NotInTime.
    """
    await session.sync()
    slot = _enrolled(session, name)
    if not now:
        await _check_others(session, slot, what)
    start = await _start_of(session, slot)
    progress(f"{slot}: {what}{f' to {size}' if size else ''}")
    if by_hand(session, slot.pool):
        await asyncio.to_thread(_by_hand, session, slot, what, size, token)
    else:
        said = (await told(session)).get(slot)
        pool = pools.find_pool(session, slot.pool)
        held = f"node/{said.keeper}" if said is not None else ""
        keeper = held if held in pool.keepers else next(iter(pool.keepers))
        await session.request("machine-act", {"slot": str(slot), "act": what, "size": size}, node=keeper)
    end_s = time.monotonic() + timeout_s
    while str((await wait_for_answer(session, slot.path, max(1.0, end_s - time.monotonic())))["start"]) == start:
        if time.monotonic() > end_s:
            raise NotInTime(f"{slot} has not come back", "its agent has not begun anew", f"skerry machine show {slot}")
        await asyncio.sleep(POLL_S)
    return {"slot": str(slot), "done": what, "size": size}


async def _check_others(session: Session, slot: MachineSlot, what: str) -> None:
    """Raises HoldsLast."""
    healthy: dict[str, set[str]] = {}
    for row in await session.request("ps", {"subject": ""}):
        if row["healthy"]:
            healthy.setdefault(f"{row['app']}.{row['service']}", set()).add(row["node"])
    if last := sorted(service for service, nodes in healthy.items() if nodes == {str(slot)}):
        raise HoldsLast(
            f"{slot} was left as it is", f"it holds the last healthy replica of {', '.join(last)}",
            f"have another one elsewhere first: skerry scale {last[0]}=2; or, if it may be away meanwhile: "
            f"skerry machine {what} {slot} --now",
        )  # fmt: skip


async def _start_of(session: Session, slot: MachineSlot) -> str:
    """Which life of its agent this is, "" for one that does not answer: it may be why it is to begin anew."""
    try:
        return str((await session.request("status", node=slot.path))["start"])
    except Unreachable:
        return ""


def _enrolled(session: Session, name: str) -> MachineSlot:
    slot = slot_named(name)
    if slot.path not in session.nodes:
        raise NoSuchMachine(f"there is no machine {slot} in the cloud", "it has not joined", "see skerry machine ls")
    return slot


def _by_hand(session: Session, slot: MachineSlot, what: str, size: str, token: Token) -> None:
    pool = pools.find_pool(session, slot.pool)
    known = token(pool.provider)
    provider = provider_of(pool, known)
    tags = set(tags_of(session.file.id, slot.pool))
    found = [server for server in provider.list(name=name_of(session.file.id, slot)) if tags <= set(server.tags)]
    if not found:
        raise NoSuchMachine(f"there is no machine {slot}", f"{pool.provider} has none for it", "see skerry machine ls")
    server = min(found, key=lambda server: (len(server.id), server.id))
    if what == "resize":
        provider.resize(server, size)
    else:
        provider.reboot(server)


async def rebuild(
    session: Session, name: str, *, token: Token, timeout_s: float = 900.0, progress: Progress = lambda line: None
) -> dict[str, Any]:
    """Another machine in its place, with a new disk and new keys: drained and returned, then rented again.

    Where a keeper finds no need for it any more, none comes: NotInTime says so.
    """
    await session.sync()
    slot = _enrolled(session, name)
    end_s = time.monotonic() + timeout_s
    await machines.rm(session, name, token=token, timeout_s=timeout_s, progress=progress)
    if by_hand(session, slot.pool):
        return await machine_up.up(
            session, name, token=token, timeout_s=max(1.0, end_s - time.monotonic()), progress=progress
        )
    progress(f"{slot} is returned; waiting for another one")
    while time.monotonic() < end_s:
        await session.sync(1)
        if slot.path in session.nodes:
            return {"slot": str(slot), "done": "rebuild", "size": ""}
        await asyncio.sleep(POLL_S)
    raise NotInTime(
        f"{slot} was returned, and no other has come", "its keepers need none just now", "skerry machine ls"
    )
