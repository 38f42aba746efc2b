"""Figures to an OpenTelemetry collector (OTLP over HTTP), by OpenTelemetry's own SDK: the extra `skerry[otel]`.

Runs where the operator wants it; the newest value of each series is handed over, again and again. Names and labels: docs/metrics.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from skerry.client.exposition import FRESH_S
from skerry.client.metrics import Answer, Series, query
from skerry.client.session import Session
from skerry.core.records import Slot
from skerry.errors import BadInput, Passing, SkerryError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData

PATH = "/v1/metrics"
WITHIN_S = 10


class NotInstalled(BadInput):
    """OpenTelemetry's SDK is an extra."""

    code = "otel-not-installed"


class NotExported(Passing):
    """The collector did not take the figures; they are handed over again with the next."""

    code = "not-exported"


def exporter(url: str) -> MetricExporter:
    """`url`: of a collector, such as http://127.0.0.1:4318. Headers come from $OTEL_EXPORTER_OTLP_HEADERS.

    Raises NotInstalled, BadInput.
    """
    if not url.startswith(("http://", "https://")):
        raise BadInput(
            f"figures can't be sent to {url[:100]!r}", "it is no http(s) URL", "such as http://127.0.0.1:4318"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    except ModuleNotFoundError as error:
        raise NotInstalled(
            "figures were not sent", f"{error.name} is not installed", "pip install 'skerry[otel]'"
        ) from None
    return OTLPMetricExporter(endpoint=url if url.endswith(PATH) else url.rstrip("/") + PATH, timeout=WITHIN_S)


async def export(
    session: Session,
    to: MetricExporter,
    subjects: Sequence[str],
    names: Sequence[str],
    *,
    every_s: float,
    tell: Callable[[SkerryError | None, int], None],
) -> None:
    """For ever. `tell(what went wrong or None, values handed over)` after each round."""
    while True:
        try:
            answer = await query(session, subjects, names, since=-FRESH_S)
            tell(None, await hand_over(to, answer, session.name))
        except Passing as error:
            tell(error, 0)
        await asyncio.sleep(every_s)


async def hand_over(to: MetricExporter, answer: Answer, cloud: str) -> int:
    """How many values. Raises NotExported."""
    from opentelemetry.sdk.metrics.export import MetricExportResult

    data, count = data_of(answer, cloud)
    result = await asyncio.to_thread(to.export, data)
    if result is not MetricExportResult.SUCCESS:
        raise NotExported(
            "figures were not taken", "the collector refused them, or did not answer", "they go with the next"
        )
    return count


def data_of(answer: Answer, cloud: str) -> tuple[MetricsData, int]:
    """A resource for each host; gauges, as rates are made already."""
    from opentelemetry.sdk.metrics.export import Gauge, Metric, MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    hosts: dict[str, dict[str, list[Any]]] = {}
    units: dict[str, str] = {}
    count = 0
    for series in answer.series:
        point = _point(series)
        if point is not None:
            name = _name(series)
            units[name] = series.unit
            hosts.setdefault(series.host, {}).setdefault(name, []).append(point)
            count += 1
    scope = InstrumentationScope("skerry")
    return MetricsData(
        [
            ResourceMetrics(
                Resource({"service.name": "skerry", "skerry.cloud": cloud, "host.name": host}),
                [ScopeMetrics(scope, [Metric(name, "", units[name], Gauge(some)) for name, some in found.items()], "")],
                "",
            )
            for host, found in hosts.items()
        ]
    ), count


def _name(series: Series) -> str:
    if series.labels or series.unit in ("", "1/s"):
        return series.name  # an app's own
    return f"skerry.{'host.' if series.subject.startswith('node/') else ''}{series.name}"


def _point(series: Series) -> Any:
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    known = [(n, value) for n, value in enumerate(series.values) if value is not None]
    if not known:
        return None
    at, newest = known[-1]
    labels = dict(series.labels)
    if not series.subject.startswith("node/"):
        slot = Slot.parse(series.subject)
        labels |= {"skerry.app": slot.app, "skerry.service": slot.service, "skerry.slot": series.subject}
    time_ns = int((series.start + (at + 1) * series.step_s) * 1e9)
    return NumberDataPoint(labels, 0, time_ns, newest)
