"""What the replicas of services that follow the load have to do here, told to core once a step. Decides nothing.

Runs only while some service asks for it. CPU time is the containers' own. A connection counts once in the whole cloud, where it
is translated to its replica, or, a direct one from container to container, where the replica is. So probes never count: they go
from a host straight to the container.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol

from skerry.core.effects import Gauge, Measure, Target
from skerry.core.events import Measured
from skerry.core.intent import Port
from skerry.core.records import Slot
from skerry.errors import Passing
from skerry.net.flows import TCP, UDP, Open

log = logging.getLogger(__name__)
COST = 0.01  # of one core: a look at the flows that took 10 ms is not taken again for a second
PROTOCOLS = {TCP: "tcp", UDP: "udp"}
Key = tuple[str, str]  # (app, service)


class Looks(Protocol):
    """The host's network."""

    def flows_to(self, addresses: Collection[int]) -> list[Open]: ...


class Figures:
    """`running()`: container -> (slot, address) of this host's; `cpu_s(container)`: used since it began, None if unknown.

    `subnets()`: this host's containers' network, and those of all hosts. `held(app, service)`: further connections that some
    other part of this agent holds for the service; None: not known yet, and of such a step nothing is told, as zero would let the
    service sleep. `told(slot, name)`: a figure that a replica tells by itself.
    """

    def __init__(
        self,
        network: Looks,
        *,
        running: Callable[[], dict[str, tuple[Slot, str]]],
        cpu_s: Callable[[str], float | None],
        subnets: Callable[[], tuple[str, list[str]]],
        wall_s: Callable[[], float],
        post: Callable[[Measured], None],
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
        held: Callable[[str, str], int | None] = lambda app, service: 0,
        told: Callable[[str, str], float | None] = lambda slot, name: None,
    ) -> None:
        self._network = network
        self._running = running
        self._cpu_s = cpu_s
        self._subnets = subnets
        self._wall_s = wall_s
        self._post = post
        self._spawn = spawn
        self._held = held
        self._told = told
        self._metric: dict[Gauge, dict[str, float]] = {}  # as last told, by container
        self._gauges: tuple[Gauge, ...] = ()
        self._replicas: dict[int, Key] = {}  # where published ports lead to, on whichever host
        self._changed = asyncio.Event()
        self._works = False
        self._steps: dict[Gauge, int] = {}  # the last that was measured
        self._cpu: dict[Gauge, tuple[float, dict[str, float]]] = {}  # when, and by container
        self._seen: dict[Gauge, set[int]] = {}
        self._flows: dict[Gauge, tuple[int, int]] = {}  # (established, begun), as last counted
        self._rests_until_s = 0.0

    def measure(self, effect: Measure) -> None:
        """From now on these."""
        self._gauges = effect.gauges
        for kept in (self._steps, self._cpu, self._seen, self._flows, self._metric):
            for gauge in [gauge for gauge in kept if gauge not in effect.gauges]:
                del kept[gauge]
        self._changed.set()
        if effect.gauges and not self._works:
            self._works = True
            self._spawn(self._run())

    def routed(self, ports: Sequence[tuple[Port, Sequence[Target]]]) -> None:
        """Published ports lead there now."""
        self._replicas = {
            int(ipaddress.IPv4Address(target.address)): (target.slot.app, target.slot.service)
            for _, targets in ports
            for target in targets
            if _is_address(target.address)
        }

    async def _run(self) -> None:
        """Until nothing is to be measured. Figures begin with the first whole step."""
        while self._gauges:
            begun = [gauge for gauge in self._gauges if gauge not in self._steps]
            if begun:
                await self._look(begun)
                for gauge in begun:
                    self._steps[gauge] = self._step_now(gauge)
            now_s = self._wall_s()
            ends_s = min((self._step_now(gauge) + 1) * gauge.step_s for gauge in self._gauges)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.001, ends_s - now_s))
                continue
            except TimeoutError:
                pass
            ended = [gauge for gauge in self._gauges if self._steps.get(gauge, math.inf) != self._step_now(gauge)]
            cpu = await self._look(ended)
            for gauge in ended:
                if gauge not in self._gauges or gauge not in self._steps:
                    continue
                self._steps[gauge] = self._step_now(gauge)
                held = self._held(gauge.app, gauge.service) if gauge.connections else 0
                if held is None:
                    continue
                established, fresh = self._flows.get(gauge, (0, 0))
                self._post(
                    Measured(
                        app=gauge.app, service=gauge.service, step_s=gauge.step_s, step=self._steps[gauge] - 1,
                        cpu=cpu[gauge], connections=established + held, fresh=fresh + held,
                        metric=self._sum(gauge),
                    )
                )  # fmt: skip
        self._works = False

    def _sum(self, gauge: Gauge) -> float | None:
        """What our replicas tell of the gauge's metric; one that tells nothing now has as much as it told last."""
        if not gauge.metric:
            return None
        before, now = self._metric.get(gauge, {}), {}
        for id, (slot, _) in self._running().items():
            if (slot.app, slot.service) == (gauge.app, gauge.service):
                value = self._told(str(slot), gauge.metric)
                if value is not None or id in before:
                    now[id] = before[id] if value is None else value
        self._metric[gauge] = now
        return math.fsum(now.values()) if now else None

    def _step_now(self, gauge: Gauge) -> int:
        return math.floor(self._wall_s() / gauge.step_s)

    async def _look(self, gauges: list[Gauge]) -> dict[Gauge, float]:
        """Cores used since the look before; flows are left in `_flows`."""
        here = self._running()
        cpu = {gauge: self._cores(gauge, here) if gauge.cpu else 0.0 for gauge in gauges}
        counting = [gauge for gauge in gauges if gauge.connections]
        if counting and time.monotonic() >= self._rests_until_s:
            await self._look_at_flows(counting, here)
        return cpu

    async def _look_at_flows(self, gauges: list[Gauge], here: dict[str, tuple[Slot, str]]) -> None:
        try:
            took_s, flows = await asyncio.to_thread(self._count, gauges, here)
        except Passing as error:  # the figures of the step before hold
            log.warning("connections could not be counted: %s", error)
            return
        self._rests_until_s = time.monotonic() + took_s / COST - took_s
        for gauge, (established, ids) in flows.items():
            if gauge in self._gauges:
                self._flows[gauge] = established, len(ids - self._seen.get(gauge, ids))
                self._seen[gauge] = ids

    def _cores(self, gauge: Gauge, here: dict[str, tuple[Slot, str]]) -> float:
        now_s = time.monotonic()
        used = {
            id: used_s
            for id, (slot, _) in here.items()
            if (slot.app, slot.service) == (gauge.app, gauge.service) and (used_s := self._cpu_s(id)) is not None
        }
        since_s, before = self._cpu.get(gauge, (now_s, used))
        self._cpu[gauge] = now_s, used
        spent_s = sum(used_s - before.get(id, 0.0) for id, used_s in used.items())
        return max(0.0, spent_s / (now_s - since_s)) if now_s > since_s else 0.0

    def _count(
        self, gauges: list[Gauge], here: dict[str, tuple[Slot, str]]
    ) -> tuple[float, dict[Gauge, tuple[int, set[int]]]]:
        """Seconds of CPU that it took; gauge -> connections that are established, and the ids of all that are known still."""
        began_s = time.thread_time()
        wanted = {(gauge.app, gauge.service): gauge for gauge in gauges}
        place = Place(*self._subnets())
        of = {address: wanted[key] for address, key in self._replicas.items() if key in wanted}
        for slot, address in here.values():
            if (slot.app, slot.service) in wanted and _is_address(address):
                of[int(ipaddress.IPv4Address(address))] = wanted[slot.app, slot.service]
        found: dict[Gauge, tuple[int, set[int]]] = {gauge: (0, set()) for gauge in gauges}
        for flow in self._network.flows_to(of) if of else ():
            gauge = of[flow.target]
            if (flow.port, PROTOCOLS.get(flow.protocol)) in gauge.ports and place.counts(flow):
                established, ids = found[gauge]
                ids.add(flow.id)
                found[gauge] = established + flow.established, ids
        return time.thread_time() - began_s, found


class Place:
    """A host among the others, by the networks of their containers: which flows are its to count."""

    def __init__(self, own: str, all_subnets: list[str]) -> None:
        networks = [ipaddress.IPv4Network(subnet) for subnet in all_subnets]
        mine = ipaddress.IPv4Network(own)
        self._gateways = {int(network[1]) for network in networks}
        self._inside = [(int(network.network_address), int(network.netmask)) for network in networks]
        self._mine = int(mine.network_address), int(mine.netmask)

    def counts(self, flow: Open) -> bool:
        """Of the hosts that see a flow just one counts it, and none if it comes from a host itself: a probe."""
        net, mask = self._mine
        local = flow.target & mask == net
        if flow.dialled != flow.target:  # translated here, and to another host under this one's name
            return True
        return local and flow.source not in self._gateways and self._is_inside(flow.source)

    def _is_inside(self, address: int) -> bool:
        return any(address & mask == network for network, mask in self._inside)


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
