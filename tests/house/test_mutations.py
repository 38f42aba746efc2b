"""soak/rules can't rot: each rule's text is there once, what replaces it compiles, and the tests that it names exist. None is run."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from soak.mutations import RULES, Rule, broken

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = re.compile(r"[456], [a-z]+(, [1-6])?: .+\.")  # of design.md, and which paragraph


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return frozenset(n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_can_be_broken_as_it_says_and_its_tests_are_there(rule: Rule) -> None:
    text = (ROOT / "src" / "skerry" / rule.file).read_text()
    assert broken(rule, text) != text
    assert SECTIONS.fullmatch(rule.rule), rule.rule
    assert rule.tests
    for test in rule.tests:
        file, _, name = test.partition("::")
        path = ROOT / "tests" / file
        assert path.is_file(), test
        assert not name or name.partition("[")[0] in names_in(path), test
        if "test_stories" in file:
            assert (path.parent / "stories" / f"{name.partition('[')[2].removesuffix(']')}.txt").is_file(), test


def test_no_two_rules_have_one_name_and_no_two_break_the_same() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES) >= 25
    assert len({(rule.file, rule.before, rule.after) for rule in RULES}) == len(RULES)
