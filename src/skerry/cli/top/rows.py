"""What stands in the tables of the screen: one function a view, from a glance to lines of cells. Pure; draws nothing.

All that others wrote (names, reasons, labels) goes through `clean` here, once; a cell's text is never read as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from skerry.cli.output import age, clean
from skerry.cli.top import drawing
from skerry.cli.top.drawing import amount, cores, percent, share, spark
from skerry.cli.top.history import History
from skerry.client.overview import AlertNow, Overview, ServiceNow, SlotNow

GAP = 1
NAME_LEAST = 14
CPU, MEMORY = "cpu_cores", "memory_bytes"
IN, OUT = "network_received_bytes_per_s", "network_sent_bytes_per_s"
LINE_WIDTH = 10


class Column(NamedTuple):
    """`width`: at most; 0: as wide as it needs. Columns with a higher `spare` are left out first where there is no room."""

    key: str
    title: str
    width: int
    right: bool = False
    spare: int = 0


class Cell(NamedTuple):
    """`order`: what it is sorted by; its text where there is none."""

    text: str
    tone: str = ""
    order: Any = None


class Line(NamedTuple):
    """`key`: what is meant, such as "slot shop.web/0"; `cells` by column."""

    key: str
    cells: dict[str, Cell]


class View(NamedTuple):
    columns: tuple[Column, ...]
    lines: Callable[[Overview, History], list[Line]]
    sort: str  # the column that it is sorted by at first
    empty: str


_FIGURES = (
    Column("cpu", "CPU", 5, right=True),
    Column("cpu_line", "", LINE_WIDTH, spare=2),
    Column("memory", "MEM", 5, right=True),
    Column("in", "IN/s", 5, right=True, spare=1),
    Column("out", "OUT/s", 5, right=True, spare=1),
)
_MARK = Column("mark", "", 1)


def fitting(columns: Sequence[Column], lines: Sequence[Line], width: int) -> list[Column]:
    """Those that there is room for. Words take what they need of it, the last ones all that is left; figures keep their width,
    or they would dance.
    """

    def words(column: Column) -> int:
        return max((len(line.cells[column.key].text) for line in lines if column.key in line.cells), default=0)

    sized = [
        column if column.right or not column.title
        else column._replace(width=max(min(words(column), column.width or width), len(column.title) + 1))
        for column in columns
    ]  # fmt: skip
    least = [
        column._replace(width=NAME_LEAST) if column.key == "name" and not column.spare else column for column in sized
    ]
    while sum(column.width + GAP for column in least) > width and any(column.spare for column in least):
        most = max(column.spare for column in least)
        least.remove([column for column in least if column.spare == most][-1])
    kept = {column.key for column in least}
    chosen = [column for column in sized if column.key in kept]
    left = width - sum(column.width + GAP for column in chosen)
    if left < 0:
        return [c._replace(width=max(c.width + left, NAME_LEAST)) if c.key == "name" else c for c in chosen]
    last = chosen[-1]
    return [*chosen[:-1], last if last.right else last._replace(width=last.width + left)]


def arranged(lines: Iterable[Line], sort: str, *, reverse: bool, wanted: str) -> list[Line]:
    """Those that have the wanted words in any cell, sorted. What is unknown comes last, whichever way it goes."""
    words = wanted.lower().split()
    found = [line for line in lines if all(any(w in c.text.lower() for c in line.cells.values()) for w in words)]
    known = [line for line in found if _order(line, sort) is not None]
    known.sort(key=lambda line: line.key)
    known.sort(key=lambda line: _order(line, sort), reverse=reverse)
    return known + sorted((line for line in found if _order(line, sort) is None), key=lambda line: line.key)


def _order(line: Line, sort: str) -> Any:
    cell = line.cells.get(sort, Cell(""))
    return cell.order if cell.order is not None else None if cell.text == drawing.UNKNOWN else cell.text


def number(value: float | None, text: str, tone: str = "") -> Cell:
    return Cell(text, tone or ("dim" if value is None else ""), value)


def _figures(seen: Overview, history: History, subject: str, parts: Sequence[str]) -> dict[str, Cell]:
    cpu, memory = seen.total(parts, CPU), seen.total(parts, MEMORY)
    used = share(memory, seen.total(parts, "memory_limit_bytes"))
    throttled = max((seen.figure(part, "cpu_throttled_share") or 0.0 for part in parts), default=0.0)
    came, went = seen.total(parts, IN), seen.total(parts, OUT)
    return {
        "cpu": number(cpu, cores(cpu), "watch" if throttled > 0.1 else ""),
        "cpu_line": Cell(spark(history.of(subject, CPU), LINE_WIDTH), "line", cpu),
        "memory": number(memory, amount(memory), "bad" if used and used > 0.9 else ""),
        "in": number(came, amount(came)),
        "out": number(went, amount(went)),
    }


# -- services


def _service(seen: Overview, history: History, row: ServiceNow) -> Line:
    name = f"{row.app}.{row.service}"
    parts = [slot.slot for slot in seen.slots if (slot.app, slot.service) == (row.app, row.service)]
    tone = "good" if row.well == row.slots else "bad" if not row.well else "watch"
    mark = {"good": "●", "bad": "✗", "watch": "◐"}[tone]
    if not row.slots:
        mark, tone = "☾", "dim"
    return Line(
        f"service {name}",
        {
            "mark": Cell(mark, tone, {"bad": 0, "watch": 1, "good": 2, "dim": 3}[tone]),
            "name": Cell(clean(name)),
            "slots": Cell(f"{row.well}/{row.slots}" if row.slots else "asleep", tone, row.well / max(row.slots, 1)),
            "version": Cell(clean("→".join(row.versions)), "watch" if row.outdated else "dim"),
            **_figures(seen, history, name, parts),
            "restarts": Cell(str(row.restarts), "watch" if row.restarts else "dim", row.restarts),
            "hosts": Cell(clean(" ".join(row.hosts)), "dim"),
        },
    )


def services(seen: Overview, history: History) -> list[Line]:
    return [_service(seen, history, row) for row in seen.services]


# -- slots


def mark_of(row: SlotNow) -> tuple[str, str]:
    if row.state == "asleep":
        return "☾", "dim"
    if row.finished:
        return "✓", "good"
    if row.healthy:
        return ("●", "watch") if row.outdated else ("●", "good")
    return ("✗", "bad") if row.failed or row.exit_code else ("○", "watch")


def _slot(seen: Overview, history: History, row: SlotNow) -> Line:
    mark, tone = mark_of(row)
    return Line(
        f"slot {row.slot}",
        {
            "mark": Cell(mark, tone, {"bad": 0, "watch": 1, "good": 2, "dim": 3}[tone]),
            "name": Cell(clean(row.slot), "", (row.app, row.service, _index(row.slot))),
            "host": Cell(clean(row.node) or "nobody", "" if row.node else "watch"),
            "state": Cell(clean(row.state), "" if row.well else tone),
            "version": Cell(clean(row.version), "watch" if row.outdated else "dim"),
            **_figures(seen, history, row.slot, [row.slot]),
            "restarts": Cell(str(row.restarts), "watch" if row.restarts else "dim", row.restarts),
            "age": Cell(age(row.since), "dim", -row.since),
            "why": Cell(clean(row.why or row.verdict), "" if row.well else tone),
        },
    )


def _index(slot: str) -> int:
    index = slot.rpartition("/")[2]
    return int(index) if index.isascii() and index.isdigit() else -1


def slots(seen: Overview, history: History) -> list[Line]:
    return [_slot(seen, history, row) for row in seen.slots]


# -- hosts


def hosts(seen: Overview, history: History) -> list[Line]:
    lines = []
    for host in seen.hosts:
        subject = f"node/{host.name}"
        held = [row for row in seen.slots if row.node == host.name]
        down = host.state == "down"
        tone = "bad" if down else "watch" if host.state != "up" or host.silent else "good"
        cpu = seen.figure(subject, CPU)
        memory, load = seen.figure(subject, MEMORY), seen.figure(subject, "load1")
        of_cpu = share(cpu, host.capacity.get("cpus"))
        whole = seen.figure(subject, "memory_total_bytes") or host.capacity.get("memory_bytes")
        of_memory = share(memory, whole)
        disk = share(seen.figure(subject, "disk_used_bytes"), seen.figure(subject, "disk_total_bytes"))
        came, went = seen.figure(subject, IN), seen.figure(subject, OUT)
        reserved = share((host.capacity.get("cpus") or 0) - host.free.get("cpus", 0), host.capacity.get("cpus"))
        why = host.why or (f"silent: {host.silent}" if host.silent else "")
        cells = {
            "mark": Cell(
                "✗" if down else "◐" if tone == "watch" else "●", tone, {"bad": 0, "watch": 1, "good": 2}[tone]
            ),
            "name": Cell(clean(host.name)),
            "state": Cell(clean("silent" if host.silent and not down else host.state), "" if tone == "good" else tone),
            "cpu": number(of_cpu, percent(of_cpu), _full(of_cpu)),
            "cpu_line": Cell(spark(history.of(subject, CPU), LINE_WIDTH, host.capacity.get("cpus")), "line", cpu),
            "memory": number(of_memory, percent(of_memory), _full(of_memory)),
            "disk": number(disk, percent(disk), _full(disk)),
            "load": number(load, drawing.UNKNOWN if load is None else f"{load:.2f}"),
            "in": number(came, amount(came)),
            "out": number(went, amount(went)),
            "slots": Cell(str(len(held)), "", len(held)),
            "reserved": number(reserved, percent(reserved)),
            "zone": Cell(clean(host.zone or "-"), "dim"),
            "address": Cell(clean(host.address), "dim"),
            "agent": Cell(clean(host.agent), "dim"),
            "why": Cell(clean(why), tone),
        }
        lines.append(Line(f"host {host.name}", cells))
    return lines


def _full(part: float | None) -> str:
    return "" if part is None or part < 0.8 else "watch" if part < 0.95 else "bad"


# -- machines and warnings


def machines(seen: Overview, history: History) -> list[Line]:
    return [
        Line(
            f"machine {m.slot}",
            {
                "mark": Cell("●" if m.up else "○", "good" if m.up else "watch"),
                "name": Cell(clean(m.slot)),
                "state": Cell(clean("joined" if m.state == "enrolled" else m.state)),
                "provider": Cell(clean(m.provider), "dim"),
                "size": Cell(clean(m.size or "-"), "dim"),
                "region": Cell(clean(m.region or "-"), "dim"),
                "usd_hour": Cell(f"{m.usd_hour:.5f}" if m.usd_hour else "-", "", m.usd_hour),
                "age": Cell(age(m.since), "dim", -m.since),
                "keeper": Cell(clean(m.keeper or "-"), "dim"),
                "why": Cell(clean(m.asks or m.why), "watch" if m.asks else "dim"),
            },
        )
        for m in seen.machines
    ]


def kinds_of(seen: Overview) -> dict[str, str]:
    """Subject -> what it is: host, slot or service."""
    services = {f"{row.app}.{row.service}": "service" for row in seen.slots}
    return {host.name: "host" for host in seen.hosts} | services | {row.slot: "slot" for row in seen.slots}


def _alert(alert: AlertNow, i: int, *, silenced: bool) -> Line:
    tone = "dim" if silenced else "bad"
    told = sorted({name for names in alert.sent.values() for name in names})
    end = "silenced" if silenced else f"told: {', '.join(told)}" if told else "nobody is told yet"
    text = f"{alert.rule}: {alert.why}, for {age(alert.since)}; {end}"
    cells = {"mark": Cell("!", tone, i), "name": Cell(clean(alert.subject)), "why": Cell(clean(text), tone)}
    return Line(f"alert {alert.rule} {alert.subject}", cells)


def warnings(seen: Overview, history: History) -> list[Line]:
    """What fires, then what else is not as it should be."""
    kinds = kinds_of(seen)
    quiet = [alert for alert in seen.alerts if alert not in seen.firing]
    lines = [_alert(alert, i, silenced=False) for i, alert in enumerate(seen.firing)]
    for i, warning in enumerate(seen.warnings, len(lines)):
        mark = ("✗", "bad") if warning.weight == "bad" else ("▲", "watch")
        cells = {
            "mark": Cell(*mark, i),
            "name": Cell(clean(warning.subject)),
            "why": Cell(clean(warning.text), mark[1]),
        }
        kind = kinds.get(warning.subject, "warning")
        lines.append(
            Line(f"{kind} {warning.subject}" if kind != "warning" else f"warning {i} {warning.subject}", cells)
        )
    lines += [_alert(alert, i, silenced=True) for i, alert in enumerate(quiet, len(lines))]
    return list({line.key: line for line in reversed(lines)}.values())[::-1]


_NAME = Column("name", "", 0)
VIEWS: dict[str, View] = {
    "services": View(
        (_MARK, _NAME._replace(title="SERVICE"), Column("slots", "SLOTS", 6), Column("version", "VERSION", 8, spare=3), *_FIGURES,
         Column("restarts", "RST", 3, right=True), Column("hosts", "HOSTS", 30, spare=4)),
        services, "name", "nothing runs yet: skerry deploy compose.yaml",
    ),
    "slots": View(
        (_MARK, _NAME._replace(title="SLOT"), Column("host", "HOST", 14), Column("state", "STATE", 9),
         Column("version", "VERSION", 7, spare=3), *_FIGURES,
         Column("restarts", "RST", 3, right=True), Column("age", "AGE", 4, right=True, spare=4), Column("why", "WHY", 40, spare=5)),
        slots, "name", "nothing runs yet: skerry deploy compose.yaml",
    ),
    "hosts": View(
        (_MARK, _NAME._replace(title="HOST"), Column("state", "STATE", 8), Column("slots", "SLOTS", 5, right=True),
         Column("cpu", "CPU", 4, right=True), Column("cpu_line", "", LINE_WIDTH, spare=2), Column("memory", "MEM", 4, right=True),
         Column("disk", "DISK", 4, right=True), Column("load", "LOAD", 5, right=True, spare=1),
         Column("in", "IN/s", 5, right=True, spare=1),
         Column("out", "OUT/s", 5, right=True, spare=1), Column("reserved", "RESERVED", 8, right=True, spare=3),
         Column("zone", "ZONE", 8, spare=5), Column("address", "ADDRESS", 21, spare=4), Column("agent", "AGENT", 10, spare=6),
         Column("why", "WHY", 40, spare=7)),
        hosts, "name", "no hosts yet: skerry host add root@ADDRESS",
    ),
    "machines": View(
        (_MARK, _NAME._replace(title="MACHINE"), Column("state", "STATE", 9), Column("provider", "PROVIDER", 12, spare=2),
         Column("size", "SIZE", 12), Column("region", "REGION", 7, spare=1), Column("usd_hour", "USD/h", 7, right=True),
         Column("age", "AGE", 4, right=True), Column("keeper", "KEEPER", 8, spare=3), Column("why", "WHY", 40, spare=4)),
        machines, "name", "no rented machines: skerry machine pool add",
    ),
    "warnings": View(
        (_MARK, _NAME._replace(title="WHAT"), Column("why", "WHY", 200)), warnings, "mark", "all is well",
    ),
}  # fmt: skip
