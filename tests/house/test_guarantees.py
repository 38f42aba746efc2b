"""docs/guarantees.md promises nothing without a test, and says of each promise where it ends."""

from __future__ import annotations

import re

from house.named import ROOT, functions, is_there, named_in, rows
from skerry.sim.lives.watching import CHECKERS

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
SENTENCES = 7  # of the design's section 7
PURE = ("core/", "trust/", "sim/")  # no clock, no disk, no network but pretended ones
REAL = ("attacks/", "e2e/")  # real agents, whole machines


def sections() -> dict[int, tuple[str, str]]:
    """Number -> (anchor, text) of each promise."""
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    heads = [(part.partition("\n")[0], part) for part in parts]
    return {
        int(head.partition(".")[0]): (re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-"), part)
        for head, part in heads
        if head.partition(".")[0].isdigit()
    }


def kinds(text: str) -> list[str]:
    """What holds a promise, in the words of the page's head."""
    files = [file for file, _ in named_in(text)]
    there = {
        "rules": any(file.startswith(PURE) for file in files),
        "lives": "\n- Lives: " in text,
        "attacks": any(file.startswith("attacks/") for file in files),
        "parts": any(not file.startswith((*PURE, *REAL)) for file in files),
        "machines": any(file.startswith("e2e/") for file in files),
    }
    return [kind for kind, is_so in there.items() if is_so]


def test_every_promise_of_the_table_has_its_section_and_every_section_its_row() -> None:
    linked = []
    for row in rows("guarantees.md"):
        number, anchor = re.fullmatch(r"\[(\d+)\]\(#([a-z0-9-]+)\)", row[0]).groups()  # type: ignore[union-attr]
        assert len(row) == 4 and all(row), row
        assert sections()[int(number)][0] == anchor
        assert row[2].split(", ") == kinds(sections()[int(number)][1]), row[0]
        linked.append(int(number))
    assert linked == list(sections()) == list(range(1, len(linked) + 1))


def test_every_test_that_is_named_is_there() -> None:
    lost = [f"{file}::{name}" for file, name in named_in(PAGE) if not is_there(file, name)]
    assert not lost
    assert PAGE.count("::test_") == len(named_in(PAGE)), "one is named in another way than the others"


def test_every_checker_that_is_named_looks_on() -> None:
    named = re.findall(r"`(watching|ending)\.py::(\w+)`", PAGE)
    ending = functions(ROOT / "src" / "skerry" / "sim" / "lives" / "ending.py")
    looking = {kind.__name__ for kind in CHECKERS}
    assert named and not [name for file, name in named if name not in (looking if file == "watching" else ending)]
    assert looking <= {name for _, name in named}, "a checker stands for a promise that is not on the page"


def test_no_promise_is_without_a_test_and_each_says_where_it_ends() -> None:
    for number, (_, text) in sections().items():
        assert named_in(text), f"{number} is held by nothing"
        assert "ot promised: " in text, f"{number} does not say what is not promised"


def test_each_of_the_seven_is_held_by_a_rule_alone_and_by_real_parts() -> None:
    for number in range(1, SENTENCES + 1):
        files = [file for file, _ in named_in(sections()[number][1])]
        assert any(file.startswith(PURE) for file in files), f"{number}: no property, no life"
        assert any(file.startswith(REAL) for file in files), f"{number}: no attack, no whole machine"


def test_what_is_promised_nowhere_is_said() -> None:
    assert "\n## Promised nowhere, though you might expect it\n" in PAGE
