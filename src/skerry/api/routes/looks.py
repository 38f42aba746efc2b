"""Looking into containers from outside. It shows what applications hold, so it is for operators' tokens alone; hosts judge the key."""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec

from skerry.api.table import Call, Page, Query, Routes
from skerry.sdk.seen import Changed, Crash, Entry, Process, Socket

routes = Routes("looking in")
FILE_BYTES = 16 << 20
Slot = Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="Such as shop.web/0.")]
Path = Annotated[str, msgspec.Meta(max_length=4096, description="In the container.")]
Crashed = Annotated[bool, msgspec.Meta(description="Of its last crash, which is kept for a day.")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=100_000, description="How many at most.")]


class OfSlot(Query, frozen=True):
    slot: Slot


class AtPath(OfSlot, frozen=True):
    path: Path = "/"
    crashed: Crashed = False
    limit: Limit = 10_000


class OfFile(OfSlot, frozen=True):
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096, description="In the container.")]
    crashed: Crashed = False
    limit_bytes: Annotated[int, msgspec.Meta(ge=1, le=FILE_BYTES, description="A larger file is refused.")] = FILE_BYTES


class Some(OfSlot, frozen=True):
    crashed: Crashed = False
    limit: Limit = 10_000


class Many(OfSlot, frozen=True):
    limit: Limit = 10_000


class Crashes(Query, frozen=True):
    subject: Annotated[str, msgspec.Meta(max_length=200, description="A slot, service or app; none: all.")] = ""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """`base64`: its bytes."""

    size_bytes: int
    base64: str


@routes.add("get", "/v1/look/entries", "What lies in a container's folder", gives=Page[Entry], query=AtPath)
async def look_entries(call: Call) -> Page[Entry]:
    """Links are followed within the container. It does not notice; operators see the event."""
    query = call.query
    return Page(items=await call.cloud.looks.ls(query.slot, query.path, crashed=query.crashed, limit=query.limit))


@routes.add("get", "/v1/look/file", "A container's file", gives=Content, query=OfFile)
async def look_file(call: Call) -> Content:
    query = call.query
    data = await call.cloud.looks.cat(query.slot, query.path, crashed=query.crashed, limit_bytes=query.limit_bytes)
    return Content(size_bytes=len(data), base64=base64.b64encode(data).decode())


@routes.add("get", "/v1/look/processes", "A container's processes", gives=Page[Process], query=OfSlot)
async def look_processes(call: Call) -> Page[Process]:
    return Page(items=await call.cloud.looks.procs(call.query.slot))


@routes.add("get", "/v1/look/sockets", "A container's sockets", gives=Page[Socket], query=Many)
async def look_sockets(call: Call) -> Page[Socket]:
    return Page(items=await call.cloud.looks.sockets(call.query.slot, limit=call.query.limit))


@routes.add("get", "/v1/look/changes", "What a container has changed since it started", gives=Page[Changed], query=Some)
async def look_changes(call: Call) -> Page[Changed]:
    query = call.query
    return Page(items=await call.cloud.looks.files(query.slot, crashed=query.crashed, limit=query.limit))


@routes.add("get", "/v1/crashes", "What is kept of containers that crashed", gives=Page[Crash], query=Crashes)
async def list_crashes(call: Call) -> Page[Crash]:
    """Of each slot the last one, for a day; with the end of its log."""
    return Page(items=await call.cloud.looks.crashes(call.query.subject))
