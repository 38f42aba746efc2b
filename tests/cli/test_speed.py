"""`skerry --help` waits for nothing that it doesn't need."""

from __future__ import annotations

import resource
import subprocess
import sys

TIMES = 6  # an empty Python
HEAVY = {"asyncio", "rich", "ruamel", "msgspec", "nacl", "websockets", "httpx", "cryptography", "pyrage", "jsonschema"}


def cpu_s(*arguments: str) -> float:
    """What one run costs: processor time, so that others who are at work here don't count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_help_takes_at_most_six_empty_pythons() -> None:
    program = "import sys; from skerry.cli.main import main; sys.argv = ['skerry', '--help']; main()"
    pairs = [(cpu_s("-c", ""), cpu_s("-c", program)) for _ in range(9)]
    empty_s, help_s = (min(times) for times in zip(*pairs, strict=True))
    assert help_s <= TIMES * empty_s


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from skerry.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not HEAVY & {name.partition(".")[0] for name in done.stderr.split()}


def test_a_deploy_of_built_images_imports_nothing_that_builds() -> None:
    program = "import sys, skerry.client.deploy, skerry.client.images; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not {"elftools", "packaging", "difflib", "email.parser", "httpx", "pyrage"} & set(done.stdout.split())
