"""`make bench-elastic`: the rule of how many on the NASA trace and on made-up loads, into build/bench-elastic.json and a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.loads import LOADS
from skerry.sim.elastic import trace
from skerry.sim.elastic.compare import compare, terms_of
from skerry.sim.elastic.fleet import serve
from skerry.sim.elastic.policies import plain

NASA = Path(__file__).parent / "traces" / "nasa-http-1995-07-per-minute.csv.gz"


def plain_at(load: list[int], late_share: float) -> float:
    """What the plain rule pays at the highest target at which no more is late."""
    terms = terms_of(load)
    for target in range(104, 38, -1):
        found = serve(load, terms, plain(load, terms, target=target / 100))
        if found.late_share <= late_share:
            return found.paid_ratio
    return float("inf")


def measure(load: list[int]) -> dict[str, Any]:
    found = compare(load, terms_of(load))
    own, best = found["skerry"], found["oracle"]["paid_ratio"]
    return {
        **found,
        "against_oracle": round(own["paid_ratio"] / best, 4),
        "against_kubernetes": round(own["paid_ratio"] / found["kubernetes"]["paid_ratio"], 4),
        "against_plain_as_late": round(own["paid_ratio"] / plain_at(load, own["late_share"]), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("build/bench-elastic.json"))
    given = parser.parse_args()
    figures = {}
    print("| load | paid ÷ oracle | late % | changes a day | ÷ Kubernetes (late %) | ÷ plain, as late |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, load in {"NASA, July 1995": lambda: trace.read(NASA), **LOADS}.items():
        found = figures[name] = measure(load())
        own, other = found["skerry"], found["kubernetes"]
        print(
            f"| {name} | {found['against_oracle']:.3f} | {own['late_share']:.3%} | {own['changes_per_day']:.0f} | "
            f"{found['against_kubernetes']:.3f} ({other['late_share']:.3%}) | {found['against_plain_as_late']:.3f} |",
            flush=True,
        )
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
