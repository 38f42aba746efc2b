"""The name server on the gateway address: UDP and TCP, port 53.

Ours is answered from the zone, all else by the host's servers.

Containers ask it, and those of two other hosts while their own agent isn't there. Everything has a bound: questions
at once, connections, sizes, times. What is over a bound gets SERVFAIL or no answer, never a place in a queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnslib import RCODE

from skerry.errors import BadFormat, Refusal
from skerry.net.apart import Askers
from skerry.net.zone import MOST_BYTES, Zone, parse, refusal

ASKED_AT_ONCE = 256
CONNECTIONS = 64
UPSTREAM_S = 2.0  # for each of the host's servers
IDLE_S = 10.0
_REPLY_BYTES = 65535


class NamesTaken(Refusal):
    """Another program has port 53 of the gateway address (one that listens on all addresses, most likely)."""

    code = "names-taken"


def servers_of(resolv_conf: str, never: str) -> list[str]:
    """The addresses of /etc/resolv.conf's `nameserver` lines, at most 3, without `never` (ourselves)."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] != never:
            with contextlib.suppress(ValueError):
                ipaddress.ip_address(words[1].partition("%")[0])
                found.append(words[1])
    return found[:3]


class NameServer:
    """`start` binds, `set` gives the names, `close` lets go."""

    def __init__(self, address: str, port: int = 53, *, resolv_conf: Path = Path("/etc/resolv.conf")) -> None:
        self._address, self._port, self._resolv_conf = address, port, resolv_conf
        self._zone = Zone()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    @property
    def is_running(self) -> bool:
        return self._udp is not None

    def set(self, names: Mapping[str, Sequence[str]], askers: Askers | None = None) -> None:
        self._zone.set(names, askers)

    async def start(self) -> None:
        """Raises NamesTaken. Started already: nothing to do."""
        if self.is_running:
            return
        loop = asyncio.get_running_loop()
        try:
            self._tcp = await asyncio.start_server(self._serve, self._address, self._port, limit=_REPLY_BYTES + 2)
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Questions(self), local_addr=(self._address, self._port)
            )
        except OSError as e:
            await self.close()
            raise NamesTaken(
                f"names can't be served on {self._address}:{self._port}",
                e.strerror or str(e),
                "let the program that has port 53 listen on its own addresses only (`ss -lnup sport = 53` shows it)",
            ) from None
        self._udp = transport

    async def close(self) -> None:
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def asked(self, data: bytes, sender: Any) -> None:
        """A datagram came. Our own names are answered at once; the others take a task each."""
        try:
            question = parse(data)
        except BadFormat:
            return
        reply = self._zone.answer(question, sender[0])
        if reply is None and len(self._tasks) >= ASKED_AT_ONCE:
            reply = refusal(question, RCODE.SERVFAIL)
        if reply is not None:
            self._send(reply, sender)
            return

        async def ask_and_send() -> None:
            answer = await self._ask_host(data, by_tcp=False)
            self._send(answer or refusal(question, RCODE.SERVFAIL), sender)

        self._keep(ask_and_send())

    def _send(self, reply: bytes, receiver: Any) -> None:
        if self._udp is not None:
            self._udp.sendto(reply, receiver)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection: questions in turn, each after its length."""
        if self._connections >= CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        source = (writer.get_extra_info("peername") or ("",))[0]
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    length = int.from_bytes(await reader.readexactly(2))
                    if length > MOST_BYTES:
                        return
                    data = await reader.readexactly(length)
                question = parse(data)
                reply = self._zone.answer(question, source) or await self._ask_host(data, by_tcp=True)
                reply = reply or refusal(question, RCODE.SERVFAIL)
                writer.write(len(reply).to_bytes(2) + reply)
                async with asyncio.timeout(IDLE_S):
                    await writer.drain()
        except (OSError, EOFError, TimeoutError, BadFormat):
            return
        finally:
            self._connections -= 1
            writer.close()

    async def _ask_host(self, data: bytes, *, by_tcp: bool) -> bytes | None:
        """The reply of the first of the host's servers that gives one, under the question's own number."""
        try:
            servers = servers_of(self._resolv_conf.read_text(errors="replace"), self._address)
        except OSError:
            servers = []
        ours = secrets.token_bytes(2)  # not the container's number, which others may guess
        for server in servers:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(UPSTREAM_S):
                    ask = _ask_by_tcp if by_tcp else _ask_by_udp
                    reply = await ask(server, ours + data[2:])
                if len(reply) >= 12 and reply[:2] == ours:
                    return data[:2] + reply[2:]
        return None


class _Questions(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._server.asked(data, addr)


class _Reply(asyncio.DatagramProtocol):
    """Waits for one datagram with the right number; others are ignored (they may be forged)."""

    def __init__(self, number: bytes) -> None:
        self._number = number
        self.came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[:2] == self._number and not self.came.done():
            self.came.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.came.done():
            self.came.set_exception(exc)


async def _ask_by_udp(server: str, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    # Connected, from a port of its own: the kernel drops what comes from elsewhere.
    transport, reply = await loop.create_datagram_endpoint(lambda: _Reply(data[:2]), remote_addr=(server, 53))
    try:
        transport.sendto(data)
        return await reply.came
    finally:
        transport.close()


async def _ask_by_tcp(server: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53, limit=_REPLY_BYTES + 2)
    try:
        writer.write(len(data).to_bytes(2) + data)
        await writer.drain()
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.close()
