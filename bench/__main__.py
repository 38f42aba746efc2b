"""`make bench`: the figures of docs/benchmarks.md, each beside its target, into build/bench.json.

`python -m bench rollouts heal …` measures those alone and leaves the other figures in the file as they were.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench import heal, metrics, rollouts, start, wake, weight
from bench.cloud import ROOT, Cloud

TARGETS = {
    "deploy_s": 0.5,
    "heal_s_median": 5.0,
    "update_s": 2.0,
    "container_start_vs_conmon_p50": 1.3,
    "container_start_vs_conmon_p99": 1.3,
    "wake_overhead_ms_p99": 150.0,
    "agent_pss_mb": 48.0,
    "agent_idle_cpu_percent": 0.5,
    "metrics_cpu_percent": 1.0,
    "metrics_memory_mb": 4.0,
    "metrics_file_mb": 64.0,
}
PARTS = ("rollouts", "heal", "wake", "start", "weight", "metrics")
AGED_S = 600.0  # an agent's memory is looked at after it has run for so long


def tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def measure(parts: list[str], out: Path, aged_s: float) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}

    def keep(more: dict[str, Any]) -> None:
        figures.update(more)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=2) + "\n")
        for name, value in more.items():
            tell(f"{name} {value}")

    if {"rollouts", "heal", "wake"} & set(parts):
        with Cloud(3, tell) as cloud:
            if "rollouts" in parts:
                keep(rollouts.measure(cloud))
            if "heal" in parts:
                keep(heal.measure(cloud))
            if "wake" in parts:
                keep(wake.measure(cloud))
    if "start" in parts:
        with Cloud(1, tell) as cloud:
            keep(start.measure(cloud))
    if "weight" in parts:
        with Cloud(4, tell) as cloud:
            weight.deploy(cloud)
            begun_s = time.monotonic()
            keep(weight.idle(cloud))
            time.sleep(max(0.0, begun_s + aged_s - time.monotonic()))
            keep(weight.memory(cloud))
    if "metrics" in parts:
        keep(metrics.measure())
    return figures


def table(figures: dict[str, Any]) -> str:
    lines = ["| figure | value | target | met |", "| --- | --- | --- | --- |"]
    for name, target in TARGETS.items():
        value = figures.get(name)
        met = "not measured" if value is None else "yes" if value <= target else "no"
        lines.append(f"| `{name}` | {value} | {target:g} | {met} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which figures; all of them if none is named")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go")
    parser.add_argument("--aged", type=float, default=AGED_S, help="seconds that an agent runs before it is weighed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(table(measure(options.parts or list(PARTS), options.json, options.aged)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
