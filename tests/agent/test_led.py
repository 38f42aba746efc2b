"""Where published ports lead while an agent starts anew: what the one before it led on stays until neighbours tell who lives."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.small import NoNetwork, SmallCloud
from agent.test_upkeep import wait
from skerry.agent.files import HostFiles
from skerry.agent.host import Parts
from skerry.core.intent import Node, Port, Service
from skerry.net.ports import Asleep

WEB = Service(ports=(Port(target=80, published=8000),))


class Kernel(NoNetwork):
    """Rules outlive the agent. `led`: where the port led, one by one, since the test last emptied it; `led_s`: and when that was."""

    def __init__(self, subnet: str) -> None:
        super().__init__(subnet)
        self.led: list[list[str]] = []
        self.led_s = 0.0

    async def route(self, ports: Any, names: Any, asleep: Asleep = Asleep(), members: Any = ()) -> None:  # noqa: B008 - frozen
        await super().route(ports, names, asleep, members)
        self.leads = ports
        self.led_s = time.monotonic()
        self.led.append([target.node for _, targets in ports for target in targets])


class Led(SmallCloud):
    def __init__(self, directory: Path, hosts: int) -> None:
        super().__init__(directory, hosts)
        self.kernels: dict[str, Kernel] = {}

    def changed(self, name: str, parts: Parts) -> Parts:
        def network(_: HostFiles, node: Node) -> Kernel:
            return self.kernels.setdefault(name, Kernel(node.subnet))

        return msgspec.structs.replace(parts, network=network)


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Led]:
    made = Led(tmp_path, 3)
    await made.start()
    made.deploy("web", WEB, made.give_image(b"app"))
    await wait(
        "every host to lead to it", lambda: all(kernel.led and kernel.led[-1] for kernel in made.kernels.values())
    )
    yield made
    await made.stop()


async def test_a_port_leads_on_to_another_host_while_the_agent_starts_anew(cloud: Led) -> None:
    (holder,) = cloud.kernels["vps-1"].led[-1]
    other = next(name for name in cloud.files if f"node/{name}" != holder)
    kernel = cloud.kernels[other]
    kernel.led.clear()
    await cloud.stop(other)
    await cloud.start(other)
    await wait("the new agent's first rules", lambda: kernel.led)
    assert kernel.led == [[holder]] * len(kernel.led)


async def test_an_agent_that_finds_nobody_leads_to_nobody_after_a_while(cloud: Led) -> None:
    """Those that it knew may have been dead for long."""
    (holder,) = cloud.kernels["vps-1"].led[-1]
    other = next(name for name in cloud.files if f"node/{name}" != holder)
    kernel = cloud.kernels[other]
    await cloud.stop()
    kernel.led.clear()
    await cloud.start(other)
    assert not kernel.led
    await wait("its first rules", lambda: kernel.led)
    assert kernel.led[-1] == []


async def test_a_host_that_booted_waits_for_nobody(cloud: Led) -> None:
    """Nothing led anywhere before: what runs here is led to as soon as it is well."""
    await cloud.stop()
    cloud.kernels["vps-1"].leads = ()
    cloud.kernels["vps-1"].led.clear()
    await cloud.start("vps-1")
    await wait("its first rules", lambda: cloud.kernels["vps-1"].led)
    assert cloud.kernels["vps-1"].led_s < cloud.agents["vps-1"].loop.core.awake_s()
