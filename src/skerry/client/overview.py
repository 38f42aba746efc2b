"""The whole cloud at one glance, for screens: hosts, slots, what is rented, figures, and what is not as it should be.

How things stand, any one host tells (`ps`, `hosts`, `machines`, `pools`: one request each), and what fires any fixed one;
figures each host has of itself alone, so they are asked of all. A host that does not answer is marked and keeps nobody waiting: a
glance is never the last word, and what is not known is unknown, not 0. A host's figures count for itself and for what it is known
to hold, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, Literal

import msgspec

from skerry.client import views
from skerry.client.machines import NOBODYS
from skerry.client.session import Session
from skerry.core.records import MachineSlot
from skerry.errors import BadFormat, Refusal, SkerryError, Unreachable

EVERY_S = 1.0
STALE_S = 5.0  # figures older than that say nothing about now
NEW_S = 5.0  # between two looks for hosts that have joined
AGAIN_S = 5.0  # a host that did not answer is asked again after so long
WITHIN_S = 4.0  # one look waits for so long for what fires and for the figures of hosts
ALERTS_S = 2.0  # between two times that a host is asked what fires; hosts look every 5 s themselves
NAMES = (
    "cpu_cores", "cpu_throttled_share", "cpu_pressure_share", "memory_bytes", "memory_limit_bytes",
    "memory_pressure_share", "io_pressure_share", "pids", "restarts", "oom_kills", "disk_read_bytes_per_s",
    "disk_written_bytes_per_s", "network_received_bytes_per_s", "network_sent_bytes_per_s", "probe_s", "requests_per_s",
    "load1", "memory_total_bytes", "disk_used_bytes", "disk_total_bytes",
)  # fmt: skip
FULL_SHARE = 0.9  # of a disk or of a host's memory: worth a warning


class SlotNow(msgspec.Struct, frozen=True):
    """One slot, as `ps` has it. `node` "": nobody holds it. `since`: unix seconds."""

    slot: str
    app: str
    service: str
    node: str
    state: str
    healthy: bool
    version: str = ""
    image: str = ""
    since: float = 0.0
    why: str = ""
    address: str = ""
    restarts: int = 0
    outdated: bool = False
    wanted: str = ""
    failed: bool = False
    verdict: str = ""
    finished: bool = False
    exit_code: int | None = None
    pinned: bool = False

    @property
    def well(self) -> bool:
        """As it should be: healthy, a job that has ended well, or asleep until somebody comes."""
        return self.healthy or self.finished or self.state == "asleep"


class HostNow(msgspec.Struct, frozen=True):
    """One host, as the one that was asked sees it. `silent`: why it didn't answer us itself; "": it did, or wasn't asked."""

    name: str
    state: str
    address: str = ""
    labels: dict[str, str] = {}
    zone: str = ""
    capacity: dict[str, float] = {}
    free: dict[str, float] = {}
    agent: str = ""
    why: str = ""
    silent: str = ""


class MachineNow(msgspec.Struct, frozen=True):
    """One rented machine. `asks`: the command that a person is asked to run for it. `created`: from when it is paid, 0: not known."""

    slot: str
    state: str
    keeper: str = ""
    address: str = ""
    size: str = ""
    region: str = ""
    usd_hour: float = 0.0
    since: float = 0.0
    up: bool = False
    why: str = ""
    asks: str = ""
    provider: str = ""
    created: float = 0.0


class PoolNow(msgspec.Struct, frozen=True):
    """`wanted`, `spent_usd_month`: -1 where the host that was asked doesn't know."""

    pool: str
    provider: str = ""
    min: int = 0
    max: int = 0
    wanted: int = -1
    have: int = 0
    spent_usd_month: float = -1.0
    spend_usd_month: float = 0.0
    keepers: tuple[str, ...] = ()
    why: str = ""


class AlertNow(msgspec.Struct, frozen=True):
    """What fires (docs/alerts.md), as one fixed host sees it. `since`, `silenced_until` (0: it isn't): unix seconds; `sent`: host ->
    receivers that have taken it from there."""

    rule: str
    subject: str
    since: float = 0.0
    why: str = ""
    silenced_until: float = 0.0
    sent: dict[str, tuple[str, ...]] = {}


class ServiceNow(msgspec.Struct, frozen=True):
    """All slots of one service together."""

    app: str
    service: str
    slots: int
    healthy: int
    well: int
    outdated: int
    restarts: int
    versions: tuple[str, ...]
    hosts: tuple[str, ...]


