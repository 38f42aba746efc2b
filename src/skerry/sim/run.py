"""`python -m skerry.sim.run [--seeds N] [--from SEED]`: as `skerry sim run --json`, where no terminal is wanted."""

from __future__ import annotations

import argparse
import functools
import sys

import msgspec

from skerry.sim.lives.many import run_many

print = functools.partial(print, flush=True)  # a run that is ended early has told what it found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="skerry.sim.run", description="Live random simulated clouds and check them.")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=0)
    given = parser.parse_args(arguments)
    figures = run_many(given.first, given.seeds, nodes=given.nodes, jobs=given.jobs,
                       tell=lambda broken: print(f"seed {broken.seed}: {broken.wrong[0]}"))  # fmt: skip
    print(msgspec.json.encode(figures).decode())
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
