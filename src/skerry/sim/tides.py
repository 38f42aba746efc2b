"""A random life of a cloud whose services follow the load: it rises and falls, machines come and go, one of them lies.

What must hold: how many replicas are wanted is within the bounds that operators signed, on every node and at every moment; once the
load and the cloud are quiet all nodes come to one number, the one that the load needs, and turn round on the way at most once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import msgspec

from skerry.core import effects as do
from skerry.core.facts import Load, Wish
from skerry.core.intent import App, Scale, Service
from skerry.core.scaling import RING_STEPS
from skerry.sim import documents as docs
from skerry.sim.machine import Machine
from skerry.sim.scenario import Scenario

PER_REPLICA = 50
SPARE = 0.9  # the rule may leave so much room
EVERY_S = 0.7  # a liar's sentences
UNDER_WAY_S = 15.0  # by then keepers have no fresh figures to wish by, and records that were lost have been brought


class Tides(Scenario):
    """`web`, and sometimes `api`, follow the load; the rest is as in Scenario."""

    def __init__(self, seed: int, *, faults: int = 6, most_nodes: int = 5, whole: bool = False) -> None:
        super().__init__(seed, faults=faults, most_nodes=most_nodes, whole=whole)
        self.liar = ""
        self.misses: list[str] = []  # what was wrong with numbers once all was quiet
        self.outside: dict[str, None] = {}  # sentences about numbers out of bounds
        self.turns: dict[
            tuple[str, str, str], list[int]
        ] = {}  # (node, app, service) -> its numbers since the quiet began
        self.cluster.watchers.append(self._see)

    def _services(self) -> dict[str, Service]:
        services = super()._services()
        for name in ("web", "api") if self.chance.random() < 0.5 else ("web",):
            if name in services:
                services[name] = msgspec.structs.replace(services[name], scale=self._scale(), replicas=2)
        return services

    def _scale(self) -> Scale:
        low = self.chance.randint(1, 2)
        step_s = self.chance.choice([1.0, 2.0])
        return Scale(
            min=low, max=low + self.chance.randint(0, 5), connections=PER_REPLICA, step_s=step_s,
            up_s=step_s * self.chance.choice([0, 0, 2]), down_s=step_s * self.chance.choice([3, 10, 20]),
        )  # fmt: skip

    def _acts(self) -> list[Callable[[], None]]:
        return [*super()._acts(), self.tide, self.tide, self.tide, self.set_clock, self.lie]

    # --- what may happen ------------------------------------------------------------------------------------------------

    def tide(self) -> None:
        for name, service in self.services.items():
            if service.scale is not None:
                level = self.chance.choice([0, 10, 60, 130, 260, 1000]) * (0.5 + self.chance.random())
                self.say(f"{level:.0f} connections to {name}")
                self.cluster.loads["shop", name] = lambda now_s, level=level: level  # type: ignore[misc]

    def scale(self) -> None:
        """An operator sets other bounds."""
        via = self._some(True)
        if via is not None:
            self.services["web"] = msgspec.structs.replace(self.services["web"], scale=self._scale())
            scale = self.services["web"].scale
            assert scale is not None
            self.apps.append(docs.app("shop", self.services, version=len(self.apps) + 1, volumes={"data": False}))
            self.say(f"web is to be {scale.min} to {scale.max} via {via}")
            self._hand_over(via, self.apps[-1])

    def set_clock(self) -> None:
        """One machine counts other steps than the others."""
        name = self._some(True)
        if name is not None and not any(machine.clock_off_s for machine in self.cluster.machines.values()):
            machine = self.cluster[name]
            machine.clock_off_s = self.chance.choice([-3600.0, -1.3, 1.3, 3600.0])
            self.say(f"the clock of {name} is off by {machine.clock_off_s} s from its next start on")
            machine.end_agent()
            machine.boot()

    def lie(self) -> None:
        """One node of at least three wishes and tells what it likes, until the end. Its containers stay as they are."""
        name = self._some(True)
        if name is None or self.liar or len(self.names) < 3 or self.whole:
            return
        self.liar = name
        self.say(f"{name} begins to lie")
        self._tell_lies()

    def _tell_lies(self) -> None:
        machine, chance = self.cluster[self.liar], self.chance
        if machine.on:
            wish = Wish(replicas=chance.choice([0, 1, 9, 1000]), step=chance.choice([0, 10**12]))
            machine._do_publish(do.Publish(kind="wish", key="shop.web", body=wish))
        self.cluster.clock.after(EVERY_S, self._tell_lies)

    # --- what must hold ---------------------------------------------------------------------------------------------------

    def _see(self, machine: Machine, effect: do.Effect) -> None:
        if machine.core is None or isinstance(effect, do.Wake):
            return
        s = machine.core._s
        app = s.known.body("app/shop", App)
        for key, number in s.wishing.numbers.items():
            service = app.services.get(key[1]) if app is not None else None
            scale = service.scale if service is not None else None
            due = "shop" in s.apps_due  # the newest document has come, and is looked at next
            if scale is not None and not due and not scale.min <= number.replicas <= scale.max:
                self.outside[
                    f"{machine.path} wants {number.replicas} of {key[1]}: {scale.min} to {scale.max} are allowed"
                ] = None
        if isinstance(effect, do.Note) and effect.kind == "scaled":
            self.turns.setdefault((machine.path, *_key(effect.subject)), []).append(int(effect.reason.split()[2]))
        if isinstance(effect, do.Publish) and effect.kind == "load" and isinstance(effect.body, Load):
            assert len(effect.body.cpu) <= 60

    def peace(self) -> None:
        super().peace()
        self.tide()
        self.cluster.run(5.0)  # what was under way when the load changed last
        self.turns.clear()

    def settle(self) -> None:
        """Until all rings know nothing but the quiet, then down by one each five steps; then nobody measures any more."""
        super().settle()
        scales = [service.scale for service in self.services.values() if service.scale is not None]
        self.cluster.run(max((RING_STEPS + 5 * s.max + 10) * s.step_s + s.down_s for s in scales))
        self.misses = self._misses()
        for machine in self.cluster.machines.values():
            machine.gauges = ()
        self.cluster.run(UNDER_WAY_S)

    def wrong_at_the_end(self) -> list[str]:
        return [*super().wrong_at_the_end(), *self.outside, *self.misses]

    def _misses(self) -> list[str]:
        wrong = []
        for name, service in self.services.items():
            if service.scale is not None:
                wrong += self._wrong_number(name, service.scale)
        # Keepers whose words are lost or late are not of one mind for a moment; then a liar, or chance, decides between them.
        for (node, _, of), numbers in self.turns.items() if not self.liar and not self.cluster.world.loss else ():
            ways = [a < b for a, b in itertools.pairwise(numbers)]
            if sum(a != b for a, b in itertools.pairwise(ways)) > 1:
                wrong.append(f"{node} turns to and fro about {of}: {numbers}")
        return wrong

    def _wrong_number(self, name: str, scale: Scale) -> list[str]:
        cores = {path: m.core for path, m in self.cluster.machines.items() if m.core is not None}
        said = {path: core._s.wishing.numbers["shop", name].replicas for path, core in cores.items()
                if ("shop", name) in core._s.wishing.numbers}  # fmt: skip
        if len(set(said.values())) != 1:
            return [f"how many of {name} are wanted is seen differently: {said}"]
        load = self.cluster.loads.get(("shop", name))
        needed = load(0.0) / PER_REPLICA if load is not None else 0.0
        low, high = (max(scale.min, min(scale.max, math.ceil(n - 1e-9))) for n in (needed, needed / SPARE))
        number = next(iter(said.values()))
        if self.liar and sum(machine.on for machine in self.cluster.machines.values()) < 3:
            high = scale.max  # of two wishes the higher counts
        return [] if low <= number <= high else [f"{number} of {name} are wanted, and the load needs {low} to {high}"]


def _key(subject: str) -> tuple[str, str]:
    app, _, service = subject.partition(".")
    return app, service
