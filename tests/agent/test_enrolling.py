"""A rented machine becomes a node: by its token, its keys and its address, through the port for strangers of any keeper."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.burst import Burst, Guest, beside
from agent.small import SmallCloud
from skerry.agent.enrol import enrol
from skerry.agent.main import join
from skerry.core.records import MachineSlot
from skerry.trust.checks_pool import salt_of


async def wait(what: str, see: Callable[[], Any], timeout_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not see():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(0.02)


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallCloud]:
    cloud = SmallCloud(tmp_path / "hosts", 3)
    await cloud.start()
    try:
        await wait("links", lambda: all(len(a.mesh.neighbours()) == 2 for a in cloud.agents.values()))
        yield cloud
    finally:
        await cloud.stop()


@pytest.fixture
async def burst(small: SmallCloud) -> Burst:
    made = Burst(small)
    await wait("open doors", lambda: all(small.agents[name].enrolling.port for name in made.keepers))
    return made


async def test_a_machine_is_enrolled_as_its_pool_says_and_then_runs_as_a_node(
    small: SmallCloud, burst: Burst, tmp_path: Path
) -> None:
    token = burst.expect(1)
    await wait("the other keeper to hear of it", lambda: small.agents["vps-2"].loop.core.said("machine", "burst/1"))
    guest = Guest(tmp_path / "guest", small.cloud)
    asked = {
        "cloud": small.cloud, "slot": "burst/1", "meet": [list(p) for p in burst.meet("vps-2")], "token": token,
        "limit_s": 20,
    }  # fmt: skip
    join(guest.files, await beside(enrol, guest.files, json.dumps(asked).encode()))
    node = burst.node(1, "vps-2")
    assert (node.signing, node.sealing) == (guest.keys.signing, guest.keys.sealing)
    assert node.addresses == ("127.0.0.1:7077",)
    assert (node.subnet, node.weight, node.labels, node.zone) == ("10.77.129.0/24", 50, {"kind": "rented"}, "fra1")
    assert (node.salt, node.bundle) == (salt_of(small.cloud, MachineSlot("burst", 1)), burst.bundle)
    await wait("everybody to hold it", lambda: burst.node(1, "vps-3") is not None)
    small.files["burst/1"] = guest.files
    small.ports["burst/1"], small.enrol_ports["burst/1"] = 0, 0
    await small.start("burst/1")
    machine = small.agents["burst/1"]
    await wait("its links", lambda: len(machine.mesh.neighbours()) == 3)
    await wait("it is taken for alive", lambda: all(
        any(host.name == "burst/1" and host.state == "up" for host in agent.loop.core.hosts())
        for agent in small.agents.values()
    ))  # fmt: skip
