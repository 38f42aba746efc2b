"""The page's server as `skerry ui` runs it, on loopback, beside the test."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import httpx

from api.serving import Ready
from ports import free_port
from skerry.api.ledger import Ledger
from skerry.api.serve import Listen, listening
from skerry.lab.kernel import enter_net
from skerry.sdk import AsyncClient
from skerry.ui.access import KEY_HEADER, Access
from skerry.ui.serve import config
from skerry.ui.server import Ui

WITHIN_S = 30.0


class Shown:
    """Use as `with`. `link`: what `skerry ui` would print. `network`: the network namespace in which it listens, else this one's."""

    def __init__(self, home: Path, folder: Path, *, network: Path | None = None, **more: Any) -> None:
        self._home, self._folder, self._network, self._more = home, folder, network, more
        self.port = free_port()
        self.access = Access(self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.link = f"{self.url}/#enter={self.access.token}"

    def __enter__(self) -> Shown:
        ready = threading.Event()

        async def run() -> None:
            ledger = Ledger(self._folder / f"ledger-{self.port}.sqlite")
            cloud = AsyncClient("small", home=self._home)
            made = config(Ui(cloud, self.access, ledger, **self._more).app())
            made.timeout_graceful_shutdown = 1
            self._server = Ready(made, ready)
            with self._socket() as listening_:
                await self._server.serve(sockets=[listening_])
            ledger.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), name="ui")
        self._thread.start()
        assert ready.wait(WITHIN_S)
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()

    def _socket(self) -> socket.socket:
        """A socket stays in the namespace in which it was made; so does a thread that goes there, and that one ends."""

        def make() -> socket.socket:
            if self._network is not None:
                enter_net(self._network)
            return listening(Listen("127.0.0.1", self.port))

        made: list[socket.socket] = []
        thread = threading.Thread(target=lambda: made.append(make()))
        thread.start()
        thread.join()
        return made[0]

    def again(self) -> str:
        """A link for another browser of the test: as if the server had begun anew, with none of the old sessions."""
        self.access.__init__(self.port)  # type: ignore[misc]
        self.link = f"{self.url}/#enter={self.access.token}"
        return self.link

    def wire(self, path: str) -> str:
        """Address of a websocket."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def client(self, **headers: str) -> httpx.Client:
        """Somebody who has no session."""
        return httpx.Client(base_url=self.url, headers=headers, timeout=WITHIN_S, trust_env=False)

    def entered(self) -> httpx.Client:
        """Somebody with a session."""
        self.again()
        client = self.client(Origin=self.url)
        answer = client.post("/enter", json={"token": self.access.token})
        assert answer.status_code == 200, answer.text
        client.headers[KEY_HEADER] = answer.json()["key"]
        return client
