"""A network of its own for one container, made without a name that could be left behind, and the ports that lead into it.

A thread leaves this process's network for a new one and stays there to make sockets: whoever has such a socket talks inside.
Nothing of this machine's network is changed (no address, no rule), so there is no way out of it either. When the process and
the container have ended the kernel takes it away. Turned down: a veth with rules, which needs cleaning up and meets others' rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager

from skerry.client.trial.wish import Published
from skerry.errors import BadInput

SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # linux/sockios.h, net/if.h
CHUNK_BYTES = 64 << 10


class OwnNetwork:
    """A network namespace with a loopback device. `path` can be joined as long as this object is open."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Future[socket.socket] | None] = queue.SimpleQueue()
        made: Future[int] = Future()
        self._thread = threading.Thread(target=self._stay, args=(made,), name="network", daemon=True)
        self._thread.start()
        self._file = made.result()
        self.path = f"/proc/{os.getpid()}/fd/{self._file}"

    def socket(self) -> socket.socket:
        """A TCP socket inside."""
        asked: Future[socket.socket] = Future()
        self._asked.put(asked)
        return asked.result()

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()
        os.close(self._file)

    def _stay(self, made: Future[int]) -> None:
        from skerry.runtime import syscalls

        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            _loopback_up()
            made.set_result(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            made.set_exception(error)
            return
        while (asked := self._asked.get()) is not None:
            try:
                asked.set_result(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            except OSError as error:
                asked.set_exception(error)


def _loopback_up() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def listen(ports: tuple[Published, ...]) -> list[socket.socket]:
    """The sockets of this machine's ports, in their order. All or none. Raises BadInput for one that can't be had."""
    sockets: list[socket.socket] = []
    try:
        for port in ports:
            family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
            sockets.append(socket.create_server((port.address, port.host), family=family, backlog=128))
    except OSError as error:
        for each in sockets:
            each.close()
        why = "another program listens there already" if "in use" in str(error) else error.strerror or str(error)
        raise BadInput(
            f"port {port.host} of {port.address} can't be published", why, "choose another one: -p HOST:CONTAINER"
        ) from error
    return sockets


@asynccontextmanager
async def forwarding(
    ports: tuple[Published, ...], sockets: list[socket.socket], inside: Callable[[], socket.socket]
) -> AsyncIterator[None]:
    """Hand what comes in at `sockets` to the container's ports. `inside`: makes a socket in its network."""
    busy: set[asyncio.Task[None]] = set()

    def taker(port: Published) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(_carry(reader, writer, inside, port.inside))
            busy.add(task)
            task.add_done_callback(busy.discard)

        return take

    servers = [await asyncio.start_server(taker(port), sock=each) for port, each in zip(ports, sockets, strict=True)]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for task in list(busy):
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inside: Callable[[], socket.socket], port: int
) -> None:
    """One connection. Nobody listening inside (yet) looks to the client as if nobody listened here."""
    with contextlib.suppress(OSError):
        made = await asyncio.to_thread(inside)
        try:
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
            there_reader, there_writer = await asyncio.open_connection(sock=made)
        except BaseException:
            made.close()
            writer.transport.abort()
            raise
        try:
            await asyncio.gather(_pour(reader, there_writer), _pour(there_reader, writer))
        finally:
            there_writer.transport.abort()
            writer.transport.abort()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()  # the other direction may still have much to say
    await writer.drain()
