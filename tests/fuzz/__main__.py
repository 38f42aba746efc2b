"""`python -m fuzz [TARGET …] [--seconds N]`: atheris, guided by coverage, on each target in turn. `make fuzz` calls it.

An input that raises anything but a SkerryError is written to build/fuzz/ and ends that target; begin a test with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "build" / "fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.one, options.seconds)
    from fuzz.targets import TARGETS

    failed = []
    for name in options.targets or list(TARGETS):
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", "fuzz", "--one", name, "--seconds", str(options.seconds)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "no target failed")
    return bool(failed)


def one(name: str, seconds: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["skerry"]):
        from fuzz import targets

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
    return 0


if __name__ == "__main__":
    sys.exit(main())
