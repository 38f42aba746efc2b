"""Some nodes in one process on virtual time: real cores, pretended wires, disks, containers and probes.

What is pretended is as unfriendly as the caller asks: records are lost and late, links break, machines lose power, containers
take their time or die. One seed says all.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from skerry.core import effects as do
from skerry.core.facts import Up
from skerry.core.records import Document
from skerry.core.timing import Timing
from skerry.sim.clock import Clock
from skerry.sim.machine import Letter, Machine
from skerry.sim.still import Container
from skerry.sim.wires import Wires


class World(msgspec.Struct):
    """How the pretended parts behave; times in seconds."""

    latency_s: float = 0.002
    jitter_s: float = 0.0
    loss: float = 0.0  # share of pushed records that never arrive: reconciling brings them
    reconcile_s: float = 2.0
    silence_s: float = 3.0  # after which a link without answers counts as down
    start_s: float = 0.06
    stop_s: float = 0.02
    init_s: float = 2.0  # what an init image takes
    first_answer_s: float = 0.05  # from started to the first answer of a healthy container
    probe_s: float = 0.02  # from the wish to watch to the first word
    fetch_s: float = 0.1
    dial_s: float = 0.2
    letter_s: float = 0.3  # to a receiver of alerts, and its answer
    twice: float = 0.0  # share of frames that arrive twice
    overtake: float = 0.0  # share of frames that don't wait for those before them


class Life(msgspec.Struct):
    """One thing that happened, for checkers and stories."""

    at_s: float
    node: str
    effect: do.Effect


class Cluster:
    def __init__(
        self,
        seed: int = 0,
        world: World | None = None,
        timing: Timing | None = None,
        make: Callable[[Cluster, str], Machine] = Machine,
        wires: Callable[[Cluster], Wires] = Wires,
    ) -> None:
        self._make = make
        self.clock = Clock()
        self.chance = random.Random(seed)
        self.world = world or World()
        self.timing = timing or Timing()
        self.machines: dict[str, Machine] = {}
        self.keys: dict[tuple[str, int], str] = {}  # (path, start count) -> the key with which it signed its facts then
        self.history: list[Life] = []
        self.watchers: list[Callable[[Machine, do.Effect], None]] = []
        self.bad_start: dict[tuple[str, str], str] = {}  # (node or "", image word) -> why it can't start
        self.bad_health: set[tuple[str, str]] = set()
        self.bad_life: dict[tuple[str, str], float] = {}
        self.loads: dict[tuple[str, str], Callable[[float], float]] = {}  # (app, service) -> connections at a time
        self.letters: list[tuple[float, str, Letter]] = []  # alerts that receivers have got: when, from whom
        self.posted = 0  # in so many letters
        self.deaf: set[str] = set()  # receivers that answer nothing
        self.fatal: dict[str, str] = {}  # node -> "before" or "after": its power goes then when it sends a letter
        self.begins: list[Callable[[Machine, Container], None]] = []  # told of each container that begins to run
        self.steps = 0
        self.wires = wires(self)

    # --- building and breaking ----------------------------------------------------------------------------------------

    def add(self, name: str) -> Machine:
        machine = self.machines[f"node/{name}"] = self._make(self, name)
        return machine

    def __getitem__(self, name: str) -> Machine:
        return self.machines[f"node/{name}"]

    def accept(self, via: str, *records: Document) -> None:
        """A client hands documents to one node."""
        for record in records:
            self[via].receive(record, "")

    def run(self, seconds: float) -> None:
        self.clock.run_until(self.clock.now_s + seconds)

    def spread(self, seconds: float) -> float:
        return seconds * (1 + (self.chance.random() if self.world.jitter_s else 0.0))

    # --- how containers behave ----------------------------------------------------------------------------------------

    def start_trouble(self, node: str, word: str) -> str:
        return self.bad_start.get((node, word)) or self.bad_start.get(("", word), "")

    def ill(self, node: str, word: str) -> bool:
        return (node, word) in self.bad_health or ("", word) in self.bad_health

    def dies_after_s(self, node: str, word: str) -> float | None:
        return self.bad_life.get((node, word), self.bad_life.get(("", word)))

    def answers(self, asker: str, watch: do.Watch) -> bool:
        machine = self.machines[watch.node]
        if not machine.on and asker != watch.node and not machine.containers:
            return False
        if asker != watch.node and not self.wires.open(asker, watch.node):
            return False
        return any(c.address == watch.address and c.running and c.answers_s <= self.clock.now_s
                   for c in machine.containers.values())  # fmt: skip

    def happened(self, machine: Machine, effect: do.Effect) -> None:
        if not isinstance(effect, do.Wake) and not (isinstance(effect, do.Publish) and isinstance(effect.body, Up)):
            self.history.append(Life(self.clock.now_s, machine.path, effect))
        for watcher in self.watchers:
            watcher(machine, effect)
