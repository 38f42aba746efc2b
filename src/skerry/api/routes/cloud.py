"""The cloud as a whole: how it is, what happened, why something is as it is."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.api.table import Call, Page, Paged, Query, Routes, Tail, page
from skerry.sdk.seen import Audited
from skerry.sdk.values import Event, LogLine, Replica, Status

routes = Routes("cloud")


Subject = Annotated[str, msgspec.Meta(max_length=200, description="A slot, service, app or host; none: all.")]
Kinds = Annotated[str, msgspec.Meta(max_length=2000, description="Several with commas between; none: all.")]
Target = Annotated[str, msgspec.Meta(max_length=200, description="A slot, service, app or host; none: all apps.")]
Grep = Annotated[str, msgspec.Meta(max_length=200, description="What one must hold: of an event in capitals or not.")]
Regex = Annotated[bool, msgspec.Meta(description="`grep` is a regular expression, as Python has them.")]
IgnoreCase = Annotated[bool, msgspec.Meta(description="Of `grep`: capitals or not.")]


class About(Query, frozen=True):
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="A slot, service, app or host.")]


class Past(Query, frozen=True):
    tail: Tail = 100
    since_s: Annotated[float, msgspec.Meta(ge=0, le=253402300799, description="Unix seconds.")] = 0.0
    until_s: Annotated[float, msgspec.Meta(ge=0, le=253402300799, description="Unix seconds; 0: now.")] = 0.0


class PastEvents(Past, frozen=True):
    subject: Subject = ""
    kinds: Kinds = ""
    grep: Grep = ""


class PastLines(Past, frozen=True):
    target: Target = ""
    grep: Grep = ""
    regex: Regex = False
    ignore_case: IgnoreCase = False


class Hosts(Query, frozen=True):
    hosts: Annotated[str, msgspec.Meta(max_length=2000, description="Several with commas between; none: all.")] = ""


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


@routes.add("get", "/v1/explain", "Why something is as it is", "read", gives=dict[str, Any], query=About)
async def explain(call: Call) -> dict[str, Any]:
    return await call.cloud.explain(call.query.subject)


@routes.add("get", "/v1/explain/scale", "Why a service has as many replicas", "read", gives=dict[str, Any], query=About)
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


@routes.add("get", "/v1/audit", "Whether hosts' diaries are whole", "read", gives=Page[Audited], query=Hosts)
async def audit(call: Call) -> Page[Audited]:
    """Each is held against what other hosts, and the serving machine, remember of it."""
    return Page(items=await call.cloud.audit(*[host for host in call.query.hosts.split(",") if host]))
