"""An activator on loopback, driven by a thread, and the agent's end of its line: for tests of what it does with connections."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skerry.agent.waking.activator import Activator, listen

SLEEPER = "shop.web"
WITHIN_S = 10.0


class Holding:
    """`table` tells it who is where. `said` is all that it told since."""

    def __init__(self, directory: Path, **bounds: Any) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = str(directory / "control")
        self._server.bind(self._path)
        self._server.listen()
        listener = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.activator = Activator(
            listener, self._path, "v1", destination=lambda connection: ("127.0.0.1", 8000), **bounds
        )
        self.said: list[dict[str, Any]] = []
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server.settimeout(WITHIN_S)
        self._line, _ = self._server.accept()
        self._listens = threading.Thread(target=self._listen)
        self._listens.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop = True
        self._thread.join()
        self.activator.close()
        self._line.close()
        self._listens.join()
        self._server.close()

    def _run(self) -> None:
        while not self._stop and not self.activator.is_done:
            self.activator.step(0.02)

    def _listen(self) -> None:
        with self._line.makefile("rb") as lines:
            for line in lines:
                self.said.append(json.loads(line))

    def tell(self, message: dict[str, Any]) -> None:
        self._line.sendall(json.dumps(message).encode() + b"\n")

    def table(self, to: int, *targets: str, rising: tuple[str, ...] = (), limit_s: float = 60.0) -> None:
        of = {"ports": {"8000": to}, "address": "", "targets": targets, "rising": rising, "limit_s": limit_s}
        self.tell({"services": {SLEEPER: of}})
        told = json.loads(json.dumps(of))
        wait("the activator to know it", lambda: self.activator._services.get(SLEEPER) == told)

    def client(self, say: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), WITHIN_S)
        made.sendall(say)
        return made

    def waits(self) -> bool:
        """By what it told last."""
        told = [said["held"][SLEEPER] for said in list(self.said) if SLEEPER in said.get("held", {})]
        return bool(told and told[-1])

    def closed(self, why: str) -> int:
        return sum(said["closed"].get(SLEEPER, {}).get(why, 0) for said in list(self.said) if "closed" in said)


def wait(what: str, condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end_s, f"waited {WITHIN_S:.0f} s for {what}"
        time.sleep(0.005)


class Application:
    """What is woken: `serve` handles each connection in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._serve = serve
        self._threads: list[threading.Thread] = []
        self._accepts = threading.Thread(target=self._run)
        self._accepts.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepts.join()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._one, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(WITHIN_S)
            self._serve(connection)
