"""The measurements, each the same for both sides. Seconds of the monotonic clock."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from demo.clients import Beside

from bench.cloud import Cloud
from bench.swarm.answers import Watch
from bench.swarm.docker import OfSwarm
from bench.swarm.sides import REPLICAS, OfSkerry, Side
from bench.swarm.weigh import weigh
from skerry.errors import SkerryError

CHANGE_EACH_S = 0.25
BEFORE_S = 2.0  # so long changes are made before a cut: what is usual


class Took(NamedTuple):
    """From the start of the command's process until all replicas have answered, and until the process ended by itself."""

    answer_s: float
    command_s: float


class Healed(NamedTuple):
    """After a power cut: until all replicas have answered again from the hosts left; the longest time without an accepted change."""

    answer_s: float
    no_change_s: float


def take(side: Side, hosts: Sequence[str], argv: list[str], version: int, environment: dict[str, str]) -> Took:
    with Watch(side.doors, hosts) as watch:
        begun_s = time.monotonic()
        with subprocess.Popen(
            argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                whole_s = watch.all_answer(REPLICAS, str(version), begun_s)
            except TimeoutError:
                process.kill()
                raise
            _, said = process.communicate()
        ended_s = time.monotonic()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv, stderr=said)
    return Took(round(whole_s - begun_s, 3), round(ended_s - begun_s, 3))


class Changes(Beside):
    """One small change after the other at the hosts in turn, from `with` to its end. `accepted`: when each was."""

    def __init__(self, side: Side, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self.accepted: list[float] = []
        self.refused: list[str] = []
        super().__init__([side])

    def _run(self, what: Any) -> None:
        asyncio.run(self._change(what))

    async def _change(self, side: Side) -> None:
        while not self._stop.is_set():
            try:
                await side.change(self._hosts)
                self.accepted.append(time.monotonic())
            except (OSError, SkerryError, TimeoutError) as error:
                self.refused.append(str(error) or type(error).__name__)
            await asyncio.sleep(CHANGE_EACH_S)
        await side.leave()

    def longest_s(self, since_s: float) -> float:
        """From the last one accepted before `since_s`, to now."""
        before = [at_s for at_s in self.accepted if at_s < since_s][-1:]
        times = [*before, *(at_s for at_s in self.accepted if at_s >= since_s), time.monotonic()]
        return max(later - earlier for earlier, later in pairwise(times))


def cut(cloud: Cloud, sides: Sequence[Side], victim: str, hosts: Sequence[str]) -> dict[str, Healed]:
    """Cut the power of one host and wait for all sides; all begin with it holding replicas of theirs."""
    left = [host for host in hosts if host != victim]
    with ExitStack() as stack:
        watches = {side.name: stack.enter_context(Watch(side.doors, left)) for side in sides}
        changes = {side.name: stack.enter_context(Changes(side, left)) for side in sides}
        time.sleep(BEFORE_S)
        begun_s = time.monotonic()
        cloud.lab.kill(victim)
        off_s = time.monotonic()
        found = {}
        for side in sides:
            whole_s = watches[side.name].all_answer(REPLICAS, "1", off_s)
            found[side.name] = Healed(round(whole_s - begun_s, 2), round(changes[side.name].longest_s(begun_s), 2))
            cloud.tell(f"{victim} cut, {side.name}: {found[side.name]}, refused {set(changes[side.name].refused)}")
    cloud.lab.boot(victim)
    return found


def spread(cloud: Cloud, skerry: OfSkerry, swarm: OfSwarm | None) -> None:
    """Two replicas on each host again, of both. Swarm leaves them where they are, so its service is made anew."""
    if swarm is not None:
        swarm.wait("all nodes ready", lambda: len(swarm.ready()) == len(swarm.hosts))
        swarm.remove()
        subprocess.run(swarm.create(), check=True, capture_output=True)
        swarm.wait("Swarm's replicas everywhere", lambda: all(n == 2 for n in swarm.held().values()))
    even = dict.fromkeys(skerry.address, 2)
    cloud.wait("Skerry's replicas everywhere", lambda: len(cloud.up()) == 3 and skerry.held() == even, 90)


def idle(cloud: Cloud, hosts: Sequence[str]) -> dict[str, Any]:
    """Memory of all three hosts, by side and program; MB a host."""
    found: dict[str, dict[str, float]] = {"swarm": {}, "skerry": {}}
    for host in hosts:
        for side, parts in weigh(cloud.lab.name, host).items():
            for program, mb in parts.items():
                found[side][program] = round(found[side].get(program, 0.0) + mb / len(hosts), 1)
    return found


def middle(times: Sequence[Took]) -> float:
    return median(each.answer_s for each in times)
