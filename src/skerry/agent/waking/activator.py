"""The activator: a small process that holds connections to services at zero until they are up, and then passes bytes on.

It is in the way only while there is nobody who is healthy: new connections meet the kernel's rules first, and these lead
here only then (net/ports). A process of its own, of the standard library alone: a connection that it passes lives as
long as it likes, through restarts and upgrades of the agent, and a large one costs the agent nothing. It decides nothing:
the agent tells it who is where (a table, a line of JSON), and it tells the agent for whom connections wait.

    {"services": {"shop.web": {"ports": {"8000": 80}, "address": "10.77.1.250", "targets": [], "rising": [], "limit_s": 60}}}
    {"retire": true}                          from the agent: another takes over; pass on what is here, then end
    {"hello": VERSION, "pid": N, "retired": false}   from here, and then
    {"held": {"shop.web": 2}}                 whenever that changes
    {"flows": {"shop.web": [1, 7]}}           it passes now, and has passed in all; at once, and once in a while
    {"closed": {"shop.web": {"late": 2}}}     "late": nobody came up in time; "full": more than may wait

Everything has a bound: connections that wait, in all and of one client, and how long. Source: SO_ORIGINAL_DST gives
where a client wanted to go before the rules led it here (linux/netfilter_ipv4.h).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import heapq
import json
import os
import resource
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from skerry.agent.waking.passing import Flows, reset

HELD_MAX = 1024
HELD_PER_CLIENT = 256
FLOWS_MAX = 8192
BACKLOG = 1024
ACCEPT_AT_ONCE = 64  # then those that pass have their turn
AGAIN_S = 0.01  # between two tries to reach one that is still on its way up
AGAIN_SLOWLY_S = 0.1  # after a second
DIAL_S = 3.0  # an address that says nothing
REFUSED_S = 1.0  # one that is healthy and does not listen there
SAY_S = 0.5  # what is no hurry is told once in so long
LINE_MAX = 4 << 20
_SO_ORIGINAL_DST = 80
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT

Destination = tuple[str, int]


def original_destination(connection: socket.socket) -> Destination:
    raw = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
    _, port, packed = struct.unpack_from("!HH4s", raw)
    return socket.inet_ntoa(packed), port


class Held:
    """A client that waits, or, once it is dialled, its way there."""

    def __init__(self, client: socket.socket, who: str, service: str, port: int, now_s: float) -> None:
        self.client, self.who, self.service, self.port, self.since_s = client, who, service, port, now_s
        self.server: socket.socket | None = None
        self.address = ""  # the server's
        self.tries = 0
        self.tried_s = 0.0
        self.refused_s = 0.0  # since when a healthy one refuses


class Activator:
    """`destination`: where an accepted connection wanted to go; the kernel's word unless a test says otherwise."""

    def __init__(
        self,
        listener: socket.socket,
        control: str,
        version: str = "",
        *,
        destination: Callable[[socket.socket], Destination] = original_destination,
        held_max: int = HELD_MAX,
        held_per_client: int = HELD_PER_CLIENT,
    ) -> None:
        self._poll = select.epoll()
        self._flows = Flows(self._poll)
        self._listener: socket.socket | None = listener
        self._control_path, self._version = control, version
        self._destination = destination
        self._held_max, self._held_per_client = held_max, held_per_client
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._flows_max = min(FLOWS_MAX, max(16, (soft - self._held_max) // 2 - 64))
        self._control: socket.socket | None = None
        self._heard = bytearray()
        self._to_say = bytearray()
        self._services: dict[str, dict[str, Any]] = {}
        self._by_port: dict[int, tuple[str, int]] = {}
        self._by_address: dict[str, str] = {}
        self._held: dict[int, Held] = {}  # by the client's descriptor
        self._dials: dict[int, Held] = {}  # by the server's
        self._waiting: dict[str, dict[int, Held]] = {}
        self._clients: Counter[str] = Counter()
        self._told: dict[str, int] = {}
        self._told_flows: dict[str, tuple[int, int]] | None = None  # None: not told yet
        self._closed: dict[str, dict[str, int]] = {}
        self._said_s = 0.0
        self._again: list[tuple[float, int, int]] = []  # when to dial, number, the client's descriptor
        self._number = 0
        self._paused_s = self._turn = 0.0
        self._retired = False
        listener.setblocking(False)
        self._poll.register(listener, _READ)

    @property
    def flows(self) -> int:
        return self._flows.count

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def is_done(self) -> bool:
        return self._retired and not self._held and not self._flows.count

    def run(self) -> None:
        while not self.is_done:
            self.step(0.25)

    def step(self, most_s: float) -> None:
        """Wait for something, at most so long, and do it."""
        now_s = time.monotonic()
        wait_s = min(most_s, max(0.0, self._again[0][0] - now_s)) if self._again else most_s
        events = self._poll.poll(wait_s, 512)
        last = {sock.fileno() for sock in (self._listener, self._control) if sock is not None}
        for fd, what in sorted(events, key=lambda event: event[0] in last):  # these two make new descriptors
            self._ready(fd, what)
        now_s = time.monotonic()
        if now_s >= self._turn:
            self._turn = now_s + 0.1
            self._look_around(now_s)
        while self._again and self._again[0][0] <= now_s:
            _, number, fd = heapq.heappop(self._again)
            held = self._held.get(fd)
            if held is not None and held.tries == number:
                self._dial(held)
        self._report(now_s)

    def close(self) -> None:
        for held in list(self._held.values()):
            self._drop(held)
        self._flows.close()
        for sock in (self._listener, self._control):
            if sock is not None:
                sock.close()
        self._poll.close()

    # --- what is ready ------------------------------------------------------------------------------------------------

    def _ready(self, fd: int, what: int) -> None:
        if self._flows.has(fd):
            self._flows.ready(fd, what)
        elif fd in self._dials:
            self._dialled(self._dials[fd])
        elif fd in self._held:
            self._stirred(self._held[fd], what)
        elif self._listener is not None and fd == self._listener.fileno():
            self._accept()
        elif self._control is not None and fd == self._control.fileno():
            self._hear(what)

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(ACCEPT_AT_ONCE):
            try:
                client, (who, _port) = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._paused_s = time.monotonic() + 0.1
                    self._poll.modify(self._listener, 0)
                return  # else a client that was gone before it was taken
            client.setblocking(False)
            try:
                address, port = self._destination(client)
            except OSError:
                client.close()
                continue
            self._take(client, who, address, port)

    def _take(self, client: socket.socket, who: str, address: str, port: int) -> None:
        service = self._by_address.get(address)
        if service is None:
            service, port = self._by_port.get(port, ("", 0))
        if not service:  # nothing that may sleep
            reset(client)
            return
        if len(self._held) >= self._held_max or self._clients[who] >= self._held_per_client or self._is_full():
            self._count_closed(service, "full")
            reset(client)
            return
        held = Held(client, who, service, port, time.monotonic())
        self._held[client.fileno()] = held
        self._clients[who] += 1
        self._waiting.setdefault(service, {})[client.fileno()] = held
        self._poll.register(client, select.EPOLLRDHUP)
        self._dial(held)

    def _is_full(self) -> bool:
        return self.flows >= self._flows_max

    def _stirred(self, held: Held, what: int) -> None:
        """A client that waits has ended its side. One that has asked something first still waits for the answer."""
        if not what & (select.EPOLLERR | select.EPOLLHUP):
            try:
                if held.client.recv(1, socket.MSG_PEEK):
                    self._poll.modify(held.client, 0)
                    return
            except BlockingIOError:
                return
            except OSError:
                pass
        self._drop(held)

    def _drop(self, held: Held, *, refuse: bool = False) -> None:
        self._forget(held)
        if held.server is not None:
            self._dials.pop(held.server.fileno(), None)
            held.server.close()
        if refuse:
            reset(held.client)
        else:
            held.client.close()

    def _forget(self, held: Held) -> None:
        fd = held.client.fileno()
        del self._held[fd]
        self._clients[held.who] -= 1
        if not self._clients[held.who]:
            del self._clients[held.who]
        waiting = self._waiting[held.service]
        del waiting[fd]
        if not waiting:
            del self._waiting[held.service]

    # --- on the way to a replica --------------------------------------------------------------------------------------

    def _dial(self, held: Held) -> None:
        """Try one that is known, healthy ones first, in turn; if there is none it goes on waiting."""
        of = self._services.get(held.service, {})
        addresses = of.get("targets") or of.get("rising") or ()
        if not addresses or held.server is not None:
            return
        address = held.address = addresses[held.tries % len(addresses)]
        held.tries += 1
        held.tried_s = time.monotonic()
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        held.server = server
        self._dials[server.fileno()] = held
        try:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect((address, held.port))
        except BlockingIOError:
            self._poll.register(server, _WRITE)
            return
        except OSError:
            self._failed(held)
            return
        self._begin(held)

    def _dialled(self, held: Held) -> None:
        assert held.server is not None
        if held.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._failed(held)
        else:
            self._poll.unregister(held.server)
            self._begin(held)

    def _failed(self, held: Held) -> None:
        assert held.server is not None
        del self._dials[held.server.fileno()]
        held.server.close()
        held.server = None
        now_s = time.monotonic()
        if held.address in self._services.get(held.service, {}).get("targets", ()):
            held.refused_s = held.refused_s or now_s
            if now_s - held.refused_s > REFUSED_S:  # as it would, asked directly
                self._drop(held, refuse=True)
                return
        again_s = AGAIN_S if now_s - held.since_s < 1.0 else AGAIN_SLOWLY_S
        heapq.heappush(self._again, (now_s + again_s, held.tries, held.client.fileno()))

    def _begin(self, held: Held) -> None:
        """From now on it is a flow: what either says, the other hears."""
        client, server = held.client, held.server
        assert server is not None
        self._forget(held)
        self._dials.pop(server.fileno(), None)
        self._poll.unregister(client)
        self._flows.begin(client, server, held.service)

    # --- the agent ----------------------------------------------------------------------------------------------------

    def _look_around(self, now_s: float) -> None:
        if self._control is None:
            self._connect()
        if self._paused_s and now_s >= self._paused_s and self._listener is not None:
            self._paused_s = 0.0
            self._poll.modify(self._listener, _READ)
        for service, waiting in list(self._waiting.items()):
            limit_s = float(self._services.get(service, {}).get("limit_s", 60.0))
            for held in list(waiting.values()):
                if now_s - held.since_s > limit_s:
                    self._count_closed(service, "late")
                    self._drop(held)
                elif held.server is not None and now_s - held.tried_s > DIAL_S:
                    self._failed(held)

    def _connect(self) -> None:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            control.connect(self._control_path)
        except OSError:
            control.close()
            return
        control.setblocking(False)
        self._control = control
        self._heard.clear()
        self._to_say.clear()
        self._told, self._told_flows, self._said_s = {}, None, 0.0
        self._poll.register(control, _READ)
        self._say({"hello": self._version, "pid": os.getpid(), "retired": self._retired})

    def _hear(self, what: int) -> None:
        assert self._control is not None
        try:
            if what & _WRITE:
                self._flush()
            data = self._control.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heard += data
        if not data or len(self._heard) > LINE_MAX:
            self._poll.unregister(self._control)
            self._control.close()
            self._control = None
            return
        while (end := self._heard.find(b"\n")) >= 0:
            line = bytes(self._heard[:end])
            del self._heard[: end + 1]
            self._obey(json.loads(line))

    def _obey(self, said: dict[str, Any]) -> None:
        if said.get("retire"):
            self._retire()
        services = said.get("services")
        if services is None:
            return
        self._services = services
        self._by_port = {int(p): (name, to) for name, of in services.items() for p, to in of["ports"].items()}
        self._by_address = {of["address"]: name for name, of in services.items() if of["address"]}
        for name, waiting in list(self._waiting.items()):
            if name not in services:  # nobody will come any more
                for held in list(waiting.values()):
                    self._count_closed(name, "late")
                    self._drop(held, refuse=True)
                continue
            of = services[name]
            for held in list(waiting.values()):
                if held.server is not None and held.address not in (of["targets"] or of["rising"]):
                    self._failed(held)
                self._dial(held)

    def _retire(self) -> None:
        self._retired = True
        if self._listener is not None:
            self._accept()  # who came before the other listened
            self._poll.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _count_closed(self, service: str, why: str) -> None:
        counts = self._closed.setdefault(service, {})
        counts[why] = counts.get(why, 0) + 1

    def _report(self, now_s: float) -> None:
        if self._control is None:
            return
        waits = {s: len(w) for s, w in self._waiting.items() if not self._services.get(s, {}).get("targets")}
        changed = {s: waits.get(s, 0) for s in {*waits, *self._told} if bool(waits.get(s)) != bool(self._told.get(s))}
        if changed:
            self._told = waits
            self._say({"held": changed})
        if now_s - self._said_s >= SAY_S:
            self._said_s = now_s
            if self._closed:
                self._say({"closed": self._closed})
                self._closed = {}
            flows = {name: (self._flows.now[name], ever) for name, ever in self._flows.ever.items()}
            if flows != self._told_flows:
                self._told_flows = flows
                self._say({"flows": flows})

    def _say(self, message: dict[str, Any]) -> None:
        self._to_say += json.dumps(message).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        assert self._control is not None
        with contextlib.suppress(OSError):  # one that is gone shows when it is read
            del self._to_say[: self._control.send(self._to_say)]
        self._poll.modify(self._control, _READ | (_WRITE if self._to_say else 0))


def listen(address: str, port: int) -> socket.socket:
    """With SO_REUSEPORT: the next version listens before this one stops."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((address, port))
    listener.listen(BACKLOG)
    return listener


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold connections to services at zero. The agent starts this.")
    parser.add_argument("--listen", required=True, help="address:port")
    parser.add_argument("--control", required=True, help="the agent's socket")
    parser.add_argument("--version", default="")
    options = parser.parse_args()
    address, _, port = options.listen.rpartition(":")
    Activator(listen(address, int(port)), options.control, options.version).run()


if __name__ == "__main__":
    main()
