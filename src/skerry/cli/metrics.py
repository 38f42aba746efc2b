"""`skerry metrics`: figures of slots and hosts, with their last minutes as a line of bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean, table
from skerry.errors import SkerryError
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.client.metrics import Answer, Series

# Of many subjects at once; of one slot or host, all are shown.
CHIEF = ("cpu_cores", "memory_bytes", "network_received_bytes_per_s", "network_sent_bytes_per_s", "probe_s", "load1")
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 30
COLUMNS = ("subject", "host", "name", "trend", "last", "min", "max")


@declare(
    name="metrics",
    example="skerry metrics\nskerry metrics web/0 --since 1h\n"
    "skerry metrics vps-1 --name load1 --since 168h --step 1h\nskerry metrics --prometheus",
)
@click.argument("subjects", nargs=-1)
@click.option("--name", "names", multiple=True, metavar="NAME", help="Only figures of this name; may be repeated.")
@click.option(
    "--since", "since_s", type=Duration(), default="15m", show_default=True, metavar="AGE", help="From so long ago on."
)
@click.option("--prometheus", is_flag=True, help="The newest values, in Prometheus' text form.")
@click.option("--otlp", "otlp_url", default="", metavar="URL",
              help="Hand the newest values to an OpenTelemetry collector, again and again, until it is interrupted.")  # fmt: skip
@click.option("--every", "every_s", type=Duration(), default="15s", show_default=True, help="How often, with --otlp.")
@click.option("--step", "step_s", type=Duration(), default=None, metavar="TIME", help="One value for so long a time.")
def command(
    terminal: Terminal,
    subjects: tuple[str, ...],
    names: tuple[str, ...],
    since_s: float,
    step_s: float | None,
    prometheus: bool,
    otlp_url: str,
    every_s: float,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Show figures of SUBJECTS and how they went.

    SUBJECTS are slots (web/1), services (web), apps or hosts; none: all. Hosts keep a value each second for 15 minutes,
    each 10 s for a day, each 5 min for 30 days.
    """
    from skerry.client import exposition, metrics

    if otlp_url:
        _hand_over(terminal, cloud, passphrase_file, otlp_url, every_s, subjects, names)
        return
    if prometheus:
        since_s, step_s = exposition.FRESH_S, None
    answer = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: metrics.query(session, subjects, names, since=-since_s, step_s=math.ceil(step_s or 0)),
    )
    for host, why in answer.missing.items():
        terminal.warn(f"{host} did not answer, and what it has is not shown: {why}")
    for host, dropped in answer.dropped.items():
        for subject, why in dropped.items():
            terminal.warn(f"{subject} on {host}: {why}")
    terminal.answer(answer.as_dict(), exposition.text(answer) if prometheus else _text(answer, bool(names)))


def _hand_over(
    terminal: Terminal,
    cloud: str,
    passphrase_file: str | None,
    url: str,
    every_s: float,
    subjects: tuple[str, ...],
    names: tuple[str, ...],
) -> None:
    """For ever: a line on stderr whenever it begins to work, or ceases to."""
    from skerry.client import otlp

    exporter, before = otlp.exporter(url), ""

    def tell(error: SkerryError | None, count: int) -> None:
        nonlocal before
        now = str(error) if error is not None else f"handing over figures to {url}"
        if now != before:
            (terminal.warn if error is not None else terminal.say)(now + (f", {count} now" if count else ""))
        before = now

    run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: otlp.export(session, exporter, subjects, names, every_s=max(1.0, every_s), tell=tell),
    )


def _text(answer: Answer, named: bool) -> str:
    few = len({(series.host, series.subject) for series in answer.series}) == 1
    shown = [s for s in answer.series if s.last is not None and (named or few or s.name in CHIEF or s.labels)]
    if not shown:
        return "(no figures are known)" + (f"; Skerry's own are {', '.join(_known())}" if named else "")
    return table([_row(series) for series in sorted(shown, key=_order)], COLUMNS)


def _known() -> list[str]:
    from skerry.observe.metrics import OF_HOST, OF_SLOT

    return list(dict.fromkeys(metric.name for metric in (*OF_SLOT, *OF_HOST)))


def _order(series: Series) -> tuple[bool, str, str]:
    """Slots before hosts; the names of one subject stay in the order in which they came."""
    return series.subject.startswith("node/"), series.subject, series.host


def _row(series: Series) -> dict[str, Any]:
    known = [value for value in series.values if value is not None]
    labels = ",".join(f"{clean(key)}={clean(value)}" for key, value in series.labels.items())
    return {
        "subject": series.subject.removeprefix("node/"),
        "host": series.host,
        "name": series.name + (f"{{{labels}}}" if labels else ""),
        "trend": sparkline(series.values),
        **{
            column: shown(value, series.unit)
            for column, value in (("last", series.last), ("min", min(known)), ("max", max(known)))
        },
    }


def sparkline(values: list[float | None], width: int = WIDTH) -> str:
    """One bar for each of `width` parts of the time: its highest value, from 0 (or the lowest below it) on; a blank: unknown."""
    each = max(1, math.ceil(len(values) / width))
    parts = [[v for v in values[at : at + each] if v is not None] for at in range(0, len(values), each)]
    known = [max(part) for part in parts if part]
    low, high = min(0.0, *known, 0.0), max(known, default=0.0)
    return "".join(" " if not part else _bar(max(part), low, high) for part in parts)


def _bar(value: float, low: float, high: float) -> str:
    return BARS[min(len(BARS) - 1, math.floor((value - low) / (high - low) * len(BARS)))] if high > low else BARS[0]


def shown(value: float | None, unit: str) -> str:
    """With its unit."""
    if value is None:
        return "-"
    if unit in ("bytes", "bytes/s"):
        return size(round(value)) + unit.removeprefix("bytes")
    if unit == "share":
        return f"{value:.1%}"
    if unit == "seconds":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
