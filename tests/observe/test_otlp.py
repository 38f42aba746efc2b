"""Figures handed to an OpenTelemetry collector: what arrives there, read by OpenTelemetry's own messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from skerry.client import otlp
from skerry.client.metrics import Answer, Series
from skerry.errors import BadInput

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel: tests/observe/requirements.txt")
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

ANSWER = Answer(
    [
        Series("vps-1", "shop.web/0", "cpu_cores", 100.0, 1, [0.5, 0.25, None], "rate", "cores"),
        Series("vps-1", "shop.web/0", "jobs_total", 100.0, 1, [3.0], "rate", "1/s", {"queue": "a"}),
        Series("vps-2", "node/vps-2", "load1", 100.0, 1, [2.0], "gauge", "count"),
        Series("vps-2", "node/vps-2", "clock_off_s", 100.0, 1, [None], "gauge", "seconds"),
    ]
)


class Collector:
    def __init__(self) -> None:
        self.heard: list[ExportMetricsServiceRequest] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/metrics" and collector.status == 200:
                    collector.heard.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.end_headers()
                self.wfile.write(ExportMetricsServiceResponse().SerializeToString())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


async def test_what_a_collector_hears(collector: Collector) -> None:
    assert await otlp.hand_over(otlp.exporter(collector.url), ANSWER, "home") == 3
    (heard,) = collector.heard
    found = {
        (
            next(a.value.string_value for a in resource.resource.attributes if a.key == "host.name"),
            metric.name,
            tuple(sorted((a.key, a.value.string_value) for a in point.attributes)),
        ): (point.as_double, point.time_unix_nano / 1e9, metric.unit)
        for resource in heard.resource_metrics
        for metric in resource.scope_metrics[0].metrics
        for point in metric.gauge.data_points
    }
    of = (("skerry.app", "shop"), ("skerry.service", "web"), ("skerry.slot", "shop.web/0"))
    assert found == {
        ("vps-1", "skerry.cpu_cores", of): (0.25, 102.0, "cores"),
        ("vps-1", "jobs_total", (("queue", "a"), *of)): (3.0, 101.0, "1/s"),
        ("vps-2", "skerry.host.load1", ()): (2.0, 101.0, "count"),
    }


async def test_a_collector_that_refuses_is_told(collector: Collector) -> None:
    collector.status = 400
    with pytest.raises(otlp.NotExported):
        await otlp.hand_over(otlp.exporter(collector.url), ANSWER, "home")


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(BadInput):
        otlp.exporter("collector:4318")
