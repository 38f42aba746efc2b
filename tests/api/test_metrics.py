"""Prometheus and programs: the newest figures of the whole cloud as text, the past as JSON, and where apps' own are read."""

from __future__ import annotations

import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from api.serving import Served, compose, finished

WITHIN_S = 20.0
OWN = {"services": {"web": {"image": "hello:1", "x-skerry": {"metrics": {"port": 9100, "path": "/m"}}}}}


def samples(text: str) -> dict[str, dict[str, float]]:
    """Metric -> host -> value."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[sample.labels["host"]] = sample.value
    return found


def test_prometheus_reads_every_host(operator: httpx.Client) -> None:
    end_s = time.monotonic() + WITHIN_S
    while len((told := samples((answer := operator.get("/metrics")).text)).get("skerry_host_load1", {})) < 3:
        assert time.monotonic() < end_s, answer.text
        time.sleep(0.2)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert set(told["skerry_host_answers"].values()) == {1.0}
    assert all(value > 1 << 20 for value in told["skerry_host_memory_total_bytes"].values())


def test_the_past_as_json(operator: httpx.Client) -> None:
    asked = {"subject": "vps-1", "names": "load1,pids", "since_s": 60}
    answer = operator.get("/v1/metrics", params=asked).json()
    assert {(series["host"], series["name"]) for series in answer["series"]} == {("vps-1", "load1"), ("vps-1", "pids")}
    assert all(len(series["values"]) == 60 for series in answer["series"])
    assert operator.get("/v1/metrics", params={"subject": "nobody"}).status_code == 404
    assert operator.get("/v1/metrics", params={"since_s": 0}).status_code == 400


def test_apps_with_figures_of_their_own_are_found(operator: httpx.Client) -> None:
    body = compose()
    body["compose"] = OWN
    assert finished(operator, operator.put("/v1/apps/told", json=body))["state"] == "done"
    (found,) = operator.get("/sd").json()
    assert found["targets"][0].endswith(":9100")
    labels = {"app": "told", "service": "web", "slot": "told.web/0", "__metrics_path__": "/m"}
    assert labels.items() <= found["labels"].items()
    finished(operator, operator.delete("/v1/apps/told"))
    assert operator.get("/sd").json() == []


def test_without_a_token_that_may_read_there_is_no_figure(served: Served) -> None:
    with served.client("nobody", "deploy:shop") as client:
        for path in ("/metrics", "/sd", "/v1/metrics"):
            assert client.get(path).status_code == 403
            assert client.get(path, headers={"Authorization": ""}).status_code == 401
