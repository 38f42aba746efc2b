"""The fault campaign of keepers: a small cloud rents and gives back by load, and every call to the provider goes wrong in every way.

`python -m skerry.sim.faults [--random N] [--part K/N] [--json FILE]` runs all single faults and N random cases; a broken one is
printed with the command that runs it again. What must hold stands in watched.py. Times are virtual, rules are the product's own.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from skerry.core import effects as do
from skerry.sim.provider import TROUBLES, Market, Trouble
from skerry.sim.rented import Cloud
from skerry.sim.watched import Watch

print = functools.partial(print, flush=True)

QUIET_S = 160.0  # after the last fault: by then everything is as it should be
SHORT_QUIET_S = 110.0
LONG_QUIET_S = 330.0  # where hosts were lost or cut off: whoever doesn't see most of them waits longer


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """One life of a cloud. `faults`: number of a call -> what goes wrong with it; `rate`: share of the others that fail by chance."""

    seed: int = 0
    keepers: int = 2
    faults: dict[int, Trouble] = {}
    rate: float = 0.0
    parted_s: tuple[float, float] | None = None  # the keepers don't hear one another from, to; seconds of the story
    cut_s: tuple[float, float] | None = None  # the first keeper doesn't reach the provider
    dead_s: float | None = None  # the keeper that has most dies then, and stays dead
    ceiling_usd: float = 20.0
    clock_off_s: float = 0.0  # of the provider
    revive_s: float | None = 30.0  # after a kill
    answer_s: float = 0.5  # what a call takes
    ghosts: int = 0  # forgotten machines with our tag
    short: bool = False  # one machine comes and goes


STORY: tuple[tuple[float, int], ...] = ((0.0, 2), (5.0, 4), (75.0, 3), (135.0, 2), (200.0, 3))
"""(seconds, replicas): two fit on the fixed hosts, each further one wants a machine."""
END_S = 290.0  # then the pool's most is 0
SHORT: tuple[tuple[float, int], ...] = ((0.0, 2), (5.0, 3), (60.0, 2))
SHORT_END_S = 125.0


class Run:
    """`calls`: what keepers asked of the provider, in order."""

    def __init__(self, case: Case) -> None:
        self.case = case
        chance = random.Random(case.seed)
        self.quiet = False

        def trouble(number: int, act: str) -> Trouble:
            if self.quiet:
                return ""
            if number in case.faults:
                return case.faults[number]
            return chance.choice(TROUBLES) if chance.random() < case.rate else ""

        self.cloud = cloud = Cloud(
            case.seed, hosts=max(2, case.keepers), keepers=case.keepers, market=Market(answer_s=case.answer_s)
        )
        cloud.provider.trouble = trouble
        cloud.provider.revive_after_s = case.revive_s
        cloud.provider.clock_off_s = case.clock_off_s
        self.watch = Watch(cloud, case.ceiling_usd)

    def go(self) -> list[str]:
        case, cloud = self.case, self.cloud
        clock, begin_s = cloud.cluster.clock, cloud.cluster.clock.now_s
        cloud.pool(spend_usd_month=case.ceiling_usd)
        extra = len(cloud.hosts) - 2  # of three hosts the third holds one replica more
        for at_s, replicas in SHORT if case.short else STORY:
            clock.at(begin_s + at_s, functools.partial(cloud.deploy, replicas + extra))
        for index in range(case.ghosts):
            clock.at(begin_s + 10.0, functools.partial(cloud.provider.add, ("burst/7", "")[index % 2], ours=True))
        self._break(begin_s)
        cloud.run(SHORT_END_S if case.short else END_S)
        self.quiet = True
        cloud.run(max(0.0, (case.revive_s or 0.0) - 10.0))  # whoever was killed last is there again
        cloud.cluster.wires.heal()
        cloud.provider.cut.clear()
        # Else a machine stays for ever, as it holds the last replica of a slot that has no room elsewhere.
        cloud.deploy(sum(cloud.cluster[name].on for name in cloud.hosts) or 1)
        cloud.pool(max=0)
        calm = case.dead_s is None and case.parted_s is None and case.cut_s is None and not case.rate
        cloud.run((SHORT_QUIET_S if case.short else QUIET_S) if calm else LONG_QUIET_S)
        return [*self.watch.wrong, *cloud.provider.wrong, *self.watch.at_the_end()]

    def _break(self, begin_s: float) -> None:
        case, cloud = self.case, self.cloud
        clock = cloud.cluster.clock
        if case.parted_s is not None:
            from_s, to_s = case.parted_s
            clock.at(begin_s + from_s, lambda: self._part(True))
            clock.at(begin_s + to_s, lambda: self._part(False))
        if case.cut_s is not None:
            from_s, to_s = case.cut_s
            clock.at(begin_s + from_s, lambda: cloud.provider.cut.add("node/vps-1"))
            clock.at(begin_s + to_s, lambda: cloud.provider.cut.discard("node/vps-1"))
        if case.dead_s is not None:
            clock.at(begin_s + case.dead_s, self._kill_the_busiest)

    def _part(self, parted: bool) -> None:
        wires, hosts = self.cloud.cluster.wires, self.cloud.hosts
        if not parted:
            wires.heal()
            self.watch.healed()
            return
        machines = [f"burst/{index}" for index in range(self.cloud.of.max)]
        half = len(machines) // 2
        wires.part([hosts[0], *machines[:half]], [*hosts[1:], *machines[half:]])
        self.watch.parted()

    def _kill_the_busiest(self) -> None:
        clock_s = self.cloud.cluster.clock.now_s
        by = Counter(droplet.by for droplet in self.cloud.provider.living() if droplet.by)
        path = by.most_common(1)[0][0] if by else "node/vps-1"
        machine = self.cloud.cluster.machines[path]
        if machine.on:
            machine.power_cut()
            self.watch.fault_s = clock_s


def run(case: Case) -> list[str]:
    try:
        return Run(case).go()
    except Exception:  # a bug in what is tested, or here: the case says where
        return [traceback.format_exc()]


# --- which cases ------------------------------------------------------------------------------------------------------


def calls_of(case: Case) -> list[str]:
    """The acts of a life in which nothing goes wrong, by number."""
    tried = Run(case)
    assert tried.go() == [], case
    return [call.act for call in tried.cloud.provider.calls]


def singles(keepers: Iterable[int] = (1, 2, 3), lists: int = 12, *, short: bool = False) -> Iterator[Case]:
    """Every create and destroy with every trouble; of the looks every so many with what can happen to a look."""
    for many in keepers:
        looks = 0
        for number, act in enumerate(calls_of(Case(keepers=many, short=short))):
            looks += act in ("list", "kinds")
            for trouble in TROUBLES:
                of_looks = trouble in ("error", "hang", "denied", "rate", "foreign", "kill-before", "kill-after")
                if act in ("create", "destroy") or (of_looks and looks % lists == 0):
                    yield Case(keepers=many, faults={number: trouble}, short=short)


def combined() -> Iterator[Case]:
    """Keepers parted, cut off or dead at each stage; a low ceiling; wrong clocks; forgotten machines."""
    for from_s in range(0, 280, 20):
        for long_s in (15.0, 45.0, 120.0):
            yield Case(parted_s=(float(from_s), min(from_s + long_s, END_S)))
            yield Case(keepers=3, parted_s=(float(from_s), min(from_s + long_s, END_S)), ceiling_usd=0.05)
            yield Case(cut_s=(float(from_s), min(from_s + long_s, END_S)))
        yield Case(dead_s=float(from_s))
        yield Case(keepers=3, dead_s=float(from_s), ghosts=1)
    for ceiling, keepers in itertools.product((0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08), (1, 2)):
        yield Case(ceiling_usd=ceiling, keepers=keepers)
    for answer_s in (2.0, 4.0, 7.0, 9.5):  # slower than one looks again
        yield Case(answer_s=answer_s)
        yield Case(answer_s=answer_s, keepers=3, parted_s=(20.0, 120.0))
    for off_s in (-86400.0, -3600.0, 3600.0, 86400.0):
        yield Case(clock_off_s=off_s, ghosts=2)
        yield Case(clock_off_s=off_s, ceiling_usd=0.05)


def some(seeds: Iterable[int]) -> Iterator[Case]:
    """Anything, by chance."""
    for seed in seeds:
        chance = random.Random(f"case {seed}")
        from_s = chance.uniform(0, 250)
        span = (round(from_s, 1), round(min(END_S, from_s + chance.uniform(5, 120)), 1))
        keepers = chance.choice((1, 2, 2, 3))
        yield Case(
            seed=seed, keepers=keepers, rate=chance.choice((0.02, 0.05, 0.1, 0.3)),
            parted_s=span if chance.random() < 0.4 else None, cut_s=span if chance.random() < 0.2 else None,
            dead_s=round(from_s, 1) if chance.random() < 0.2 and keepers > 1 else None,
            ceiling_usd=chance.choice((20.0, 20.0, 0.03, 0.05, 0.08)), clock_off_s=chance.choice((0.0, 0.0, 3600.0, -3600.0)),
            revive_s=chance.choice((5.0, 30.0, 60.0)), answer_s=chance.choice((0.5, 0.5, 4.0, 8.0)),
            ghosts=chance.choice((0, 0, 1, 2)),
        )  # fmt: skip


def again(case: Case) -> str:
    """The command that runs it again and tells its story."""
    return f"python -m skerry.sim.faults --case '{msgspec.json.encode(case).decode()}'"


def story(tried: Run) -> list[str]:
    lines = [
        (call.at_s, f"{call.keeper.removeprefix('node/')} asks: {call.act} {call.subject} ({call.reason})"
         + (f": {call.trouble}" if call.trouble else ""))
        for call in tried.cloud.provider.calls if call.act not in ("list", "kinds") or call.trouble
    ]  # fmt: skip
    lines += [
        (life.at_s, f"{life.node.removeprefix('node/')} {life.effect.kind} {life.effect.subject}: {life.effect.reason}")
        for life in tried.cloud.cluster.history
        if isinstance(life.effect, do.Note)
        and life.effect.kind not in ("claimed", "started", "healthy", "released", "rollout")
    ]
    return [f"{at_s:8.2f} {line}" for at_s, line in sorted(lines)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="skerry.sim.faults", description="Run the fault campaign of keepers.")
    parser.add_argument("--random", type=int, default=1000, help="random cases, after all single faults")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only-random", action="store_true")
    parser.add_argument(
        "--part", default="1/1", help="of all these cases every N-th from the K-th: K/N, for several processes"
    )
    parser.add_argument("--case", default="", help="one case, as it was printed: its story is told")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args(arguments)
    if given.case:
        tried = Run(msgspec.json.decode(given.case, type=Case))
        wrong = tried.go()
        print("\n".join([*story(tried), *(f"BROKEN {line}" for line in wrong)]))
        return 1 if wrong else 0
    begin_s, cases, calls, broken = time.monotonic(), 0, 0, []
    chosen = some(range(given.first, given.first + given.random))
    part, parts = map(int, given.part.split("/"))
    whole = chosen if given.only_random else itertools.chain(singles(lists=3), combined(), chosen)
    for case in itertools.islice(whole, part - 1, None, parts):
        tried = Run(case)
        try:
            wrong = tried.go()
        except Exception:
            wrong = [traceback.format_exc()]
        cases, calls = cases + 1, calls + len(tried.cloud.provider.calls)
        if wrong:
            broken.append(case)
            print(f"broken: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
            print(f"  again: {again(case)}")
    figures = {"cases": cases, "broken": len(broken), "calls": calls, "seconds": round(time.monotonic() - begin_s, 1),
               "again": [again(case) for case in broken[:20]]}  # fmt: skip
    print(f"{cases} cases, {calls} calls to the provider, {len(broken)} broken")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
