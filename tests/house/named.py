"""What pages name: rows of their tables, and tests by file and function. For the pages that are held to their tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TEST = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")


def rows(page: str) -> list[tuple[str, ...]]:
    """Of the page's tables, without their heads."""
    lines = [line for line in (ROOT / "docs" / page).read_text().splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def named_in(text: str) -> list[tuple[str, str]]:
    """(file below tests/, function) of each that stands there in backticks."""
    return _TEST.findall(text)


@cache
def functions(path: Path) -> frozenset[str]:
    """Functions of a Python file, of its classes too; none where there is no such file."""
    if not path.is_file():
        return frozenset()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))


def is_there(file: str, name: str) -> bool:
    return name.startswith("test_") and name in functions(ROOT / "tests" / file)
