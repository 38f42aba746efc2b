"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skerry.sdk import machines
from skerry.sdk.beside import Beside
from skerry.sdk.connection import Progress
from skerry.sdk.values import (
    Cost,
    Machine,
    Pool,
    PoolChanged,
)


class Pools:
    """`client.pools`."""

    def __init__(self, its: machines.Pools, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[Pool]:
        """All pools that are not removed, by name."""
        return self._beside.run(self._its.ls())

    def get(self, name: str) -> Pool:
        """Raises NoSuchPool."""
        return self._beside.run(self._its.get(name))

    def add(
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
        return self._beside.run(
            self._its.add(
                name,
                provider,
                max=max,
                min=min,
                size=size,
                cpus=cpus,
                memory_bytes=memory_bytes,
                price_usd_month=price_usd_month,
                spend_usd_month=spend_usd_month,
                regions=regions,
                image=image,
                endpoint=endpoint,
                others=others,
                options=options,
                labels=labels,
                weight=weight,
                creates_per_hour=creates_per_hour,
                join_s=join_s,
                down_s=down_s,
                drain_s=drain_s,
                age_s=age_s,
                grace_s=grace_s,
                firewall=firewall,
                keepers=keepers,
                token=token,
                progress=progress,
            )
        )

    def set(
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
        return self._beside.run(
            self._its.set(name, changes=changes, keepers=keepers, token=token, prev=prev, progress=progress)
        )

    def rm(
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
        return self._beside.run(
            self._its.rm(name, now=now, token=token, prev=prev, timeout_s=timeout_s, progress=progress)
        )

    def cost(self) -> list[Cost]:
        """What the machines of each pool cost now, as their keepers tell."""
        return self._beside.run(self._its.cost())


class Machines:
    """`client.machines`. A machine is named by its slot: `burst/3`. `token`: the provider's, where it is not sealed to operators."""

    def __init__(self, its: machines.Machines, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self, pool: str = "") -> list[Machine]:
        """Of all pools, without a name. Raises NoSuchPool."""
        return self._beside.run(self._its.ls(pool))

    def get(self, slot: str) -> Machine:
        """Raises NoSuchMachine."""
        return self._beside.run(self._its.get(slot))

    def add(
        self, pool: str, *, token: str | None = None, timeout_s: float = 600.0, progress: Progress = lambda line: None
    ) -> Machine:
        """Rent one of a pool that no host keeps (POOL, or POOL/NUMBER), from here.

        Raises KeptPool, NotInTime, what the provider refuses.
        """
        return self._beside.run(self._its.add(pool, token=token, timeout_s=timeout_s, progress=progress))

    def rm(
        self,
        slot: str,
        *,
        now: bool = False,
        token: str | None = None,
        timeout_s: float = 300.0,
        progress: Progress = lambda line: None,
    ) -> None:
        """Drain it (unless `now`) and return it; where load wants it, its keeper rents another. Raises NoSuchMachine, NotInTime."""
        return self._beside.run(self._its.rm(slot, now=now, token=token, timeout_s=timeout_s, progress=progress))

    def reboot(
        self, slot: str, *, token: str | None = None, timeout_s: float = 300.0, progress: Progress = lambda line: None
    ) -> Machine:
        """Have it restarted and wait until its agent is back; other hosts run its replicas meanwhile.

        Raises NoSuchMachine, NotInTime, what the provider refuses.
        """
        return self._beside.run(self._its.reboot(slot, token=token, timeout_s=timeout_s, progress=progress))

    def resize(
        self,
        slot: str,
        size: str,
        *,
        token: str | None = None,
        timeout_s: float = 600.0,
        progress: Progress = lambda line: None,
    ) -> Machine:
        """Give it another of the provider's sizes: it is switched off and on, its disk stays. Raises as `reboot`."""
        return self._beside.run(self._its.resize(slot, size, token=token, timeout_s=timeout_s, progress=progress))

    def rebuild(
        self, slot: str, *, token: str | None = None, timeout_s: float = 900.0, progress: Progress = lambda line: None
    ) -> Machine:
        """Drain and return it, and have another one in its place: new disk, new keys. Raises NoSuchMachine, NotInTime."""
        return self._beside.run(self._its.rebuild(slot, token=token, timeout_s=timeout_s, progress=progress))
