"""Wires that can be cut one way, and links that break as TCP's do: half-open for some seconds, then dead on both sides.

A frame on a link may come late, twice, before those before it, or not at all, as far as the world says so: gossip promises to
live with each of these.
"""

from __future__ import annotations

from collections.abc import Collection

from skerry.sim.cluster import Cluster
from skerry.sim.lives.host import Host
from skerry.sim.machine import Machine
from skerry.sim.wires import Wires, wants


class OneWayWires(Wires):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._ways: set[tuple[str, str]] = set()  # (from, to): what one sends the other never gets
        self._deaf_s: dict[tuple[str, str], float] = {}  # (side, other): since when a linked side hears nothing
        self.frames = self.frame_bytes = 0

    def part(self, one: Collection[str], other: Collection[str]) -> None:
        for a in one:
            for b in other:
                if a != b:
                    self._ways |= {(f"node/{a}", f"node/{b}"), (f"node/{b}", f"node/{a}")}

    def cut(self, source: str, to: str) -> None:
        """One way only, names."""
        self._ways.add((f"node/{source}", f"node/{to}"))

    def heal(self) -> None:
        self._ways.clear()

    def open(self, a: str, b: str) -> bool:
        """Both ways, as every question with an answer needs."""
        return (a, b) not in self._ways and (b, a) not in self._ways

    def reaches(self, a: str, b: str) -> bool:
        machines = self._cluster.machines
        return super().reaches(a, b) and not any(isinstance(m, Host) and m.paused for m in (machines[a], machines[b]))

    def _look_after(self, a: str, b: str) -> None:
        if not self._is_well(a, b):
            self._mend(a, b)
        cluster = self._cluster
        pause = cluster.world.dial_s + cluster.chance.random() * cluster.world.jitter_s
        cluster.clock.after(pause, lambda: self._look_after(a, b))

    def _is_well(self, a: str, b: str) -> bool:
        """Nothing to do: as it most often is."""
        machines = self._cluster.machines
        one, other = machines.get(a), machines.get(b)
        if one is None or other is None or self._deaf_s:
            return False
        linked = one.linked.get(b) == other.life and other.linked.get(a) == one.life
        return linked and self.reaches(a, b) and wants(one, b) and wants(other, a)

    def _mend(self, a: str, b: str) -> None:
        cluster = self._cluster
        up = self.reaches(a, b) and wants(cluster.machines[a], b) and wants(cluster.machines[b], a)
        known = cluster.machines.keys()
        sides = [(cluster.machines[m], cluster.machines[o]) for m, o in ((a, b), (b, a)) if {m, o} <= known]
        linked = [machine for machine, other in sides if other.path in machine.linked]
        if up and len(linked) == 1:  # the other side has given this connection up: a new one takes its place
            other = b if linked[0].path == a else a
            del linked[0].linked[other]
            linked[0].unlinked(other, "replaced", goodbye=False)
        for machine, other_machine in sides:
            self._side(machine, other_machine, up)

    def _side(self, machine: Machine, other: Machine, up: bool) -> None:
        world, path, now_s = self._cluster.world, other.path, self._cluster.clock.now_s
        if not machine.on or (isinstance(machine, Host) and machine.paused):
            return
        if path in machine.linked and machine.linked[path] != other.life and other.on and self.open(machine.path, path):
            del machine.linked[path]  # it has started anew: the old connection is reset
            machine.unlinked(path, "reset", goodbye=True)
        if up:
            self._deaf_s.pop((machine.path, path), None)
            if path not in machine.linked:
                machine.linked[path] = other.life
                machine.soon(world.latency_s, lambda: machine.link_is_up(other) if path in machine.linked else None)
        elif path in machine.linked:
            since_s = self._deaf_s.setdefault((machine.path, path), now_s)
            if now_s - since_s >= world.silence_s - world.dial_s / 2:
                del machine.linked[path], self._deaf_s[machine.path, path]
                machine.unlinked(path, "silent", goodbye=False)
        else:
            self._deaf_s.pop((machine.path, path), None)

    def frame(self, sender: Machine, peer: str, data: bytes) -> None:
        self.frames += 1
        self.frame_bytes += len(data)
        cluster, world = self._cluster, self._cluster.world
        chance = cluster.chance
        if (sender.path, peer) in self._ways or (world.loss and chance.random() < world.loss):
            return
        receiver, source, link = cluster.machines[peer], sender.path, (sender.path, peer)
        delay = world.latency_s + chance.random() * world.jitter_s
        at_s = cluster.clock.now_s + delay
        if not world.overtake or chance.random() >= world.overtake:
            at_s = self._last[link] = max(self._last.get(link, 0.0), at_s)

        def arrive() -> None:
            if source in receiver.linked:
                receiver.heard(source, data)

        receiver.soon(at_s - cluster.clock.now_s, arrive)
        if world.twice and chance.random() < world.twice:
            receiver.soon(at_s - cluster.clock.now_s + delay, arrive)
