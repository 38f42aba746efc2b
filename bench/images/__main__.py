"""`make bench-images`: the figures of images in docs/benchmarks.md, each beside its target, into build/bench-images.json.

`python -m bench.images edit library …` measures those alone and leaves the other figures in the file as they were.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cloud import ROOT
from bench.images import apply, cold, edit, library, lint, sizes, swarm

PARTS: dict[str, Callable[[Callable[[str], None]], dict[str, Any]]] = {
    "edit": edit.measure,
    "library": library.measure,
    "cold": cold.measure,
    "sizes": sizes.measure,
    "apply": apply.measure,
    "lint": lint.measure,
    "swarm": swarm.measure,
}
AT_MOST = {
    "edit_bytes": 2048,
    "edit_vs_bundle_bound": 1.2,
    "edit_vs_registry_1": 1 / 1000,
    "edit_vs_registry_3": 1 / 3,
    "library_ratio": 0.3,
    "cold_ratio": 1.05,
    "swarm_upload_ratio": 1.1,
    "swarm_time_ratio": 2,
    "size_mb.static": 3,
    "size_mb.nginx": 10,
    "size_mb.redis": 18,
    "size_mb.python": 46,
    "size_mb.postgresql": 78,
    "size_shells": 0,
    "size_suid": 0,
    "apply_s": 0.5,
    "lint_missed": 0,
    "lint_s_per_100mb": 1,
}
AT_LEAST = {"size_times_smaller": 4}


def tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def measure(parts: list[str], out: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for part in parts:
        begun_s = time.monotonic()
        figures.update(PARTS[part](tell))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=2) + "\n")
        tell(f"{part} is measured, in {time.monotonic() - begun_s:.0f} s")
    return figures


def table(figures: dict[str, Any]) -> str:
    """All that has a target, and whether it is met."""
    flat = {
        name: value
        for key, figure in figures.items()
        for name, value in (
            [(f"{key}.{k}", v) for k, v in figure.items()] if isinstance(figure, dict) else [(key, figure)]
        )
    }
    lines = ["| figure | value | target | met |", "| --- | --- | --- | --- |"]
    for name, target in (AT_MOST | AT_LEAST).items():
        value = flat.get(name)
        sign = "≤" if name in AT_MOST else "≥"
        met = "not measured"
        if value is not None:
            met = "yes" if (value <= target if name in AT_MOST else value >= target) else "no"
        lines.append(f"| `{name}` | {value} | {sign} {target:.4g} | {met} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.images", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which figures; all of them if none is named")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-images.json", help="where the figures go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(table(measure(options.parts or list(PARTS), options.json)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
