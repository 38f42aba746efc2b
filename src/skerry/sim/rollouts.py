"""A service that is deployed over and over from one seed: good versions and bad ones, one while another is under way or is being
turned back. No machine fails here: what is looked at is that the limits of rollouts and canaries hold, and that it ends well.
"""

from __future__ import annotations

import random
from collections import Counter

import msgspec

from skerry.core import effects as do
from skerry.core.canary import steps_of
from skerry.core.intent import CanaryStep, Probe, Release, Service, Update
from skerry.core.records import Document, Slot
from skerry.core.versions import fallback_of
from skerry.sim import documents as docs
from skerry.sim.checkers import held_once
from skerry.sim.cluster import World
from skerry.sim.machine import Machine
from skerry.sim.scenario import cluster_of, give_image
from skerry.sim.still import Container

_SETTLE_S = 200.0
_ROUNDING_S = 0.001


class Limits:
    """Never more than `limit` slots between two versions, or without a replica that answers, looked at before each moment's events.

    The one of the last slot that stays beside its new one, which answers, is none between two versions.
    """

    def __init__(self, scenario: Rollouts, limit: int) -> None:
        self.scenario, self.limit = scenario, limit
        self.slots = [Slot("shop", "web", index) for index in range(scenario.service.replicas)]
        self.wrong: list[str] = []
        self.looked_s = -1.0
        scenario.cluster.watchers.append(self.see)

    def see(self, machine: Machine, effect: do.Effect) -> None:
        now = self.scenario.cluster.clock.now_s
        if now <= self.looked_s:
            return
        self.looked_s = now
        serving, there = Counter[Slot](), Counter[Slot]()
        for each in self.scenario.cluster.machines.values():
            for container in each.containers.values():
                if container.running and not container.stopping:
                    there[container.slot] += not self._is_beside(each, container, now)
                    serving[container.slot] += container.answers_s <= now
        missing = sum(not serving[slot] for slot in self.slots)
        double = sum(count > 1 for count in there.values())
        if max(missing, double) > self.limit:
            self.wrong.append(
                f"{now:.2f}: {missing} slots without a replica, {double} between two versions: limit {self.limit}"
            )

    def _is_beside(self, machine: Machine, container: Container, now: float) -> bool:
        newer = [
            other
            for other in machine.containers.values()
            if other.slot == container.slot and other.running and container.answers_s < other.answers_s <= now
        ]
        return container.slot == self.slots[-1] and bool(newer)


class CanaryChecker:
    """No slot gets a new version before the slots of every step below it have answered in it for as long as the step is held."""

    def __init__(self, scenario: Rollouts) -> None:
        self.scenario = scenario
        self.wrong: list[str] = []
        self.passed: set[tuple[Slot, str]] = set()
        scenario.cluster.watchers.append(self.see)

    def see(self, machine: Machine, effect: do.Effect) -> None:
        if not isinstance(effect, do.Start) or effect.image not in self.scenario.tried:
            return
        place, now = (effect.slot, effect.image), self.scenario.cluster.clock.now_s
        if place in self.passed:
            return
        for step in steps_of(self.scenario.tried[effect.image], self.scenario.service.replicas):
            if effect.slot.index < step.slots:
                break
            held = self._held(effect.image, now - step.hold_s + _ROUNDING_S)
            if held < step.slots:
                self.wrong.append(
                    f"{now:.2f}: {effect.slot} gets {docs.word_of(effect.image)}, held by {held} of {step}"
                )
        self.passed.add(place)

    def _held(self, image: str, since_s: float) -> int:
        machines = self.scenario.cluster.machines.values()
        held = {
            container.slot
            for machine in machines
            for container in machine.containers.values()
            if container.image == image and container.running and container.answers_s <= since_s
        }
        return len(held)


class Served:
    """Of a service of several slots some replica answers at every moment."""

    def __init__(self, scenario: Rollouts) -> None:
        self.scenario = scenario
        self.wrong: list[str] = []
        scenario.cluster.watchers.append(self.see)

    def see(self, machine: Machine, effect: do.Effect) -> None:
        cluster = self.scenario.cluster
        now, stops = cluster.clock.now_s, effect.container if isinstance(effect, do.Stop) else ""
        answering = any(
            container.running and not container.stopping and container.answers_s <= now
            for each in cluster.machines.values()
            for container in each.containers.values()
            if each is not machine or container.id != stops
        )
        if not answering:
            self.wrong.append(f"{now:.2f}: nothing of it answers, {machine.path}: {effect}")


