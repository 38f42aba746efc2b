"""A random life of a random cloud from one seed: apps, faults, deploys; then peace, and the checkers look.

The faults are those that a cloud of cheap machines meets: power cuts, restarts of the agent, parted networks, loss and delay,
containers that die, versions that can't run, drained hosts, scaling.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from skerry.core import effects as do
from skerry.core.events import ImageReady
from skerry.core.intent import Depends, Needs, Port, Probe, Release, Service, Update, VolumeMount, init_of
from skerry.core.records import Document
from skerry.errors import TrustRefusal
from skerry.sim import documents as docs
from skerry.sim.checkers import EffectChecker, held_once
from skerry.sim.cluster import Cluster, Life, World
from skerry.sim.ledger import Ledger
from skerry.sim.whole import WholeMachine, whole_cluster_of

QUIET_S = 60.0
VOLUMES = {"data": False}
STORE = "store"
NAMES = ("web", "api", STORE)
_SETTLE_S = 150.0  # bars double: what failed a few times while the cloud was in pieces needs this long at most


def cluster_of(count: int, seed: int = 0, world: World | None = None, zones: Sequence[str] = ("",)) -> Cluster:
    """`count` enrolled nodes, in `zones` by turns, booted and linked; the clock stands at 25 s: all may take over."""
    cluster = Cluster(seed, world)
    enrolments = [docs.node(f"vps-{i}", zone=zones[i % len(zones) - 1]) for i in range(1, count + 1)]
    for i in range(1, count + 1):
        machine = cluster.add(f"vps-{i}")
        machine.disk = {document.id: document for document in enrolments}
        machine.boot()
    cluster.run(25.0)
    return cluster


def give_image(cluster: Cluster, via: str, word: str) -> None:
    """A client pushes an image to one node, as a deploy does before its documents."""
    machine = cluster[via]
    machine.images.add(docs.image_of(word))
    machine.step(ImageReady(image=docs.image_of(word)))


def drawn(chance: random.Random, name: str, number: int) -> Service:
    """A random service of a random app, its `number`-th; the one called `STORE` has data."""
    data = name == STORE
    return Service(
        replicas=1 if data else chance.randint(1, 5),
        probe=chance.choice([None, Probe(kind="tcp", port=80, start_period_s=10.0)]),
        ports=(Port(target=80, published=8000 + number),),
        volumes=(VolumeMount(volume="data", target="/data"),) if data else (),
        init=data,
        update=Update(parallelism=chance.choice([1, 1, 2]), order=chance.choice(["start-first", "stop-first"]), monitor_s=2.0),
        needs=Needs(reserve_memory_bytes=chance.choice([0, 0, 64 << 20])),
        depends_on=(Depends(service="web", condition="healthy"),) if data and chance.random() < 0.5 else (),
    )  # fmt: skip


class Scenario:
    """One app of up to three services on up to six nodes. `log` tells what was done, for who reads a failing seed."""

    def __init__(self, seed: int, *, faults: int = 6, most_nodes: int = 5, whole: bool = False) -> None:
        """`whole`: each machine with real trust and gossip; then clocks differ, disks are lost, and accepted means kept."""
        self.seed = seed
        self.chance = chance = random.Random(seed)
        world = World(
            latency_s=chance.choice([0.001, 0.01, 0.05]), jitter_s=chance.choice([0.0, 0.02, 0.2]),
            loss=chance.choice([0.0, 0.02, 0.2]), start_s=chance.choice([0.05, 0.3]),
        )  # fmt: skip
        self.log: list[str] = []
        self.faults = faults
        self.whole = whole
        make = whole_cluster_of if whole else cluster_of
        self.cluster = make(chance.randint(1, most_nodes), seed, world)
        self.ledger = Ledger(self.cluster)
        self.checker = EffectChecker(self.cluster)
        self.names = [path.removeprefix("node/") for path in self.cluster.machines]
        self.gone: set[str] = set()
        self.services = self._services()
        self.apps: list[Document] = []
        self.releases: list[Document] = []
        self.states: dict[str, tuple[str, int]] = dict.fromkeys(self.names, ("active", 1))

    def _services(self) -> dict[str, Service]:
        chance = self.chance
        services: dict[str, Service] = {}
        for name in NAMES[: chance.randint(1, 3)]:
            services[name] = drawn(chance, name, len(services))
        return services

    def run(self) -> list[str]:
        """What was wrong, in sentences; none is good."""
        self.deploy()
        self.cluster.run(5.0)
        acts = self._acts()
        for _ in range(self.faults):
            self.chance.choice(acts)()
            self.cluster.run(self.chance.choice([0.05, 0.5, 2.0, 5.0, 30.0]))
        self.peace()
        self.settle()
        moved = len(self.cluster.history)
        wrong = [*self.wrong_at_the_end(), *self.ledger.wrong()]
        if not wrong:
            self.cluster.run(QUIET_S / 2)
            wrong = self.wrong_at_the_end()
            busy = [life for life in self.cluster.history[moved:] if not self.may_go_on(life)]
            wrong += [f"still busy: {life}" for life in busy[:3]]
        return wrong + self.checker.wrong

    def _acts(self) -> list[Callable[[], None]]:
        acts: list[Callable[[], None]] = [
            self.cut_power, self.cut_power, self.restart_agent, self.part, self.kill_container, self.deploy, self.deploy_bad,
            self.drain, self.scale,
        ]  # fmt: skip
        return acts + ([self.skew_clock, self.lose_disk] if self.whole else [])

    def settle(self) -> None:
        self.cluster.run(_SETTLE_S)

    def wrong_at_the_end(self) -> list[str]:
        return held_once(self.cluster)

    def may_go_on(self, life: Life) -> bool:
        """Whether that may happen in a quiet cloud: figures are told once a step, whether or not anything changes."""
        return isinstance(life.effect, do.Publish) and life.effect.kind in ("load", "wish", "rent")

    # --- what may happen ----------------------------------------------------------------------------------------------

    def say(self, what: str) -> None:
        self.log.append(f"{self.cluster.clock.now_s:7.2f} {what}")

    def _some(self, on: bool) -> str | None:
        names = [name for name in self.names if self.cluster[name].on is on]
        return self.chance.choice(names) if names else None

    def deploy(self, bad: bool = False) -> None:
        via = self._some(True)
        if via is None:
            return
        version = len(self.releases) + 1
        word = f"{'bad' if bad else 'v'}{version}"
        if bad:
            self.cluster.bad_health.add(("", word))
            self.cluster.bad_life["", word] = 0.1
        images = {service: f"{service}{word}" for service in self.services}
        if bad:
            self.cluster.bad_life |= {("", image): 0.1 for image in images.values()}
            self.cluster.bad_health |= {("", image) for image in images.values()}
        if "store" in self.services:
            images[init_of("store")] = f"init{word}"  # it makes the store's data
        for image in images.values():
            give_image(self.cluster, via, image)
        good = [held for held in self.releases if isinstance(held.body, Release) and not _is_bad(held.body)]
        release = docs.release(
            "shop", images, version=version,
            fallback=good[-1].hash if good else "",
        )  # fmt: skip
        self.releases.append(release)
        self.say(f"deploy {word} via {via}")
        if not self.apps:
            self.apps.append(docs.app("shop", self.services, volumes=VOLUMES))
            self._hand_over(via, release, self.apps[0])
        else:
            self._hand_over(via, release)

    def deploy_bad(self) -> None:
        self.deploy(bad=True)

    def scale(self) -> None:
        via = self._some(True)
        if via is None or "web" not in self.services:
            return
        replicas = self.chance.randint(1, 6)
        self.services["web"] = msgspec.structs.replace(self.services["web"], replicas=replicas)
        self.apps.append(docs.app("shop", self.services, version=len(self.apps) + 1, volumes=VOLUMES))
        self.say(f"scale web to {replicas} via {via}")
        self._hand_over(via, self.apps[-1])

    def cut_power(self) -> None:
        name = self._some(self.chance.random() < 0.6)
        if name is None:
            return
        machine = self.cluster[name]
        self.say(f"{'cut power of' if machine.on else 'boot'} {name}")
        if machine.on:
            machine.power_cut()
        else:
            machine.boot()

    def restart_agent(self) -> None:
        name = self._some(True)
        if name is not None:
            self.say(f"restart the agent of {name}")
            self.cluster[name].end_agent()
            self.cluster.run(self.chance.choice([0.1, 1.0, 4.0]))
            self.cluster[name].boot()

    def part(self) -> None:
        if self.chance.random() < 0.5:
            self.say("wires healed")
            self.cluster.wires.heal()
            return
        one = set(self.chance.sample(self.names, self.chance.randint(0, len(self.names) - 1)))
        self.say(f"part {sorted(one)} from the others")
        self.cluster.wires.part(one, set(self.names) - one)

    def kill_container(self) -> None:
        name = self._some(True)
        machine = self.cluster[name] if name is not None else None
        if machine is not None and machine.containers:
            container = self.chance.choice(sorted(machine.containers.values(), key=lambda c: c.id))
            self.say(f"kill {container.slot} on {name}")
            machine.kill(container.id, self.chance.choice([0, 1, 137]), oom=self.chance.random() < 0.3)

    def drain(self) -> None:
        name, via = self.chance.choice(self.names), self._some(True)
        if via is not None:
            self._set_state(name, "active" if self.states[name][0] == "draining" else "draining", via)

    def _set_state(self, name: str, state: str, via: str) -> None:
        version = self.states[name][1] + 1
        self.states[name] = (state, version)
        self.say(f"{name} is now {state}, via {via}")
        self._hand_over(via, docs.node(name, state=state, version=version))

    def _hand_over(self, via: str, *documents: Document) -> None:
        """As `skerry` does. What is refused is told, and counts for nothing."""
        for document in documents:
            try:
                self.ledger.hand_over(self.cluster[via], document)
            except TrustRefusal as refusal:
                self.say(f"{document.path} was refused by {via}: {refusal}")

    def skew_clock(self) -> None:
        """One wall clock is wrong by an hour, if there are enough others to know better."""
        if len(self.names) > 2 and not self.ledger.skewed:
            name = self.chance.choice(self.names)
            self.ledger.skewed = name
            machine = self.cluster[name]
            assert isinstance(machine, WholeMachine)
            machine.skew_s = self.chance.choice([-3600.0, 3600.0])
            self.say(f"the clock of {name} is wrong by {machine.skew_s:.0f} s")

    def lose_disk(self) -> None:
        """A machine burns down, at most one; an operator takes it out of the cloud in the end."""
        if len(self.names) > 2 and not self.ledger.burnt and self.chance.random() < 0.5:
            name = self.chance.choice(self.names)
            machine = self.cluster[name]
            assert isinstance(machine, WholeMachine)
            self.cluster.run(
                5.0
            )  # for a moment after a deploy one host alone has its images: what is lost then is deployed again
            self.say(f"{name} burns down")
            machine.lose_disk()
            self.ledger.burnt = name
            self.names.remove(name)

    def peace(self) -> None:
        """All is whole again; but some machines may be gone for good (design section 7, sentence 4)."""
        self.say("peace")
        self.cluster.wires.heal()
        if self.whole:
            self.cluster.run(1.0)
        for name in self.names:
            if not self.cluster[name].on:
                self.cluster[name].boot()
        self._lose_some()
        for name in self.names:
            if self.states[name][0] != "active":
                self._set_state(name, "active", name)
        if self.ledger.burnt:
            self.cluster.run(5.0)
            self.checker.given_up.add(f"node/{self.ledger.burnt}")
            self._set_state(self.ledger.burnt, "expelled", self.names[0])
        newest = self.releases[-1].body if self.releases else None
        if isinstance(newest, Release) and _is_bad(newest) and (self.gone or not newest.fallback):
            self.deploy()

    def _lose_some(self) -> None:
        """Some machines may be gone for good, once images had the time to spread (design section 7, sentence 4)."""
        most = min(len(self.names) // 2, 1 if self.ledger.burnt else 2)  # an image is on three: one of them has to live
        self.gone = set(self.chance.sample(self.names, self.chance.choice([0, 0, most])))
        if self.gone:
            self.cluster.run(40.0)
        for name in sorted(self.gone):
            self.say(f"{name} is gone")
            self.cluster[name].power_cut()
        self.names = [name for name in self.names if name not in self.gone]


def _is_bad(release: Release) -> bool:
    return any("bad" in docs.word_of(image) for image in release.images.values())
