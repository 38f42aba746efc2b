"""Machines that are rented, and the pools that say how many, as programs see them. The work itself is client's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from skerry.client import machine_acts, machine_up, machines, pools
from skerry.client.offers import offers_said, tokens_said
from skerry.client.walls import Firewall
from skerry.core import intent
from skerry.sdk.connection import Connection, Progress
from skerry.sdk.values import Cost, Machine, Pool, PoolChanged
from skerry.trust.seal import token_text

NETWORK = "10.77.0.0/16"  # as the whole cloud's: a pool's own block is found when it is added


class Pools:
    """`client.pools`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self) -> list[Pool]:
        """All pools that are not removed, by name."""
        session = self._connection.session
        await session.sync(1)
        return [self._pool(name) for name in sorted(pools.all_pools(session))]

    async def get(self, name: str) -> Pool:
        """Raises NoSuchPool."""
        session = self._connection.session
        await session.sync(1)
        return self._pool(name)

    def _pool(self, name: str) -> Pool:
        session = self._connection.session
        told = pools.show(session, name) | {"name": name, "etag": self._etag(name)}
        told["keepers"] = [path.removeprefix("node/") for path in told.get("keepers", ())]
        return msgspec.convert(told, Pool)

    def _etag(self, name: str) -> str:
        document = self._connection.session.document(f"pool/{name}")
        return document.hash[:16] if document is not None else ""

    async def add(
        self,
        name: str,
        provider: str,
        *,
        max: int,
        min: int = 0,
        size: str = "",
        cpus: float = 0.0,
        memory_bytes: int = 0,
        price_usd_month: float = 0.0,
        spend_usd_month: float = 0.0,
        regions: Sequence[str] = (),
        image: str = "",
        endpoint: str = "",
        others: Sequence[str] = (),
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        weight: int = 100,
        creates_per_hour: int = 10,
        join_s: float = 600.0,
        down_s: float = 1200.0,
        drain_s: float = 300.0,
        age_s: float = 600.0,
        grace_s: float = 600.0,
        firewall: bool = False,
        keepers: Sequence[str] | None = None,
        token: str | None = None,
        progress: Progress = lambda line: None,
    ) -> PoolChanged:
        """Let keepers rent up to `max` machines. `size`: the provider's name of one, else the cheapest with `cpus` and
        `memory_bytes` for at most `price_usd_month`. `spend_usd_month`: of all; 0: what so many cost at most.

        `weight`: its share of slots, where a host has 100. A machine that has not joined after `join_s` has failed; one that is not
        needed for `down_s`, and is `age_s` old, is given back, its replicas have `drain_s` to leave; `grace_s`: for machines of ours
        that belong to no slot. `firewall`: the provider's own, closed but for 7077.

        `keepers`: names of fixed hosts; None: the first two; (): operators rent by hand, and `options["meeting"]` names the host
        where machines wait. `token`: the provider's, else $<PROVIDER>_TOKEN.

        `others`: further providers, "NAME" or "NAME=URL": each machine is at the cheapest that has one. What is meant for one of them
        stands behind its name (`options["libvirt.image"]`); `token` then holds lines NAME=TOKEN.

        Raises PoolTaken, NoSuchSize, what the provider refuses.
        """
        first = f"{provider}={endpoint}" if endpoint else provider
        own = offers_said((first, *others), "", image, options or {})
        wanted = intent.Pool(
            max=max, min=min, network=NETWORK, size=size, cpus=cpus, memory_bytes=memory_bytes,
            price_usd_month=price_usd_month, spend_usd_month=spend_usd_month, regions=tuple(regions),
            labels=labels or {}, weight=weight, creates_per_hour=creates_per_hour, **own,
            join_s=join_s, down_s=down_s, drain_s=drain_s, age_s=age_s, grace_s=grace_s,
        )  # fmt: skip
        async with self._connection.changing(f"pool/{name}") as session:
            done = await pools.add(
                session,
                name,
                wanted,
                token=tokens_of(wanted, token),
                keepers=keepers,
                firewall=Firewall() if firewall else None,
                progress=progress,
                warn=progress,
            )
        return PoolChanged(pool=done["pool"], changed=(), most=done["most"], warnings=tuple(done["warnings"]))

    async def set(
        self,
        name: str,
        *,
        changes: dict[str, Any],
        keepers: Sequence[str] | None = None,
        token: str = "",
        prev: str | None = None,
        progress: Progress = lambda line: None,
    ) -> PoolChanged:
        """Change fields of a pool (min, max, size, spend_usd_month, regions, image, creates_per_hour, down_s, join_s, drain_s, age_s,
        grace_s), its provider's token, or who keeps it. Raises NoSuchPool, NoSuchSize, ChangedMeanwhile."""
        warnings: list[str] = []
        async with self._connection.changing(f"pool/{name}", prev, lambda: self._etag(name)) as session:
            done = await pools.set_(
                session, name, changes, token=token, keepers=keepers, progress=progress, warn=warnings.append
            )
        most = str(done.get("most", ""))
        return PoolChanged(pool=name, changed=tuple(done["changed"]), most=most, warnings=tuple(warnings))

    async def rm(
        self,
        name: str,
        *,
        now: bool = False,
        token: str | None = None,
        prev: str | None = None,
        timeout_s: float = 600.0,
        progress: Progress = lambda line: None,
    ) -> None:
        """Return all its machines (drained first, unless `now`) and forget it. Raises NoSuchPool, NotInTime, ChangedMeanwhile."""
        async with self._connection.changing(f"pool/{name}", prev, lambda: self._etag(name)) as session:
            await machines.pool_rm(
                session, name, token=lambda of: token_of(of, token), now=now, timeout_s=timeout_s, progress=progress
            )

    async def cost(self) -> list[Cost]:
        """What the machines of each pool cost now, as their keepers tell."""
        return msgspec.convert(await machines.cost(self._connection.session), list[Cost])


