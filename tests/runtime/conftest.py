"""Shared by the tests of the room."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _work_in_a_folder_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """conmon leaves a file "oom" where it was started."""
    monkeypatch.chdir(tmp_path)
