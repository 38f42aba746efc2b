"""The suite that every runtime passes, the in-memory one first. A runtime's own test file subclasses `RuntimeContract`.

It needs a `bench` fixture: what the containers of these stories do is said in four words that each runtime knows how
to play (`Bench.spec`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec
import pytest

from skerry.runtime.contract import Container, ContainerSpec, Exited, Runtime, RuntimeRefused

Play = Literal["runs", "exits with 3", "has no program", "is stubborn"]
WITHIN_S = 10.0


class Bench(Protocol):
    runtime: Runtime

    def spec(self, id: str, play: Play) -> ContainerSpec: ...

    async def restart(self) -> None:
        """Play the agent's death and return: `runtime` is a new one over what the old one left."""


async def next_exit(exits: AsyncIterator[Exited]) -> Exited:
    return await asyncio.wait_for(anext(exits), WITHIN_S)  # type: ignore[arg-type]


async def none_told(exits: AsyncIterator[Exited]) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(anext(exits), 0.2)  # type: ignore[arg-type]
        return False
    return True


async def found(runtime: Runtime, id: str) -> Container | None:
    return next((c for c in await runtime.list_containers() if c.id == id), None)


class RuntimeContract:
    async def test_a_started_container_runs_and_is_listed_with_its_labels(self, bench: Bench) -> None:
        spec = msgspec.structs.replace(bench.spec("a", "runs"), labels={"slot": "guestbook.web/0", "odd": "a\nb é"})
        started = await bench.runtime.start(spec)
        assert started.running
        assert started.pid > 1
        assert await bench.runtime.list_containers() == [started]
        assert started.labels == {"slot": "guestbook.web/0", "odd": "a\nb é"}

    async def test_starting_again_after_an_interruption_gives_the_same_container(self, bench: Bench) -> None:
        started = await bench.runtime.start(bench.spec("a", "runs"))
        assert await bench.runtime.start(bench.spec("a", "runs")) == started

    async def test_an_end_by_itself_is_told_once_with_its_code(self, bench: Bench) -> None:
        exits = bench.runtime.exits()
        await bench.runtime.start(bench.spec("a", "exits with 3"))
        assert await next_exit(exits) == Exited(id="a", exit_code=3, oom=False)
        assert await none_told(exits)
        held = await found(bench.runtime, "a")
        assert held is not None
        assert (held.running, held.exit_code, held.oom) == (False, 3, False)

    async def test_an_end_on_request_is_not_told_and_leaves_nothing(self, bench: Bench) -> None:
        exits = bench.runtime.exits()
        await bench.runtime.start(bench.spec("a", "runs"))
        await bench.runtime.stop("a", signal="SIGTERM", grace_s=5)
        assert await bench.runtime.list_containers() == []
        assert await none_told(exits)

    async def test_a_stubborn_container_is_killed_after_its_grace(self, bench: Bench) -> None:
        await bench.runtime.start(bench.spec("a", "is stubborn"))
        await asyncio.wait_for(bench.runtime.stop("a", signal="SIGTERM", grace_s=0.3), WITHIN_S)
        assert await bench.runtime.list_containers() == []

    async def test_stopping_what_ended_or_never_was_is_well(self, bench: Bench) -> None:
        exits = bench.runtime.exits()
        await bench.runtime.start(bench.spec("a", "exits with 3"))
        await next_exit(exits)
        for _ in range(2):
            await bench.runtime.stop("a", signal="SIGTERM", grace_s=1)
        await bench.runtime.stop("never-was", signal="SIGTERM", grace_s=1)
        assert await bench.runtime.list_containers() == []

    async def test_a_container_without_its_program_is_refused_and_leaves_nothing(self, bench: Bench) -> None:
        with pytest.raises(RuntimeRefused) as refused:
            await bench.runtime.start(bench.spec("a", "has no program"))
        assert refused.value.why
        assert await bench.runtime.list_containers() == []

    async def test_containers_outlive_the_agent(self, bench: Bench) -> None:
        spec = msgspec.structs.replace(bench.spec("a", "runs"), labels={"slot": "s"})
        started = await bench.runtime.start(spec)
        await bench.restart()
        assert await bench.runtime.list_containers() == [started]
        await bench.runtime.stop("a", signal="SIGTERM", grace_s=5)
        assert await bench.runtime.list_containers() == []

    async def test_what_ended_while_nobody_looked_is_told_first(self, bench: Bench) -> None:
        exits = bench.runtime.exits()
        await bench.runtime.start(bench.spec("a", "exits with 3"))
        await next_exit(exits)  # so that it surely ended before the restart
        await bench.restart()
        assert await next_exit(bench.runtime.exits()) == Exited(id="a", exit_code=3, oom=False)

    async def test_several_at_once(self, bench: Bench) -> None:
        ids = [f"many-{n}" for n in range(4)]
        await asyncio.gather(*(bench.runtime.start(bench.spec(id, "runs")) for id in ids))
        assert [c.id for c in await bench.runtime.list_containers() if c.running] == ids
        await asyncio.gather(*(bench.runtime.stop(id, signal="SIGTERM", grace_s=5) for id in ids))
        assert await bench.runtime.list_containers() == []