class Rollouts:
    """`log` tells what was done, for who reads a failing seed. `dying`: bad versions answer, and end soon after, within the
    monitor's time; what ends by itself keeps to no limit, so that only canaries are checked, and that something serves."""

    def __init__(self, seed: int, *, dying: bool = False) -> None:
        self.chance, self.dying = random.Random(seed), dying
        chance = self.chance
        world = World(latency_s=chance.choice([0.001, 0.01, 0.05]), jitter_s=chance.choice([0.0, 0.02, 0.1]),
                      start_s=chance.choice([0.05, 0.5]), stop_s=chance.choice([0.02, 1.0]))  # fmt: skip
        self.cluster = cluster_of(chance.randint(2, 5), seed, world)
        parallelism = chance.choice([1, 1, 2])
        canary = tuple(
            CanaryStep(share=share, hold_s=chance.choice([2.0, 8.0, 20.0]))
            for share in chance.choice([(), (), (0.1,), (0.3, 0.6)])
        )
        self.service = Service(
            replicas=chance.randint(2, 6), canary=canary,
            probe=chance.choice([None, Probe(kind="tcp", port=80, start_period_s=4.0)]),
            update=Update(parallelism=parallelism, order=chance.choice(["start-first", "stop-first"]),
                          delay_s=chance.choice([0.0, 0.0, 1.0]), monitor_s=3.0),
        )  # fmt: skip
        self.log: list[str] = []
        self.tried: dict[str, tuple[CanaryStep, ...]] = {}  # image of a version that is tried first -> its steps
        self.releases: list[Document] = []
        self.app = docs.app("shop", {"web": self.service})
        self.deploy(bad=False)
        self.cluster.run(20.0)
        self.checkers: list[Limits | CanaryChecker | Served] = [
            *([] if dying else [Limits(self, parallelism)]),
            CanaryChecker(self),
            *([Served(self)] if self.service.replicas > parallelism else []),
        ]

    def run(self) -> list[str]:
        """What was wrong, in sentences; none is good."""
        for _ in range(self.chance.randint(1, 4)):
            self.deploy(bad=self.chance.random() < 0.4)
            self.cluster.run(self.chance.choice([0.02, 0.2, 0.6, 2.0, 5.0, 10.0, 30.0]))
        self.cluster.run(_SETTLE_S)
        wrong = [sentence for checker in self.checkers for sentence in checker.wrong[:3]]
        return wrong + held_once(self.cluster) + self._at_the_end()

    def _at_the_end(self) -> list[str]:
        newest = self._word(self.releases[-1])
        runs = {
            docs.word_of(container.image)
            for machine in self.cluster.machines.values()
            for container in machine.containers.values()
        }
        if newest.startswith("bad"):
            return [f"{newest} is bad, and in the end there are {runs}"] * (
                len(runs) != 1 or any(word.startswith("bad") for word in runs)
            )
        return [f"{newest} is wanted, and in the end there are {runs}"] * (runs != {newest})

    def deploy(self, bad: bool) -> None:
        via = self.chance.choice(sorted(self.cluster.machines)).removeprefix("node/")
        word = f"{'bad' if bad else 'good'}{len(self.releases) + 1}"
        if bad and self.dying:
            self.cluster.bad_life["", word] = self.chance.choice([0.3, 0.8, 1.5, 2.5])
        elif bad:
            ways = ["start", "dies"] if self.service.probe is None else ["start", "dies", "ill"]
            self._spoil(word, self.chance.choice(ways))
        give_image(self.cluster, via, word)
        fallback = self._fallback(via) if self.releases else None
        release = docs.release(
            "shop", {"web": word}, version=len(self.releases) + 1, fallback=fallback.hash if fallback else ""
        )
        if self.releases:
            self.tried[docs.image_of(word)] = self.service.canary
        self.releases.append(release)
        self.log.append(
            f"{self.cluster.clock.now_s:7.2f} deploy {word} via {via}, else {fallback and self._word(fallback)}"
        )
        self.cluster.accept(via, release, self.app)

    def _spoil(self, word: str, way: str) -> None:
        if way == "start":
            self.cluster.bad_start["", word] = "no such file"
        elif way == "dies":
            self.cluster.bad_life["", word] = self.chance.choice([0.01, 0.04])  # before it could answer
        else:
            self.cluster.bad_health.add(("", word))

    def _fallback(self, via: str) -> Document:
        """As client/deploy.py chooses it: what was deployed last, unless it failed or has not come everywhere."""
        core, newest = self.cluster[via].core, self.releases[-1]
        assert core is not None and isinstance(newest.body, Release)
        knows = all(row.wanted == f"1.{newest.version}" for row in core.rows())
        if knows and not any(row.outdated or row.failed for row in core.rows()):
            return newest
        pair = fallback_of(core._s.known, self.app, newest)
        named = [release for release in self.releases if release.hash == newest.body.fallback]
        return pair[1] if pair is not None else named[0]

    @staticmethod
    def _word(release: Document) -> str:
        assert isinstance(release.body, Release)
        return docs.word_of(release.body.images["web"])


def told(scenario: Rollouts) -> str:
    return "\n".join([msgspec.json.encode(scenario.service).decode(), *scenario.log])
