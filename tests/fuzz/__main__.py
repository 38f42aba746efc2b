"""`python -m fuzz [TARGET …] [--seconds N] [--until N] [--keep]`: atheris, guided by coverage, on each target in turn. `make fuzz`.

Each target runs in a process of its own (child.py) and goes on from what it gathered the last time, in build/fuzz/TARGET; how often
each was executed in all stands in build/fuzz.json. An input that fails is added to tests/fuzz/corpus, where `make test` runs it ever
after. `--until N`: only targets that were executed less often, and no more than that. `--keep`: what was gathered is chosen from anew,
and put into tests/fuzz/corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from fuzz import corpus
from fuzz.child import Find
from fuzz.covers import COVERS, GOALS

OUT = Path(__file__).resolve().parents[2] / "build" / "fuzz"
COUNTS = OUT.with_suffix(".json")
EXECUTED = re.compile(
    rb"^(?:stat::number_of_executed_units: +|#)(\d+)", re.MULTILINE
)  # at its end, or when it was stopped
STARTING_S = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *COVERS])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--until", type=int, default=0, help="executions; those of the goal are enough for each")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    failed = []
    for name in options.targets or COVERS:
        if options.keep:
            failed += [name] * bool(_child("fuzz.keep", name, str(OUT / name)).returncode)
            continue
        most = min(options.until, GOALS[name]) - counts().get(name, {}).get("executions", 0) if options.until else -1
        if most != 0 and (most > 0 or not options.until) and not fuzz(name, options.seconds, most):
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "no target failed")
    return bool(failed)


def fuzz(name: str, seconds: int, most: int) -> bool:
    """Whether nothing was found. `most` executions, -1: as many as there is time for."""
    began_s = time.monotonic()
    ran = _child(
        "fuzz.child",
        name,
        str(OUT / name),
        f"-max_total_time={seconds}",
        f"-runs={most}",
        timeout_s=seconds + STARTING_S,
    )
    count(name, ran.stderr, time.monotonic() - began_s)
    found = take_finds(name)
    stopped = [
        path.read_bytes() for path in (OUT / name).glob("stopped-*")
    ]  # a crash of the interpreter, or no end at all
    for data in stopped:
        corpus.add_find(name, data, "ended the process, or did not end")
    for path in (OUT / name).glob("stopped-*"):
        path.unlink()
    if ran.returncode or stopped:
        sys.stderr.buffer.write(ran.stderr[-4000:])
    return not (ran.returncode or stopped or found)


def _child(module: str, *arguments: str, timeout_s: float | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}  # what was gathered means the same the next time
    try:
        return subprocess.run(command, stderr=subprocess.PIPE, env=environment, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(command, 1, stderr=late.stderr or b"")


def counts() -> dict[str, dict[str, float]]:
    return json.loads(COUNTS.read_text()) if COUNTS.exists() else {}  # type: ignore[no-any-return]


def count(name: str, said: bytes, seconds: float) -> None:
    """What libFuzzer said that it executed, added to what was before."""
    all = counts()
    held = all.get(name, {"executions": 0, "seconds": 0.0})
    more = max((int(found) for found in EXECUTED.findall(said)), default=0)
    all[name] = {"executions": held["executions"] + more, "seconds": round(held["seconds"] + seconds, 1)}
    COUNTS.write_text(json.dumps(dict(sorted(all.items())), indent=1))
    print(f"{name}: {more} executions in {seconds:.0f} s, {all[name]['executions']} in all", flush=True)


def take_finds(name: str) -> int:
    """How many there were: they are told, and added to the corpus in git."""
    paths = sorted((OUT / name / "finds").glob("*"))
    for path in paths:
        find = msgspec.msgpack.decode(path.read_bytes(), type=Find)
        print(f"FOUND in {name}: {find.kind}\n{find.data[:200]!r}\n{find.told}", flush=True)
        corpus.add_find(name, find.data, find.kind)
        path.unlink()
    return len(paths)


if __name__ == "__main__":
    sys.exit(main())
