"""A random life of a cloud whose services follow the load: it rises and falls, machines come and go, one of them lies.

What must hold: how many replicas are wanted is within the bounds that operators signed, on every node and at every moment; once the
load and the cloud are quiet all nodes come to one number, the one that the load needs, by a tenth at once on the way down, and turn
round on the way at most once. With no keeper alive that is the number that the app says, and nothing changes before `down` is over.

What is not asked for: of two keepers the higher wish counts (design section 5), for nobody knows which of them lies. So a liar with
one of two voices decides between the honest number and the bound for as long as it likes, and no rule on the others' side
can tell it from a keeper whose figures rise and fall. Then slots beyond the honest number may be in any state when the clock
stops; but what it raised stays for the time that the rule gives it, and below the honest number nothing moves. Of three and more
it chooses, for the moment in which honest ones differ, between their numbers: once all is quiet that is one.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable

import msgspec

from skerry.core import effects as do
from skerry.core.facts import Load, Wish
from skerry.core.intent import App, Pool, Scale, Service
from skerry.core.rings import HELD_STEPS
from skerry.core.scaling import RING_STEPS, replica_rule
from skerry.sim import documents as docs
from skerry.sim.cluster import Life
from skerry.sim.machine import Machine
from skerry.sim.scenario import Scenario

PER_REPLICA = 50
SPARE = 0.9  # the rule may leave so much room
EVERY_S = 0.7  # a liar's sentences
UNDER_WAY_S = 15.0  # by then records that were lost have been brought


class Tides(Scenario):
    """`web`, and sometimes `api`, follow the load; the rest is as in Scenario."""

    def __init__(self, seed: int, *, faults: int = 6, most_nodes: int = 5, whole: bool = False) -> None:
        super().__init__(seed, faults=faults, most_nodes=most_nodes, whole=whole)
        self.liar = ""
        self.keepers = self._keepers()
        self.misses: list[str] = []  # what was wrong with numbers once all was quiet
        self.outside: dict[str, None] = {}  # sentences about numbers out of bounds
        self.changes: dict[
            tuple[str, str], list[tuple[float, int, int]]
        ] = {}  # (node, service) -> (when, from, to), in the quiet
        self.lost_s = 0.0  # when machines went for good
        self.cluster.watchers.append(self._see)

    def _keepers(self) -> list[str]:
        """Whose wishes count: of some seeds one or two that a pool names, which may all be lost, else all."""
        chance = random.Random(f"keepers {self.seed}")
        if self.whole or chance.random() < 0.6:
            return list(self.names)
        named = chance.sample(self.names, min(len(self.names), chance.choice([1, 2, 2])))
        keepers = {f"node/{name}": "0" * 64 for name in named}
        pool = Pool(provider="manual", max=0, network="10.78.0.0/22", keepers=keepers)
        self.cluster.accept(self.names[0], docs.document("pool/burst", pool))
        self.say(f"keepers are {sorted(named)}")
        return named

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
            before, _, now = effect.reason.split()[:3]
            change = (self.cluster.clock.now_s, int(before), int(now))
            self.changes.setdefault((machine.path, effect.subject.partition(".")[2]), []).append(change)
        if isinstance(effect, do.Publish) and effect.kind == "load" and isinstance(effect.body, Load):
            assert len(effect.body.cpu) <= 60

    def peace(self) -> None:
        super().peace()
        self.tide()
        self.cluster.run(5.0)  # what was under way when the load changed last
        self.changes.clear()

    def _lose_some(self) -> None:
        super()._lose_some()
        self.lost_s = self.cluster.clock.now_s

    def settle(self) -> None:
        """Until all rings know nothing but the quiet, then down by one each five steps; then nobody measures any more."""
        super().settle()
        scales = [service.scale for service in self.services.values() if service.scale is not None]
        self.cluster.run(max((RING_STEPS + 5 * s.max + 10) * s.step_s + s.down_s for s in scales))
        self.misses = self._misses()
        for machine in self.cluster.machines.values():
            machine.gauges = ()
        self.cluster.run(
            HELD_STEPS * max(s.step_s for s in scales) + UNDER_WAY_S
        )  # they wish as long as figures are held

    def wrong_at_the_end(self) -> list[str]:
        wrong = [what for what in super().wrong_at_the_end() if not self._is_the_liars(what)]
        return [*wrong, *self.outside, *self.misses]

    def may_go_on(self, life: Life) -> bool:
        routes = isinstance(life.effect, do.Route) and self._liar_decides()
        return super().may_go_on(life) or routes or self._is_the_liars(f"{life.effect}")

    def _is_the_liars(self, what: str) -> bool:
        """Whether a sentence is about a slot between the number that the load needs and the bound, which a liar moves as it likes."""
        slot = re.search(r"(?:shop\.web/|service='web', index=)(\d+)", what)
        scale = self.services["web"].scale
        return self._liar_decides() and scale is not None and (
            ("shop.web" in what and slot is None) or (slot is not None and int(slot[1]) >= self._needed("web", scale)[0])
        )  # fmt: skip

    def _voices(self) -> list[str]:
        return [name for name in self.keepers if self.cluster[name].on]

    def _liar_decides(self) -> bool:
        """The median of two is the higher; of three and more the liar moves it to nothing that no other wishes."""
        return self.liar in self._voices() and len(self._voices()) < 3

    def _misses(self) -> list[str]:
        wrong = []
        for name, service in self.services.items():
            if service.scale is not None:
                wrong += self._wrong_number(name, service.scale)
                for (node, of), changes in self.changes.items():
                    if of == name:
                        wrong += [
                            f"{node} changes {of} {what}: {changes}" for what in self._wrong_way(changes, service.scale)
                        ]
        return wrong

    def _wrong_way(self, changes: list[tuple[float, int, int]], scale: Scale) -> list[str]:
        """By how the number came to be what it is."""
        wrong, stay_s = [], replica_rule(scale).stay * scale.step_s
        for (up_s, before, high), (at_s, _, now) in itertools.pairwise(changes):
            if before < high > now and at_s - up_s < stay_s - 0.01:
                wrong.append(f"up and down within {at_s - up_s:.2f} s, and what rose stays for {stay_s:.0f} s")
        wrong += [
            f"from {before} to {now} at once" for _, before, now in changes if before - now > max(1, before // 10)
        ]
        if not self._voices() and changes and changes[0][0] < self.lost_s + scale.down_s:
            wrong.append(f"{changes[0][0] - self.lost_s:.1f} s after its last keeper was lost")
        ways = [before < now for _, before, now in changes]
        # Honest keepers are not of one mind at the end of a step, least of all where a clock is off; then a liar decides between them.
        if sum(a != b for a, b in itertools.pairwise(ways)) > 1 and self.liar not in self._voices():
            wrong.append("to and fro")
        return wrong

    def _wrong_number(self, name: str, scale: Scale) -> list[str]:
        cores = {path: m.core for path, m in self.cluster.machines.items() if m.core is not None}
        said = {path: core._s.wishing.numbers["shop", name].replicas for path, core in cores.items()
                if ("shop", name) in core._s.wishing.numbers}  # fmt: skip
        if name == "web" and self._liar_decides():
            low = self._needed(name, scale)[0]
            return [f"{path} wants {n} of {name}, fewer than {low}" for path, n in said.items() if n < low]
        if len(set(said.values())) != 1:
            return [f"how many of {name} are wanted is seen differently: {said}"]
        low, high = self._needed(name, scale)
        number = next(iter(said.values()))
        return [] if low <= number <= high else [f"{number} of {name} are wanted, and the load needs {low} to {high}"]

    def _needed(self, name: str, scale: Scale) -> tuple[int, int]:
        """What honest keepers come to, least and most; without any, what the app says; with the liar alone, anything."""
        voices = self._voices()
        if not voices:
            own = max(scale.min, min(scale.max, self.services[name].replicas))
            return own, own
        if name == "web" and voices == [self.liar]:
            return scale.min, scale.max
        load = self.cluster.loads.get(("shop", name))
        needed = load(0.0) / PER_REPLICA if load is not None else 0.0
        low, high = (max(scale.min, min(scale.max, math.ceil(n - 1e-9))) for n in (needed, needed / SPARE))
        return low, high
