"""Two connections joined to one flow: what either says, the other hears, until both have ended. For the activator's process.

Of the standard library alone. Nothing is read that can't be sent on: of a flow at most one chunk waits here, whatever comes.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections import Counter

CHUNK_BYTES = 256 << 10
ROUNDS = 4  # of one flow before the others have their turn
DEAD_S = 30.0  # unanswered bytes: the other end is lost
IDLE_S = 60  # after so long without a word the kernel asks whether the other end is there
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


class Way:
    """One direction of a flow. `left`: read and not yet sent; `ended`: its source has said its last; `done`: so was told."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.left = b""
        self.ended = self.done = False


class Flows:
    """`ready` is called for what `poll` says of descriptors that it `has`. `now`, `ever`: how many, by what they are for."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._ways: dict[int, tuple[Way, Way]] = {}  # by descriptor: (from it, to it)
        self._of: dict[int, str] = {}  # what a client's descriptor is for
        self.now: Counter[str] = Counter()
        self.ever: Counter[str] = Counter()
        self._buffer = bytearray(CHUNK_BYTES)

    @property
    def count(self) -> int:
        return len(self._ways) // 2

    def has(self, fd: int) -> bool:
        return fd in self._ways

    def begin(self, client: socket.socket, server: socket.socket, of: str) -> None:
        """Neither is registered; both don't block. They are ours from now on. `of`: under which name they are counted."""
        self._of[client.fileno()] = of
        self.now[of] += 1
        self.ever[of] += 1
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_S * 1000))
        out, back = Way(client, server), Way(server, client)
        self._ways[client.fileno()], self._ways[server.fileno()] = (out, back), (back, out)
        for sock in (client, server):
            self._poll.register(sock, _READ)

    def ready(self, fd: int, what: int) -> None:
        of, to = self._ways[fd]
        try:
            if what & select.EPOLLERR or (what & select.EPOLLHUP and of.ended and not to.done):
                raise ConnectionResetError
            if what & _WRITE:
                self._push(to)
            if what & (_READ | select.EPOLLHUP) and not of.ended:
                self._pull(of)
        except OSError:
            self._end(of, to, refuse=True)
            return
        if of.done and to.done:
            self._end(of, to)
            return
        for one, other in ((of, to), (to, of)):
            if one.ended and other.done:  # nothing more will come from there or go there
                with contextlib.suppress(OSError):
                    self._poll.unregister(one.source)
            else:
                self._poll.modify(one.source, (0 if one.ended or one.left else _READ) | (_WRITE if other.left else 0))

    def close(self) -> None:
        for fd in list(self._ways):
            if fd in self._ways:
                self._end(*self._ways[fd], refuse=True)

    def _pull(self, way: Way) -> None:
        for _ in range(ROUNDS):
            if way.left:
                return
            try:
                n = way.source.recv_into(self._buffer)
            except BlockingIOError:
                return
            if n == 0:
                way.ended = True
                self._finish(way)
                return
            view = memoryview(self._buffer)[:n]
            try:
                sent = way.sink.send(view)
            except BlockingIOError:
                sent = 0
            if sent < n:
                way.left = bytes(view[sent:])
            if n < CHUNK_BYTES // 4:
                return  # most likely all that was there

    def _push(self, way: Way) -> None:
        if not way.left:
            return
        with contextlib.suppress(BlockingIOError):
            way.left = way.left[way.sink.send(way.left) :]
        if way.ended:
            self._finish(way)

    def _finish(self, way: Way) -> None:
        if not way.left and not way.done:
            way.done = True
            way.sink.shutdown(socket.SHUT_WR)

    def _end(self, of: Way, to: Way, *, refuse: bool = False) -> None:
        for sock in (of.source, to.source):
            if name := self._of.pop(sock.fileno(), ""):
                self.now[name] -= 1
            del self._ways[sock.fileno()]
            if refuse:
                reset(sock)
            else:
                sock.close()


def reset(sock: socket.socket) -> None:
    """Close at once: the other end is told that nothing more comes, and that what it said may not have been heard."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
