"""What of a pretended machine goes on without its agent, and what makes it stand still: containers, guards, its own clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.node import NodeCore
from skerry.core.records import Slot

if TYPE_CHECKING:
    from skerry.sim.cluster import Cluster

GUARD_S = 0.1  # from the end of a lease to the death of what ran under it


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
    fencing: int = 0


class Still:
    """Half of a machine; the other half steps its core."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.containers: dict[str, Container] = {}
        self.core: NodeCore | None = None
        self.on = False
        self.life = 0
        self._wake_s = float("inf")
        self.rate = 1.0  # seconds of its monotonic clock in a second
        self.stopped = False  # its agent (SIGSTOP); its containers and guards go on
        self._ice = False  # all of it stands still, from outside, its clock as well
        self._counted = (0.0, 0.0)  # its clock stood at the second when the cluster's stood at the first
        self._waiting: list[Callable[[], None]] = []  # for a stopped agent
        self.guards: dict[Slot, do.Guard] = {}  # they outlive the agent
        self.fence: dict[Slot, do.Fenced] = {}

    def step(self, event: ev.Event) -> None:
        raise NotImplementedError

    def _do_wake(self, effect: do.Wake) -> None:
        raise NotImplementedError

    # --- its clock, and standing still --------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Of its own monotonic clock."""
        at_s, stood_s = self._counted
        return stood_s + (0.0 if self._ice else (self.cluster.clock.now_s - at_s) * self.rate)

    def until(self, at_s: float) -> float:
        """How long it is until then by that clock; seconds of the cluster's. A timer is never early."""
        exact = self.rate == 1.0 and not self._counted[0]
        return (at_s - self.now_s()) / self.rate + (0.0 if exact else 1e-6)

    @property
    def stands_still(self) -> bool:
        """Nothing goes on, not even what needs no agent."""
        return self._ice

    def set_rate(self, rate: float) -> None:
        self._counted, self.rate = (self.cluster.clock.now_s, self.now_s()), rate

    @property
    def answers(self) -> bool:
        return self.on and not self.stopped and not self._ice

    def stop_agent(self) -> None:
        """As by SIGSTOP: what comes waits, and all comes late."""
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        if not self._ice:
            waiting, self._waiting = self._waiting, []
            for act in waiting:
                act()

    def freeze(self) -> None:
        """The whole machine stands still, its guards and its clock too."""
        self._counted, self._ice = (self.cluster.clock.now_s, self.now_s()), True

    def thaw(self) -> None:
        self._counted, self._ice = (self.cluster.clock.now_s, self.now_s()), False
        for slot in list(self.guards):
            self._guard_later(slot)
        if (at_s := self._wake_s) < float("inf"):
            self._wake_s = float("inf")
            self._do_wake(do.Wake(at_s=at_s))
        self.go_on()

    # --- the guard: a process of its own ------------------------------------------------------------------------------

    def _do_guard(self, effect: do.Guard) -> None:
        if not effect.until_s:
            self.guards.pop(effect.slot, None)
            return
        self.guards[effect.slot] = effect
        self._guard_later(effect.slot)

    def _guard_later(self, slot: Slot) -> None:
        """A moment late, as a timer is: what it kills must be dead within the time that core leaves it."""
        self.cluster.clock.after(
            max(0.0, self.until(self.guards[slot].until_s)) + GUARD_S, lambda: self._guard_looks(slot)
        )

    def _is_guarded(self, container: Container) -> bool:
        guard = self.guards.get(container.slot)
        return guard is not None and guard.number == container.fencing and self.now_s() < guard.until_s

    def _guard_looks(self, slot: Slot) -> None:
        """Kills what has no time left, also while the agent does not run, or is stopped."""
        if self.stands_still:
            return
        for c in list(self.containers.values()):
            if c.slot == slot and c.fencing and c.running and not self._is_guarded(c):
                c.running, c.exit_code = False, 137
                if not c.stopping:
                    self.step(ev.ContainerExited(slot=c.slot, spec=c.spec, container=c.id, exit_code=137))

    def _do_fence(self, effect: do.Fence) -> None:
        self.fence = {fenced.slot: fenced for fenced in effect.leases}
