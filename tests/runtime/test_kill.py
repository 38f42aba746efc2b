"""SIGKILL of the agent at any moment: what it started runs on and is known, what was half-made is cleaned away."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from runtime.bench import OciBench

pytestmark = pytest.mark.real
ROUNDS = 8


@pytest.fixture
async def bench() -> AsyncIterator[OciBench]:
    bench = OciBench("runc")
    (bench.own / "binaries.json").write_bytes(msgspec.json.encode(bench.binaries, enc_hook=str))
    yield bench
    await bench.finish()


async def test_whatever_moment_the_agent_is_killed_at_the_next_one_knows_or_cleans_all(bench: OciBench) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    program = Path(__file__).with_name("killed_at_random.py")
    for number in range(ROUNDS):
        words = (sys.executable, str(program), str(bench.own), bench.cgroup, f"r{number}")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        agent = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, env=environment)
        assert agent.stdout is not None
        assert await agent.stdout.readline() == b"ready\n"
        await asyncio.sleep(chance.uniform(0, 0.15))
        agent.kill()
        await agent.wait()
        await bench.restart()
        found = await bench.runtime.list_containers()
        assert all(container.labels == {"n": container.id} for container in found), (seed, found)
        # Not running: it was told to stop (so early perhaps that it had no handler yet) and not yet cleaned away.
        assert all(container.running or container.exit_code in (0, 137) for container in found), (seed, found)
        for container in found:
            await bench.runtime.stop(container.id, signal="SIGTERM", grace_s=1)
        assert bench.leftovers() == [], seed
