"""One row of figures a second for the host and for each slot that runs here: counters become rates here, and nothing is kept.

Two containers of one slot at once (an update that starts first): the younger one's count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from skerry.observe.cgroups import Cgroup, Counters
from skerry.observe.machine import Machine, MachineFiles
from skerry.observe.metrics import OF_HOST, OF_SLOT

NAN = math.nan
Row = list[float]
NO_PRESSURE = "this kernel tells no pressure here: it needs PSI, and for containers a cgroup v2 tree"
NO_CONTROLLER = "the {} controller of cgroups is not mounted"
# File of a cgroup that is missing, which figure is unknown for it, and why.
MISSING = (
    ("cpu", "cpu_cores", NO_CONTROLLER.format("cpuacct")),
    ("periods", "cpu_throttled_share", NO_CONTROLLER.format("cpu")),
    ("memory", "memory_bytes", NO_CONTROLLER.format("memory")),
    ("limit", "memory_limit_bytes", NO_CONTROLLER.format("memory")),
    ("pids", "pids", NO_CONTROLLER.format("pids")),
    ("io", "disk_read_bytes_per_s", NO_CONTROLLER.format("io")),
    ("io", "disk_written_bytes_per_s", NO_CONTROLLER.format("io")),
    ("cpu_wait", "cpu_pressure_share", NO_PRESSURE),
    ("memory_wait", "memory_pressure_share", NO_PRESSURE),
    ("io_wait", "io_pressure_share", NO_PRESSURE),
)


class Sight(NamedTuple):
    """A container as it was last looked at."""

    cgroup: Cgroup
    interface: str  # the host's end of its veth
    at_s: float
    counters: Counters
    network: tuple[float, float]  # bytes that the host's end received and sent


class Probed(NamedTuple):
    """A health probe: how long it took, and whether all was well (1) or not (0)."""

    took_s: float = NAN
    ok: float = NAN


class Told(NamedTuple):
    """What others in this agent say of a slot."""

    restarts: float = NAN
    probe_s: float = NAN
    probe_ok: float = NAN


class Sampler:
    """`open_cgroup(container)`, `interface(container)`: where a container's figures are. `is_ours`: not of the outside network."""

    def __init__(
        self,
        machine: MachineFiles,
        *,
        open_cgroup: Callable[[str], Cgroup],
        interface: Callable[[str], str],
        is_ours: Callable[[str], bool],
        clock_off_s: Callable[[], float],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._open_cgroup = open_cgroup
        self._interface = interface
        self._is_ours = is_ours
        self._clock_off_s = clock_off_s
        self._now_s = now_s
        self._seen: dict[str, Sight] = {}
        self._host: tuple[float, Machine, tuple[float, float]] = (now_s(), Machine(), (NAN, NAN))

    def cpu_s(self, container: str) -> float | None:
        """That it has used; None if unknown. Of the file that is open anyway."""
        sight = self._seen.get(container)
        if sight is None:
            cgroup = self._open_cgroup(container)
            used_s = cgroup.cpu_s()
            cgroup.close()
        else:
            used_s = sight.cgroup.cpu_s()
        return used_s if used_s == used_s else None

    def sample(self, running: Mapping[str, str], told: Mapping[str, Told]) -> tuple[Row, dict[str, Row]]:
        """The host's row, and that of each slot. `running`: container -> slot."""
        network = self._machine.interfaces()
        for gone in self._seen.keys() - running.keys():
            self._seen.pop(gone).cgroup.close()
        rows = {
            slot: self._container(id, network) + list(told.get(slot, _NOTHING_TOLD)) for id, slot in running.items()
        }
        return self._of_host(network), rows

    def unknown(self) -> dict[str, str]:
        """Figure -> why nobody can know it here."""
        found = {}
        if not self._machine.has_pressure:
            found = {metric.name: NO_PRESSURE for metric in OF_HOST if "pressure" in metric.name}
        for sight in self._seen.values():
            found |= {name: why for file, name, why in MISSING if file in sight.cgroup.missing}
        return found

    def close(self) -> None:
        for sight in self._seen.values():
            sight.cgroup.close()
        self._seen = {}
        self._machine.close()

    def _container(self, id: str, network: Mapping[str, tuple[float, float]]) -> Row:
        before = self._seen.get(id)
        if before is None:
            before = Sight(self._open_cgroup(id), self._interface(id), self._now_s(), Counters(), (NAN, NAN))
        c, at_s = before.cgroup.read(), self._now_s()
        b, passed_s = before.counters, at_s - before.at_s
        ends = network.get(before.interface, (NAN, NAN))
        self._seen[id] = Sight(before.cgroup, before.interface, at_s, c, ends)
        if passed_s <= 0:
            return [NAN, NAN, c.memory_bytes, c.limit_bytes, NAN, NAN, NAN, c.oom_kills, c.pids, NAN, NAN, NAN, NAN]
        return [
            _rate(c.cpu_s, b.cpu_s, passed_s),
            _part(c.throttled - b.throttled, c.periods - b.periods),
            c.memory_bytes,
            c.limit_bytes,
            _share(c.cpu_wait_s, b.cpu_wait_s, passed_s),
            _share(c.memory_wait_s, b.memory_wait_s, passed_s),
            _share(c.io_wait_s, b.io_wait_s, passed_s),
            c.oom_kills,
            c.pids,
            _rate(c.read_bytes, b.read_bytes, passed_s),
            _rate(c.written_bytes, b.written_bytes, passed_s),
            _rate(ends[1], before.network[1], passed_s),  # what the host's end sends the container receives
            _rate(ends[0], before.network[0], passed_s),
        ]

    def _of_host(self, network: Mapping[str, tuple[float, float]]) -> Row:
        m, at_s = self._machine.read(), self._now_s()
        outside = [n for n in network if n != "lo" and not self._is_ours(n)]
        ways = [n for n in outside if n in self._machine.ways_out] or outside
        flows = (sum(network[n][0] for n in ways), sum(network[n][1] for n in ways)) if network else (NAN, NAN)
        before_s, b, before = self._host
        passed_s = at_s - before_s
        self._host = at_s, m, flows
        return [
            _rate(m.busy_s, b.busy_s, passed_s),
            _share(m.cpu_wait_s, b.cpu_wait_s, passed_s),
            m.memory_bytes,
            m.memory_total_bytes,
            _share(m.memory_wait_s, b.memory_wait_s, passed_s),
            _share(m.io_wait_s, b.io_wait_s, passed_s),
            m.oom_kills,
            m.pids,
            _rate(m.read_bytes, b.read_bytes, passed_s),
            _rate(m.written_bytes, b.written_bytes, passed_s),
            _rate(flows[0], before[0], passed_s),
            _rate(flows[1], before[1], passed_s),
            m.load1,
            m.disk_used_bytes,
            m.disk_total_bytes,
            self._clock_off_s(),
        ]


_NOTHING_TOLD = Told()
assert len(OF_SLOT) == 13 + len(_NOTHING_TOLD)


def _rate(now: float, before: float, passed_s: float) -> float:
    """A counter that went back began anew: what was between is unknown."""
    return (now - before) / passed_s if now >= before and passed_s > 0 else NAN


def _share(now: float, before: float, passed_s: float) -> float:
    share = _rate(now, before, passed_s)
    return 1.0 if share > 1.0 else share  # `min` would make 1 of what is unknown


def _part(some: float, of: float) -> float:
    """Nothing of nothing is nothing: who used no CPU was not stopped either."""
    return some / of if of > 0 and some >= 0 else 0.0 if of == 0 else NAN
