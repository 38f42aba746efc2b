"""One exclusive holder, by what really runs: containers, and the guards that end them. Core's own belief is not asked."""

from __future__ import annotations

from skerry.core import effects as do
from skerry.core.records import Slot
from skerry.sim.cluster import Cluster
from skerry.sim.machine import Machine
from skerry.sim.still import Container


class OneHolder:
    """Looks at every effect, and whenever a container begins."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.wrong: list[str] = []
        self.frozen: set[str] = (
            set()
        )  # machines that are, or were, frozen from outside: what runs there counts by fences alone
        self.starts: list[tuple[float, str, Slot, int]] = []
        self._fences: dict[
            tuple[str, int, Slot], int
        ] = {}  # of each life: one that starts anew knows what present voters tell
        self._numbers: dict[tuple[Slot, int], str] = {}
        cluster.watchers.append(self._see)
        cluster.begins.append(self._begun)

    def running(self, slot: Slot) -> list[tuple[Machine, Container]]:
        return [
            (m, c)
            for m in self.cluster.machines.values()
            for c in m.containers.values()
            if c.slot == slot and c.running
        ]

    def _begun(self, machine: Machine, container: Container) -> None:
        """Two at once are two from the moment in which the later one begins."""
        if not container.fencing:
            return
        found = sorted((m.path, c.fencing) for m, c in self.running(container.slot) if m.path not in self.frozen)
        if len(found) > 1:
            self._say(f"{container.slot} runs more than once: {found}")

    def _see(self, machine: Machine, effect: do.Effect) -> None:
        if isinstance(effect, do.Fence):
            for fenced in effect.leases:
                place = machine.path, machine.life, fenced.slot
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
            if guard is None or guard.number != effect.fencing or guard.until_s <= machine.now_s():
                self._say(f"{machine.path} starts {effect.slot} before its guard knows")

    def _say(self, what: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(f"{self.cluster.clock.now_s:.2f}: {what}")
