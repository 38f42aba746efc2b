"""The simulator behind real sockets: the API with or without TLS, the metadata service without, each where it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from skerry.lab import kernel
from skerry.lab.ocean.faults import Broken
from skerry.lab.ocean.simulator import BODY_BYTES, Answer, Simulator

HANG_S = 3600.0
IDLE_S = 60.0


class Server(ThreadingHTTPServer):
    """Serves in threads of its own from `start` to `stop`. `wires`: the network namespace to listen in; None: this one."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        simulator: Simulator,
        address: tuple[str, int],
        *,
        metadata: bool = False,
        wires: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(address, _Metadata if metadata else _Api, bind_and_activate=False)
        self.simulator = simulator
        self.tls = tls
        self.ended = threading.Event()
        self.socket.close()
        self.socket = _inside(wires, lambda: socket.create_server(address, backlog=self.request_queue_size))
        self.server_address = self.socket.getsockname()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> Server:
        self._thread.start()
        return self

    @property
    def endpoint(self) -> str:
        host, port = self.server_address[:2]
        return f"{'https' if self.tls else 'http'}://{host!s}:{port}"

    def stop(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the request's own thread: a stranger that is slow to greet holds up nobody."""
        request.settimeout(IDLE_S)
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of ours to tell of."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "skerry-lab"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted by the simulator."""

    def reply(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)


class _Api(_Handler):
    def handle_any(self) -> None:
        size = self.headers.get("content-length", "0")
        body = self.rfile.read(min(int(size), BODY_BYTES + 1)) if size.isdecimal() else b""
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            self.reply(self.server.simulator.answer(self.command, self.path, headers, body))
        except Broken as broken:
            if broken.hang:
                self.server.ended.wait(HANG_S)
            self.close_connection = True
            self.connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


class _Metadata(_Handler):
    def do_GET(self) -> None:
        self.reply(self.server.simulator.asked_from(self.client_address[0], self.path))


def _inside(wires: Path | None, make: Callable[[], socket.socket]) -> socket.socket:
    """Make a socket in another network namespace, where it stays: only the thread that makes it goes there."""
    if wires is None:
        return make()
    made: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            kernel.enter_net(wires)
            made.append(make())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]
