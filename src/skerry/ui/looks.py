"""Looks into a container without a tool: its files, processes, sockets, what it changed, and what is kept of one that crashed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skerry.api.problems import Malformed
from skerry.client import looking
from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.observe.look.job import Path
from skerry.ui.guard import refused
from skerry.ui.images import answering

ROWS = 2000
FILE_BYTES = 64 << 20  # of a file that is saved; pages show the beginning of much smaller ones
T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slot: Name
    what: Literal["ls", "procs", "sockets", "files"]
    path: Path = "/"
    crashed: bool = False


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`most`: bytes; a larger one is refused before anything is sent."""

    slot: Name
    path: Path
    crashed: bool = False
    most: Annotated[int, msgspec.Meta(ge=1, le=FILE_BYTES)] = FILE_BYTES


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slot: Name


def routes(session: Callable[[], Session]) -> list[Route]:
    async def look(request: Request) -> Any:
        asked = _asked(request, Look)
        place = await looking.find(session(), asked.slot, crashed=asked.crashed)
        more = {"path": asked.path, "crashed": asked.crashed, "limit": ROWS}
        rows, summary = await looking.rows(session(), place, asked.what, **more)
        return {"node": place.node.removeprefix("node/"), "rows": rows, **summary}

    async def file(request: Request) -> Response:
        """Its very bytes, as what no browser shows or runs."""
        try:
            asked = _asked(request, File)
            place = await looking.find(session(), asked.slot, crashed=asked.crashed)
            content = bytearray()
            more = {"path": asked.path, "crashed": asked.crashed, "limit": asked.most}
            async with looking.opened(session(), place, "cat", **more) as answer, aclosing(answer.data()) as pieces:
                async for piece in pieces:
                    content += piece
        except SkerryError as error:
            return refused(error)
        headers = {"content-disposition": "attachment"}
        return Response(bytes(content), headers=headers, media_type="application/octet-stream")

    async def crashes(request: Request) -> Any:
        return await looking.crashes(session(), _asked(request, Kept).slot)

    return [
        Route("/look", answering(look)),
        Route("/look/file", file),
        Route("/look/crashes", answering(crashes)),
    ]


def _asked(request: Request, shape: type[T]) -> T:
    try:
        return msgspec.convert(dict(request.query_params), shape, strict=False)
    except msgspec.ValidationError as error:
        raise Malformed("nothing was looked at", str(error), "reload the page") from None
