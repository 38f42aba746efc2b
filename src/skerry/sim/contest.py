"""A random life of a cloud with exclusive slots: everything that could make two of one, and one checker that looks for that.

`python -m skerry.sim.contest --seeds N`. Clocks run as wrong as they may, links break one by one and one way, voters
start anew or are changed, agents are stopped for minutes, machines are frozen whole; then peace, and each slot runs once.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from collections.abc import Callable

from skerry.core import effects as do
from skerry.core.intent import Probe, Service, Update
from skerry.sim import documents as docs
from skerry.sim.cluster import Life
from skerry.sim.exclusive import OneHolder
from skerry.sim.scenario import Scenario

MOST_CLAIMS = 60
_KINDS = ("ask", "promise")  # a lease is renewed for ever


class Contest(Scenario):
    def __init__(self, seed: int, *, faults: int = 12, most_nodes: int = 6, whole: bool = False) -> None:
        super().__init__(seed, faults=faults, most_nodes=most_nodes, whole=whole)
        rho = self.cluster.timing.lease_rho
        for machine in self.cluster.machines.values():
            machine.set_rate(1 + self.chance.choice([-rho, 0.0, rho, self.chance.uniform(-rho, rho)]))
        self.one = OneHolder(self.cluster)
        self.voters = self._draw()
        self.policy, self.voting = 1, -1
        self.before: tuple[str, ...] = ()
        self._name_voters()

    def _draw(self) -> tuple[str, ...]:
        most = max(n for n in (1, 3, 5) if n <= len(self.names))
        return tuple(self.chance.sample(self.names, self.chance.choice([n for n in (3, 3, 5, 1) if n <= most])))

    def _name_voters(self) -> None:
        self.voting += 1
        self.policy += 1
        self.say(f"voters: {' '.join(self.voters)}" + (f", before: {' '.join(self.before)}" if self.before else ""))
        via = self._some(True)
        if via is not None:
            policy = docs.policy(*self.voters, before=self.before, version=self.policy, voting=self.voting)
            self._hand_over(via, policy)

    def _services(self) -> dict[str, Service]:
        chance = self.chance
        one = Service(
            replicas=chance.choice([1, 1, 2]), exclusive=True, update=Update(order="start-first", monitor_s=2.0),
            probe=chance.choice([None, Probe(kind="tcp", port=80, start_period_s=10.0)]),
        )  # fmt: skip
        plain = {"web": Service(replicas=2)} if chance.random() < 0.3 else {}
        return {"api": one, **plain}

    def _acts(self) -> list[Callable[[], None]]:
        return [
            self.cut_power, self.cut_power, self.restart_agent, self.restart_agent, self.part, self.kill_container, self.deploy,
            self.deploy_bad, self.drain, self.stop_agent, self.stop_agent, self.freeze, self.cut_one, self.cut_one, self.cut_one_way,
            self.cut_one_way, self.change_voters, self.step_clock, self.to_the_holder,
        ]  # fmt: skip

    def may_go_on(self, life: Life) -> bool:
        renews = isinstance(life.effect, do.Publish) and life.effect.kind in _KINDS
        return renews or isinstance(life.effect, do.Guard) or super().may_go_on(life)

    def wrong_at_the_end(self) -> list[str]:
        return [*super().wrong_at_the_end(), *self.one.wrong, *self._restless()]

    def _restless(self) -> list[str]:
        """Nobody claims and lets go all the time."""
        notes = (
            life for life in self.cluster.history if isinstance(life.effect, do.Note) and life.effect.kind == "claimed"
        )
        often = Counter((life.node, life.effect.subject) for life in notes)  # type: ignore[attr-defined]
        return [f"{node} claimed {subject} {n} times" for (node, subject), n in often.items() if n > MOST_CLAIMS]

    # --- what may happen ----------------------------------------------------------------------------------------------

    def to_the_holder(self) -> None:
        """Something happens to who holds an exclusive slot."""
        holders = [
            m for m in self.cluster.machines.values() if any(c.fencing and c.running for c in m.containers.values())
        ]
        if not holders:
            return
        machine = self.chance.choice(holders)
        name = machine.path.removeprefix("node/")
        others = [other for other in self.names if other != name]
        act = self.chance.choice(["cut", "stop", "part", "out", "in", "agent"])
        self.say(f"{act} the holder {name}")
        if act == "cut":
            machine.power_cut()
        elif act == "stop":
            self._stop(name)
        elif act == "part":
            self.cluster.wires.part({name}, set(others))
        elif act == "agent" and machine.answers:
            machine.end_agent()
            self.cluster.run(self.chance.choice([0.1, 3.0, 6.0, 30.0]))
            machine.boot()
        else:
            for other in others:
                pair = (name, other) if act == "out" else (other, name)
                self.cluster.wires.part_one_way(*pair)

    def restart_agent(self) -> None:
        name = self._some(True)
        if name is not None and self.cluster[name].answers:
            self.say(f"restart the agent of {name}")
            self.cluster[name].end_agent()
            self.cluster.run(self.chance.choice([0.1, 1.0, 4.0, 6.0]))
            self.cluster[name].boot()

    def stop_agent(self) -> None:
        name = self._some(True)
        if name is not None:
            self.say(f"stop the agent of {name}")
            self._stop(name)

    def _stop(self, name: str) -> None:
        machine = self.cluster[name]
        machine.stop_agent()
        life = machine.life
        long_s = self.chance.choice([1.0, 3.0, 4.0, 5.0, 30.0, 120.0])
        self.cluster.clock.after(long_s, lambda: machine.go_on() if machine.life == life else None)

    def freeze(self) -> None:
        """What runs there meanwhile only fences keep out: from then on that machine's containers are not counted."""
        name = self._some(True)
        if name is None or self.cluster[name].stands_still:
            return
        machine = self.cluster[name]
        self.say(f"freeze {name}")
        self.one.frozen.add(machine.path)
        machine.freeze()
        life = machine.life
        long_s = self.chance.choice([0.5, 3.0, 10.0, 60.0])
        self.cluster.clock.after(
            long_s, lambda: machine.thaw() if machine.life == life and machine.stands_still else None
        )

    def cut_one(self) -> None:
        if len(self.names) > 1:
            a, b = self.chance.sample(self.names, 2)
            self.say(f"cut {a} from {b}")
            self.cluster.wires.part({a}, {b})

    def cut_one_way(self) -> None:
        if len(self.names) > 1:
            a, b = self.chance.sample(self.names, 2)
            self.say(f"nothing of {a} reaches {b}")
            self.cluster.wires.part_one_way(a, b)

    def step_clock(self) -> None:
        name = self.chance.choice(self.names)
        self.cluster[name].clock_off_s += self.chance.choice([-86400.0, -2.0, 2.0, 86400.0])
        self.say(f"the wall clock of {name} is stepped")

    def change_voters(self) -> None:
        """As `skerry host voters set`: first old and new together, then the new alone, once most of the old know it."""
        if self.before:
            if self._most_know():
                self.before = ()
                self._name_voters()
            return
        self.before, self.voters = self.voters, self._draw()
        if set(self.before) == set(self.voters):
            self.before = ()
            return
        self._name_voters()

    def _most_know(self) -> bool:
        know = 0
        for name in self.before:
            core = self.cluster[name].core
            know += core is not None and core._s.known.version("policy") >= self._held()
        return 2 * know > len(self.before)

    def _held(self) -> int:
        return max(
            core._s.known.version("policy") for m in self.cluster.machines.values() if (core := m.core) is not None
        )

    def settle(self) -> None:
        self.cluster.run(90.0)

    def peace(self) -> None:
        self.cluster.world.loss = 0.0
        for name in self.names:
            machine = self.cluster[name]
            if machine.stands_still:
                machine.thaw()
            machine.go_on()
        super().peace()
        for _ in range(5):  # what was handed over to one that has lost it is signed again
            self.cluster.run(10.0)
            if self.before and self._most_know():
                self.before = ()
                self._name_voters()
        if set(self.voters) & self.gone or self.before:
            self._operators_word()

    def _operators_word(self) -> None:
        """Some of the voters are gone for good."""
        self.before = ()
        living = [name for name in self.names if name not in self.gone]
        self.voters = tuple(living[: 3 if len(living) >= 3 else 1])
        self.say("the old majority is dead")
        self._name_voters()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="skerry.sim.contest", description="Live random clouds with exclusive slots.")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--faults", type=int, default=12)
    parser.add_argument("--whole", action="store_true", help="with real trust and gossip (sim/whole.py)")
    parser.add_argument("--show", action="store_true", help="tell what happened in those that fail")
    given = parser.parse_args(arguments)
    broken = 0
    for seed in range(given.first, given.first + given.seeds):
        life = Contest(seed, faults=given.faults, whole=given.whole)
        try:
            wrong = life.run()
        except Exception:
            wrong = [traceback.format_exc()]
        if wrong:
            broken += 1
            print(f"seed {seed}: {wrong[0]}", flush=True)
            if given.show:
                print("\n".join([*life.log, *wrong]), flush=True)
    print(f"{given.seeds} seeds, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
