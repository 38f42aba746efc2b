"""Some nodes in one process on virtual time: real cores, pretended wires, disks, containers and probes.

What is pretended is as unfriendly as the caller asks: records are lost and late, links break, machines lose power, containers
take their time or die. Records go to linked neighbours when they are new and are reconciled now and then, as the mesh does.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import Up
from skerry.core.node import NodeCore
from skerry.core.records import Document, Fact, Record, Slot
from skerry.core.timing import Timing
from skerry.sim.clock import Clock
from skerry.sim.documents import word_of

CLOCK_AT_ZERO = 1_800_000_000.0


class World(msgspec.Struct):
    """How the pretended parts behave; times in seconds."""

    latency_s: float = 0.002
    jitter_s: float = 0.0
    loss: float = 0.0  # share of pushed records that never arrive: reconciling brings them
    reconcile_s: float = 2.0
    silence_s: float = 3.0  # after which a link without answers counts as down
    start_s: float = 0.06
    stop_s: float = 0.02
    first_answer_s: float = 0.05  # from started to the first answer of a healthy container
    probe_s: float = 0.02  # from the wish to watch to the first word
    fetch_s: float = 0.1
    dial_s: float = 0.2


class Container(msgspec.Struct):
    id: str
    slot: Slot
    spec: str
    image: str
    address: str
    running: bool = True
    answers_s: float = 0.0
    exit_code: int | None = None
    stopping: bool = False


class Life(msgspec.Struct):
    """One thing that happened, for checkers and stories."""

    at_s: float
    node: str
    effect: do.Effect


class Machine:
    """One node: its disk, its containers, its core while the agent runs."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.path = f"node/{name}"
        self.disk: dict[str, Record] = {}
        self.older: list[Document] = []
        self.images: set[str] = set()
        self.containers: dict[str, Container] = {}
        self.boots = 0
        self.on = False
        self.core: NodeCore | None = None
        self.booted_s = 0.0
        self.cpus, self.memory_bytes = 2.0, 1 << 30
        self.linked: set[str] = set()
        self.route: do.Route | None = None
        self.peers: do.Peers | None = None
        self.watches: dict[tuple[Slot, str, str], tuple[do.Watch, bool | None]] = {}
        self._life = 0
        self._n = 0
        self._wake_s = float("inf")
        self._ids = 0
        self._seen: dict[str, tuple[int, int, float, str]] = {}

    # --- life ---------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on, or start the agent anew. Containers that still run are adopted."""
        self.on, self.boots, self._life, self._n = True, self.boots + 1, self._life + 1, 0
        self.booted_s = self.cluster.clock.now_s
        self.core = NodeCore(self.cluster.timing)
        self.linked, self.watches, self.route = set(), {}, None
        now = self.cluster.clock.now_s
        self.step(ev.Booted(node=self.path, boot=self.boots, cpus=self.cpus, memory_bytes=self.memory_bytes,
                            agent="sim", clock=CLOCK_AT_ZERO + now))  # fmt: skip
        for record in (*self.older, *self.disk.values()):
            self.step(ev.RecordAccepted(record=record, from_disk=True))
        for c in list(self.containers.values()):
            if not c.stopping:
                self.step(ev.ContainerFound(slot=c.slot, spec=c.spec, image=c.image, address=c.address, container=c.id,
                                            running=c.running, exit_code=c.exit_code))  # fmt: skip
            else:
                del self.containers[c.id]
        for image in sorted(self.images):
            self.step(ev.ImageReady(image=image))
        self.step(ev.Timer())

    def end_agent(self) -> None:
        """The agent's process ends; containers run on. Neighbours see the links close."""
        self._off()
        for other in self.cluster.machines.values():
            if self.path in other.linked:
                other.linked.discard(self.path)
                other.soon(
                    0.003, lambda other=other: other.step(ev.LinkDown(peer=self.path, why="closed", goodbye=True))
                )

    def power_cut(self) -> None:
        """All is lost but the disk. Nobody is told."""
        self._off()
        self.containers.clear()

    def _off(self) -> None:
        self.on, self.core, self._life = False, None, self._life + 1
        self.linked, self._wake_s = set(), float("inf")

    def soon(self, delay_s: float, act: Callable[[], None]) -> None:
        """Later, if this agent still runs then."""
        life = self._life

        def then() -> None:
            if self.on and self._life == life:
                act()

        self.cluster.clock.after(delay_s, then)

    # --- events in, effects out ---------------------------------------------------------------------------------------

    def step(self, event: ev.Event) -> None:
        if self.core is None:
            return
        now = self.cluster.clock.now_s
        self.cluster.steps += 1
        for effect in self.core.step(event, now):
            self.cluster.happened(self, effect)
            handler = getattr(self, f"_do_{type(effect).__name__.lower()}", None)
            if handler is not None:
                handler(effect)

    def _do_wake(self, effect: do.Wake) -> None:
        self._wake_s = effect.at_s

        def ring() -> None:
            if self._wake_s == effect.at_s:
                self._wake_s = float("inf")
                self.step(ev.Timer())

        self.soon(effect.at_s - self.cluster.clock.now_s, ring)

    def _do_publish(self, effect: do.Publish) -> None:
        self._n += 1
        fact = Fact(node=self.path, kind=effect.kind, key=effect.key, seq=(self.boots, self._n),
                    time=CLOCK_AT_ZERO + self.cluster.clock.now_s, body=effect.body)  # fmt: skip
        self.disk[fact.id] = fact
        self.push(fact, "")
        self.soon(0.0, lambda: self.step(ev.RecordAccepted(record=fact)))

    def push(self, record: Record, source: str) -> None:
        relays = not (isinstance(record, Fact) and record.kind == "up") or record.node == self.path
        for peer in sorted(self.linked):
            if peer != source and relays:
                self.cluster.send(self, peer, record)

    def receive(self, record: Record, source: str) -> None:
        """As trust and the store do: newer ones are kept, passed on, and told to core."""
        held = self.disk.get(record.id)
        if held is not None and record.order <= held.order:
            if isinstance(record, Document) and record.hash != held.hash and record not in self.older:  # type: ignore[union-attr]
                self.older.append(record)
                self.step(ev.RecordAccepted(record=record, source=source))
            return
        if isinstance(held, Document):
            self.older.append(held)
        self.disk[record.id] = record
        self.push(record, source)
        self.step(ev.RecordAccepted(record=record, source=source))

    # --- containers ---------------------------------------------------------------------------------------------------

    def _do_start(self, effect: do.Start) -> None:
        trouble = self.cluster.start_trouble(self.path, word_of(effect.image))
        self._ids += 1
        number = int("".join(filter(str.isdigit, self.path)) or 0)
        container = Container(id=f"{self.boots}-{self._ids}", slot=effect.slot, spec=effect.spec, image=effect.image,
                              address=f"10.77.{number}.{2 + self._ids % 250}")  # fmt: skip
        if effect.image not in self.images:
            raise AssertionError(f"{self.path} starts {effect.slot} without its image")
        if trouble:
            self.soon(self.cluster.world.start_s, lambda: self.step(
                ev.StartFailed(slot=effect.slot, spec=effect.spec, why=trouble, passing=False)))  # fmt: skip
            return

        def begin() -> None:
            now = self.cluster.clock.now_s
            ill = self.cluster.ill(self.path, word_of(effect.image))
            container.answers_s = now + (1e9 if ill else self.cluster.world.first_answer_s)
            self.containers[container.id] = container
            self.step(
                ev.ContainerStarted(
                    slot=effect.slot, spec=effect.spec, address=container.address, container=container.id
                )
            )
            dies = self.cluster.dies_after_s(self.path, word_of(effect.image))
            if dies is not None:
                self.soon(dies, lambda: self.kill(container.id, 1))

        self.soon(self.cluster.spread(self.cluster.world.start_s), begin)

    def _do_stop(self, effect: do.Stop) -> None:
        container = self.containers.get(effect.container)
        if container is not None:
            container.stopping = True

        def end() -> None:
            if container is not None:
                container.running = False
                self.containers.pop(container.id, None)
            self.step(ev.ContainerStopped(slot=effect.slot, spec=effect.spec, container=effect.container))

        self.soon(effect.drain_s + self.cluster.spread(self.cluster.world.stop_s), end)

    def kill(self, container_id: str, exit_code: int, *, oom: bool = False) -> None:
        """It ends by itself."""
        container = self.containers.get(container_id)
        if container is None or not container.running or container.stopping:
            return
        container.running, container.exit_code = False, exit_code
        self.step(ev.ContainerExited(slot=container.slot, spec=container.spec, container=container.id, exit_code=exit_code,
                                     oom=oom, last_lines="it said why"))  # fmt: skip

    # --- probes, images, links ----------------------------------------------------------------------------------------

    def _do_watch(self, effect: do.Watch) -> None:
        self.watches[effect.slot, effect.node, effect.spec] = (effect, None)
        self.soon(self.cluster.world.probe_s, lambda: self._probe(effect))

    def _do_unwatch(self, effect: do.Unwatch) -> None:
        self.watches.pop((effect.slot, effect.node, effect.spec), None)

    def _probe(self, watch: do.Watch) -> None:
        place = (watch.slot, watch.node, watch.spec)
        held = self.watches.get(place)
        if held is None or held[0] is not watch:
            return
        ok = self.cluster.answers(self.path, watch)
        if held[1] is not ok and (ok or held[1] or not watch.own):
            self.watches[place] = (watch, ok)
            self.step(
                ev.ProbeAnswered(
                    slot=watch.slot, node=watch.node, spec=watch.spec, ok=ok, detail="" if ok else "refused"
                )
            )
        again = 0.025 if not ok and held[1] is None else 1.0
        self.soon(again, lambda: self._probe(watch))

    def _do_fetch(self, effect: do.Fetch) -> None:
        def arrive() -> None:
            reachable = [
                s for s in effect.sources if s in self.linked and effect.image in self.cluster.machines[s].images
            ]
            if reachable:
                self.images.add(effect.image)
                self.step(ev.ImageReady(image=effect.image))
            else:
                self.step(ev.ImageFailed(image=effect.image, why="none of its holders answered"))

        self.soon(self.cluster.spread(self.cluster.world.fetch_s), arrive)

    def _do_forget(self, effect: do.Forget) -> None:
        self.images.discard(effect.image)

    def _do_route(self, effect: do.Route) -> None:
        self.route = effect

    def _do_peers(self, effect: do.Peers) -> None:
        self.peers = effect
        for peer in effect.dial:
            self.cluster.want_link(self.path, peer)

    def _do_probepeer(self, effect: do.ProbePeer) -> None:
        """Asks `via`, which answers by what it can reach just now."""
        if not self.cluster.reaches(self.path, effect.via):
            return
        ok = self.cluster.reaches(effect.via, effect.peer)
        delay = 3 * self.cluster.world.latency_s + (0.0 if ok else 0.3)
        self.soon(delay, lambda: self.step(ev.PeerReached(peer=effect.peer, via=effect.via, ok=ok)))


