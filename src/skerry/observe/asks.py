"""How a container is asked from outside whether it is well: one small question per protocol, over raw streams.

Each question reads at most ANSWER_MAX_BYTES and takes at most the probe's `timeout_s`. No HTTP library: a host asks
many containers with little memory. What a container says is not believed beyond "well" and a short, printable detail.
Sources: RFC 9112 (HTTP/1.1 status line), Redis protocol (RESP), PostgreSQL "Message Formats" (StartupMessage),
MySQL "Connection Phase Packets" (HandshakeV10, HandshakeResponse41, AuthSwitchRequest).
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
# As a user that a server most likely knows: an unknown one would leave a line in its log at each question.
_POSTGRES_USER = b"user\0postgres\0database\0postgres\0\0"
_POSTGRES_STARTUP = struct.pack("!ii", 8 + len(_POSTGRES_USER), 3 << 16) + _POSTGRES_USER
_POSTGRES_READY, _POSTGRES_END = b"Z\0\0\0\5", b"X\0\0\0\4"
_STARTING_UP = b"\0C57P03\0"
# Capabilities: protocol 4.1, authentication of variable length, by a plugin that is named.
_MYSQL_LOGIN = (
    struct.pack("<IIB23x", 0x200 | 0x8000 | 0x80000, 1 << 24, 33) + b"skerry-probe\0\0mysql_native_password\0"
)
_MYSQL_HELLO, _MYSQL_ERROR, _MYSQL_SWITCH = 0x0A, 0xFF, 0xFE
_MYSQL_ENDING = 1053


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


def judge_postgres(kind: bytes, body: bytes) -> Answer:
    """The answer to a StartupMessage, as pg_isready judges it: a request to authenticate is well, and so is every error
    (an unknown user, a full house) but one: that it starts up, recovers or ends.
    """
    if kind == b"R":
        return Answer(True, "takes connections")
    if kind != b"E":
        return Answer(False, f"not a PostgreSQL answer: {_printable(kind + body)}"[:DETAIL_MAX])
    said = next((field[1:] for field in body.split(b"\0") if field.startswith(b"M")), b"an error")
    return Answer(_STARTING_UP not in b"\0" + body, _printable(said))


def judge_mysql(packet: bytes) -> Answer:
    """A server's first packet or its answer to a login, as mysqladmin judges it: an error is well but for "I am ending"."""
    if packet[:1] == bytes([_MYSQL_HELLO]):
        return Answer(True, "handshake")
    if len(packet) < 3 or packet[0] != _MYSQL_ERROR:
        return Answer(False, "not a MySQL handshake")
    number, words = int.from_bytes(packet[1:3], "little"), packet[9:] if packet[3:4] == b"#" else packet[3:]
    return Answer(number != _MYSQL_ENDING, _printable(words) or "an error")


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
    writer.write(_POSTGRES_STARTUP)
    kind, length = struct.unpack("!cI", await reader.readexactly(5))
    body = await reader.readexactly(min(max(length, 4) - 4, ANSWER_MAX_BYTES))
    if kind == b"R" and not any(body):  # we are in, without a password: take our leave, else its log has a lost client
        await reader.readuntil(_POSTGRES_READY)
        writer.write(_POSTGRES_END)
    return judge_postgres(kind, body)


async def _mysql(probe: Probe, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    """Goes on to a login, which is refused: a server shuts out an address that leaves before (`max_connect_errors`)."""
    number, packet = await _mysql_packet(reader)
    answer = judge_mysql(packet)
    if packet[:1] == bytes([_MYSQL_HELLO]):
        writer.write(_of_mysql(number + 1, _MYSQL_LOGIN))
        number, packet = await _mysql_packet(reader)
        if packet[:1] == bytes([_MYSQL_SWITCH]):  # to another plugin; no password there either
            writer.write(_of_mysql(number + 1, b""))
            number, packet = await _mysql_packet(reader)
        if packet[:1] == bytes([_MYSQL_ERROR]) and not (refused := judge_mysql(packet)).ok:
            answer = refused
    return answer


async def _mysql_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readexactly(4)
    return head[3], await reader.readexactly(min(int.from_bytes(head[:3], "little"), ANSWER_MAX_BYTES))


def _of_mysql(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number & 0xFF]) + payload


_Question = Callable[[Probe, str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Answer]]
_QUESTIONS: dict[str, _Question] = {
    "tcp": _tcp, "http": _http, "redis": _redis, "postgres": _postgres, "mysql": _mysql,
}  # fmt: skip


def _printable(data: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F else "?" for b in data.strip())[:DETAIL_MAX]
