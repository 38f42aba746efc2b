"""The pretended network: who reaches whom, links that are dialled for ever, records that come late, or not, or by reconciling."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from skerry.core.records import Document, Record

if TYPE_CHECKING:
    from skerry.sim.cluster import Cluster
    from skerry.sim.machine import Machine


class Wires:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._cut: set[frozenset[str]] = set()  # pairs that can't reach one another
        self._one_way: set[tuple[str, str]] = set()  # nothing of the first reaches the second
        self._kept: set[frozenset[str]] = set()
        self._last: dict[tuple[str, str], float] = {}  # when the last frame from one to the other arrives

    def part(self, one: Collection[str], other: Collection[str]) -> None:
        """Cut the wires between two groups of names."""
        self._cut |= {frozenset((f"node/{a}", f"node/{b}")) for a in one for b in other if a != b}

    def part_one_way(self, one: str, other: str) -> None:
        """Nothing that `one` sends reaches `other`, and the other way all does."""
        self._one_way.add((f"node/{one}", f"node/{other}"))

    def heal(self) -> None:
        self._cut.clear()
        self._one_way.clear()

    def open(self, a: str, b: str) -> bool:
        """Whether what `a` sends reaches `b`."""
        return frozenset((a, b)) not in self._cut and (a, b) not in self._one_way

    def reaches(self, a: str, b: str) -> bool:
        """Whether there can be a connection: it takes both directions."""
        machines = self._cluster.machines
        if a not in machines or b not in machines or not (machines[a].answers and machines[b].answers):
            return False
        return self.open(a, b) and self.open(b, a)

    def keep(self, a: str, b: str) -> None:
        """Keep a link up from now on, whichever of the two asks."""
        pair = frozenset((a, b))
        if pair not in self._kept:
            self._kept.add(pair)
            self._look_after(a, b)

    def _look_after(self, a: str, b: str) -> None:
        cluster = self._cluster
        up = self.reaches(a, b) and wants(cluster.machines[a], b) and wants(cluster.machines[b], a)
        for mine, other in ((a, b), (b, a)):
            if mine in cluster.machines and other in cluster.machines:
                self._side(cluster.machines[mine], cluster.machines[other], up)
        pause = cluster.world.dial_s + cluster.chance.random() * cluster.world.jitter_s
        cluster.clock.after(pause, lambda: self._look_after(a, b))

    def _side(self, machine: Machine, other: Machine, up: bool) -> None:
        world, path = self._cluster.world, other.path
        if path in machine.linked and machine.linked[path] != other.life and self.open(machine.path, path) and other.on:
            del machine.linked[path]  # it has started anew: the old connection is reset
            machine.unlinked(path, "reset", goodbye=True)
        if up and path not in machine.linked:
            machine.linked[path] = other.life
            machine.soon(world.latency_s, lambda: machine.link_is_up(other))
        elif not up and path in machine.linked:
            del machine.linked[path]

            def silent() -> None:
                if path not in machine.linked:
                    machine.unlinked(path, "silent", goodbye=False)

            # Looked at every dial_s: so much of the silence has passed already, on average half.
            machine.soon(world.silence_s - world.dial_s / 2, silent)

    def send(self, sender: Machine, peer: str, record: Record) -> None:
        world, receiver, source = self._cluster.world, self._cluster.machines[peer], sender.path
        if world.loss and self._cluster.chance.random() < world.loss:
            return

        def arrive() -> None:
            if self.open(source, peer):
                receiver.receive(record, source)

        receiver.soon(world.latency_s + self._cluster.chance.random() * world.jitter_s, arrive)

    def frame(self, sender: Machine, peer: str, data: bytes) -> None:
        """One frame of a link: it arrives whole and after those before it, or, by the world's loss, not at all."""
        cluster = self._cluster
        if cluster.world.loss and cluster.chance.random() < cluster.world.loss:
            return
        receiver, source, link = cluster.machines[peer], sender.path, (sender.path, peer)
        delay = cluster.world.latency_s + cluster.chance.random() * cluster.world.jitter_s
        at_s = self._last[link] = max(self._last.get(link, 0.0), cluster.clock.now_s + delay)

        def arrive() -> None:
            if self.open(source, peer) and source in receiver.linked:
                receiver.heard(source, data)

        receiver.soon(at_s - cluster.clock.now_s, arrive)

    def reconcile(self, listener: Machine, teller: Machine) -> None:
        """What the listener lacks arrives, now and again as long as they are linked."""
        if teller.path not in listener.linked or not self.reaches(teller.path, listener.path):
            return
        for record in (*teller.older, *teller.disk.values()):
            held = listener.disk.get(record.id)
            if held is record:
                continue
            named = isinstance(record, Document) and held is not None and record.hash != held.hash
            if held is None or record.order > held.order or (named and record not in listener.older):
                listener.receive(record, teller.path)
        delay = self._cluster.world.reconcile_s * (0.75 + self._cluster.chance.random() / 2)
        life = teller.life
        listener.soon(delay, lambda: self.reconcile(listener, teller) if teller.life == life else None)


def wants(machine: Machine, other: str) -> bool:
    return machine.peers is not None and any(peer.node == other for peer in machine.peers.peers)
