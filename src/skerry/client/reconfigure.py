"""Machines of pools, changed while they stay what they are: restarted, or given another size. By an operator, with the provider's
token that is sealed to operators, too; the keepers go on meanwhile, and see a machine that is there.

A machine is drained first, and takes replicas again once its agent has started anew. Where that was interrupted, the same again
goes on. A machine with a new disk is another machine: `rebuild` returns it and has its slot filled anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from skerry.client import machines, pools
from skerry.client.drain import drain, undrain
from skerry.client.enrolment import find
from skerry.client.machines import NoSuchMachine, Progress
from skerry.client.session import Session
from skerry.core.intent import Pool
from skerry.core.records import MachineSlot
from skerry.errors import BadInput, NotInTime, SkerryError
from skerry.machines.contract import Provider, Server, cloud_tag, name_of
from skerry.machines.providers import open_provider

POLL_S = 0.5
DRAIN_S = 300.0

Token = Callable[[str], str]  # of a provider


class Mismatch(BadInput):
    """A machine's size would break what its pool allows."""

    code = "size-not-allowed"


async def reboot(
    session: Session,
    name: str,
    *,
    token: Token,
    now: bool = False,
    timeout_s: float = 300.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Restart machine `name` (burst/3), drained first unless `now`. Raises NoSuchMachine, NotInTime, what the provider refuses."""
    slot, _, provider = await _opened(session, name, token)
    return await _around(
        session, slot, provider, provider.reboot, "restarted", now=now, timeout_s=timeout_s, progress=progress
    )


async def resize(
    session: Session,
    name: str,
    size: str,
    *,
    token: Token,
    now: bool = False,
    timeout_s: float = 600.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Give machine `name` another size, within what its pool may spend; it is restarted for it. Its disk stays as it is.

    Raises as `reboot`, NoSuchSize, Mismatch.
    """
    slot, pool, provider = await _opened(session, name, token)
    sizes = {each.name: each for each in await asyncio.to_thread(provider.sizes)}
    if size not in sizes:
        raise pools.NoSuchSize(
            f"{slot} was not resized", f"{pool.provider} has: {', '.join(sorted(sizes)[:20])}", "choose one of them"
        )
    limits = [limit for limit in (pool.price_usd_month, pool.spend_usd_month) if limit]
    if limits and sizes[size].price_usd_month > min(limits):
        raise Mismatch(
            f"{slot} was not resized",
            f"{size} costs {sizes[size].price_usd_month:.2f} USD a month, pool {slot.pool} allows {min(limits):.2f}",
            f"skerry machine pool set {slot.pool} --spend USD, or a smaller size",
        )
    if (await asyncio.to_thread(_server, session, slot, provider)).size == size:
        return {"slot": str(slot), "did": "nothing: it has that size", "size": size}

    def change(server: Server) -> None:
        provider.resize(server, size)

    done = await _around(session, slot, provider, change, "resized", now=now, timeout_s=timeout_s, progress=progress)
    return done | {"size": size}


async def rebuild(
    session: Session,
    name: str,
    *,
    token: Token,
    now: bool = False,
    timeout_s: float = 600.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Return machine `name`; its keepers fill the slot anew where load or `min` wants it, and where none keeps the pool, this does.

    Raises NoSuchMachine, NotInTime.
    """
    end_s = time.monotonic() + timeout_s
    await session.sync()
    slot = machines.slot_named(name)
    await machines.rm(session, name, token=token, now=now, timeout_s=timeout_s, progress=progress)
    if machines.by_hand(session, slot.pool):
        from skerry.client.machine_up import up

        left_s = max(end_s - time.monotonic(), 1.0)
        return {**await up(session, name, token=token, timeout_s=left_s, progress=progress), "did": "rebuilt"}
    return {"slot": str(slot), "did": "returned: its keepers rent another where one is wanted"}


async def _opened(session: Session, name: str, token: Token) -> tuple[MachineSlot, Pool, Provider]:
    """Raises NoSuchMachine for one that is not in the cloud."""
    await session.sync()
    slot = machines.slot_named(name)
    if slot.path not in session.nodes:
        raise NoSuchMachine(f"there is no machine {slot}", "it is not in the cloud", "see skerry machine ls")
    pool = pools.find_pool(session, slot.pool)
    plain = pools.own_token(session, pool) or token(pool.provider)
    return slot, pool, open_provider(pool.provider, token=plain, endpoint=pool.endpoint, options=pool.options)


def _server(session: Session, slot: MachineSlot, provider: Provider) -> Server:
    """By its name, which is derived; only one that bears the cloud's tag. Raises NoSuchMachine."""
    named = provider.list(name=name_of(session.file.id, slot))
    tag = cloud_tag(session.file.id)
    ours = sorted((s for s in named if not s.tags or tag in s.tags), key=lambda server: (len(server.id), server.id))
    if not ours:
        raise NoSuchMachine(
            f"the provider has no machine {slot}", f"none of its name with tag {tag}", "skerry machine ls"
        )
    return ours[0]


async def _around(
    session: Session,
    slot: MachineSlot,
    provider: Provider,
    act: Callable[[Server], None],
    did: str,
    *,
    now: bool,
    timeout_s: float,
    progress: Progress,
) -> dict[str, Any]:
    """Drain, act, wait until the agent has started anew, take replicas again."""
    begun_s = time.monotonic()
    server = await asyncio.to_thread(_server, session, slot, provider)
    _, node = find(session, str(slot))
    was_draining = node.state == "draining"
    if not now:
        await drain(session, str(slot), min(timeout_s, DRAIN_S), progress)
    before = await _start(session, slot)
    progress(f"{slot}: asking the provider for it to be {did}")
    await asyncio.to_thread(act, server)
    while (start := await _start(session, slot)) in (None, before):
        if time.monotonic() - begun_s > timeout_s:
            raise NotInTime(
                f"{slot} has not come back yet", "its agent has not started anew", f"skerry machine show {slot}"
            )
        await asyncio.sleep(POLL_S)
    if not (now or was_draining):
        await undrain(session, str(slot))
    progress(f"{slot} is back, start {start}")
    return {"slot": str(slot), "did": did, "seconds": round(time.monotonic() - begun_s, 1)}


async def _start(session: Session, slot: MachineSlot) -> int | None:
    """How often its agent has been started; None where it doesn't answer."""
    try:
        status = await session.request("status", node=slot.path)
    except SkerryError:
        return None
    start = status.get("start") if isinstance(status, dict) else None
    return start if isinstance(start, int) else None
