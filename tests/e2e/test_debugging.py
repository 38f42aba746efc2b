"""Some situations of docs/debugging.md, quickly acted out; all twenty: `python -m soak.debugging`."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak.debugging import PAGE, Stage
from soak.page import Page

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e


def test_commands_print_what_the_page_of_situations_shows(cloud: Cloud, tmp_path: Path) -> None:
    stage = Stage(cloud.lab, cloud.skerry, tmp_path / "stage")
    chosen = [
        s for s in Page.read(PAGE).situations if s.title.split(". ")[1] in ("Its disk is full", "The probe fails")
    ]
    assert len(chosen) == 2
    assert not [words for situation in chosen for words in stage.play(situation)]
