"""Hosts as programs see them: listed, joined, drained, removed. The work itself is client's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skerry.client import drain, join, leave, prospect, upgrade, views
from skerry.client.enrolment import NoSuchHost, find
from skerry.client.folder.plan import wished_node
from skerry.client.folder.read import HostWish
from skerry.core.records import MachineSlot
from skerry.errors import NotInTime
from skerry.sdk.connection import Connection, Progress
from skerry.sdk.values import Check, Drained, Expelled, Host, HostRemoved, Joined, Upgraded

LOOK_S = 0.2


class Hosts:
    """`client.hosts`. Hosts are named as in `skerry host ls`: `vps-1`, or, a machine of a pool, `burst/3`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self) -> list[Host]:
        """All hosts, as the first one that answers sees them."""
        session = self._connection.session
        rows = await views.host_ls(session)
        return [self._host(row) for row in rows]

    async def get(self, name: str) -> Host:
        """Raises NoSuchHost."""
        for host in await self.ls():
            if host.name == name:
                return host
        find(self._connection.session, name)
        raise NoSuchHost(f"there is no host {name}", "the host that answered has not heard of it yet", "try again")

    def _host(self, row: dict[str, object]) -> Host:
        name = str(row["name"])
        slot = MachineSlot.read(name)
        return msgspec.convert({**row, "pool": slot.pool if slot else "", "etag": self._etag(name)}, Host)

    def _etag(self, name: str) -> str:
        document = self._connection.session.document(f"node/{name}")
        return document.hash[:16] if document is not None else ""

    async def add(
        self,
        target: str,
        *,
        name: str | None = None,
        labels: dict[str, str] | None = None,
        zone: str = "",
        slot: str = "",
        address: str | None = None,
        ssh_config: Path | None = None,
        identity: Path | None = None,
        jump: str = "",
        host_keys: Sequence[str] = (),
        readmit: bool = False,
        timeout_s: float = join.JOIN_TIMEOUT_S,
        progress: Progress = lambda line: None,
    ) -> Joined:
        """Join the machine behind `target` ("root@198.51.100.7") by one SSH session; again, it mends a broken agent.

        `name`: else its own host name. `slot`: as that machine of a pool ("burst/3"), which somebody has brought. `address`: where
        other hosts reach it, if not where ssh does. `identity`: ssh's private key; `jump`: the host on the way; `host_keys`:
        fingerprints of its key ("SHA256:…"), as nobody is asked.
        Raises NameTaken, HostBarred, HostUnfit, Unreachable, NotInTime.
        """
        async with self._connection.changing("hosts") as session:
            done = await join.add(
                session,
                target,
                name=name,
                labels=labels,
                zone=zone,
                slot=slot,
                readmit=readmit,
                ssh_config=ssh_config,
                identity=identity,
                jump=jump,
                host_keys=host_keys,
                address=address,
                timeout_s=timeout_s,
                progress=progress,
            )
        return msgspec.convert(done, Joined)

    async def doctor(
        self,
        target: str,
        *,
        ssh_config: Path | None = None,
        identity: Path | None = None,
        jump: str = "",
        host_keys: Sequence[str] = (),
    ) -> list[Check]:
        """What `target` is, what stands in the way of its joining, and what reaches it; nothing is changed anywhere."""
        file = self._connection.session.file
        rows = await asyncio.to_thread(
            prospect.look, target, cloud=file.id, hosts=file.hosts, ssh_config=ssh_config, identity=identity, jump=jump,
            host_keys=host_keys,
        )  # fmt: skip
        return msgspec.convert(rows, list[Check])

    async def set(
        self,
        name: str,
        *,
        labels: dict[str, str] | None = None,
        zone: str | None = None,
        address: str = "",
        image_budget_bytes: int | None = None,
        prev: str | None = None,
    ) -> Host:
        """Sign its enrolment anew; what isn't given stays. `labels`: exactly these. `address`: where other hosts reach it.

        `image_budget_bytes`: of its disk, for images; 0: what the host itself thinks right. Raises NoSuchHost, ChangedMeanwhile.
        """
        wish = HostWish(labels=labels, zone=zone, address=address, image_budget_bytes=image_budget_bytes)
        async with self._connection.changing(f"node/{name}", prev, lambda: self._etag(name)) as session:
            await session.sync()
            document, node = find(session, name)
            if (wanted := wished_node(node, wish)) != node:
                await session.change([(document.path, wanted)])
        return await self.get(name)

    async def upgrade(
        self,
        names: Sequence[str] = (),
        *,
        limit_s: float = upgrade.REJOIN_LIMIT_S,
        progress: Progress = lambda line: None,
    ) -> list[Upgraded]:
        """Give hosts (none named: all) the agent that this skerry ships, one after the other; containers run on.

        Raises TurnedBack for the first that did not rejoin within `limit_s` and went back; those after it are left alone.
        """
        async with self._connection.changing("hosts") as session:
            rows = await upgrade.upgrade(session, names, limit_s=limit_s, progress=progress)
        return msgspec.convert(rows, list[Upgraded])

    async def expel(self, name: str, *, prev: str | None = None) -> Expelled:
        """Cut a captured host off everywhere: no host talks to it any more. Tells what it could read. Raises NoSuchHost."""
        async with self._connection.changing(f"node/{name}", prev, lambda: self._etag(name)) as session:
            return msgspec.convert(await leave.expel(session, name), Expelled)

    async def drain(
        self,
        name: str,
        *,
        prev: str | None = None,
        timeout_s: float = 120.0,
        progress: Progress = lambda line: None,
    ) -> Drained:
        """Move every replica off, and wait until it is empty but for what stays with its data. Raises NoSuchHost, NotInTime."""
        async with self._connection.changing(f"node/{name}", prev, lambda: self._etag(name)) as session:
            return msgspec.convert(await drain.drain(session, name, timeout_s, progress), Drained)

    async def undrain(self, name: str, *, prev: str | None = None) -> Drained:
        """Let it take replicas again. Raises NoSuchHost."""
        async with self._connection.changing(f"node/{name}", prev, lambda: self._etag(name)) as session:
            return msgspec.convert(await drain.undrain(session, name), Drained)

    async def rm(
        self,
        name: str,
        *,
        purge: bool = False,
        prev: str | None = None,
        target: str | None = None,
        ssh_config: Path | None = None,
        identity: Path | None = None,
        jump: str = "",
        host_keys: Sequence[str] = (),
        progress: Progress = lambda line: None,
    ) -> HostRemoved:
        """Take it out of the cloud by SSH and leave the machine as it was before. `purge`: its volumes and keys go, too."""
        async with self._connection.changing(f"node/{name}", prev, lambda: self._etag(name)) as session:
            done = await leave.rm(
                session,
                name,
                purge,
                target=target,
                ssh_config=ssh_config,
                identity=identity,
                jump=jump,
                host_keys=host_keys,
                progress=progress,
            )
        return msgspec.convert(done, HostRemoved)

    async def wait(self, name: str, state: str = "up", *, timeout_s: float = 60.0) -> Host:
        """Wait until the cloud sees the host in this state. Raises NotInTime, NoSuchHost."""
        end_s = time.monotonic() + timeout_s
        while (host := await self.get(name)).state != state:
            if time.monotonic() > end_s:
                why = host.why or f"it is {host.state}"
                raise NotInTime(f"{name} is not {state} after {timeout_s:.0f} s", why, f"skerry explain {name}")
            await asyncio.sleep(LOOK_S)
        return host
