"""Renting by hand: for pools that no host keeps, so that no node ever holds a provider's token.

The operator's machine (or CI's) asks the provider. The new machine finds the pool's meeting host, shows it a token whose hash the
operator has told that host, and leaves its public keys there. They count because they are authenticated by a secret that only
the machine's user data and this process hold: the host between can't put its own in their place. Then the operator signs.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from skerry.client import pools
from skerry.client.drain import drain
from skerry.client.enrolment import enrol_machine, find, hand_over, signed
from skerry.client.join import wait_for_answer
from skerry.client.machines import expel, slot_named, told
from skerry.client.pool_look import look
from skerry.client.session import Session
from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.errors import BadInput, NotInTime, Refusal
from skerry.machines.contract import Order, Provider, ProviderSilent, Server, name_of, tags_of, uuid_of
from skerry.machines.providers import MEETING, provider_of
from skerry.machines.userdata import meeting_points, user_data
from skerry.trust import joining

POLL_S = 1.0
LOOK_S = 3.0  # between two looks at the provider
AGENT_S = 60.0
SETTLE_S = 60.0  # so long after a create without an answer its machine may still show up

Progress = Callable[[str], None]
Token = Callable[[str], str]  # of a provider


class KeptPool(Refusal):
    """Keepers rent the machines of this pool."""

    code = "pool-is-kept"
    exit_code = 2


class MachineThere(Refusal):
    """The provider has a machine of that slot's name already."""

    code = "machine-there"
    exit_code = 2


