"""What pages can follow beside the overview: log lines, events, an operation. Each is one call of the SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

import msgspec

from skerry.api.problems import Malformed
from skerry.api.server import Server
from skerry.sdk import AsyncClient
from skerry.ui.live import Source

T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(max_length=200)]
Tail = Annotated[int, msgspec.Meta(ge=0, le=5000)]


class Lines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    targets: Annotated[list[Name], msgspec.Meta(max_length=16)] = []
    tail: Tail = 200


class Past(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tail: Tail = 100


class One(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Name


def sources(cloud: AsyncClient, server: Server) -> dict[str, Source]:
    async def logs(args: dict[str, Any]) -> AsyncGenerator[Any]:
        asked = _of(args, Lines)
        async with aclosing(cloud.watch_logs(asked.targets, tail=asked.tail)) as lines:
            async for line in lines:
                yield line

    async def events(args: dict[str, Any]) -> AsyncGenerator[Any]:
        async with aclosing(cloud.watch_events(tail=_of(args, Past).tail)) as told:
            async for event in told:
                yield event

    async def operation(args: dict[str, Any]) -> AsyncGenerator[Any]:
        async with aclosing(server.operations.watch(_of(args, One).id)) as changes:
            async for _, now in changes:
                yield now

    return {"logs": logs, "events": events, "operation": operation}


def _of(args: dict[str, Any], shape: type[T]) -> T:
    try:
        return msgspec.convert(args, shape)
    except msgspec.ValidationError as error:
        raise Malformed("the stream was not begun", str(error), "reload the page") from None
