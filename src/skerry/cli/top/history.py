"""What was seen in the last minutes, kept for lines: bounded, and forgotten with its subject. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from skerry.client.metrics import Series
from skerry.client.overview import Overview

POINTS = 120
KEPT = ("cpu_cores", "memory_bytes", "network_received_bytes_per_s", "network_sent_bytes_per_s")
HOSTS = "hosts"  # all of them together


class History:
    """Rings of the figures that are drawn, by subject; beside slots and hosts also services and all hosts together."""

    def __init__(self) -> None:
        self._rings: dict[tuple[str, str], deque[float | None]] = {}

    def add(self, seen: Overview) -> None:
        groups: dict[str, list[str]] = {row.slot: [row.slot] for row in seen.slots}
        for row in seen.slots:
            groups.setdefault(f"{row.app}.{row.service}", []).append(row.slot)
        hosts = [f"node/{host.name}" for host in seen.hosts]
        groups |= {host: [host] for host in hosts}
        groups[HOSTS] = hosts
        for gone in {subject for subject, _ in self._rings} - groups.keys():
            for name in KEPT:
                self._rings.pop((gone, name), None)
        for subject, parts in groups.items():
            for name in KEPT:
                ring = self._rings.setdefault((subject, name), deque(maxlen=POINTS))
                ring.append(None if seen.lost else seen.total(parts, name))

    def of(self, subject: str, name: str) -> list[float | None]:
        return list(self._rings.get((subject, name), ()))

    def begin(self, series: Iterable[Series], seen: Overview) -> None:
        """What was before the first look. A host tells of itself and of what it holds."""
        told_by = {f"node/{host.name}": host.name for host in seen.hosts} | {row.slot: row.node for row in seen.slots}
        service = {row.slot: f"{row.app}.{row.service}" for row in seen.slots}
        points: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
        for one in series:
            if one.name not in KEPT or told_by.get(one.subject) != one.host:
                continue
            newest = round(one.start / one.step_s) + len(one.values) - 1
            for age, value in enumerate(reversed(one.values[-POINTS:])):
                for subject in (one.subject, service.get(one.subject, HOSTS)):
                    if value is not None:
                        known = points[subject, one.name]
                        known[newest - age] = known.get(newest - age, 0.0) + value
        for key, known in points.items():
            past = [known.get(at) for at in range(max(min(known), max(known) - POINTS), max(known) + 1)]
            self._rings[key] = deque([*past, *self._rings.get(key, ())], maxlen=POINTS)
