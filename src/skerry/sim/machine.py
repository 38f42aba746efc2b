"""One pretended machine: a disk that survives, containers, and a real core while its agent runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.intent import Node
from skerry.core.node import NodeCore
from skerry.core.records import Document, Fact, Record, Slot, is_direct
from skerry.sim.documents import word_of
from skerry.sim.still import Container, Still
from skerry.trust import checks_fact

if TYPE_CHECKING:
    from skerry.sim.cluster import Cluster

CLOCK_AT_ZERO = 1_800_000_000.0


class Letter(NamedTuple):
    """One alert of those that a receiver got."""

    rule: str
    subject: str
    round: int
    over: bool
    since: float
    why: str
    to: tuple[str, ...]
    seen_by: int
    fixed: int


class Machine(Still):
    """One node: its disk, its containers, its core while the agent runs."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(cluster)
        self.path = f"node/{name}"
        self.disk: dict[str, Record] = {}
        self.older: list[Document] = []
        self.images: set[str] = set()
        self.called_off: set[str] = set()  # containers that were stopped, some of them before they were made
        self.initialised: set[Slot] = set()  # their volumes hold data
        self.boots = 0
        self.new = False  # it has not yet compared with anybody what it was given
        self.booted_s = 0.0
        self.cpus, self.memory_bytes = 2.0, 1 << 30
        self.clock_off_s = 0.0  # of the wall clock by which it counts steps, from its next start on
        self.number = int("".join(filter(str.isdigit, name)) or 0)  # of its /24
        self.network = "10.77"  # in which that is
        self.linked: dict[str, int] = {}  # neighbour -> its life when we linked
        self.route: do.Route | None = None
        self.gauges: tuple[do.Gauge, ...] = ()
        self.peers: do.Peers | None = None
        self.watches: dict[tuple[Slot, str, str], tuple[do.Watch, bool | None]] = {}
        self._n = 0
        self._ids = 0
        self._seen: dict[str, tuple[int, int, float, str]] = {}

    # --- life ---------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on, or start the agent anew. Containers that still run are adopted."""
        self.on, self.boots, self.life, self._n = True, self.boots + 1, self.life + 1, 0
        self.booted_s = self.cluster.clock.now_s
        enrolment = self.disk.get(self.path)
        if isinstance(enrolment, Document) and isinstance(enrolment.body, Node):
            self.cluster.keys[self.path, self.boots] = enrolment.body.signing
        self.core = NodeCore(self.cluster.timing)
        self.linked, self.watches, self.route, self.gauges = {}, {}, None, ()
        now = self.cluster.clock.now_s
        self.fence = {}
        self.step(ev.Booted(node=self.path, boot=self.boots, cpus=self.cpus, memory_bytes=self.memory_bytes,
                            agent="sim", clock=CLOCK_AT_ZERO + self.clock_off_s + now, new=self.new))  # fmt: skip
        self._load()
        for c in list(self.containers.values()):
            if not c.stopping:
                self.step(ev.ContainerFound(slot=c.slot, spec=c.spec, image=c.image, address=c.address, container=c.id,
                                            running=c.running, exit_code=c.exit_code))  # fmt: skip
            else:
                del self.containers[c.id]
        for image in sorted(self.images):
            self.step(self._image_event(image))
        self.step(ev.Timer())

    def _image_event(self, image: str) -> ev.ImageReady:
        return ev.ImageReady(image=image)

    def end_agent(self) -> None:
        """The agent's process ends; containers run on. Neighbours see the links close."""
        self._off()
        for other in self.cluster.machines.values():
            if self.path in other.linked and self.cluster.wires.open(self.path, other.path):
                del other.linked[self.path]
                other.soon(0.003, lambda other=other: other.unlinked(self.path, "closed", goodbye=True))  # type: ignore[misc]

    def document(self, path: str) -> Document | None:
        """The newest that it holds."""
        held = self.disk.get(path)
        return held if isinstance(held, Document) else None

    def _load(self) -> None:
        for record in (*self.older, *self.disk.values()):
            self.step(ev.RecordAccepted(record=record, from_disk=True))

    def power_cut(self) -> None:
        """All is lost but the disk. Nobody is told."""
        self._off()
        self.containers.clear()
        self.guards.clear()

    def _off(self) -> None:
        if self.stands_still:
            self.thaw()
        self.stopped = False
        self._waiting.clear()
        self.on, self.core, self.life = False, None, self.life + 1
        self.linked, self._wake_s = {}, float("inf")

    def tell(self, delay_s: float, event: ev.Event) -> None:
        self.soon(delay_s, lambda: self.step(event))

    def soon(self, delay_s: float, act: Callable[[], None]) -> None:
        """Later, if this agent still runs then."""
        life = self.life

        def then() -> None:
            if self.on and self.life == life:
                act()

        self.cluster.clock.after(delay_s, then)

    # --- links --------------------------------------------------------------------------------------------------------

    def link_is_up(self, other: Machine) -> None:
        self.step(ev.LinkUp(peer=other.path))
        self.soon(self.cluster.world.latency_s, lambda: self.cluster.wires.reconcile(self, other))

    def unlinked(self, peer: str, why: str, *, goodbye: bool) -> None:
        self.step(ev.LinkDown(peer=peer, why=why, goodbye=goodbye))

    def heard(self, peer: str, data: bytes) -> None:
        """Frames are for machines with a whole agent (sim/whole.py)."""

    # --- events in, effects out ---------------------------------------------------------------------------------------

    def step(self, event: ev.Event) -> None:
        if self.core is None:
            return
        if self.stopped or self.stands_still:
            life = self.life
            self._waiting.append(lambda: self.step(event) if self.life == life else None)
            return
        now = self.now_s()
        self.cluster.steps += 1
        effects = self.core.step(event, now)
        if len(effects) > 1:  # facts first, as agent/loop.py does: a claim is on disk before anything is done about it
            effects.sort(key=lambda effect: not isinstance(effect, do.Publish))
        for effect in effects:
            self.cluster.happened(self, effect)
            handler = getattr(self, _handler(type(effect)), None)
            if handler is not None:
                handler(effect)

    def _do_wake(self, effect: do.Wake) -> None:
        if self._wake_s == effect.at_s:
            return  # it will ring then
        self._wake_s = effect.at_s

        def ring() -> None:
            if self._wake_s == effect.at_s and not self.stands_still:
                self._wake_s = float("inf")
                self.step(ev.Timer())

        self.soon(self.until(effect.at_s), ring)

    def _do_publish(self, effect: do.Publish) -> None:
        self._n += 1
        fact = Fact(node=self.path, kind=effect.kind, key=effect.key, seq=(self.boots, self._n),
                    time=CLOCK_AT_ZERO + self.cluster.clock.now_s, body=effect.body)  # fmt: skip
        if (enrolment := self.disk.get(self.path)) is not None:
            assert isinstance(enrolment, Document) and isinstance(enrolment.body, Node)
            checks_fact.fact(fact, enrolment.body)  # what our own trust refuses is a bug of core, and ends an agent
        self.disk[fact.id] = fact
        self.push(fact, "", effect.to)
        self.soon(0.0, lambda: self.step(ev.RecordAccepted(record=fact)))

    def push(self, record: Record, source: str, to: tuple[str, ...] = ()) -> None:
        direct = is_direct(record)
        relays = not (isinstance(record, Fact) and record.kind == "up") or record.node == self.path
        for peer in sorted(self.linked):
            if peer != source and relays and (not direct or peer in to):
                self.cluster.wires.send(self, peer, record)

    def receive(self, record: Record, source: str) -> None:
        """As trust and the store do: newer ones are kept, passed on, and told to core."""
        if self.stopped or self.stands_still:
            life = self.life
            self._waiting.append(lambda: self.receive(record, source) if self.life == life else None)
            return
        if not self._is_of_an_enrolled_key(record):
            return
        held = self.disk.get(record.id)
        if held is not None and record.order <= held.order:
            if isinstance(record, Document) and record.hash != held.hash and record not in self.older:
                self.older.append(record)
                self.step(ev.RecordAccepted(record=record, source=source))
            return
        if isinstance(held, Document):
            self.older.append(held)
        self.disk[record.id] = record
        if record.kind == "node":  # what another key said under this path goes, as in agent/door.py
            self.disk = {id: held for id, held in self.disk.items() if self._is_of_an_enrolled_key(held)}
        self.push(record, source)
        self.step(ev.RecordAccepted(record=record, source=source))

    def _is_of_an_enrolled_key(self, record: Record) -> bool:
        """Facts count from the key that a node is enrolled with now, as trust/accept.py has it."""
        enrolment = self.disk.get(record.node) if isinstance(record, Fact) else None
        if not isinstance(record, Fact) or not isinstance(enrolment, Document) or not isinstance(enrolment.body, Node):
            return True
        key = self.cluster.keys.get((record.node, record.seq[0]), enrolment.body.signing)
        return enrolment.body.state != "expelled" and key == enrolment.body.signing

    # --- containers ---------------------------------------------------------------------------------------------------

    def _do_start(self, effect: do.Start) -> None:
        trouble = self.cluster.start_trouble(self.path, word_of(effect.image))
        self._ids += 1
        container = Container(id=f"{self.boots}-{self._ids}", slot=effect.slot, spec=effect.spec, image=effect.image,
                              address=f"{self.network}.{self.number}.{2 + self._ids % 250}", fencing=effect.fencing)  # fmt: skip
        if not {effect.image, effect.init} <= {*self.images, ""}:
            raise AssertionError(f"{self.path} starts {effect.slot} without its images")
        if trouble:
            self.soon(self.cluster.world.start_s, lambda: self.step(
                ev.StartFailed(slot=effect.slot, spec=effect.spec, why=trouble, passing=False)))  # fmt: skip
            return
        if effect.init and effect.slot not in self.initialised:
            self._init(effect, container)
        else:
            self._begin(effect, container)

    def _init(self, effect: do.Start, container: Container) -> None:
        """Its data is made first; where there is no volume that is so at each start."""
        self.tell(0.0, ev.Initialising(slot=effect.slot, spec=effect.spec, container=container.id))

        def made() -> None:
            if container.id in self.called_off:
                return
            if trouble := self.cluster.start_trouble(self.path, word_of(effect.init)):
                self.step(ev.StartFailed(slot=effect.slot, spec=effect.spec, why=trouble))
                return
            if effect.service.volumes:
                self.initialised.add(effect.slot)
            self._begin(effect, container)

        self.soon(self.cluster.spread(self.cluster.world.init_s), made)

    def _begin(self, effect: do.Start, container: Container) -> None:
        def begin() -> None:
            if container.id in self.called_off:
                return
            now = self.cluster.clock.now_s
            ill = self.cluster.ill(self.path, word_of(effect.image))
            if container.fencing and not self._is_guarded(container):
                self.step(ev.StartFailed(slot=effect.slot, spec=effect.spec, why="its lease has ended"))
                return
            container.answers_s = now + (1e9 if ill else self.cluster.world.first_answer_s)
            self.containers[container.id] = container
            for told in self.cluster.begins:
                told(self, container)
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
        self.called_off.add(effect.container)

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

    # --- figures ------------------------------------------------------------------------------------------------------

    def _do_measure(self, effect: do.Measure) -> None:
        self.gauges = effect.gauges
        for gauge in effect.gauges:
            self._at_the_end_of_its_step(gauge)

    def _at_the_end_of_its_step(self, gauge: do.Gauge) -> None:
        now_s = CLOCK_AT_ZERO + self.clock_off_s + self.cluster.clock.now_s
        step = math.floor(now_s / gauge.step_s)

        def tell() -> None:
            if gauge in self.gauges:
                load = self.cluster.loads.get((gauge.app, gauge.service))
                connections = self._share(gauge) * load(self.cluster.clock.now_s) if load is not None else 0.0
                self._at_the_end_of_its_step(gauge)
                self.step(ev.Measured(app=gauge.app, service=gauge.service, step_s=gauge.step_s, step=step,
                                      cpu=connections / 100, connections=connections, fresh=math.ceil(connections)))  # fmt: skip

        self.soon((step + 1) * gauge.step_s - now_s + self.cluster.spread(0.005), tell)

    def _share(self, gauge: do.Gauge) -> float:
        """Of what the service has to do: its replicas have the same each."""
        well = [
            machine
            for machine in self.cluster.machines.values()
            for c in machine.containers.values()
            if c.slot[:2] == (gauge.app, gauge.service) and c.running and c.answers_s <= self.cluster.clock.now_s
        ]
        return well.count(self) / len(well) if well else 0.0

    # --- alerts -------------------------------------------------------------------------------------------------------

    def _do_sendalert(self, effect: do.SendAlert) -> None:
        self.soon(self.cluster.world.letter_s, lambda: self._letter(effect))

    def _letter(self, effect: do.SendAlert) -> None:
        fatal = self.cluster.fatal.pop(self.path, "")
        if fatal == "before":
            self.power_cut()
            return
        taken = tuple(name for name in effect.to if name not in self.cluster.deaf)
        if taken:
            self.cluster.posted += 1
            for told in effect.about or (do.Told(subject="", round=0),):
                told_of = effect.rule, told.subject, told.round, effect.over, told.since, told.why
                letter = Letter(*told_of, effect.to, effect.seen_by, effect.fixed)
                self.cluster.letters.append((self.cluster.clock.now_s, self.path, letter))
        if fatal == "after":
            self.power_cut()
            return
        failed = {name: "no answer" for name in effect.to if name not in taken}
        about = tuple((told.subject, told.round) for told in effect.about)
        self.step(ev.AlertAnswered(effect.rule, about, effect.over, taken, failed))

    # --- neighbours ---------------------------------------------------------------------------------------------------

    def _do_peers(self, effect: do.Peers) -> None:
        self.peers = effect
        for peer in effect.dial:
            self.cluster.wires.keep(self.path, peer)

    def _do_probepeer(self, effect: do.ProbePeer) -> None:
        """Asks `via`, which answers by what it can reach just now."""
        if not self.cluster.wires.reaches(self.path, effect.via):
            return
        ok = self.cluster.wires.reaches(effect.via, effect.peer)
        delay = 3 * self.cluster.world.latency_s + (0.0 if ok else 0.3)
        self.soon(delay, lambda: self.step(ev.PeerReached(peer=effect.peer, via=effect.via, ok=ok)))


@lru_cache
def _handler(of: type[do.Effect]) -> str:
    return f"_do_{of.__name__.lower()}"
