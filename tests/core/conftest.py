"""The flag that rewrites the stories' transcripts: `pytest tests/core --rewrite`. Read the difference before you commit it."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the transcripts that the stories give now")
