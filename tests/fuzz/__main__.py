"""`python -m fuzz [TARGET …] [--seconds N]`: atheris, guided by coverage, on each target in turn. `make fuzz` calls it.

Each target goes on from its corpus of the last time, in build/fuzz/TARGET; how often each was executed in all stands in
build/fuzz.json. An input that raises anything but a SkerryError is written to build/fuzz/ and ends that target; begin a test with it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parents[2] / "build" / "fuzz"
COUNTS = OUT.with_suffix(".json")
EXECUTED = re.compile(rb"^(?:stat::number_of_executed_units: +|#)(\d+)", re.MULTILINE)  # at its end, or when it crashed


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    import atheris

    with atheris.instrument_imports(
        include=["skerry"]
    ):  # takes a while: so once, and each target is a child of this process
        from fuzz import targets

    failed = []
    for name in options.targets or list(targets.TARGETS):
        print(f"== {name}", flush=True)
        began_s = time.monotonic()
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if child == 0:
                os.dup2(said.fileno(), 2)
                one(atheris, targets, name, options.seconds)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            said.seek(0)
            words = said.read()
        count(name, words, time.monotonic() - began_s)
        if status:
            sys.stderr.buffer.write(words[-4000:])
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "no target failed")
    return bool(failed)


def count(name: str, said: bytes, seconds: float) -> None:
    """What libFuzzer said that it executed, added to what was before."""
    counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    held = counts.get(name, {"executions": 0, "seconds": 0.0})
    more = max((int(found) for found in EXECUTED.findall(said)), default=0)
    counts[name] = {"executions": held["executions"] + more, "seconds": round(held["seconds"] + seconds, 1)}
    COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=1))
    print(f"{more} executions in {seconds:.0f} s, {counts[name]['executions']} in all", flush=True)


def one(atheris: Any, targets: Any, name: str, seconds: int) -> None:
    """Ends this process, when the time is over or an input has failed."""
    corpus = OUT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for n, seed in enumerate(targets.seeds(name)):
        (corpus / f"seed{n}").write_bytes(seed)
    arguments = [
        "fuzz", f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=2048", "-print_final_stats=1",
        f"-artifact_prefix={OUT}/{name}-", str(corpus),
    ]  # fmt: skip
    atheris.Setup(arguments, lambda data: targets.run(name, bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
