"""docs/attacks.md names a test for each attack: it has to be there."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rows() -> list[tuple[str, ...]]:
    lines = [line for line in (ROOT / "docs" / "attacks.md").read_text().splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def test_every_attack_names_who_what_bounds_it_and_a_test_that_is_there() -> None:
    seen = set()
    for row in rows():
        assert len(row) == 4 and all(row), row
        file, _, name = row[3].partition("::")
        path = ROOT / "tests" / file
        assert path.is_file(), row
        tree = ast.parse(path.read_text())
        names = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name.startswith("test_") and name in names, row
        assert row[0] not in seen, f"{row[0]} stands there twice"
        seen.add(row[0])
    assert len(seen) > 40


def test_every_file_of_attacks_is_on_the_page() -> None:
    page = {row[3].partition("::")[0] for row in rows()}
    assert {f"attacks/{path.name}" for path in (ROOT / "tests" / "attacks").glob("test_*.py")} <= page
