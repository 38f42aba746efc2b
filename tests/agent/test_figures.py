"""From figures to replicas, with real agents: what they measure, tell, wish for and start."""

from __future__ import annotations

import ipaddress
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.small import Aside, NoNetwork, SmallCloud

from skerry.core.intent import Port, Scale, Service
from skerry.net.flows import TCP, Open

CLIENT = int(ipaddress.IPv4Address("198.51.100.7"))
HOST = int(ipaddress.IPv4Address("10.0.0.1"))


@pytest.fixture
def small(tmp_path: Path):  # type: ignore[no-untyped-def]
    cloud = SmallCloud(tmp_path, 3)
    with Aside(cloud) as aside:
        aside.wait(
            "every agent linked to both others",
            lambda: all(len(a.mesh.neighbours()) == 2 for a in cloud.agents.values()),
        )
        yield aside


def clients_of(aside: Aside, app: str, count: Callable[[], int]) -> None:
    """So many clients dial published port 8080 of vps-1, and are spread over the replicas."""
    agent = aside.cloud.agents["vps-1"]
    network = agent.network
    assert isinstance(network, NoNetwork)

    def flows() -> list[Open]:
        targets = [int(ipaddress.IPv4Address(t.address)) for _, some in network.ports for t in some]
        dialled = zip(range(count()), itertools.cycle(targets)) if targets else ()
        return [Open(CLIENT, HOST, target, 80, TCP, True, n) for n, target in dialled]

    network.flows = flows


def healthy(aside: Aside, app: str) -> int:
    return sum(row.healthy for row in aside.cloud.agents["vps-2"].loop.core.rows() if row.app == app)


def test_replicas_follow_the_connections_up_and_down(small: Aside) -> None:
    clients = 20
    clients_of(small, "web", lambda: clients)
    scale = Scale(min=1, max=6, connections=10, step_s=1, down_s=2)
    image = small.run(given(small.cloud))
    small.look(lambda: small.cloud.deploy("web", Service(ports=(Port(target=80, published=8080),), scale=scale), image))
    small.wait("two replicas for twenty clients", lambda: healthy(small, "web") == 2)
    clients = 55
    small.wait("six for 55", lambda: healthy(small, "web") == 6)
    before = running(small)
    assert len(before) == 6
    clients = 5
    small.wait("fewer for five clients", lambda: healthy(small, "web") < 6)
    deadline_s = time.monotonic() + 10
    while len(kept := running(small)) == 6:
        assert time.monotonic() < deadline_s, "the slot that went is still running"
        time.sleep(0.02)
    assert kept < before, "what stays is not started anew"


def running(aside: Aside) -> set[str]:
    """Ids of all containers that run."""
    return {id for runtime in aside.cloud.runtimes.values() for id in aside.run(ids(runtime))}


async def given(cloud: SmallCloud) -> str:
    return cloud.give_image(b"a program")


async def ids(runtime) -> set[str]:  # type: ignore[no-untyped-def]
    return {container.id for container in await runtime.list_containers() if container.running}
