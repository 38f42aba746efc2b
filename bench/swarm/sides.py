"""The two that are compared behind one contract, and Skerry: an app of six replicas comes, changes and goes; small changes too."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from demo.skerry import COMMAND

from bench.cloud import Cloud
from bench.static_server import archive
from skerry.client.session import Session
from skerry.errors import SkerryError

APP = "page"
PORT = 8088
REPLICAS = 6
CHANGE_S = 2.0  # so long one change may take before it is tried on the next host
COMPOSE = """\
name: {app}
services:
  web:
    image: {image}
    ports: ["{port}:80"]
    tmpfs: [/tmp]
    healthcheck: {{test: curl -f http://localhost/, interval: 5s, timeout: 1s}}
    x-skerry:
      drain: 200ms
      allow: {{shell: "busybox is the smallest server there is, and up at once"}}
    deploy:
      replicas: {replicas}
      update_config: {{parallelism: {parallelism}, order: start-first, delay: 0s}}
"""


class Side(Protocol):
    """One of the two. Commands are those that a person types, run on this machine."""

    name: str

    def doors(self, host: str) -> Sequence[str]:
        """Where the app is published on that host just now. Raises OSError."""
        ...

    def create(self) -> list[str]:
        """The command that makes six replicas of version 1."""
        ...

    def update(self, version: int, parallelism: int) -> list[str]: ...

    def remove(self) -> None:
        """Returns when nothing of the app is left."""
        ...

    def held(self) -> dict[str, int]:
        """How many healthy replicas each host has."""
        ...

    async def change(self, hosts: Sequence[str]) -> None:
        """One small change of what is wanted, accepted by one of these hosts. Raises OSError, SkerryError, TimeoutError."""
        ...

    async def leave(self) -> None:
        """No more changes for now."""
        ...


class OfSkerry:
    name = "skerry"

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.address = {machine.name: machine.address for machine in cloud.lab.status()}
        self._digests: dict[int, str] = {}
        self._turns = itertools.count()
        self._session: Session | None = None

    def bring(self) -> None:
        """Both images are on the hosts, as are Swarm's; the app with the small changes is there."""
        for version in (1, 2):
            (self.cloud.work / f"page-{version}.tar").write_bytes(archive(version, tag=f"page:{version}", named=True))
            path = self._compose(f"page-{version}.tar", 1)
            self._digests[version] = self.cloud.skerry.json("deploy", str(path))["images"]["web"]
        self.remove()
        mark = self.cloud.work / "mark.yaml"
        text = COMPOSE.format(app="mark", image=self._digests[1], port=PORT + 1, replicas=0, parallelism=1)
        mark.write_text(text)
        self.cloud.run("deploy", str(mark))

    def _compose(self, image: str, parallelism: int) -> Path:
        path = self.cloud.work / f"{image.removeprefix('sha256:')[:16]}-{parallelism}.yaml"
        path.write_text(COMPOSE.format(app=APP, image=image, port=PORT, replicas=REPLICAS, parallelism=parallelism))
        return path

    def doors(self, host: str) -> Sequence[str]:
        return [f"{self.address[host]}:{PORT}"] * 3  # its own replicas in turn

    def create(self) -> list[str]:
        return self.update(1, 1)

    def update(self, version: int, parallelism: int) -> list[str]:
        return [str(COMMAND), "deploy", str(self._compose(self._digests[version], parallelism))]

    def remove(self) -> None:
        self.cloud.run("rm", APP)
        self.cloud.wait("all of it gone", lambda: not [row for row in self.cloud.ps() if row["app"] == APP])

    def held(self) -> dict[str, int]:
        held: dict[str, int] = {}
        for row in self.cloud.ps():
            if row["app"] == APP and row["healthy"] and len(row["claims"]) == 1:
                held[row["node"]] = held.get(row["node"], 0) + 1
        return held

    async def change(self, hosts: Sequence[str]) -> None:
        async with asyncio.timeout(CHANGE_S):
            if self._session is None:
                self._session = self.cloud.session()
                await self._session.sync()
            turn = next(self._turns)
            held: Any = self._session.document("app/mark")
            service = msgspec.structs.replace(held.body.services["web"], hostname=f"turn-{turn}")
            body = msgspec.structs.replace(held.body, services={"web": service})
            try:
                await self._session.change([("app/mark", body)], node=f"node/{hosts[turn % len(hosts)]}")
            except SkerryError:
                await self.leave()  # what it knows may be old
                raise

    async def leave(self) -> None:
        if self._session is not None:
            await self._session.__aexit__(None, None, None)
        self._session = None