class Machines:
    """`client.machines`. A machine is named by its slot: `burst/3`. `token`: the provider's, where it is not sealed to operators."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self, pool: str = "") -> list[Machine]:
        """Of all pools, without a name. Raises NoSuchPool."""
        return msgspec.convert(await machines.ls(self._connection.session, pool), list[Machine])

    async def get(self, slot: str) -> Machine:
        """Raises NoSuchMachine."""
        return msgspec.convert(await machines.show(self._connection.session, slot), Machine)

    async def add(
        self, pool: str, *, token: str | None = None, timeout_s: float = 600.0, progress: Progress = lambda line: None
    ) -> Machine:
        """Rent one of a pool that no host keeps (POOL, or POOL/NUMBER), from here.

        Raises KeptPool, NotInTime, what the provider refuses.
        """
        async with self._connection.changing(f"machine/{pool}") as session:
            done = await machine_up.up(
                session, pool, token=lambda of: token_of(of, token), timeout_s=timeout_s, progress=progress
            )
        return await self.get(done["slot"])

    async def rm(
        self,
        slot: str,
        *,
        now: bool = False,
        token: str | None = None,
        timeout_s: float = 300.0,
        progress: Progress = lambda line: None,
    ) -> None:
        """Drain it (unless `now`) and return it; where load wants it, its keeper rents another. Raises NoSuchMachine, NotInTime."""
        async with self._connection.changing(f"node/{slot}") as session:
            await machines.rm(
                session, slot, token=lambda of: token_of(of, token), now=now, timeout_s=timeout_s, progress=progress
            )

    async def reboot(
        self,
        slot: str,
        *,
        token: str | None = None,
        timeout_s: float = 300.0,
        progress: Progress = lambda line: None,
    ) -> Machine:
        """Have it restarted and wait until its agent is back; other hosts run its replicas meanwhile.

        Raises NoSuchMachine, NotInTime, what the provider refuses.
        """
        async with self._connection.changing(f"node/{slot}") as session:
            await machine_acts.act(
                session, slot, "reboot", token=lambda of: token_of(of, token), timeout_s=timeout_s, progress=progress
            )
        return await self.get(slot)

    async def resize(
        self,
        slot: str,
        size: str,
        *,
        token: str | None = None,
        timeout_s: float = 600.0,
        progress: Progress = lambda line: None,
    ) -> Machine:
        """Give it another of the provider's sizes: it is switched off and on, its disk stays. Raises as `reboot`."""
        async with self._connection.changing(f"node/{slot}") as session:
            await machine_acts.act(
                session,
                slot,
                "resize",
                size,
                token=lambda of: token_of(of, token),
                timeout_s=timeout_s,
                progress=progress,
            )
        return await self.get(slot)

    async def rebuild(
        self,
        slot: str,
        *,
        token: str | None = None,
        timeout_s: float = 900.0,
        progress: Progress = lambda line: None,
    ) -> Machine:
        """Drain and return it, and have another one in its place: new disk, new keys. Raises NoSuchMachine, NotInTime."""
        async with self._connection.changing(f"node/{slot}") as session:
            await machine_acts.rebuild(
                session, slot, token=lambda of: token_of(of, token), timeout_s=timeout_s, progress=progress
            )
        return await self.get(slot)


def tokens_of(wanted: intent.Pool, given: str | None) -> str:
    """Of all its providers, as they are sealed."""
    if given is not None:
        return tokens_said(wanted, "", given)
    return token_text({name: token_of(name or offer.provider, None) for name, offer in wanted.offers().items()})


def token_of(provider: str, given: str | None) -> str:
    """Where none is given: the environment's, "" if there is none."""
    return os.environ.get(f"{provider.upper().replace('-', '_')}_TOKEN", "").strip() if given is None else given
