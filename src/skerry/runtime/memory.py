"""A runtime without containers: it keeps the contract in memory. For tests and the simulator; no host is touched.

What a "container" does is up to the test: `behaviour` looks at the spec and may refuse, end it at once or let it run;
`end` makes a running one exit by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from skerry.runtime.contract import ClosedLog, Container, ContainerSpec, Exited, Runtime, RuntimeRefused, Tool, ToolSpec

Behaviour = Callable[[ContainerSpec], "int | None"]


def runs_for_ever(spec: ContainerSpec) -> int | None:
    """The default behaviour: started and running until told otherwise."""
    return None


class Disk(msgspec.Struct):
    """What outlives one MemoryRuntime: hand the same one to the next to play a restart of the agent."""

    containers: dict[str, Container] = {}
    specs: dict[str, ContainerSpec] = {}
    pids: int = 1000


class MemoryRuntime(Runtime):
    """`behaviour(spec)`: an exit code to end with at once, None to run on, or raise RuntimeRefused or RuntimeBusy."""

    def __init__(self, behaviour: Behaviour = runs_for_ever, disk: Disk | None = None) -> None:
        self.behaviour = behaviour
        self.disk = disk if disk is not None else Disk()
        self._ended: asyncio.Queue[Exited] = asyncio.Queue()
        for container in self.disk.containers.values():
            if not container.running:
                self._tell(container)

    async def start(self, spec: ContainerSpec) -> Container:
        held = self.disk.containers.get(spec.id)
        if held is not None:
            return held
        code = self.behaviour(spec)
        self.disk.pids += 1
        container = Container(id=spec.id, running=True, pid=self.disk.pids, labels=dict(spec.labels))
        self.disk.containers[spec.id] = container
        self.disk.specs[spec.id] = spec
        if code is not None:
            self.end(spec.id, code)
        return container

    async def stop(self, id: str, *, signal: str, grace_s: float) -> None:
        self.disk.containers.pop(id, None)
        self.disk.specs.pop(id, None)

    async def list_containers(self) -> list[Container]:
        return list(self.disk.containers.values())

    async def exits(self) -> AsyncIterator[Exited]:
        while True:
            ended = await self._ended.get()
            if ended.id in self.disk.containers:
                yield ended

    async def look_in(self, id: str, spec: ToolSpec) -> Tool:
        raise RuntimeRefused(
            "no tool was started", "containers in memory have no processes to look at", "use a real host"
        )

    def logs(self, id: str) -> list[Path]:
        return []

    def view(self, id: str) -> int | None:
        return None

    def passing(self, id: str) -> dict[str, str]:
        return {}

    def pids(self, id: str) -> set[int]:
        return set()

    def ended(self) -> dict[str, dict[str, str]]:
        return {}

    def missing_lines(self, id: str) -> int:
        return 0

    def closed_logs(self) -> list[ClosedLog]:
        return []

    def take_log(self, closed: ClosedLog) -> bool:
        return False

    def log_taken(self, closed: ClosedLog) -> None:
        pass

    def log_left(self, closed: ClosedLog) -> None:
        pass

    async def close(self) -> None:
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self._ended.get_nowait()

    def end(self, id: str, exit_code: int = 0, *, oom: bool = False) -> None:
        """Play a container that ends by itself. Raises KeyError for one that isn't there."""
        container = self.disk.containers[id]
        if not container.running:
            return
        ended = msgspec.structs.replace(container, running=False, pid=0, exit_code=exit_code, oom=oom)
        self.disk.containers[id] = ended
        self._tell(ended)

    def _tell(self, container: Container) -> None:
        self._ended.put_nowait(Exited(id=container.id, exit_code=container.exit_code or 0, oom=container.oom))
