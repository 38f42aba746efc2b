"""`make mutations`: each rule of design.md, sections 5 and 6, is broken on purpose, one at a time, and its tests have to notice.

The rules are in soak/rules; a copy of the tree is broken, never the tree. A rule counts as caught when every test that it names fails
by an assertion, or because something else was refused, or not refused, than the test says: a crash, an import that fails or a test
that never ends proves nothing. Prints a table; exit code 1 when a rule was broken and not caught, or could not be broken as it says.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from soak.rules import RULES, Rule

print = functools.partial(print, flush=True)
ROOT = Path(__file__).resolve().parents[1]
CAUGHT, UNCAUGHT, NOT_APPLICABLE = "caught", "uncaught", "not applicable"
JUDGES = ("AssertionError", "Failed", "SkerryError")  # by these a test says no; all else is an accident


class Outcome(NamedTuple):
    name: str
    result: str
    why: str
    seconds: float


def broken(rule: Rule, text: str) -> str:
    """The file's text with the rule broken. Raises ValueError where it can't be done as the rule says, and SyntaxError."""
    if (times := text.count(rule.before)) != 1:
        raise ValueError(f"its text stands {times} times in {rule.file}")
    changed = text.replace(rule.before, rule.after)
    compile(changed, rule.file, "exec")
    return changed


def copy_tree(to: Path) -> None:
    """What tests need: the package, the tests, and what says how to run them."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", to)


def run_tests(tree: Path, tests: Sequence[str], limit_s: float) -> dict[str, Any] | str:
    """What soak.mutated tells of them, in a process of its own; text: why there is nothing to tell."""
    out = tree / "told.json"
    out.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", str(ROOT / "soak" / "mutated.py"), str(out), str(tree / "src" / "skerry")]
    try:
        ended = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end within {limit_s:g} s"
    if not out.exists():
        return f"it did not run: {(ended.stderr.strip().splitlines() or [f'exit code {ended.returncode}'])[-1]}"
    told: dict[str, Any] = json.loads(out.read_text())
    if told["package"] != str(tree / "src" / "skerry"):
        return f"another package was imported: {told['package']}"
    if told["uncollected"]:
        return f"tests could not be collected: {told['uncollected'][0]}"
    if told["ended"] not in (0, 1):  # pytest's words for "all passed" and "some failed"
        return f"pytest ended with {told['ended']}"
    return told


def belongs(ran: str, test: str) -> bool:
    """Whether a test that ran is one of those that a rule names: it may name a whole file, or all cases of one test."""
    return ran == (test := f"tests/{test}") or ran.startswith((f"{test}[", f"{test}::"))


def judged(rule: Rule, told: dict[str, Any] | str) -> tuple[str, str]:
    """Whether the rule's tests have noticed, and what they said."""
    if isinstance(told, str):
        return UNCAUGHT, told
    seen = ""
    for test in rule.tests:
        failures = [failure for failure in told["failures"] if belongs(failure["test"], test)]
        said = [failure for failure in failures if set(JUDGES) & set(failure["kinds"])]
        if not said:
            crash = f"{failures[0]['kinds'][0]}: {failures[0]['said']}" if failures else "passes all the same"
            return UNCAUGHT, f"{test.rpartition('::')[2]}: {crash}"
        seen = seen or f"{said[0]['test'].rpartition('::')[2]}: {said[0]['said']}"
    return CAUGHT, seen


def passes(rule: Rule, told: dict[str, Any] | str) -> str:
    """Why the rule's tests prove nothing: they don't pass, or aren't there, where nothing is broken. "" if they do."""
    if isinstance(told, str):
        return told
    for test in rule.tests:
        ran = {id: failed for id, failed in told["ran"].items() if belongs(id, test)}
        if not ran or any(ran.values()):
            return f"{test}: {'fails' if ran else 'does not run'} where nothing is broken"
    return ""


def try_rule(rule: Rule, tree: Path, whole: dict[str, Any] | str, limit_s: float) -> Outcome:
    began_s, path = time.monotonic(), tree / "src" / "skerry" / rule.file
    text = path.read_text() if path.exists() else ""
    try:
        changed = broken(rule, text)
    except (ValueError, SyntaxError) as error:
        return Outcome(rule.name, NOT_APPLICABLE, str(error), 0.0)
    if why := passes(rule, whole):
        return Outcome(rule.name, NOT_APPLICABLE, why, 0.0)
    path.write_text(changed)
    try:
        result, why = judged(rule, run_tests(tree, rule.tests, limit_s))
    finally:
        path.write_text(text)
    return Outcome(rule.name, result, why, time.monotonic() - began_s)


def chosen(words: Sequence[str]) -> list[Rule]:
    """Rules whose name, sentence or file has all the words."""
    return [
        rule for rule in RULES if all(word.lower() in f"{rule.name} {rule.rule} {rule.file}".lower() for word in words)
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak.mutations", description="Break each rule and see who notices.")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rules with all these words")
    parser.add_argument("--json", type=Path, help="write the outcomes there too")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a rule's tests may take")
    given = parser.parse_args(arguments)
    rules = chosen(given.only)
    with tempfile.TemporaryDirectory(prefix="skerry-mutations-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        tests = sorted({test for rule in rules for test in rule.tests})
        whole = run_tests(tree, tests, given.limit * max(1, len(tests)))
        outcomes = []
        for rule in rules:
            outcomes.append(outcome := try_rule(rule, tree, whole, given.limit))
            print(f"{outcome.result:<15} {outcome.name:<40} {outcome.seconds:5.1f} s  {outcome.why[:140]}")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps([outcome._asdict() for outcome in outcomes], indent=1) + "\n")
    count = {kind: sum(o.result == kind for o in outcomes) for kind in (CAUGHT, UNCAUGHT, NOT_APPLICABLE)}
    print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    return 0 if outcomes and count[CAUGHT] == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
