"""`skerry --help` waits for nothing that it doesn't need."""

from __future__ import annotations

import subprocess
import sys
import time

TIMES = 6  # an empty Python
HEAVY = {"asyncio", "rich", "ruamel", "msgspec", "nacl", "websockets", "httpx", "cryptography", "pyrage", "jsonschema"}


def best_s(*arguments: str) -> float:
    """The fastest of several: other work on the machine only ever slows."""
    times = []
    for _ in range(7):
        begun_s = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun_s)
    return min(times)


def test_help_takes_at_most_six_empty_pythons() -> None:
    empty_s = best_s("-c", "")
    help_s = best_s("-c", "import sys; from skerry.cli.main import main; sys.argv = ['skerry', '--help']; main()")
    assert help_s <= TIMES * empty_s


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from skerry.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not HEAVY & {name.partition(".")[0] for name in done.stderr.split()}
