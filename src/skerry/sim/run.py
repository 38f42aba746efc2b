"""`python -m skerry.sim.run --seeds N [--first SEED] [--show]`: many random clouds; prints the seeds that fail, and exits 1."""

from __future__ import annotations

import argparse
import functools
import sys
import traceback

from skerry.core import effects as do
from skerry.sim.contest import Contest
from skerry.sim.scenario import Scenario
from skerry.sim.siege import Siege
from skerry.sim.tides import Tides

print = functools.partial(print, flush=True)  # a run that is ended early has told what it found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="skerry.sim.run", description="Run random simulated clouds and check them.")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--faults", type=int, default=6)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--siege", action="store_true", help="one node is captured (sim/siege.py)")
    kind.add_argument("--tides", action="store_true", help="services follow a load that rises and falls (sim/tides.py)")
    kind.add_argument("--exclusive", action="store_true", help="with exclusive slots (sim/contest.py)")
    parser.add_argument("--whole", action="store_true", help="with real trust and gossip (sim/whole.py)")
    parser.add_argument("--show", action="store_true", help="tell what happened in those that fail")
    given = parser.parse_args(arguments)
    failed = 0
    for seed in range(given.first, given.first + given.seeds):
        scenario: Siege | Scenario
        if given.siege:
            scenario = Siege(seed)
        else:
            of = Tides if given.tides else Contest if given.exclusive else Scenario
            scenario = of(seed, faults=given.faults, whole=given.whole)
        try:
            wrong = scenario.run()
        except Exception:
            wrong = [traceback.format_exc()]
        if wrong:
            failed += 1
            print(f"seed {seed}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
            of_kinds = ("--whole", given.whole), ("--tides", given.tides), ("--exclusive", given.exclusive)
            kinds = [word for word, on in of_kinds if on]
            which = "--siege " if given.siege else " ".join(["--faults", str(given.faults), *kinds, ""])
            print(f"  again, at this commit: python -m skerry.sim.run {which}--seeds 1 --first {seed} --show")
            if given.show:
                print("\n".join([*scenario.log, *wrong, *_story(scenario)]))
    print(f"{given.seeds} seeds, {failed} failed")
    return 1 if failed else 0


def _story(scenario: Siege | Scenario) -> list[str]:
    return [
        f"{life.at_s:8.3f} {life.node.removeprefix('node/')} {life.effect.kind} {life.effect.subject}: {life.effect.reason}"
        for life in scenario.cluster.history
        if isinstance(life.effect, do.Note)
    ]


if __name__ == "__main__":
    sys.exit(main())
