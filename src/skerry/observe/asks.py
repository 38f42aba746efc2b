"""How a container is asked from outside whether it is well: one small question per protocol, over raw streams.

Each question reads at most ANSWER_MAX_BYTES and takes at most the probe's `timeout_s`. No HTTP library: a host asks
many containers with little memory. What a container says is not believed beyond "well" and a short, printable detail.
Sources: RFC 9112 (HTTP/1.1 status line), Redis protocol (RESP), PostgreSQL "Message Formats" (SSLRequest),
MySQL "Connection Phase Packets" (HandshakeV10).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from skerry.core.intent import Probe

ANSWER_MAX_BYTES = 1024
DETAIL_MAX = 120
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Answer(NamedTuple):
    ok: bool
    detail: str


async def ask(probe: Probe, address: str) -> Answer:
    """Ask once. Never raises for what the container or the network does: that is an answer, too."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            reader, writer = await asyncio.open_connection(address, probe.port, limit=ANSWER_MAX_BYTES)
            try:
                return await _QUESTIONS[probe.kind](probe, address, reader, writer)
            finally:
                # Abort, not close: a polite end would wait for a container that may never read.
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return Answer(False, f"no answer in {probe.timeout_s:g} s")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Answer(False, f"port {probe.port}: closed before a whole {probe.kind} answer")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        return Answer(False, f"port {probe.port}: {why}"[:DETAIL_MAX])


def judge_http(status_line: bytes) -> Answer:
    """Status 200 to 399 is well. The line is the container's: anything may stand in it."""
    parts = status_line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or len(parts[1]) != 3 or not parts[1].isdigit():
        return Answer(False, f"not an HTTP answer: {_printable(status_line)}")
    status = int(parts[1])
    return Answer(200 <= status < 400, f"HTTP {status}")


def judge_redis(line: bytes) -> Answer:
    """+PONG is well. -NOAUTH too: it is up and guards itself. -LOADING is not yet."""
    text = _printable(line)
    return Answer(line.startswith((b"+PONG", b"-NOAUTH")), text or "empty answer")


def judge_postgres(first: bytes) -> Answer:
    """The one byte after an SSLRequest: S or N come from a server that takes connections."""
    return Answer(first in (b"S", b"N"), f"SSLRequest answered {_printable(first)}")


def judge_mysql(packet: bytes) -> Answer:
    """First bytes of the first packet: length (3), sequence (1), then 10 for a handshake or 255 for an error."""
    if len(packet) < 5:
        return Answer(False, "no handshake")
    if packet[4] == 0x0A and packet[3] == 0:
        return Answer(True, "handshake")
    return Answer(False, "refuses connections" if packet[4] == 0xFF else "not a MySQL handshake")


async def _tcp(probe: Probe, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    return Answer(True, "connected")


async def _http(probe: Probe, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    # The path was checked when it was signed; a line end in it would still smuggle a second request.
    path = "".join(c for c in probe.path if "!" <= c <= "~") or "/"
    host = f"{address}:{probe.port}"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: skerry-probe\r\nConnection: close\r\n\r\n".encode()
    )
    return judge_http(await reader.readuntil(b"\n"))


async def _redis(probe: Probe, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    writer.write(b"PING\r\n")
    return judge_redis(await reader.readuntil(b"\n"))


async def _postgres(probe: Probe, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    writer.write(_SSL_REQUEST)
    return judge_postgres(await reader.readexactly(1))


async def _mysql(probe: Probe, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    return judge_mysql(await reader.readexactly(5))


_Question = Callable[[Probe, str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Answer]]
_QUESTIONS: dict[str, _Question] = {
    "tcp": _tcp, "http": _http, "redis": _redis, "postgres": _postgres, "mysql": _mysql,
}  # fmt: skip


def _printable(data: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F else "?" for b in data.strip())[:DETAIL_MAX]
