"""The API served as `skerry api` does it, on loopback, beside the test: real HTTP, real TLS to a small cloud."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from ports import free_port
from skerry.api.ledger import Ledger
from skerry.api.server import Server
from skerry.api.tokens import Tokens
from skerry.sdk import AsyncClient

WITHIN_S = 30.0


class Ready(uvicorn.Server):
    """Says so when it listens."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._ready.set()


class Served:
    """Use as `with`. `lines`: the request log. `again`: ended, and started anew over the same ledger."""

    def __init__(self, home: Path, **more: Any) -> None:
        self.home, self._more = home, more
        self.tokens = Tokens(home / "tokens.json")
        self.lines: list[dict[str, Any]] = []
        self.url = ""

    def __enter__(self) -> Served:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def again(self) -> None:
        self._stop()
        self._start()

    def _start(self) -> None:
        port = free_port()
        ready = threading.Event()

        async def run() -> None:
            ledger = Ledger(self.home / "ledger.sqlite")
            cloud = AsyncClient("small", home=self.home)
            log = lambda line: self.lines.append(json.loads(line))  # noqa: E731
            app = Server(cloud, self.tokens, ledger, log=log, **self._more).app()
            config = uvicorn.Config(app, "127.0.0.1", port, log_level="error", ws="none", timeout_graceful_shutdown=1)
            self._uvicorn = Ready(config, ready)
            await self._uvicorn.serve()
            ledger.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), name="api")
        self._thread.start()
        assert ready.wait(WITHIN_S)
        assert self._uvicorn.started
        self.url = f"http://127.0.0.1:{port}"

    def _stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()

    def client(self, name: str, *roles: str) -> httpx.Client:
        """Somebody with a token of these roles."""
        if name in self.tokens.all():
            self.tokens.rm(name)
        return self.bearing(self.tokens.add(name, roles))

    def bearing(self, token: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=WITHIN_S, trust_env=False)


def finished(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The operation that a 202 began, once it is over: followed as a program would."""
    assert answer.status_code == 202, answer.text
    id = answer.headers["location"].rpartition("/")[2]
    with client.stream("GET", f"/v1/watch/operations/{id}") as stream:
        last = list(events(stream))[-1]
    assert last.event != "progress"
    return dict(last.data)


@dataclass(frozen=True)
class Got:
    """A server-sent event, or a comment (event "")."""

    event: str
    data: Any
    id: str = ""


def events(stream: httpx.Response, *, comments: bool = False) -> Iterator[Got]:
    """Read as the standard says, but for what we never send."""
    assert stream.status_code == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    fields: dict[str, str] = {}
    for line in stream.iter_lines():
        if not line:
            if "event" in fields:
                yield Got(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
            fields = {}
        elif line.startswith(":"):
            if comments:
                yield Got("", line[1:].strip())
        else:
            name, _, value = line.partition(": ")
            fields[name] = value


def compose(image: str = "hello:1", replicas: int = 1) -> dict[str, Any]:
    deploy = {"replicas": replicas, "update_config": {"parallelism": 3}}
    return {"compose": {"services": {"web": {"image": image, "deploy": deploy}}}}


def waiting() -> dict[str, Any]:
    """An app that no host may run: its deploy waits until it is cancelled."""
    placed = {"placement": {"constraints": ["node.labels.no == where"]}}
    return {"compose": {"services": {"web": {"image": "hello:1", "deploy": placed}}}}