class Warning(msgspec.Struct, frozen=True):
    """`weight`: "bad" (somebody should look now) or "watch"."""

    weight: Literal["bad", "watch"]
    subject: str
    text: str


class Overview(msgspec.Struct, frozen=True):
    """`figures`: subject (a slot, or "node/NAME") -> name -> value, without what is unknown. `unknown`: host -> why it has none.

    `lost`: why no host at all can be asked now; what else is in it then is as it was last.
    """

    cloud: str
    at: float
    asked: str = ""
    lost: str = ""
    hosts: tuple[HostNow, ...] = ()
    slots: tuple[SlotNow, ...] = ()
    machines: tuple[MachineNow, ...] = ()
    pools: tuple[PoolNow, ...] = ()
    figures: dict[str, dict[str, float]] = {}
    unknown: dict[str, str] = {}
    warnings: tuple[Warning, ...] = ()
    alerts: tuple[AlertNow, ...] = ()

    @property
    def firing(self) -> tuple[AlertNow, ...]:
        """Those that nobody has silenced."""
        return tuple(alert for alert in self.alerts if alert.silenced_until <= self.at)

    def figure(self, subject: str, name: str) -> float | None:
        return self.figures.get(subject, {}).get(name)

    def total(self, subjects: Iterable[str], name: str) -> float | None:
        """Of what is known of them; None where nothing is."""
        known = [value for subject in subjects if (value := self.figure(subject, name)) is not None]
        return math.fsum(known) if known else None

    @property
    def services(self) -> list[ServiceNow]:
        grouped: dict[tuple[str, str], list[SlotNow]] = defaultdict(list)
        for row in self.slots:
            grouped[row.app, row.service].append(row)
        return [_service(app, service, rows) for (app, service), rows in sorted(grouped.items())]

    @property
    def usd_hour(self) -> float:
        """What the machines that somebody has rented cost now."""
        return math.fsum(m.usd_hour for m in self.machines if m.state not in NOBODYS)

    def as_dict(self) -> dict[str, Any]:
        return dict(msgspec.to_builtins(self))


def _service(app: str, service: str, rows: list[SlotNow]) -> ServiceNow:
    awake = [row for row in rows if row.state != "asleep"]
    return ServiceNow(
        app=app, service=service, slots=len(awake), healthy=sum(row.healthy for row in awake),
        well=sum(row.well for row in awake), outdated=sum(row.outdated for row in awake),
        restarts=sum(row.restarts for row in rows), versions=tuple(sorted({r.version for r in rows if r.version})),
        hosts=tuple(sorted({row.node for row in rows if row.node})),
    )  # fmt: skip


class Series(msgspec.Struct):
    name: str
    subject: str
    values: list[float | None]


class Told(msgspec.Struct):
    """What a host answers to `metrics`, as far as it matters here."""

    series: list[Series]


async def look(session: Session) -> Overview:
    """Once. Raises Unreachable when no host answers, or what it refuses."""
    watch = _Watch(session)
    await watch.common()
    watch.take_rows(await session.request("ps", {"subject": ""}, node=watch.asked))
    asking = [asyncio.create_task(each) for each in (watch.ask_alerts(), *map(watch.figures_of, session.nodes))]
    done, left = await asyncio.wait(asking, timeout=WITHIN_S)
    for task in left:
        task.cancel()
    for task in done:
        task.result()
    return watch.overview()


async def watching(session: Session, *, every_s: float = EVERY_S) -> AsyncGenerator[Overview]:
    """For ever: each `every_s`, and at once when a slot's row changes. To be closed: `async with aclosing(…)`.

    When no host answers any more the last one comes again with `lost`, and it goes on trying. Raises what hosts refuse for good.
    """
    watch = _Watch(session)
    work = (
        watch.follow_rows(), watch.follow_common(every_s), watch.follow_alerts(every_s), watch.follow_figures(every_s),
    )  # fmt: skip
    tasks = [asyncio.create_task(each) for each in work]
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watch.changed.wait(), every_s)
            watch.changed.clear()
            for task in tasks:
                if task.done():
                    task.result()
            if watch.knows:
                yield watch.overview()
    finally:
        for task in (*tasks, *watch.asking.values()):
            task.cancel()


