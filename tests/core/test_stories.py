"""Each file in stories/ is what happens to a cloud and the transcript that it must give."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.sim.stories import tell

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_written(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    told = tell(text)
    if request.config.getoption("--rewrite"):
        path.write_text(told)
        return
    assert told == text
