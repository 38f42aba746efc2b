"""A small cloud that rents: real keepers, the simulator of DigitalOcean over HTTP, and droplets that are agents of the same process.

A droplet does what its user data says, but for the agent, which is here already: it makes keys, asks the keepers to be let in
from the address that the provider gives, and then runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from agent.burst import Guest
from agent.keeping import TIMING
from agent.small import Aside, SmallCloud
from skerry.agent.daemon import Agent
from skerry.agent.host import PORT, Parts
from skerry.agent.main import join
from skerry.agent.renting.asking import Answer, Question, answer, question
from skerry.core.intent import Pool
from skerry.core.node import NodeCore
from skerry.lab.ocean import Pace, Simulator
from skerry.lab.ocean.droplets import Droplet
from skerry.lab.ocean.serving import Server as Serving
from skerry.machines.contract import Server
from skerry.machines.userdata import MeetingPoint
from skerry.mesh.tls import fingerprint
from skerry.runtime.memory import MemoryRuntime

PACE = Pace(boot_s=0.1, lists_s=0.05, tags_s=0.1, gone_s=0.1, action_s=0.1)


class RentingCloud(SmallCloud):
    """`machines`: of droplets that have joined, the slot -> the address."""

    def __init__(self, directory: Path, hosts: int) -> None:
        super().__init__(directory, hosts)
        self.machines: dict[str, str] = {}

    def changed(self, name: str, parts: Parts) -> Parts:
        parts.ask, parts.servers = _ask, _servers
        if name in self.machines:
            parts.address = self.machines[name]
        return parts

    def agent(self, name: str, runtime: MemoryRuntime) -> Agent:
        made = super().agent(name, runtime)
        made.loop.core = NodeCore(TIMING)
        return made


async def _ask(asked: Question) -> Answer:
    return await asyncio.to_thread(answer, asked)


async def _servers(pool: Pool, token: str, name: str) -> list[Server]:
    return (await _ask(question(pool, token, "list", name=name))).servers


class Droplets:
    """Where the simulator's droplets run. `guests`: by the droplet's number; `ended`: what still ran when one was destroyed."""

    def __init__(self, aside: Aside, cloud: RentingCloud, directory: Path) -> None:
        self._aside, self._cloud, self._directory = aside, cloud, directory
        self.guests: dict[int, Guest] = {}
        self.slots: dict[int, str] = {}
        self.ended: dict[int, list[str]] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._over = threading.Event()

    def boot(self, droplet: Droplet) -> str:
        number = len(self.guests) + 1
        guest = Guest(self._directory / f"droplet-{number}", self._cloud.cloud, source=f"127.77.0.{number}")
        self.guests[droplet.id] = guest
        told = droplet.user_data.partition("ASKED = json.loads(")[2].partition(")\n")[0]
        job = threading.Thread(target=self._first_boot, args=(droplet.id, guest, json.loads(json.loads(told))))
        self._threads[droplet.id] = job
        job.start()
        return guest.source

    def _first_boot(self, id: int, guest: Guest, asked: dict[str, Any]) -> None:
        keepers = {fingerprint(files.certificate): name for name, files in self._cloud.files.items()}
        slot = self.slots[id] = asked["slot"]
        while not self._over.is_set():
            for _, pinned in asked["meet"]:
                point = MeetingPoint(f"127.0.0.1:{self._cloud.enrol_ports[keepers[pinned]]}", pinned)
                with contextlib.suppress(OSError, ValueError):
                    told = guest.enrol(point, slot, asked["token"])
                    if "join" in told:
                        join(guest.files, msgspec.json.encode(told["join"]))
                        self._settle(slot, guest)
                        return
            self._over.wait(0.1)

    def _settle(self, slot: str, guest: Guest) -> None:
        cloud = self._cloud
        cloud.files[slot], cloud.machines[slot] = guest.files, guest.source
        cloud.ports[slot], cloud.enrol_ports[slot] = PORT, 0
        self._aside.run(cloud.start(slot))

    def power(self, droplet: Droplet, *, on: bool) -> None:
        slot = self.slots[droplet.id]
        if on:
            self._aside.run(self._cloud.start(slot))
        else:
            self._aside.run(self._cloud.stop(slot))
            del self._cloud.runtimes[slot]  # nothing runs through it

    def remove(self, droplet: Droplet) -> None:
        slot = self.slots.get(droplet.id, "")
        if slot in self._cloud.agents:
            self.ended[droplet.id] = sorted(self._cloud.runtimes.pop(slot).disk.specs)
            self._aside.run(self._cloud.stop(slot))
            del self._cloud.files[slot], self._cloud.machines[slot]

    def who(self, address: str) -> int | None:
        return None

    def end(self) -> None:
        self._over.set()
        for thread in self._threads.values():
            thread.join()


class Sea:
    """The provider, its endpoint, and where its droplets run."""

    def __init__(self, aside: Aside, directory: Path, tokens: dict[str, Collection[str] | None]) -> None:
        assert isinstance(aside.cloud, RentingCloud)
        self.droplets = Droplets(aside, aside.cloud, directory)
        self.simulator = Simulator(self.droplets, pace=PACE, tokens=tokens)
        self._serving = Serving(self.simulator, ("127.0.0.1", 0)).start()
        self.endpoint = self._serving.endpoint

    def there(self) -> list[dict[str, Any]]:
        return [row for row in self.simulator.state()["droplets"] if row["there"]]

    def end(self) -> None:
        self.droplets.end()
        self._serving.stop()
        self.simulator.close()
