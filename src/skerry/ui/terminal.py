"""The debug terminal: a websocket of the page on one side, a tool beside a container, or on a whole host, on the other.

From the page: {"key"}, then one message that says what to start, then bytes (typed) and [rows, columns]. To the page: {"progress"},
{"visibility", "notices"} before the first byte, bytes, {"notice"}, and at last {"end"} or {"error": problem}. A page that goes
takes its tool along.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from skerry.api.problems import Malformed, problem_of
from skerry.client import debugging, kits
from skerry.core.visibility import classify
from skerry.errors import BadInput, SkerryError
from skerry.mesh import terminals
from skerry.outside import UNREADABLE
from skerry.sdk import AsyncClient
from skerry.ui.access import Access
from skerry.ui.images import answering
from skerry.ui.live import GREETING_S, greeted

Side = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Command = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
Name = Annotated[str, msgspec.Meta(max_length=200)]
TYPED_BYTES = 64 << 10


class Begin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`command`: as it would be typed; it is split as a shell does, and no shell sees it. `host`: a whole one, in place of a slot."""

    command: Command
    slot: Name = ""
    host: Name = ""
    join: Literal["", "net"] = ""
    tools: Name = "base"
    write: bool = False
    rows: Side = 24
    cols: Side = 80


class Terminal:
    def __init__(self, access: Access, cloud: AsyncClient) -> None:
        self._access, self._cloud = access, cloud

    async def choice(self, request: Request) -> Response:
        """Which tools there are; with `command`, what the target may notice of it."""
        return await answering(self._choice)(request)

    async def _choice(self, request: Request) -> Any:
        session = self._cloud._connection.session
        await session.sync(1)
        told: dict[str, Any] = {"tools": sorted(kits.all_tools(session))}
        command = request.query_params.get("command", "")[:4000]
        if command:
            joined = [word for word in ("net",) if request.query_params.get("join") == word]
            found = classify(words(command), joined=joined, write=request.query_params.get("write") == "true")
            told |= {"visibility": found.visibility, "notices": found.notices}
        return told

    async def serve(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            async with asyncio.timeout(GREETING_S):
                await greeted(socket, self._access)
                begin = msgspec.json.decode(await socket.receive_text(), type=Begin)
            await self._run(socket, begin)
        except (WebSocketDisconnect, TimeoutError):
            return
        except SkerryError as error:
            await _tell(socket, {"error": problem_of(error)})
        except (KeyError, *UNREADABLE) as error:
            await _tell(socket, {"error": problem_of(Malformed("nothing was started", str(error), "reload the page"))})
        if socket.application_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError):
                await socket.close()

    async def _run(self, socket: WebSocket, begin: Begin) -> None:
        session, images = self._cloud._connection.session, self._cloud._connection.images
        progress: asyncio.Queue[str] = asyncio.Queue()
        argv = words(begin.command)
        if bool(begin.slot) is bool(begin.host):
            raise Malformed("nothing was started", "a slot or a host is looked into", "reload the page")
        await session.sync(1)  # which tools are signed now
        async with debugging.opened(
            session, begin.slot, argv, tools=begin.tools, tty=True, rows=begin.rows, cols=begin.cols, write=begin.write,
            join=begin.join, host=begin.host, images=images, progress=progress.put_nowait,
        ) as tool:  # fmt: skip
            while not progress.empty():
                await _tell(socket, {"progress": progress.get_nowait()})
            await _tell(socket, {"visibility": tool.visibility, "notices": tool.notices})
            typing = asyncio.create_task(_typed(socket, tool))
            telling = asyncio.create_task(_told(socket, tool))
            try:
                await asyncio.wait([typing, telling], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (typing, telling):
                    task.cancel()
                for done in await asyncio.gather(typing, telling, return_exceptions=True):
                    if isinstance(done, Exception):
                        raise done
        if tool.end is not None:
            await _tell(socket, {"end": tool.end})


def words(command: str) -> list[str]:
    """Raises BadInput for quotes that are not closed, or nothing at all."""
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise BadInput("nothing was started", str(error), "close the quotes") from None
    if not found:
        raise BadInput("nothing was started", "no command is named", "such as: sh")
    return found


async def _typed(socket: WebSocket, tool: debugging.Debug) -> None:
    """Until the page goes. Raises WebSocketDisconnect, Malformed."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        if (data := message.get("bytes")) is not None:
            if len(data) > TYPED_BYTES:
                raise Malformed("what was typed was not taken", f"it is longer than {TYPED_BYTES} bytes", "paste less")
            await tool.send(data)
        else:
            rows, cols = msgspec.json.decode(message["text"], type=tuple[Side, Side])
            await tool.resize(rows, cols)


async def _told(socket: WebSocket, tool: debugging.Debug) -> None:
    """Until the tool ends. A page that reads slowly holds up the tool, not this process."""
    async for channel, payload in tool:
        if channel == terminals.NOTICE:
            await _tell(socket, {"notice": payload.decode("utf-8", "replace")})
        else:
            await socket.send_bytes(payload)


async def _tell(socket: WebSocket, message: dict[str, Any]) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # the page is gone
        await socket.send_text(msgspec.json.encode(message).decode())
