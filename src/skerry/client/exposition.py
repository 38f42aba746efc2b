"""Figures as Prometheus reads them: the newest value of each series, one text for the whole cloud, and where apps' own are read.

A host that did not answer has `skerry_host_answers` 0 and no figure: never one that looks like a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from skerry.client.metrics import Answer, Series
from skerry.core.records import Slot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH_S = 30.0  # how far back the newest value may lie
OF_SLOT, OF_HOST = ("app", "service", "slot", "host"), ("host",)


def text(answer: Answer) -> str:
    """`answer`: of all that may be seen, of the last seconds."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families(answer)))
    return generate_latest(registry).decode()


def families(answer: Answer) -> list[GaugeMetricFamily]:
    found: dict[str, GaugeMetricFamily] = {}
    hosts = sorted({series.host for series in answer.series} - answer.missing.keys())
    answers = GaugeMetricFamily("skerry_host_answers", "Whether the host told its figures.", labels=OF_HOST)
    for host in [*hosts, *answer.missing]:
        answers.add_metric([host], float(host not in answer.missing))
    for series in answer.series:
        value = series.last
        if value is None or series.labels:  # what apps tell by themselves is read from them
            continue
        of_host = series.subject.startswith("node/")
        name = f"skerry_{'host_' if of_host else ''}{series.name}"
        if name not in found:
            unit = f" ({series.unit})" if series.unit else ""
            labels = OF_HOST if of_host else OF_SLOT
            found[name] = GaugeMetricFamily(name, f"See docs/metrics.md{unit}.", labels=labels)
        found[name].add_metric(_labels(series), value)
    return [answers, *(found[name] for name in sorted(found))]


def targets(
    rows: Sequence[Mapping[str, Any]], endpoints: Mapping[tuple[str, str], tuple[int, str]]
) -> list[dict[str, Any]]:
    """Service discovery (http_sd): each replica whose app has an endpoint of its own. `rows`: of `ps`; `endpoints`: (app, service) ->
    port and path. Addresses are those of containers: to be read from a container of the cloud, or a host.
    """
    found = []
    for row in rows:
        endpoint = endpoints.get((row["app"], row["service"]))
        if endpoint is None or not row.get("address"):
            continue
        port, path = endpoint
        labels = {"app": row["app"], "service": row["service"], "slot": row["slot"], "host": row["node"]}
        found.append({"targets": [f"{row['address']}:{port}"], "labels": {"__metrics_path__": path, **labels}})
    return found


class _Once(Collector):
    def __init__(self, made: list[GaugeMetricFamily]) -> None:
        self._made = made

    def collect(self) -> list[GaugeMetricFamily]:
        return self._made


def _labels(series: Series) -> list[str]:
    if series.subject.startswith("node/"):
        return [series.host]
    slot = Slot.parse(series.subject)
    return [slot.app, slot.service, series.subject, series.host]
