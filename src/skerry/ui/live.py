"""What pages follow: one websocket for each page, over which it asks for any number of streams and is told of each.

From the page: {"key"} first; then {"id", "watch", ...} begins a stream and {"id", "stop": true} ends it. To the page: {"id",
"data"}, and at a stream's end {"id", "error": problem} or {"id", "end": true}. One socket, as browsers open no more than six
connections for server-sent events to one place, over all their tabs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from skerry.api.problems import Malformed, problem_of
from skerry.client.overview import Overview
from skerry.errors import SkerryError
from skerry.outside import UNREADABLE
from skerry.ui.access import Access, NoSession
from skerry.ui.snapshot import Snapshot, difference, snapshot

STREAMS_MAX = 16
MESSAGE_BYTES = 4096
GREETING_S = 10.0
CLOSED = 1008


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`watch`: which kind of stream; `args`: what that kind takes."""

    id: int
    watch: str = ""
    stop: bool = False
    args: dict[str, Any] = {}


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str


Source = Callable[[dict[str, Any]], AsyncGenerator[Any]]


class Hub:
    """One watch over the cloud for all pages, and none while nobody looks."""

    def __init__(self, watching: Callable[[], AsyncGenerator[Overview]]) -> None:
        self._watching = watching
        self._last: Snapshot = {}
        self._news = asyncio.Event()
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None

    async def watch(self, args: dict[str, Any]) -> AsyncGenerator[Any]:
        """The whole first, then what changes. Raises what hosts refuse for good."""
        self._watchers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="overview")
        told: Snapshot = {}
        try:
            while True:
                news = self._news
                if (change := difference(told, self._last)) is not None:
                    told = self._last
                    yield change
                if self._task.done():
                    self._task.result()
                await news.wait()
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._task.cancel()

    async def _run(self) -> None:
        try:
            async with aclosing(self._watching()) as overviews:
                async for overview in overviews:
                    self._last = snapshot(overview)
                    self._tell()
        finally:
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Live:
    """`sources`: what can be followed, by name."""

    def __init__(self, access: Access, sources: dict[str, Source]) -> None:
        self._access, self._sources = access, sources

    async def serve(self, socket: WebSocket) -> None:
        await socket.accept()
        streams: dict[int, asyncio.Task[None]] = {}
        try:
            async with asyncio.timeout(GREETING_S):
                await greeted(socket, self._access)
            while True:
                ask = msgspec.json.decode(await _text(socket), type=Ask)
                if (before := streams.pop(ask.id, None)) is not None:
                    before.cancel()
                if ask.stop:
                    continue
                streams = {id: task for id, task in streams.items() if not task.done()}
                if len(streams) >= STREAMS_MAX or ask.watch not in self._sources:
                    raise Malformed("the stream was not begun", f"no such one, or {STREAMS_MAX} run", "reload the page")
                streams[ask.id] = asyncio.create_task(self._stream(socket, ask), name=f"live {ask.watch}")
        except (WebSocketDisconnect, TimeoutError):
            pass
        except (SkerryError, *UNREADABLE) as error:
            if socket.application_state is WebSocketState.CONNECTED:
                await socket.close(CLOSED, getattr(error, "code", "bad-request"))
        finally:
            for task in streams.values():
                task.cancel()
            await asyncio.gather(*streams.values(), return_exceptions=True)

    async def _stream(self, socket: WebSocket, ask: Ask) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the page went: its reader ends all of this
            try:
                async with aclosing(self._sources[ask.watch](ask.args)) as items:
                    async for item in items:
                        await _send(socket, {"id": ask.id, "data": item})
                await _send(socket, {"id": ask.id, "end": True})
            except SkerryError as error:
                await _send(socket, {"id": ask.id, "error": problem_of(error)})


async def greeted(socket: WebSocket, access: Access) -> None:
    """The first message has the key. Raises NoSession."""
    if not access.has_key(msgspec.json.decode(await _text(socket), type=Hello).key):
        raise NoSession("there is no session here", "the key is another one", "use the link that skerry ui printed")


async def _text(socket: WebSocket) -> str:
    text = await socket.receive_text()
    if len(text) > MESSAGE_BYTES:
        raise Malformed("the message was not read", f"it is longer than {MESSAGE_BYTES} bytes", "")
    return text


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(msgspec.json.encode(message).decode())