async def up(
    session: Session,
    name: str,
    *,
    token: Token,
    timeout_s: float = 600.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Rent machine `name` (burst/3), or the first of a pool (burst) that is not there, and let it in.

    A machine that does not join in time is returned. Raises NoSuchPool, KeptPool, MachineThere, NotInTime, and as providers do.
    """
    await session.sync()
    slot, pool = _slot(session, name)
    host = pool.options.get(MEETING, "")
    find(session, host)
    known = token(pool.provider)
    provider = provider_of(pool, known)
    looked = await look(session, pool, known)
    called = name_of(session.file.id, slot)
    if there := await asyncio.to_thread(lambda: provider.list(name=called)):
        raise MachineThere(
            f"{slot} was not rented", f"{pool.provider} has {', '.join(s.id for s in there)} of that name",
            f"return it first: skerry machine rm {slot}",
        )  # fmt: skip
    shown, secret = secrets.token_hex(32), secrets.token_hex(32)
    nodes = {path: d.body for path, d in session.nodes.items() if isinstance(d.body, Node)}
    data = user_data(
        session.file.id, slot, meeting_points(pool, nodes), bundle=pool.bundle, token=shown, secret=secret,
        limit_s=timeout_s,
    )  # fmt: skip
    region = pool.regions[slot.index % len(pool.regions)] if pool.regions else ""
    order = Order(
        name=called, size=looked.size.name, region=region, image=pool.image, user_data=data,
        tags=tags_of(session.file.id, slot.pool), uuid=uuid_of(session.file.id, slot),
    )  # fmt: skip
    expected = {"slot": str(slot), "token": joining.token_hash(shown), "until": time.time() + timeout_s}
    await session.request("expect", expected, node=f"node/{host}")
    progress(f"{slot}: asking {pool.provider} for a {order.size}" + (f" in {region}" if region else ""))
    end_s = time.monotonic() + timeout_s
    made: set[str] = set()
    try:
        server = await _create(provider, order)
        made.add(server.id)
        server, keys = await _meet(session, slot, provider, server, expected, secret, end_s, progress)
        at = "" if server.behind_nat else server.addresses[0]
        wanted = enrol_machine(session, slot, pool, keys, at, server.region)
        progress(f"signing {wanted.path}: {at or 'behind NAT'}, containers in {wanted.body.subnet}")
        await hand_over(session, signed(session, wanted), without=[wanted.path])
        await _answers(session, slot, wanted.body, max(AGENT_S, end_s - time.monotonic()))
    except BaseException:
        progress(f"{slot}: returning it")
        await expel(session, slot)
        await _destroy(provider, called, order.tags, progress, known=made)
        raise
    return {
        "slot": str(slot),
        "id": server.id,
        "address": server.addresses[0],
        "size": order.size,
        "region": server.region,
        "usd_hour": server.price_usd_hour or looked.size.price_usd_hour,
    }


async def _answers(session: Session, slot: MachineSlot, node: Node, limit_s: float) -> None:
    """Until its agent does; of one that can't be called, until it has called the others. Raises NotInTime."""
    if node.addresses:
        await wait_for_answer(session, slot.path, limit_s)
        return
    end_s = time.monotonic() + limit_s
    while not (said := (await told(session)).get(slot)) or not said.up:
        if time.monotonic() > end_s:
            raise NotInTime(
                f"{slot} has not called the others within {limit_s:.0f} s",
                "it is behind NAT",
                "let it out to 7077/tcp and udp",
            )
        await asyncio.sleep(POLL_S)


async def _create(provider: Provider, order: Order) -> Server:
    """Where no answer came, what is listed by its name was made all the same. Raises as providers do."""
    try:
        return await asyncio.to_thread(provider.create, order)
    except ProviderSilent:
        end_s = time.monotonic() + SETTLE_S
        while time.monotonic() < end_s:
            if found := await asyncio.to_thread(lambda: provider.list(name=order.name)):
                return min(found, key=lambda server: (len(server.id), server.id))
            await asyncio.sleep(LOOK_S)
        raise


def _slot(session: Session, name: str) -> tuple[MachineSlot, Pool]:
    """Raises NoSuchPool, KeptPool, BadInput."""
    pool_name = name.partition("/")[0]
    pool = pools.find_pool(session, pool_name)
    if pool.keepers:
        by = ", ".join(path.removeprefix("node/") for path in pool.keepers)
        raise KeptPool(
            f"no machine of {pool_name} was rented by hand", f"it is kept by {by}",
            f"let them: skerry machine pool set {pool_name} --min N",
        )  # fmt: skip
    if "/" in name:
        slot = slot_named(name)
        if slot.path in session.nodes:
            raise MachineThere(f"{slot} was not rented", "it is in the cloud already", "see skerry machine ls")
    else:
        free = [i for i in range(pool.max) if MachineSlot(pool_name, i).path not in session.nodes]
        slot = MachineSlot(pool_name, free[0] if free else pool.max)
    if slot.index >= pool.max:
        raise BadInput(
            f"no machine of {pool_name} was rented", f"it has {pool.max} at most",
            f"skerry machine pool set {pool_name} --max {slot.index + 1}",
        )  # fmt: skip
    return slot, pool


async def _meet(
    session: Session,
    slot: MachineSlot,
    provider: Provider,
    server: Server,
    expected: dict[str, Any],
    secret: str,
    end_s: float,
    progress: Progress,
) -> tuple[Server, joining.Keys]:
    """Wait until the machine has left its keys, under its secret and from its own address. Raises NotInTime."""
    host = pools.find_pool(session, slot.pool).options[MEETING]
    before, why, looked_s = "", "the provider has not started it", 0.0
    while time.monotonic() < end_s:
        if time.monotonic() - looked_s > LOOK_S or not server.addresses:
            found = await asyncio.to_thread(lambda: provider.list(name=name_of(session.file.id, slot)))
            server = next((each for each in found if each.id == server.id), server)
            looked_s = time.monotonic()
        if server.state != before:
            before = server.state
            progress(
                f"{slot}: {server.id} is {server.state}" + (f" at {server.addresses[0]}" if server.addresses else "")
            )
        answer = await session.request("expect", expected, node=f"node/{host}")
        for asked in answer["asked"]:
            keys = msgspec.convert(asked["keys"], joining.Keys)
            if not joining.mac_fits(secret, joining.lasting(session.file.id, str(slot), keys), str(asked["mac"])):
                why = f"keys were left at {host} that are not the machine's: is that host captured?"
            elif asked["address"] not in server.addresses:
                why = f"it asked from {asked['address']}, and {provider.name} gives {', '.join(server.addresses) or 'none'}"
            else:
                return server, keys
        await asyncio.sleep(POLL_S)
    raise NotInTime(
        f"{slot} has not joined",
        why,
        f"its own words are in /var/log/cloud-init-output.log there; open 7078/tcp on {host}",
    )


async def down(
    session: Session,
    name: str,
    *,
    token: Token,
    now: bool = False,
    timeout_s: float = 300.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Drain a machine that was rented by hand, take it out of the cloud, and return it. Again is harmless."""
    slot = slot_named(name)
    pool = pools.find_pool(session, slot.pool)
    known = token(pool.provider)
    provider = provider_of(pool, known)
    if slot.path in session.nodes:
        if not now and slot.index < pool.max:
            await drain(session, str(slot), timeout_s, progress)
        await expel(session, slot)
        progress(f"{slot} is out of the cloud")
    await _destroy(provider, name_of(session.file.id, slot), tags_of(session.file.id, slot.pool), progress, timeout_s)
    return {"slot": str(slot), "state": "gone"}


async def _destroy(
    provider: Provider,
    called: str,
    tags: tuple[str, ...],
    progress: Progress,
    timeout_s: float = 60.0,
    known: Collection[str] = (),
) -> None:
    """All machines of this name that bear our tags, or are `known` by id, until none is listed. Raises NotInTime."""
    end_s = time.monotonic() + timeout_s
    while True:
        found = [s for s in await asyncio.to_thread(lambda: provider.list(name=called)) if s.state != "gone"]
        ours = [server for server in found if server.id in known or set(tags) <= set(server.tags)]
        if not ours:
            return
        for server in ours:
            if not server.busy:
                progress(f"returning {server.id} to {provider.name}")
                await asyncio.to_thread(provider.destroy, server)
        if time.monotonic() > end_s:
            raise NotInTime(f"{called} is not returned yet", f"{provider.name} still lists it", "again: it is harmless")
        await asyncio.sleep(POLL_S)
