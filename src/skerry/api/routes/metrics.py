"""Figures of hosts and replicas: as JSON, as Prometheus reads them, and where the applications' own are to be read."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.api.table import Call, Query, Routes, Text
from skerry.client.exposition import CONTENT_TYPE
from skerry.client.metrics import Answer

routes = Routes("metrics")
Names = Annotated[str, msgspec.Meta(max_length=2000, description="Several with commas between; none: all.")]


class Asked(Query, frozen=True):
    subject: Annotated[str, msgspec.Meta(max_length=200, description="A slot, service, app or host; none: all.")] = ""
    names: Names = ""
    since_s: Annotated[float, msgspec.Meta(ge=1, le=2592000, description="Seconds back from now.")] = 900.0
    step_s: Annotated[int, msgspec.Meta(ge=0, le=2592000, description="One value for so many; 0: the finest.")] = 0


@routes.add("get", "/v1/metrics", "Figures of hosts and replicas, and how they went", "read", gives=Answer, query=Asked)
async def list_metrics(call: Call) -> Answer:
    """Hosts keep a value each second for 15 minutes, each 10 s for a day, each 5 min for 30 days. A host that did not answer is
    in `missing`."""
    query = call.query
    subjects = [query.subject] if query.subject else []
    names = [name for name in query.names.split(",") if name]
    return await call.cloud.metrics(*subjects, names=names, since_s=query.since_s, step_s=query.step_s)


@routes.add("get", "/metrics", "The newest figures, as Prometheus reads them", "read", gives=str, media="text/plain")
async def prometheus(call: Call) -> Text:
    """Of the whole cloud; `skerry_host_answers` is 0 for a host that did not answer."""
    return Text(await call.cloud.prometheus(), CONTENT_TYPE)


@routes.add("get", "/sd", "Where applications' own metrics are read (http_sd)", "read", gives=list[dict[str, Any]])
async def service_discovery(call: Call) -> list[dict[str, Any]]:
    """Replicas of services with `x-skerry: metrics`. Addresses are containers': for a Prometheus that runs in the cloud."""
    return await call.cloud.scrape_targets()
