"""One connection as the mesh needs it: it notes when it last heard anything, and says in words why it ended."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

# asyncio's buffer of a TLS connection, which it also reads into, twice for each time that something comes. Its own 256 KiB
# would be most of what a connection costs; a TLS record has 16 at most.
SSLProtocol.max_size = 64 << 10


class _Hearing(Connection):
    heard_s: float  # of the loop's clock; any byte counts, a pong too
    heard_bytes = 0
    patience_s: float | None = None  # how long the other end may leave what is sent unread
    was_slow = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.heard_s = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.heard_s = self.loop.time()
        self.heard_bytes += len(data)
        super().data_received(data)

    async def send(self, message: Any, *, text: bool | None = None) -> None:
        """As the library's, but the loop turns each time: a TLS transport whose socket is gone takes every write and
        says so only in a later turn, so that a sender without a pause would hold up the whole process for ever. Nor does the
        library end one whose other end does not read: its own ping waits behind what is not read.
        """
        try:
            async with asyncio.timeout(self.patience_s):
                await super().send(message, text=text)
        except TimeoutError:
            self.was_slow = True
            self.transport.abort()
            await self.wait_closed()
            raise ConnectionClosedError(None, None) from None
        await asyncio.sleep(0)


class Outgoing(_Hearing, ClientConnection):
    """A link or stream that we dialled. `who`: the node at the other end."""

    who: str = ""


class Incoming(_Hearing, ServerConnection):
    """A link or stream that came in. `who`: the peer or client, set by `arrived` once TLS is done ("": nobody). `unopened` hears
    of one whose time to ask for something passed.
    """

    who: str = ""

    def __init__(
        self, arrived: Callable[[Incoming], None], unopened: Callable[[Incoming], None], *args: Any, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._arrived, self._unopened = arrived, unopened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arrived(self)

    async def handshake(self, *args: Any, **more: Any) -> None:
        try:
            await super().handshake(*args, **more)
        except asyncio.CancelledError:  # what the library's own limit looks like in here
            if self.who and self.request is None:
                self._unopened(self)
            raise


@dataclass
class Link:
    """The connection for records with one neighbour. `key`, `dialler`: fingerprints; `cut`: why we ended it."""

    peer: str
    key: str
    connection: Incoming | Outgoing
    dialler: str
    since_s: float
    sent_s: float = 0.0  # the last frame
    beat_s: float = 0.0
    cut: str = ""


def told(closed: ConnectionClosed) -> tuple[str, bool]:
    """Why it ended, and whether the other end did it: by a goodbye, or because its process is gone."""
    if closed.sent is not None and not (closed.rcvd is not None and closed.rcvd_then_sent):
        return f"we closed it: {closed.sent.reason or closed.sent.code}", False
    if closed.rcvd is not None:
        return f"it closed the link: {closed.rcvd.reason or closed.rcvd.code}", True
    cause = closed.__cause__
    if cause is None or isinstance(cause, EOFError | ConnectionResetError | BrokenPipeError | ssl.SSLEOFError):
        return "its process ended", True
    return f"the connection broke: {cause}", False
