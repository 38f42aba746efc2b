"""A rented machine becomes a node: by its token, its keys and its address, through the port for strangers of any keeper."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.burst import Burst, Guest, beside
from agent.small import SmallCloud
from skerry.agent.main import join
from skerry.agent.renting import enrolling
from skerry.agent.renting.enrol import enrol
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


async def test_a_machine_behind_nat_is_called_by_nobody_and_calls_the_others(
    small: SmallCloud, burst: Burst, tmp_path: Path
) -> None:
    token = burst.expect(0)
    small.servers[-1] = msgspec.structs.replace(small.servers[-1], behind_nat=True)
    guest = Guest(tmp_path / "guest", small.cloud)
    join(guest.files, msgspec.json.encode((await beside(guest.enrol, burst.meet()[0], "burst/0", token))["join"]))
    assert burst.node(0).addresses == ()
    small.files["burst/0"] = guest.files
    small.ports["burst/0"], small.enrol_ports["burst/0"] = 0, 0
    await small.start("burst/0")
    await wait("its links", lambda: len(small.agents["burst/0"].mesh.neighbours()) == 3)
    await wait("it is taken for alive", lambda: all(
        any(host.name == "burst/0" and host.state == "up" for host in agent.loop.core.hosts())
        for agent in small.agents.values()
    ))  # fmt: skip


async def test_a_port_that_something_else_has_is_taken_once_it_is_free(
    small: SmallCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "OPEN_AGAIN_S", 0.05)
    other = socket.create_server(("127.0.0.1", small.enrol_ports["vps-1"]))
    burst = Burst(small)
    agent = small.agents["vps-1"]
    told = lambda: [entry for entry in agent.events.tail(50) if "can't listen for machines" in entry.reason]  # noqa: E731
    await wait("the other keeper's door", lambda: small.agents["vps-2"].enrolling.port)
    await wait("a word about it", told)
    other.close()
    await wait("the door", lambda: agent.enrolling.port)
    assert len(told()) == 1 and burst.keepers == ("vps-1", "vps-2")


async def test_what_a_pool_says_anew_is_signed_for_its_machines_by_one_keeper(
    small: SmallCloud, burst: Burst, tmp_path: Path
) -> None:
    token = burst.expect(0)
    guest = Guest(tmp_path / "guest", small.cloud)
    assert "join" in await beside(guest.enrol, burst.meet()[0], "burst/0", token)
    await wait("all hosts to know", lambda: all(burst.node(0, host) for host in ("vps-1", "vps-2", "vps-3")))
    document = small.agents["vps-1"].trusted.document("pool/burst")
    assert document is not None
    changed = msgspec.structs.replace(burst.pool, weight=70, labels={"kind": "other"})
    raw = small.sign("pool/burst", changed, 2, prev=document.hash)
    small.agents["vps-1"].door.offer(raw, from_client=True)
    await wait("its new weight", lambda: burst.node(0, "vps-3").weight == 70)
    held = small.agents["vps-3"].trusted.document("node/burst/0")
    assert held is not None and (held.version, burst.node(0).labels) == (2, {"kind": "other"})
