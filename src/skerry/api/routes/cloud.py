"""The cloud as a whole: how it is, what happened, why something is as it is."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.api.table import Call, Page, Paged, Query, Routes, Tail, page
from skerry.sdk.values import Alert, AlertReceiver, AlertRule, Event, LogLine, Replica, Status

routes = Routes("cloud")


class Subject(Query, frozen=True):
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="A slot, service, app or host.")]


class Past(Query, frozen=True):
    tail: Tail = 100
    since_s: Annotated[float, msgspec.Meta(ge=0, le=253402300799, description="Unix seconds.")] = 0.0
    until_s: Annotated[float, msgspec.Meta(ge=0, le=253402300799, description="Unix seconds; 0: now.")] = 0.0


class PastEvents(Past, frozen=True):
    subject: Annotated[str, msgspec.Meta(max_length=200, description="A slot, service, app or host; none: all.")] = ""
    kinds: Annotated[str, msgspec.Meta(max_length=2000, description="Several with commas between; none: all.")] = ""
    grep: Annotated[str, msgspec.Meta(max_length=200, description="What one must hold, in capitals or not.")] = ""


class PastLines(Past, frozen=True):
    target: Annotated[
        str, msgspec.Meta(max_length=200, description="A slot, service, app or host; none: all apps.")
    ] = ""
    grep: Annotated[str, msgspec.Meta(max_length=200, description="What a line must hold.")] = ""
    regex: Annotated[bool, msgspec.Meta(description="`grep` is a regular expression, as Python has them.")] = False
    ignore_case: Annotated[bool, msgspec.Meta(description="Of `grep`: capitals or not.")] = False


class Whoami(msgspec.Struct, frozen=True, kw_only=True):
    """The token of this request, and the cloud."""

    token: str
    roles: list[str]
    cloud: str
    id: str


@routes.add("get", "/v1/whoami", "Who am I, and what may I do?", "*", gives=Whoami)
async def whoami(call: Call) -> Whoami:
    bearer = call.bearer
    return Whoami(token=bearer.name, roles=sorted(bearer.roles), cloud=call.cloud.name, id=call.cloud.id)


@routes.add("get", "/v1/status", "Whether the cloud is well", "read", gives=Status)
async def status(call: Call) -> Status:
    """Every host is asked; one that is silent is waited for a few seconds."""
    return await call.cloud.status()


@routes.add("get", "/v1/replicas", "Every replica: where, how, since when", "read", gives=Page[Replica], query=Paged)
async def list_replicas(call: Call) -> Page[Replica]:
    return page(await call.cloud.apps.replicas(), lambda row: row.slot, call.query)


@routes.add("get", "/v1/explain", "Why something is as it is", "read", gives=dict[str, Any], query=Subject)
async def explain(call: Call) -> dict[str, Any]:
    return await call.cloud.explain(call.query.subject)


@routes.add(
    "get", "/v1/explain/scale", "Why a service has as many replicas", "read", gives=dict[str, Any], query=Subject
)
async def explain_scale(call: Call) -> dict[str, Any]:
    """Of a service or an app that follows the load: figures, wishes, bounds, which schedules hold now."""
    return await call.cloud.explain_scale(call.query.subject)


@routes.add("get", "/v1/events", "What happened, and why: the past", "read", gives=Page[Event], query=PastEvents)
async def list_events(call: Call) -> Page[Event]:
    """The last events of each host that answers, by time. As they come: /v1/watch/events."""
    query = call.query
    subjects = [query.subject] if query.subject else []
    kinds = [kind for kind in query.kinds.split(",") if kind]
    past = {"tail": query.tail, "since_s": query.since_s, "until_s": query.until_s}
    return Page(items=await call.cloud.events(*subjects, kinds=kinds, grep=query.grep, **past))


@routes.add("get", "/v1/logs", "What replicas wrote: the past", "read", gives=Page[LogLine], query=PastLines)
async def list_logs(call: Call) -> Page[LogLine]:
    query = call.query
    targets = [query.target] if query.target else []
    past = {"tail": query.tail, "since_s": query.since_s, "until_s": query.until_s}
    words = {"grep": query.grep, "regex": query.regex, "ignore_case": query.ignore_case}
    return Page(items=await call.cloud.logs(*targets, **past, **words))


@routes.add("get", "/v1/alerts", "What fires now", "read", gives=Page[Alert])
async def list_alerts(call: Call) -> Page[Alert]:
    """As the first fixed host that answers sees it, silenced or not."""
    return Page(items=await call.cloud.alerts())


@routes.add("get", "/v1/alerts/receivers", "Who is told when something is wrong", "read", gives=Page[AlertReceiver])
async def list_alert_receivers(call: Call) -> Page[AlertReceiver]:
    """What it takes to reach them is sealed, and not told."""
    return Page(items=await call.cloud.alert_receivers())


@routes.add("get", "/v1/alerts/rules", "The rules of alerts as they are in force", "read", gives=Page[AlertRule])
async def list_alert_rules(call: Call) -> Page[AlertRule]:
    return Page(items=await call.cloud.alert_rules())