class _Watch:
    """What was told last, by whom, and when."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changed = asyncio.Event()
        self.asked: str | None = None  # the host that tells of all
        self.asking: dict[str, asyncio.Task[None]] = {}
        self._slots: tuple[SlotNow, ...] | None = None
        self._hosts: tuple[HostNow, ...] | None = None
        self._machines: tuple[MachineNow, ...] = ()
        self._pools: tuple[PoolNow, ...] = ()
        self._alerts: tuple[AlertNow, ...] = ()
        self._untold = ""  # why no host says what fires
        self._lost = ""
        self._figures: dict[
            str, tuple[float, dict[str, dict[str, float]]]
        ] = {}  # path -> when, subject -> name -> value
        self._silent: dict[str, str] = {}
        self._unknown: dict[str, str] = {}
        self._again: dict[str, float] = {}

    @property
    def knows(self) -> bool:
        """Whether there is anything to show: the cloud, or that there is none."""
        return bool(self._lost) or (self._slots is not None and self._hosts is not None)

    # -- asking

    async def follow_rows(self) -> None:
        while True:
            try:
                async with aclosing(views.changes(self.session, "")) as changes:
                    async for told in changes:
                        if self.take_rows(told) or self._lost:
                            self._lost = ""
                            self.changed.set()
            except (Unreachable, BadFormat) as error:
                if not self._lost:
                    self._lost = error.why or str(error)
                    self.changed.set()
            await asyncio.sleep(EVERY_S)

    async def follow_common(self, every_s: float) -> None:
        learned_s = time.monotonic()
        while True:
            with contextlib.suppress(Unreachable):
                first = self._hosts is None
                await self.common()
                if first:
                    self.changed.set()
                if time.monotonic() - learned_s > NEW_S:  # hosts that have joined
                    await self.session.sync(1)
                    learned_s = time.monotonic()
            await asyncio.sleep(every_s)

    async def common(self) -> None:
        """What any host knows of all: of the same one as long as it answers, so that nothing flickers between two views."""
        whys = []
        for path in dict.fromkeys([*filter(None, [self.asked]), *self.session.candidates()]):
            try:
                hosts, machines, pools = await asyncio.gather(
                    self.session.request("hosts", node=path),
                    self.session.request("machines", {"subject": ""}, node=path),
                    self._pools_of(path),
                )
                self._hosts = _shaped(hosts, tuple[HostNow, ...])
                self._machines = _shaped(machines, tuple[MachineNow, ...])
                self._pools = _shaped(pools, tuple[PoolNow, ...])
            except (Unreachable, BadFormat) as error:
                whys.append(f"{path.removeprefix('node/')}: {error.why or error}")
                continue
            self.asked = path
            return
        raise self.session.unreached(whys)

    async def _pools_of(self, path: str) -> Any:
        try:
            return await self.session.request("pools", {"subject": ""}, node=path)
        except Refusal:  # not everybody's to see
            return []

    async def follow_alerts(self, every_s: float) -> None:
        while True:
            await self.ask_alerts()
            await asyncio.sleep(max(every_s, ALERTS_S))

    async def ask_alerts(self) -> None:
        """A machine of a pool looks at nothing but itself. Where no host answers, what was told last stays."""
        whys = []
        for path in dict.fromkeys([*filter(None, [self.asked]), *self.session.candidates()]):
            if MachineSlot.of_path(path) is not None:
                continue
            try:
                told = _shaped(await self.session.request("alerts", {"subject": ""}, node=path), tuple[AlertNow, ...])
            except (Unreachable, BadFormat) as error:
                whys.append(f"{path.removeprefix('node/')}: {error.why or error}")
            except SkerryError:  # not everybody's to see, or an agent of before there were alerts
                continue
            else:
                self._alerts, self._untold = told, ""
                return
        self._untold = "; ".join(whys)
        self._alerts = self._alerts if whys else ()

    async def follow_figures(self, every_s: float) -> None:
        """Each host by itself: one that hangs is not asked twice at a time, and one that did not answer less often."""
        while True:
            for path in self.session.nodes:
                running = self.asking.get(path)
                if running is not None and running.done():
                    running.result()
                    running = None
                if running is None and time.monotonic() >= self._again.get(path, 0.0):
                    self.asking[path] = asyncio.create_task(self.figures_of(path))
            await asyncio.sleep(every_s)

    async def figures_of(self, path: str) -> None:
        args = {"subjects": [], "names": list(NAMES), "since": -STALE_S, "until": 0.0, "step_s": 1}
        try:
            told: Told = _shaped(await self.session.request("metrics", args, node=path), Told)
        except SkerryError as error:
            if isinstance(error, Unreachable | BadFormat):
                self._silent[path] = error.why or str(error)
            else:
                self._silent.pop(path, None)
                self._unknown[path] = str(error)
            self._again[path] = time.monotonic() + AGAIN_S
            return
        self._silent.pop(path, None)
        self._unknown.pop(path, None)
        figures: dict[str, dict[str, float]] = defaultdict(dict)
        for series in told.series:
            value = next((value for value in reversed(series.values) if value is not None), None)
            if value is not None and math.isfinite(value):
                figures[series.subject][series.name] = value
        self._figures[path] = (time.monotonic(), figures)

    def take_rows(self, told: Any) -> bool:
        """Whether they are others than before."""
        before, self._slots = self._slots, _shaped(told, tuple[SlotNow, ...])
        return before != self._slots

    # -- telling

    def overview(self) -> Overview:
        slots, hosts = self._slots or (), self._hosts or ()
        hosts = tuple(msgspec.structs.replace(h, silent=self._silent.get(f"node/{h.name}", "")) for h in hosts)
        figures = self._known_figures(slots)
        return Overview(
            cloud=self.session.name, at=time.time(), asked=(self.asked or "").removeprefix("node/"), lost=self._lost,
            hosts=hosts, slots=slots,
            machines=tuple(m for m in self._machines if m.state != "gone"), pools=self._pools, figures=figures,
            unknown={path.removeprefix("node/"): why for path, why in sorted((self._unknown | self._silent).items())},
            warnings=tuple(_warnings(hosts, slots, self._machines, self._pools, figures, self._untold)),
            alerts=self._alerts,
        )  # fmt: skip

    def _known_figures(self, slots: tuple[SlotNow, ...]) -> dict[str, dict[str, float]]:
        now_s = time.monotonic()
        young = {path: told for path, (then_s, told) in self._figures.items() if now_s - then_s <= STALE_S}
        known = {path: told[path] for path, told in young.items() if path in told}
        for row in slots:
            with contextlib.suppress(KeyError):
                known[row.slot] = young[f"node/{row.node}"][row.slot]
        return known


def _warnings(
    hosts: tuple[HostNow, ...],
    slots: tuple[SlotNow, ...],
    machines: tuple[MachineNow, ...],
    pools: tuple[PoolNow, ...],
    figures: dict[str, dict[str, float]],
    untold: str,
) -> list[Warning]:
    """The worst first."""
    found = [Warning("watch", "alerts", f"no host says what fires now: {untold}")] if untold else []
    for host in hosts:
        if host.state == "down":
            found.append(Warning("bad", host.name, f"down: {host.why}" if host.why else "down"))
        elif host.silent:
            found.append(Warning("watch", host.name, f"does not answer from here: {host.silent}"))
        elif host.state != "up":
            found.append(Warning("watch", host.name, host.state + (f": {host.why}" if host.why else "")))
        told = figures.get(f"node/{host.name}", {})
        for what, used, whole in (
            ("disk", "disk_used_bytes", "disk_total_bytes"),
            ("memory", "memory_bytes", "memory_total_bytes"),
        ):
            if told.get(whole) and (share := told.get(used, 0.0) / told[whole]) >= FULL_SHARE:
                found.append(Warning("watch", host.name, f"{what} {share:.0%} full"))
    for app, verdict in sorted({(row.app, row.verdict) for row in slots if row.failed}):
        found.append(Warning("bad", app, verdict))
    for row in slots:
        if not row.well:
            found.append(Warning("bad", row.slot, row.state + (f": {row.why}" if row.why else "")))
    for machine in machines:
        if machine.asks:
            found.append(Warning("watch", machine.slot, f"asked of you: {machine.asks} ({machine.why})"))
    found += [Warning("watch", pool.pool, pool.why) for pool in pools if pool.why]
    return sorted(found, key=lambda warning: warning.weight)


def _shaped(answer: Any, shape: Any) -> Any:
    """A captured host may answer anything. Raises BadFormat."""
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise BadFormat("a host's answer was not understood", str(error), "see skerry host ls") from None
