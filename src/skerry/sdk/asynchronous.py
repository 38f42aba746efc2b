"""`skerry.AsyncClient`: a cloud, as programs use it. Each verb is a method of one of its parts; streams are async iterators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from skerry.client import alerts as alerting
from skerry.client import metrics as figures
from skerry.client import numbers, views
from skerry.client.keys import Passphrase
from skerry.client.metrics import Answer
from skerry.errors import BadFormat, NotInTime
from skerry.sdk.alerting import Alerting
from skerry.sdk.apps import Apps
from skerry.sdk.connection import Connection
from skerry.sdk.folder import Folder
from skerry.sdk.hosts import Hosts
from skerry.sdk.looks import Looks
from skerry.sdk.machines import Machines, Pools
from skerry.sdk.seen import Audited
from skerry.sdk.store import Images, Roles, Tools, Volumes
from skerry.sdk.values import (
    Alert,
    AlertReceiver,
    AlertRule,
    Asked,
    Event,
    LogLine,
    NotHealthy,
    Replica,
    Status,
)


class AsyncClient:
    """A cloud, with the keys that lie on this machine.

    `cloud`: its name, else $SKERRY_CLOUD, else the selected one. `home`: the folder with the keys, else $SKERRY_HOME, else
    ~/.config/skerry. `passphrase`: of the key, or what to ask for it, else $SKERRY_PASSPHRASE. What fails raises a SkerryError:
    what, why, fix, and a `code` that never changes its meaning (docs/errors.md).

        async with AsyncClient() as cloud:
            await cloud.apps.deploy("compose.yaml")
    """

    def __init__(
        self, cloud: str = "", *, home: str | Path | None = None, passphrase: str | Passphrase | None = None
    ) -> None:
        self._connection = Connection(cloud, home, passphrase)
        self.alerting = Alerting(self._connection)
        self.apps = Apps(self._connection)
        self.folder = Folder(self._connection)
        self.hosts = Hosts(self._connection)
        self.images = Images(self._connection)
        self.looks = Looks(self._connection)
        self.machines = Machines(self._connection)
        self.pools = Pools(self._connection)
        self.roles = Roles(self._connection)
        self.tools = Tools(self._connection)
        self.volumes = Volumes(self._connection)

    async def open(self) -> None:
        """Open the keys; no host is asked yet. Raises NoCloud, KeyMissing, WrongPassphrase."""
        await self._connection.open()

    async def close(self) -> None:
        """Close the connections and remember what was learned."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncClient:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def name(self) -> str:
        """The cloud's name on this machine."""
        return self._connection.session.name

    @property
    def id(self) -> str:
        """The cloud's id: the hash of its first root."""
        return self._connection.session.file.id

    async def status(self) -> Status:
        """Whether the cloud is well; every host is asked, and waited for a few seconds."""
        told = await views.status(self._connection.session)
        return Status(
            cloud=told["cloud"],
            id=told["id"],
            hosts=len(told["hosts"]),
            up=sum(1 for host in told["hosts"] if host["state"] in ("up", "draining")),
            replicas=told["replicas"],
            healthy=told["healthy"],
            not_healthy=msgspec.convert(tuple(told["not_healthy"]), tuple[NotHealthy, ...]),
            asked=msgspec.convert(tuple(told["asked"]), tuple[Asked, ...]),
            failed=told["failed"],
            silent={name: str(answer["error"]) for name, answer in told["agents"].items() if "error" in answer},
        )

    async def explain(self, subject: str) -> dict[str, Any]:
        """Why a slot, service, app or host is as it is: {slot or host: explanation}. Raises NoSuchSubject."""
        return await views.explain(self._connection.session, subject)

    async def explain_scale(self, subject: str) -> dict[str, Any]:
        """Why a service, or each of an app, has as many replicas: {service: figures, wishes, bounds}. Raises NoSuchSubject."""
        return await numbers.explain_scale(self._connection.session, subject)

    async def events(
        self,
        *subjects: str,
        tail: int = 100,
        since_s: float = 0.0,
        until_s: float = 0.0,
        kinds: Sequence[str] = (),
        grep: str = "",
    ) -> list[Event]:
        """The last `tail` events of each host that answers, merged by time: of these slots, services, apps or hosts (none: all).

        `since_s`, `until_s`: unix seconds, 0: no bound; `kinds`: docs/events.md (none: all); `grep`: what one must hold, in
        capitals or not. They are chosen on the hosts.
        """
        rows = views.events(
            self._connection.session, subjects, tail=tail, since=since_s, until=until_s, kinds=kinds, grep=grep
        )
        async with aclosing(rows) as events:
            return [msgspec.convert(row, Event) async for row in events]

    async def watch_events(
        self,
        subjects: Sequence[str] = (),
        *,
        tail: int = 0,
        kinds: Sequence[str] = (),
        grep: str = "",
        follow: bool = True,
    ) -> AsyncGenerator[Event]:
        """Events as they come, after the last `tail` of each host; for ever. A host that can't be asked is told by `unanswered`."""
        rows = views.events(self._connection.session, subjects, follow=follow, tail=tail, kinds=kinds, grep=grep)
        async with aclosing(rows) as events:
            async for row in events:
                yield msgspec.convert(row, Event)

    async def logs(
        self,
        *targets: str,
        tail: int = 100,
        since_s: float = 0.0,
        until_s: float = 0.0,
        grep: str = "",
        regex: bool = False,
        ignore_case: bool = False,
    ) -> list[LogLine]:
        """The last lines of these slots, services, apps or hosts (none: all apps). Raises NoSuchSubject.

        `since_s`, `until_s`: unix seconds, 0: no bound; `grep`: what a line must hold, with `regex` an expression as Python has
        them. They are chosen on the hosts.
        """
        rows = views.logs(
            self._connection.session,
            list(targets),
            tail=tail,
            since=since_s,
            until=until_s,
            grep=grep,
            regex=regex,
            ignore_case=ignore_case,
        )
        async with aclosing(rows) as lines:
            return [msgspec.convert(row, LogLine) async for row in lines]

    async def watch_logs(
        self,
        targets: Sequence[str] = (),
        *,
        tail: int = 0,
        since_s: float = 0.0,
        grep: str = "",
        regex: bool = False,
        ignore_case: bool = False,
        follow: bool = True,
    ) -> AsyncGenerator[LogLine]:
        """Lines as they come, after the last `tail`; for ever."""
        rows = views.logs(
            self._connection.session,
            list(targets),
            follow=follow,
            tail=tail,
            since=since_s,
            grep=grep,
            regex=regex,
            ignore_case=ignore_case,
        )
        async with aclosing(rows) as lines:
            async for row in lines:
                yield msgspec.convert(row, LogLine)

    async def alerts(self) -> list[Alert]:
        """What fires now, as the first fixed host that answers sees it, silenced or not. Raises Unreachable."""
        told = (await alerting.firing(self._connection.session))["firing"]
        try:
            named = [{**row, "since_s": row["since"], "silenced_until_s": row["silenced_until"]} for row in told]
            return msgspec.convert(named, list[Alert])
        except (KeyError, msgspec.ValidationError) as error:  # a captured host may answer anything
            raise BadFormat("a host's answer was not understood", str(error), "see skerry host ls") from None

    async def alert_receivers(self) -> list[AlertReceiver]:
        """Who is told when something is wrong. Added and taken away by `client.alerting`."""
        session = self._connection.session
        await session.sync(1)
        rows = alerting.receiver_rows(session)
        return msgspec.convert([{**row, "name": row["receiver"]} for row in rows], list[AlertReceiver])

    async def alert_rules(self) -> list[AlertRule]:
        """All rules as they are in force, one's own too. Changed by `client.alerting`."""
        session = self._connection.session
        await session.sync(1)
        rows = alerting.rules_of(session)
        return msgspec.convert([{**row, "name": row["rule"]} for row in rows], list[AlertRule])

    async def audit(self, *hosts: str) -> list[Audited]:
        """Whether these hosts' (none: all) diaries are whole, and what others remember of them. Raises NoSuchSubject, Unreachable."""
        from skerry.client import audit

        return msgspec.convert(await audit.verify(self._connection.session, hosts), list[Audited])

    async def metrics(
        self, *subjects: str, names: Sequence[str] = (), since_s: float = 900.0, step_s: int = 0
    ) -> Answer:
        """Figures of slots, services, apps or hosts (none: all) of the last `since_s` seconds; one value for each `step_s` (0: the
        finest that is kept for so long). Hosts that did not answer are in `missing`. Raises NoSuchSubject, Unreachable.
        """
        return await figures.query(self._connection.session, subjects, names, since=-since_s, step_s=step_s)

    async def prometheus(self) -> str:
        """The newest figures of all that may be seen, in Prometheus' text form."""
        from skerry.client import exposition

        return exposition.text(await self.metrics(since_s=exposition.FRESH_S))

    async def scrape_targets(self) -> list[dict[str, Any]]:
        """Where applications' own metrics are read, as Prometheus' http_sd has it."""
        from skerry.client import exposition

        session = self._connection.session
        await session.sync(1)
        endpoints = figures.endpoints(session)
        return exposition.targets(await views.ps(session), endpoints)

    async def watch(self, app: str = "") -> AsyncGenerator[list[Replica]]:
        """The app's replicas (all, without a name) now, and again whenever one changes; for ever. Raises Unreachable."""
        told: list[dict[str, Any]] | None = None
        async with aclosing(views.changes(self._connection.session, app)) as changes:
            async for rows in changes:
                if rows != told:
                    told = rows
                    yield msgspec.convert([{**r, "since": views.rfc3339(r["since"])} for r in rows], list[Replica])

    async def wait(
        self, condition: Callable[[list[Replica]], bool], app: str = "", *, timeout_s: float = 60.0
    ) -> list[Replica]:
        """Wait until `condition` holds for the replicas of `app` (all, without a name); gives them. Raises NotInTime.

        It is asked whenever one of them changes, and never more often.
        """
        end_s = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.watch(app)) as changes:
                async for replicas in changes:
                    if condition(replicas):
                        return replicas
        except TimeoutError:
            if time.monotonic() < end_s:
                raise  # somebody else's
        raise NotInTime(f"{app or 'the cloud'} is not as it was waited for", "", f"it had {timeout_s:.0f} s; skerry ps")
