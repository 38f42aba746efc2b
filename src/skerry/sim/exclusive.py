"""One exclusive holder, by what really runs: containers, and the guards that end them. Core's own belief is not asked."""

from __future__ import annotations

from skerry.core import effects as do
from skerry.core.records import Slot
from skerry.sim.cluster import Cluster
from skerry.sim.machine import Container, Machine

LOOK_S = 0.01


class OneHolder:
    """Looks a hundred times a second, and at every effect. `gaps`: slot -> the longest time in which nothing of it served."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.wrong: list[str] = []
        self.frozen: set[str] = (
            set()
        )  # machines that are, or were, frozen from outside: what runs there counts by fences alone
        self.starts: list[tuple[float, str, Slot, int]] = []
        self._fences: dict[tuple[str, Slot], int] = {}
        self._numbers: dict[tuple[Slot, int], str] = {}
        cluster.watchers.append(self._see)
        self._look()

    def running(self, slot: Slot) -> list[tuple[Machine, Container]]:
        return [
            (m, c)
            for m in self.cluster.machines.values()
            for c in m.containers.values()
            if c.slot == slot and c.running
        ]

    def _look(self) -> None:
        holders: dict[Slot, list[tuple[str, int]]] = {}
        for machine in self.cluster.machines.values():
            for c in machine.containers.values():
                if c.running and c.fencing and machine.path not in self.frozen:
                    holders.setdefault(c.slot, []).append((machine.path, c.fencing))
        for slot, found in holders.items():
            if len(found) > 1:
                self._say(f"{slot} runs more than once: {sorted(found)}")
        self.cluster.clock.after(LOOK_S, self._look)

    def _see(self, machine: Machine, effect: do.Effect) -> None:
        if isinstance(effect, do.Fence):
            for fenced in effect.leases:
                place = machine.path, fenced.slot
                if fenced.number < self._fences.get(place, 0):
                    self._say(f"{machine.path} goes back to lease {fenced.number} of {fenced.slot}")
                self._fences[place] = fenced.number
        elif isinstance(effect, do.Start) and effect.service.exclusive:
            self.starts.append((self.cluster.clock.now_s, machine.path, effect.slot, effect.fencing))
            if not effect.fencing:
                self._say(f"{machine.path} starts {effect.slot} without a lease")
            other = self._numbers.setdefault((effect.slot, effect.fencing), machine.path)
            if other != machine.path:
                self._say(f"{other} and {machine.path} both had lease {effect.fencing} of {effect.slot}")
            guard = machine.guards.get(effect.slot)
            if guard is None or guard.number != effect.fencing or guard.until_s <= machine.mono_s():
                self._say(f"{machine.path} starts {effect.slot} before its guard knows")

    def _say(self, what: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(f"{self.cluster.clock.now_s:.2f}: {what}")
