"""The agent's own log, in the format that the readers of containers' logs know."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from skerry.agent import diary
from skerry.observe.logs import parse_block


def test_what_the_agent_says_and_what_it_ends_by_is_kept(tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers)
    path = tmp_path / "agent.log"
    try:
        with pytest.raises(ZeroDivisionError), diary.kept(path):
            logging.getLogger("skerry.agent.loop").warning("two\nlines")
            1 / 0  # noqa: B018
    finally:
        for handler in set(logging.getLogger().handlers) - set(before):
            logging.getLogger().removeHandler(handler)
            handler.close()
    lines = parse_block(path.read_bytes())
    assert [line.text for line in lines[:2]] == ["warning skerry.agent.loop: two", "lines"]
    assert lines[0].time == lines[1].time and lines[0].time.endswith("+00:00")
    assert lines[-1].text == "ZeroDivisionError: division by zero"
