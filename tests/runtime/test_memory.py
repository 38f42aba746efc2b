"""The in-memory runtime keeps the contract that the real ones keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.contract import Play, RuntimeContract
from skerry.runtime.contract import ContainerSpec, RuntimeRefused
from skerry.runtime.memory import Disk, MemoryRuntime


def play(spec: ContainerSpec) -> int | None:
    if spec.args[0] == "has no program":
        raise RuntimeRefused("container a was not started", "no such program")
    return 3 if spec.args[0] == "exits with 3" else None


class MemoryBench:
    def __init__(self) -> None:
        self.disk = Disk()
        self.runtime = MemoryRuntime(play, self.disk)

    def spec(self, id: str, play: Play) -> ContainerSpec:
        return ContainerSpec(id=id, root=Path("/nowhere"), args=(play,))

    async def restart(self) -> None:
        await self.runtime.close()
        self.runtime = MemoryRuntime(play, self.disk)


class TestMemoryRuntime(RuntimeContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[MemoryBench]:
        bench = MemoryBench()
        yield bench
        await bench.runtime.close()


async def test_a_test_can_end_a_container_for_memory() -> None:
    runtime = MemoryRuntime()
    await runtime.start(ContainerSpec(id="a", root=Path("/nowhere"), args=("x",)))
    runtime.end("a", 137, oom=True)
    exited = await anext(runtime.exits())  # type: ignore[arg-type]
    assert (exited.exit_code, exited.oom) == (137, True)
