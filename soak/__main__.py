"""`make soak`: see soak/soak.py. Ends with 0 when nothing was lost, doubled or leaked, with 1 else."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from pathlib import Path

from rich.console import Console

from soak.cloud import ROOT
from soak.soak import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Random faults, deploys and drains on whole machines.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="which faults, and when; without it a new one is chosen")
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--name", default="soak", help="of the lab: two may run side by side")
    parser.add_argument("--json", type=Path, default=None, help="where the figures go; default build/NAME.json")
    options = parser.parse_args()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started it in the background
    console = Console(highlight=False, soft_wrap=True)
    out = options.json or ROOT / "build" / f"{options.name}.json"
    soak = Soak(options.name, options.hosts, options.minutes * 60, seed, out, console)
    try:
        return 0 if soak.run() else 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was taken down")
        return 130


if __name__ == "__main__":
    sys.exit(main())
