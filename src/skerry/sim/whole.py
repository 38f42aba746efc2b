"""A machine with the whole way of a record in it: the agent's own door, links and author, real trust, real gossip.

Pretended are the disk under them, the wires between them and the clock; what crosses a wire are the bytes of real frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, cast

import msgspec

from skerry.agent.door import Door
from skerry.agent.links import TURN_S, Links
from skerry.agent.loop import Author
from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import FactBody, Up
from skerry.core.gossip import Gossip, heads_digest
from skerry.core.intent import Policy
from skerry.core.records import Document, Record
from skerry.errors import TrustRefusal
from skerry.mesh.links import Mesh
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster, World
from skerry.sim.disk import Disk
from skerry.sim.machine import CLOCK_AT_ZERO, Machine
from skerry.sim.signing import Operator, keys_of
from skerry.store.records import RecordStore
from skerry.trust import envelope
from skerry.trust.accept import Trusted
from skerry.trust.documents import sign_fact

ANSWER_S = 0.3  # to find out that somebody can't be reached


class PretendedMesh:
    """What the agent's links need of a mesh. A link that was cut for what it sent stays away for a while."""

    def __init__(self, machine: WholeMachine) -> None:
        self._machine = machine

    def send(self, peer: str, data: bytes) -> bool:
        if peer in self._machine.linked and not self._machine.mute:
            self._machine.cluster.wires.frame(self._machine, peer, data)
        return True

    def cut(self, peer: str, why: str) -> None:
        self._machine.cut(peer)

    async def reach(self, peer: str, timeout_s: float) -> bool:
        return self._machine.mute or self._machine.cluster.wires.reaches(self._machine.path, peer)


