"""Streams of what happens, as server-sent events: each can be gone on with after its last id, by Last-Event-ID."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec

from skerry.api.operations import Operation, Operations
from skerry.api.routes.cloud import Grep, IgnoreCase, Kinds, Regex, Subject, Target
from skerry.api.routes.operations import the_operation
from skerry.api.table import Call, Query, Routes, Sent, Stream, Tail
from skerry.sdk import AsyncClient
from skerry.sdk.values import Event, LogLine, Replica

routes = Routes("watch")
RESUMED = 1000  # events of each host that are looked through for where a client left off


class Since(Query, frozen=True):
    tail: Tail = 0


class EventsSince(Since, frozen=True):
    subject: Subject = ""
    kinds: Kinds = ""
    grep: Grep = ""


class LinesSince(Since, frozen=True):
    grep: Grep = ""
    regex: Regex = False
    ignore_case: IgnoreCase = False


class AnyLinesSince(LinesSince, frozen=True):
    target: Target = ""


class OfApp(Query, frozen=True):
    app: Annotated[str, msgspec.Meta(max_length=63, description="None: all apps.")] = ""


@routes.add(
    "get", "/v1/watch/events", "Events of all hosts as they come", "read", gives=Event, query=EventsSince, stream=True
)
async def watch_events(call: Call) -> Stream:
    """The id says how far each host's events were told. A host that could not be asked is told as event `unanswered`; where
    more was missed than hosts are asked for, event `gap`."""
    return Stream(_events(call.cloud, call.last_event_id, call.query))


async def _events(cloud: AsyncClient, last: str, query: EventsSince) -> AsyncGenerator[Sent]:
    """Each host orders its own events, and no clock orders all: so the id holds a time for each host."""
    told, seen = positions(last), dict.fromkeys(positions(last), 0)
    subjects, kinds = [query.subject] if query.subject else [], [kind for kind in query.kinds.split(",") if kind]
    tail = RESUMED if told else query.tail
    async with aclosing(cloud.watch_events(subjects, tail=tail, kinds=kinds, grep=query.grep)) as events:
        async for event in events:
            if event.unanswered:
                yield Sent(_id(told), "unanswered", event)
                continue
            before = told.get(event.node, 0.0)
            if event.node in seen:
                seen[event.node] += 1
                if event.time > before and seen.pop(event.node) == 1 and event.kind != "agent":
                    yield Sent(_id(told), "gap", event)
            if event.time > before:
                told[event.node] = event.time
                yield Sent(_id(told), "event", event)


def positions(text: str) -> dict[str, float]:
    """Of an id of `watch_events`; what isn't one says nothing."""
    found: dict[str, float] = {}
    for part in text.split(",")[:1000]:
        node, equals, time = part.rpartition("=")
        try:
            found[node] = float(time)
        except ValueError:
            continue
        if not (node and equals):
            del found[node]
    return found


def _id(told: dict[str, float]) -> str:
    return ",".join(f"{node}={time!r}" for node, time in sorted(told.items()))


@routes.add(
    "get",
    "/v1/watch/replicas",
    "Replicas, whole, whenever one changes",
    "read",
    gives=list[Replica],
    query=OfApp,
    stream=True,
)
async def watch_replicas(call: Call) -> Stream:
    """Each event is the whole list: whoever comes back needs nothing but the next one."""
    return Stream(_replicas(call.cloud, call.query.app))


@routes.add(
    "get", "/v1/watch/apps/{app}/replicas", "An app's replicas, whole, whenever one changes", "read", "deploy:{app}",
    gives=list[Replica], stream=True,
)  # fmt: skip
async def watch_replicas_of_app(call: Call) -> Stream:
    return Stream(_replicas(call.cloud, call.path["app"]))


async def _replicas(cloud: AsyncClient, app: str) -> AsyncGenerator[Sent]:
    async with aclosing(cloud.watch(app)) as changes:
        async for rows in changes:
            yield Sent("", "replicas", rows)


@routes.add(
    "get", "/v1/watch/apps/{app}/logs", "Lines of an app's replicas as they come", "read", "deploy:{app}",
    gives=LogLine, query=LinesSince, stream=True,
)  # fmt: skip
async def watch_logs_of_app(call: Call) -> Stream:
    """The id is the line's time: whoever comes back gets what is later, and may get a line of that very moment twice."""
    await call.cloud.apps.get(call.path["app"])
    return Stream(_logs(call.cloud, [call.path["app"]], call.last_event_id, call.query))


@routes.add(
    "get", "/v1/watch/logs", "Lines as they come: of a slot, service, app or host", "read",
    gives=LogLine, query=AnyLinesSince, stream=True,
)  # fmt: skip
async def watch_logs(call: Call) -> Stream:
    """As an app's."""
    targets = [call.query.target] if call.query.target else []
    return Stream(_logs(call.cloud, targets, call.last_event_id, call.query))


async def _logs(cloud: AsyncClient, targets: list[str], last: str, query: LinesSince) -> AsyncGenerator[Sent]:
    words: dict[str, Any] = {"grep": query.grep, "regex": query.regex, "ignore_case": query.ignore_case}
    async with aclosing(cloud.watch_logs(targets, tail=RESUMED if last else query.tail, **words)) as lines:
        async for line in lines:
            if line.unanswered:
                yield Sent("", "unanswered", line)
            elif line.time >= last:
                yield Sent(line.time, "line", line)


@routes.add(
    "get",
    "/v1/watch/operations/{operation}",
    "An operation's progress until it is over",
    "*",
    gives=Operation,
    stream=True,
)
async def watch_operation(call: Call) -> Stream:
    """Event `progress` for each line, whose id is its number; then `done`, `failed`, `cancelled` or `lost` with the operation."""
    operation = the_operation(call)
    last = call.last_event_id
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 9 else 0
    return Stream(_operation(call.operations, operation.id, after))


async def _operation(operations: Operations, id: str, after: int) -> AsyncGenerator[Sent]:
    async with aclosing(operations.watch(id, after)) as changes:
        async for count, operation in changes:
            for number in range(after + 1, count + 1):
                yield Sent(str(number), "progress", operation.progress[number - 1])
            after = max(after, count)
            if operation.state != "running":
                yield Sent(str(count), operation.state, operation)
