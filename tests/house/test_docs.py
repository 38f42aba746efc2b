"""Docs are held by tests: what a page names has to be there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from skerry.cli.main import skerry

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "skerry"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_walk_names_files_that_are_there() -> None:
    """A name with a folder is below src/skerry or the root; one without is beside some file of the package."""
    names = set(re.findall(r"`([a-z0-9_/]+(?:\.py|/))`", (ROOT / "docs" / "architecture.md").read_text()))
    beside = {path.name for path in PACKAGE.rglob("*.py")}
    lost = [n for n in names if not (PACKAGE / n).exists() and not (ROOT / n).exists() and n not in beside]
    assert names
    assert not lost


def test_every_event_is_explained() -> None:
    """`skerry events` shows kinds: each word that core or the agent may write has its line."""
    written = {
        kind for room in ("core", "agent", "observe") for path in (PACKAGE / room).rglob("*.py") for kind in kinds(path)
    }
    told = set(re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "events.md").read_text(), re.MULTILINE))
    assert written == told


def kinds(path: Path) -> Iterator[str]:
    """The first argument of each call that writes an event, whichever way it is put."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            of_events = node.func.attr == "append" and ast.unparse(node.func.value).endswith(("events", "self"))
            if of_events or node.func.attr in ("note", "_note", "_report"):
                first = ast.walk(node.args[0])
                yield from (
                    part.value for part in first if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )


def test_every_command_that_a_page_or_an_error_names_exists_with_its_options() -> None:
    """Of pages: what stands in backticks or at the beginning of a line; of the code: what stands within a text."""
    root = click.Context(skerry)
    wrong = []
    for file in [*PAGES, *PACKAGE.rglob("*.py")]:
        for named in re.finditer(
            r"(?:^|[`:\"(] ?|fix=\"|, )skerry ([a-z]+[^`;,:)\n\"'|\\{[]*)", file.read_text(), re.MULTILINE
        ):
            words = named[1].split()
            command = skerry.get_command(root, words[0])
            for word in words[1:]:
                if isinstance(command, click.Group):
                    command = command.get_command(root, word)
            if command is None:
                wrong.append(f"{file.name}: {named[0]}")
                continue
            options = {"--help", *(option for parameter in command.params for option in parameter.opts)}
            given = words[: words.index("--")] if "--" in words else words
            wrong += [f"{file.name}: {named[0]}" for word in given if word.startswith("--") and word not in options]
    assert not wrong
