"""How lines of logs look at a terminal."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from skerry.cli.loglines import Lines, level_of
from skerry.client.logs import Line

T = "2026-11-26T10:00:01.123456789+00:00"
SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")


def shown(text: str, *, colour: bool = False, raw: bool = False) -> str:
    """Without time and slot."""
    return Lines(colour=colour, raw=raw).block([Line(T, "shop.web/0", "stdout", text)]).split(" ", 3)[3][:-1]


def test_json_is_shown_as_people_read_it() -> None:
    assert shown('{"time":"x","level":"warning","msg":"slow","ms":12,"who":"ann"}') == "WARN  slow ms=12 who=ann"
    assert shown('{"severity":"ERROR","message":"no room","at":{"disk":1}}') == 'ERROR no room at={"disk":1}'
    assert shown('{"level":30,"msg":"as pino has it","pid":7}') == "INFO  as pino has it pid=7"
    assert shown('{"level":"info","msg":"x"}', raw=True) == '{"level":"info","msg":"x"}'


def test_what_only_looks_like_json_is_shown_as_it_is() -> None:
    for text in ("{", "{}", '{"a": 1}', "{not json}", '{"level": ', "{" * 5000):
        assert shown(text) == text


def test_colours_are_ours_alone() -> None:
    text = shown('{"level":"error","msg":"red \\u001b[31m","k":"\\u001b]0;title\\u0007"}', colour=True)
    assert text == "\x1b[31mERROR\x1b[0m red \\x1b[31m \x1b[2mk=\\x1b]0;title\\x07\x1b[0m"
    assert shown("plain \x1b[31m\r", colour=True) == "plain \\x1b[31m\\r"


def test_what_is_missing_is_told() -> None:
    lines = Lines(colour=False)
    assert lines.block([Line(T, "shop.web/0", "", "", 1234567)]).endswith("… 1,234,567 lines are missing here\n")


ANYTHING = st.text(max_size=60) | st.builds(
    lambda level, msg, key, value: '{"level":%s,"msg":%s,%s:%s}' % (level, msg, key, value),  # noqa: UP031
    *[st.sampled_from(['"a"', "1", "null", '"\\u001b[2J"', '"\\r\\n"', "[1,{}]"])] * 2,
    st.sampled_from(['"k"', '"\\u001b[0m"']),
    st.sampled_from(['"v\\u0007"', "1.5", "{}"]),
)  # fmt: skip


@given(ANYTHING, ANYTHING, ANYTHING, st.booleans())
def test_nothing_that_others_wrote_steers_the_terminal(time: str, slot: str, text: str, colour: bool) -> None:
    line = Line(time, slot, "stdout", text)
    lines = Lines(colour=colour)
    for _ in range(2):  # the second time from what was remembered
        block = lines.block([line, Line(T, slot, "stdout", text)])
        assert block.count("\n") == 2 and block.endswith("\n")
        assert all(c.isprintable() or c == "\n" for c in SEQUENCE.sub("", block)) or not colour
        if not colour:
            assert all(c.isprintable() or c == "\n" for c in block)


def test_levels_have_few_words() -> None:
    cases: list[tuple[Any, str]] = [("warning", "WARN"), ("Error", "ERROR"), (50, "ERROR"), ("crit", "FATAL"), (7, "7")]
    assert [level_of(found) for found, _ in cases] == [word for _, word in cases]
