"""The pretended network: who reaches whom, links that are dialled for ever, records that come late, or not, or by reconciling."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from skerry.core import events as ev
from skerry.core.records import Document, Record

if TYPE_CHECKING:
    from skerry.sim.cluster import Cluster
    from skerry.sim.machine import Machine


class Wires:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._cut: set[frozenset[str]] = set()  # pairs that can't reach one another
        self._kept: set[frozenset[str]] = set()

    def part(self, one: Collection[str], other: Collection[str]) -> None:
        """Cut the wires between two groups of names."""
        self._cut |= {frozenset((f"node/{a}", f"node/{b}")) for a in one for b in other if a != b}

    def heal(self) -> None:
        self._cut.clear()

    def open(self, a: str, b: str) -> bool:
        return frozenset((a, b)) not in self._cut

    def reaches(self, a: str, b: str) -> bool:
        machines = self._cluster.machines
        return a in machines and b in machines and machines[a].on and machines[b].on and self.open(a, b)

    def keep(self, a: str, b: str) -> None:
        """Keep a link up from now on, whichever of the two asks."""
        pair = frozenset((a, b))
        if pair not in self._kept:
            self._kept.add(pair)
            self._look_after(a, b)

    def _look_after(self, a: str, b: str) -> None:
        cluster = self._cluster
        up = self.reaches(a, b) and _wants(cluster.machines[a], b) and _wants(cluster.machines[b], a)
        for mine, other in ((a, b), (b, a)):
            if mine in cluster.machines and other in cluster.machines:
                self._side(cluster.machines[mine], cluster.machines[other], up)
        pause = cluster.world.dial_s + cluster.chance.random() * cluster.world.jitter_s
        cluster.clock.after(pause, lambda: self._look_after(a, b))

    def _side(self, machine: Machine, other: Machine, up: bool) -> None:
        world, path = self._cluster.world, other.path
        if path in machine.linked and machine.linked[path] != other.life and self.open(machine.path, path) and other.on:
            del machine.linked[path]  # it has started anew: the old connection is reset
            machine.step(ev.LinkDown(peer=path, why="reset", goodbye=True))
        if up and path not in machine.linked:
            machine.linked[path] = other.life
            machine.tell(world.latency_s, ev.LinkUp(peer=path))
            machine.soon(2 * world.latency_s, lambda: self._reconcile(machine, other))
        elif not up and path in machine.linked:
            del machine.linked[path]

            def silent() -> None:
                if path not in machine.linked:
                    machine.step(ev.LinkDown(peer=path, why="silent"))

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

    def _reconcile(self, listener: Machine, teller: Machine) -> None:
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
        listener.soon(delay, lambda: self._reconcile(listener, teller) if teller.life == life else None)


def _wants(machine: Machine, other: str) -> bool:
    return machine.peers is not None and any(peer.node == other for peer in machine.peers.peers)
