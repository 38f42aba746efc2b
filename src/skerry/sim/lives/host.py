"""A whole machine that can be stopped for a while, whose clocks are wrong, and that says what it signs to who watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import FactBody
from skerry.core.records import Record
from skerry.sim.cluster import Cluster, World
from skerry.sim.machine import Machine
from skerry.sim.signing import Operator
from skerry.sim.whole import WholeMachine
from skerry.sim.wires import Wires
from skerry.trust import envelope

if TYPE_CHECKING:
    from skerry.core.timing import Timing


class Host(WholeMachine):
    """`rate`: how fast its monotonic clock runs. `paused`: nothing of the agent goes on, and of a frozen one nothing at all."""

    def __init__(self, cluster: LiveCluster, name: str, operator: Operator) -> None:
        super().__init__(cluster, name, operator)
        self.live = cluster
        self.rate = 1.0
        self.awake_s = 0.0
        self.frozen = False
        self.stood_still = False  # as a whole, at some time of its life
        self._held: list[Callable[[], None]] = []
        self.ever_captured = False

    @property
    def paused(self) -> bool:
        return self.on and self.cluster.clock.now_s < self.awake_s

    @property
    def stands_still(self) -> bool:
        return self.paused and self.frozen

    def now_s(self) -> float:
        return self.cluster.clock.now_s * self.rate

    def until(self, at_s: float) -> float:
        left_s = at_s / self.rate - self.cluster.clock.now_s
        return left_s + 1e-6 if self.rate != 1.0 else left_s  # never a hair too early for its own clock

    def pause(self, seconds: float, *, frozen: bool) -> None:
        """SIGSTOP of the agent, or all of the machine; links and containers find out by themselves."""
        self.awake_s, self.frozen = self.cluster.clock.now_s + seconds, frozen
        self.stood_still = self.stood_still or frozen
        until_s = self.awake_s
        self.cluster.clock.at(until_s, lambda: self.wake() if self.awake_s == until_s else None)

    def wake(self) -> None:
        """All that came meanwhile comes now, in its order."""
        self.awake_s = min(self.awake_s, self.cluster.clock.now_s)
        if self.frozen:
            self.frozen = False
            for slot in list(self.guards):
                self._guard_later(slot)
        held, self._held = self._held, []
        for then in held:
            then()

    def soon(self, delay_s: float, act: Callable[[], None]) -> None:
        life = self.life

        def then() -> None:
            if not self.on or self.life != life:
                return
            if self.paused:
                self._held.append(then)
            else:
                act()

        self.cluster.clock.after(delay_s, then)

    def boot(self) -> None:
        self.awake_s, self.clock_off_s = 0.0, self.skew_s
        super().boot()
        self.live.booted(self)

    def step(self, event: ev.Event) -> None:
        if self.paused:
            self.soon(0.0, lambda: self.step(event))
            return
        if type(event) is ev.RecordAccepted:
            self.live.accepted(self, event.record, event.source)
        super().step(event)

    def _do_publish(self, effect: do.Publish) -> None:
        """As agent/daemon.py: who was expelled ends; its containers are left as they are."""
        if self.trusted.enrolled(self.path) is None and self.path in self.trusted.nodes:
            self.soon(0.0, self.end_agent)
            return
        super()._do_publish(effect)

    def _sign(self, kind: str, key: str, seq: tuple[int, int], time_s: float, body: FactBody | None) -> bytes:
        raw = super()._sign(kind, key, seq, time_s, body)
        self.live.made.setdefault(self.path, set()).add(envelope.parse(raw).hash)
        return raw


class LiveCluster(Cluster):
    """`booters`, `believers`: who wants to know of starts, and of every record that a machine takes."""

    def __init__(
        self, seed: int, world: World, timing: Timing | None, operator: Operator, wires: Callable[[Cluster], Wires]
    ) -> None:
        self.made: dict[str, set[str]] = {}  # node -> hashes of the facts that it has signed
        self.booters: list[Callable[[Host], None]] = []
        self.believers: list[Callable[[Host, Record, str], None]] = []
        self.operator = operator
        super().__init__(seed, world, timing, make=self._host, wires=wires)

    def _host(self, cluster: Cluster, name: str) -> Machine:
        return Host(self, name, self.operator)

    def booted(self, host: Host) -> None:
        for tell in self.booters:
            tell(host)

    def accepted(self, host: Host, record: Record, source: str) -> None:
        for tell in self.believers:
            tell(host, record, source)

    def host(self, path: str) -> Host:
        found = self.machines[path]
        assert isinstance(found, Host)
        return found

    def hosts(self) -> list[Host]:
        return [machine for machine in self.machines.values() if isinstance(machine, Host)]

    def answers(self, asker: str, watch: do.Watch) -> bool:
        target = self.machines.get(watch.node)
        if isinstance(target, Host) and target.paused and target.frozen:
            return False
        return target is not None and super().answers(asker, watch)