class WholeMachine(Machine):
    """`skew_s`: how much its wall clock is ahead. `operator`: whose cloud it belongs to."""

    def __init__(self, cluster: Cluster, name: str, operator: Operator) -> None:
        super().__init__(cluster, name)
        self.operator = operator
        self.signer = keys_of(self.path).signer
        self.records = Disk(self.now_s)
        self.skew_s = 0.0
        self.captured = False
        self.mute = False  # captured: passes on nothing, and answers that everybody is well
        self.refusals: list[str] = []  # of what neighbours brought
        self.cuts: list[tuple[float, str]] = []  # links that this machine closed for what came over them
        self._events: deque[ev.Event] = deque()
        self._stepping = False

    def wall_s(self) -> float:
        return CLOCK_AT_ZERO + self.cluster.clock.now_s + self.skew_s

    # --- life: as agent/daemon.py puts an agent together -----------------------------------------------------------------

    def boot(self) -> None:
        self.trusted = Trusted(self.operator.cloud)
        self.gossip = Gossip(self.path)
        self.door = Door(
            self.trusted, cast(RecordStore, self.records), self.gossip, wall_s=self.wall_s, now_s=self.now_s,
            post=self._post, send=lambda sends: self.links.carry(sends), report=lambda *event: None,
        )  # fmt: skip
        self.links = Links(
            cast(Mesh, PretendedMesh(self)), self.gossip, self.door, now_s=self.now_s, wall_s=self.wall_s, post=self._post,
            note=lambda kind, subject, reason: self.refusals.append(f"{subject}: {reason}"), spawn=self._spawn,
            soon=lambda act: self.soon(0.0, act), bundle=lambda peer, message: None,
        )  # fmt: skip
        self.author = Author(self._sign, self.boots + 1, self.wall_s, self.door.offer, self._post)
        self._events.clear()
        super().boot()
        self._tick()

    def _load(self) -> None:
        self.door.load()

    def power_cut(self) -> None:
        super().power_cut()
        self.records.lose_power(self.cluster.chance)

    def lose_disk(self) -> None:
        """Nothing of it comes back: its keys are gone as well."""
        super().power_cut()
        self.records = Disk(self.now_s)
        self.images.clear()
        self.initialised.clear()

    def lose_records(self) -> None:
        """The database is damaged. The spare copy of who belongs to the cloud is there; the host is new again."""
        self.records, self.new = self.records.members(), True

    def _tick(self) -> None:
        self.links.look_round()
        self.soon(max(0.05, self.gossip.next_s - self.now_s()), self._tick)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        def go() -> None:
            try:
                work.send(None)
            except StopIteration:
                return
            raise AssertionError("it waits for something that only an event loop has")

        self.cluster.clock.after(ANSWER_S, lambda: go() if self.on else work.close())

    # --- events and facts ----------------------------------------------------------------------------------------------

    def _post(self, event: ev.Event) -> None:
        self.step(event)  # looked up anew each time: one that is captured has another

    def step(self, event: ev.Event) -> None:
        """One at a time, in the order in which they came, as agent/loop.py does."""
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                super().step(self._events.popleft())
        finally:
            self._stepping = False

    def _do_publish(self, effect: do.Publish) -> None:
        self.author.publish(effect)

    def _sign(self, kind: str, key: str, seq: tuple[int, int], time_s: float, body: FactBody | None) -> bytes:
        if isinstance(body, Up):
            heads = heads_digest({path: head[2] for path, head in self.trusted.heads().items()})
            body = msgspec.structs.replace(body, heads=heads, clock=time_s)
        return sign_fact(self.signer, self.operator.cloud, self.path, kind, key, seq, time_s, body)

    # --- links ---------------------------------------------------------------------------------------------------------

    def link_is_up(self, other: Machine) -> None:
        self.links.changed(other.path, True, "", False)
        if self.new:
            self.soon(self.cluster.spread(2 * self.cluster.world.latency_s), lambda: self._compare(other))

    def _compare(self, other: Machine) -> None:
        """As agent/newcomer.py: who is new asks before it claims. Of those asked one has to be honest."""
        assert isinstance(other, WholeMachine)
        if not self.new or other.captured or not other.on or not self.cluster.wires.reaches(self.path, other.path):
            return
        ours = {path: head[:2] for path, head in self.trusted.heads().items()}
        for raw in (*other.door.newer_than(ours), *other.door.told_of_slots()):
            try:
                self.door.offer(raw)
            except TrustRefusal as refusal:
                self.links.refused(refusal, other.path)
        self.new = False
        self.step(ev.CaughtUp())

    def unlinked(self, peer: str, why: str, *, goodbye: bool) -> None:
        self.links.changed(peer, False, why, goodbye)

    def heard(self, peer: str, data: bytes) -> None:
        while (pause_s := self.links.heard(peer, data)) == TURN_S:
            pass  # others would get their turn now; here nobody waits
        if pause_s:
            self.soon(pause_s, lambda: self.heard(peer, data) if peer in self.linked else None)

    def cut(self, peer: str) -> None:
        """The agent closes this link; the wires will make it anew, as two agents do."""
        if peer not in self.linked:
            return
        self.cuts.append((self.now_s(), peer))
        del self.linked[peer]
        self.soon(0.0, lambda: self.unlinked(peer, "it sent what is forged", goodbye=False))
        other = self.cluster.machines[peer]
        if self.path in other.linked:
            del other.linked[self.path]
            other.soon(self.cluster.world.latency_s, lambda: other.unlinked(self.path, "closed by it", goodbye=True))

    def _do_probepeer(self, effect: do.ProbePeer) -> None:
        self.links.ask_reach(effect.peer, effect.via)

    def document(self, path: str) -> Document | None:
        return self.trusted.document(path)

    # --- documents -----------------------------------------------------------------------------------------------------

    def receive(self, record: Record, source: str) -> None:
        """A client hands over a document: signed on the spot, over what this node holds. Raises TrustRefusal."""
        assert isinstance(record, Document) and not source
        self.hand_over(record)

    def hand_over(self, document: Document) -> Document | None:
        """As serve.put: judged, synced, and synced by a neighbour. Gives what was accepted, None if it was there."""
        held = self.trusted.document(document.path)
        version = held.version + 1 if held is not None else 1
        if isinstance(document.body, Policy) and held is not None and isinstance(held.body, Policy):
            document = msgspec.structs.replace(document, body=_with_roles(document.body, held.body))
        document = msgspec.structs.replace(document, version=version)
        issued = max(self.wall_s() - self.skew_s, held.issued + 0.001 if held is not None else 0.0)
        raw = self.operator.sign(document, prev=held.hash if held is not None else "", issued=issued)
        record = self.door.offer(raw, from_client=True)
        for peer in sorted(self.linked):
            other = self.cluster.machines[peer]
            if isinstance(other, WholeMachine) and other.on and self.cluster.wires.reaches(self.path, peer):
                try:
                    other.door.offer(raw)
                except TrustRefusal:
                    continue
                break
        assert record is None or isinstance(record, Document)
        return record


def _with_roles(body: Policy, held: Policy) -> Policy:
    """What a simulated policy says is who votes; who may sign what stays as it is."""
    now = body.voters, body.voters_before, body.voting
    return msgspec.structs.replace(held, voters=now[0], voters_before=now[1], voting=now[2])


def whole_cluster_of(count: int, seed: int = 0, world: World | None = None) -> Cluster:
    """As scenario.cluster_of: `count` enrolled nodes, booted and linked; the clock stands at 25 s."""
    operator = Operator(CLOCK_AT_ZERO)
    cluster = Cluster(seed, world, make=lambda cluster, name: WholeMachine(cluster, name, operator))
    enrolments = [docs.node(f"vps-{i}") for i in range(1, count + 1)]
    first = operator.first | {d.path: operator.sign(d, prev="", issued=CLOCK_AT_ZERO - 40) for d in enrolments}
    for i in range(1, count + 1):
        machine = cluster.add(f"vps-{i}")
        assert isinstance(machine, WholeMachine)
        for path, raw in first.items():
            machine.records.put(path, raw, hash=envelope.parse(raw).hash, sync=True)
        machine.boot()
    cluster.run(25.0)
    return cluster
