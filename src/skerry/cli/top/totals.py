"""The head of the screen: how the cloud is in one line, and what all hosts do together in three."""

from __future__ import annotations

import time

from rich.text import Text
from textual.widgets import Static

from skerry.cli.output import clean
from skerry.cli.top.drawing import amount, chart, cores
from skerry.cli.top.history import HOSTS, History
from skerry.cli.top.look import Tones
from skerry.cli.top.rows import CPU, IN, MEMORY, OUT
from skerry.client.overview import Overview


def head(tones: Tones, seen: Overview, width: int, *, paused: bool) -> Text:
    """Left how many are well, right whose view it is and when; what does not fit is left out."""
    up = sum(host.state != "down" for host in seen.hosts)
    awake = [row for row in seen.slots if row.state != "asleep"]
    well = sum(row.well for row in awake)
    bad = sum(warning.weight == "bad" for warning in seen.warnings)
    watch, firing = len(seen.warnings) - bad, len(seen.firing)
    parts = [
        ("skerry ", "line"), (clean(seen.cloud), "title"),
        ("   ● ", "good" if up == len(seen.hosts) else "bad"), (_of(up, len(seen.hosts), "host", "up"), ""),
        ("   ● ", "good" if well == len(awake) else "watch" if well else "bad"), (_of(well, len(awake), "slot", "well"), ""),
    ]  # fmt: skip
    if firing:
        parts += [("   ! ", "bad"), (_of(firing, firing, "alert", ""), "bad")]
    if bad or watch:
        parts += [("   ▲ ", "bad" if bad else "watch"), (f"{bad + watch} to look at", "bad" if bad else "watch")]
    if seen.usd_hour:
        parts += [("   $ ", "dim"), (f"{seen.usd_hour:.3f}/h", "")]
    right = time.strftime("%H:%M:%S", time.localtime(seen.at))
    if paused:
        right = f"paused  {right}"
    by = f"by {clean(seen.asked)}  " if seen.asked and not seen.lost else ""
    left = sum(len(text) for text, _ in parts)
    if left + len(by) + len(right) + 2 <= width:
        right = by + right
    gap = " " * max(width - left - len(right), 1)
    return tones.text(*parts, (gap, ""), (right, "watch" if paused else "dim"))


def _of(some: int, all: int, what: str, how: str) -> str:
    return f"{all if some == all else f'{some}/{all}'} {what}{'s' * (all != 1)} {how}"


class Totals(Static):
    """Four cells side by side: processors, memory, network, and where it all stands."""

    def __init__(self, tones: Tones, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._tones = tones

    def show(self, seen: Overview, history: History) -> None:
        width = max((self.size.width - 6) // 3, 16)
        hosts = [f"node/{host.name}" for host in seen.hosts]
        all_cores = sum(host.capacity.get("cpus", 0.0) for host in seen.hosts) or None
        whole = seen.total(hosts, "memory_total_bytes") or sum(h.capacity.get("memory_bytes", 0.0) for h in seen.hosts)
        used, memory = seen.total(hosts, CPU), seen.total(hosts, MEMORY)
        net = [
            None if a is None and b is None else (a or 0.0) + (b or 0.0)
            for a, b in zip(history.of(HOSTS, IN), history.of(HOSTS, OUT), strict=True)
        ]
        cells = [
            self._cell("CPU", f"{cores(used)} of {cores(all_cores)} cores", history.of(HOSTS, CPU), all_cores, width),
            self._cell(
                "MEMORY", f"{amount(memory)} of {amount(whole or None)}", history.of(HOSTS, MEMORY), whole, width
            ),
            self._cell(
                "NET", f"↓{amount(seen.total(hosts, IN))} ↑{amount(seen.total(hosts, OUT))} /s", net, None, width
            ),
        ]
        text = self._tones.text()
        for line in range(3):
            for i, cell in enumerate(cells):
                text.append_text(cell[line])
                text.append("   " if i < 2 else "")
            text.append("\n" if line < 2 else "")
        self.update(text)

    def _cell(self, title: str, value: str, values: list[float | None], most: float | None, width: int) -> list[Text]:
        lines = chart(values, width, 2, most)
        if not any(value is not None for value in values):
            return [
                self._top(title, value, width),
                Text(" " * width),
                self._tones.text(("no figures yet".ljust(width), "dim")),
            ]
        return [self._top(title, value, width), *(self._tones.text((line, "line")) for line in lines)]

    def _top(self, title: str, value: str, width: int) -> Text:
        gap = " " * max(width - len(title) - len(value), 1)
        top = self._tones.text((title, "dim"), (gap, ""), (value, ""))
        top.truncate(width, pad=True)
        return top