class Cluster:
    def __init__(self, seed: int = 0, world: World | None = None, timing: Timing | None = None) -> None:
        self.clock = Clock()
        self.chance = random.Random(seed)
        self.world = world or World()
        self.timing = timing or Timing()
        self.machines: dict[str, Machine] = {}
        self.cut: set[frozenset[str]] = set()  # pairs that can't reach one another
        self.history: list[Life] = []
        self.watchers: list[Callable[[Machine, do.Effect], None]] = []
        self.bad_start: dict[tuple[str, str], str] = {}  # (node or "", image word) -> why it can't start
        self.bad_health: set[tuple[str, str]] = set()
        self.bad_life: dict[tuple[str, str], float] = {}
        self.steps = 0
        self._wanted: set[frozenset[str]] = set()

    # --- building and breaking ----------------------------------------------------------------------------------------

    def add(self, name: str) -> Machine:
        machine = self.machines[f"node/{name}"] = Machine(self, name)
        return machine

    def __getitem__(self, name: str) -> Machine:
        return self.machines[f"node/{name}"]

    def accept(self, via: str, *records: Document) -> None:
        """A client hands documents to one node."""
        for record in records:
            self[via].receive(record, "")

    def part(self, one: set[str], other: set[str]) -> None:
        """Cut the wires between two groups of names."""
        self.cut |= {frozenset((f"node/{a}", f"node/{b}")) for a in one for b in other if a != b}

    def heal(self) -> None:
        self.cut.clear()

    def run(self, seconds: float) -> None:
        self.clock.run_until(self.clock.now_s + seconds)

    # --- wires --------------------------------------------------------------------------------------------------------

    def spread(self, seconds: float) -> float:
        return seconds * (1 + (self.chance.random() if self.world.jitter_s else 0.0))

    def reaches(self, a: str, b: str) -> bool:
        return self.machines[a].on and b in self.machines and self.machines[b].on and frozenset((a, b)) not in self.cut

    def want_link(self, a: str, b: str) -> None:
        pair = frozenset((a, b))
        if pair not in self._wanted:
            self._wanted.add(pair)
            self._dial(a, b)

    def _dial(self, a: str, b: str) -> None:
        """Dialled for ever; a link whose wire is cut falls silent and is noticed."""
        one, two = self.machines[a], self.machines.get(b)
        if two is not None:
            up = self.reaches(a, b) and all(m.peers is not None and p in {x.node for x in m.peers.peers}
                                            for m, p in ((one, b), (two, a)))  # fmt: skip
            for m, p in ((one, b), (two, a)):
                other_side = a if p == b else b
                if up and p not in m.linked and m.on:
                    m.linked.add(p)
                    m.soon(self.world.latency_s, lambda m=m, p=p: m.step(ev.LinkUp(peer=p)))
                    m.soon(2 * self.world.latency_s, lambda m=m, p=p: self._tell_all(p, m))
                elif not up and p in m.linked:
                    self._silent(m, p, other_side)
        self.clock.after(self.world.dial_s + self.chance.random() * self.world.jitter_s, lambda: self._dial(a, b))

    def _silent(self, m: Machine, p: str, _: str) -> None:
        m.linked.discard(p)
        # Asked every dial_s: up to that much of the silence has passed already.
        m.soon(self.world.silence_s - self.world.dial_s / 2, lambda: m.step(ev.LinkDown(peer=p, why="silent"))
               if p not in m.linked else None)  # fmt: skip

    def send(self, sender: Machine, peer: str, record: Record) -> None:
        receiver = self.machines[peer]
        if self.world.loss and self.chance.random() < self.world.loss:
            return
        delay = self.world.latency_s + self.chance.random() * self.world.jitter_s
        source = sender.path

        def arrive() -> None:
            if self.reaches(source, peer):
                receiver.receive(record, source)

        receiver.soon(delay, arrive)

    def _tell_all(self, teller: str, listener: Machine) -> None:
        """Reconcile one direction: what the listener lacks arrives, now and again as long as they are linked."""
        if teller not in listener.linked or not self.reaches(teller, listener.path):
            return
        other = self.machines[teller]
        for record in (*other.older, *other.disk.values()):
            held = listener.disk.get(record.id)
            if (
                held is None
                or record.order > held.order
                or (isinstance(record, Document) and record not in listener.older)
            ):
                listener.receive(record, teller)
        if not self.machines[teller].on:
            return
        delay = self.world.reconcile_s * (0.75 + self.chance.random() / 2)
        listener.soon(delay, lambda: self._tell_all(teller, listener))

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
        if asker != watch.node and frozenset((asker, watch.node)) in self.cut:
            return False
        return any(c.address == watch.address and c.running and c.answers_s <= self.clock.now_s
                   for c in machine.containers.values())  # fmt: skip

    def happened(self, machine: Machine, effect: do.Effect) -> None:
        if not isinstance(effect, do.Wake) and not (isinstance(effect, do.Publish) and isinstance(effect.body, Up)):
            self.history.append(Life(self.clock.now_s, machine.path, effect))
        for watcher in self.watchers:
            watcher(machine, effect)
