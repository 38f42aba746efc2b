"""`python -m soak.seeds --hours H`: lives of the simulator for as long as one likes, each seed once, and a count that goes on.

The count stands in build/seeds.json: seeds, broken ones (with what was wrong and the commit that lived them), processor hours. It ends
with the line for docs/benchmarks.md. Exit code 1 if a seed broke in this run.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from skerry.sim.lives.many import Broken, run_many

print = functools.partial(print, flush=True)
BATCH = 100  # seeds between two looks at the clock


def commit() -> str:
    """Of this tree; "+" behind it where something in it was changed, "" where there is no repository."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip()


def load(path: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"seeds": 0, "next": 0, "hours": 0.0, "broken": []}
    return {**empty, **json.loads(path.read_text())} if path.exists() else empty


def save(path: Path, count: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(count, indent=1) + "\n")
    fresh.replace(path)


def line(count: dict[str, Any]) -> str:
    return (
        f"| seeds lived | {count['seeds']:,} | {len(count['broken'])} broken | {count['hours']:.2f} processor hours |"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak.seeds", description="Live seeds of the simulator, on and on.")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--from", dest="first", type=int, default=-1, help="first seed; else where the last run ended")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--count", type=Path, default=Path("build/seeds.json"))
    parser.add_argument("--commit", default="", help="what to note, where there is no repository")
    given = parser.parse_args(arguments)
    count, end_s, of = load(given.count), time.monotonic() + given.hours * 3600, given.commit or commit()
    if given.first >= 0:
        count["next"] = given.first
    before = len(count["broken"])

    def tell(broken: Broken) -> None:
        print(f"seed {broken.seed} at {of}: {broken.wrong[0]}\n  again: {broken.again}")
        count["broken"].append({"seed": broken.seed, "wrong": broken.wrong[0], "commit": of})

    while time.monotonic() < end_s:
        figures = run_many(count["next"], BATCH, jobs=given.jobs, tell=tell)
        count["seeds"] += BATCH
        count["next"] += BATCH
        count["hours"] += figures.cpu_seconds / 3600
        save(given.count, count)
    print(line(count))
    return 1 if len(count["broken"]) > before else 0


if __name__ == "__main__":
    sys.exit(main())
