"""Log files as the monitor leaves them: partial lines, rotation, damage, and a reader that follows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from skerry.observe.logs import LINE_MAX_BYTES, LogLine, follow, join_lines, tail

T = "2026-11-23T22:05:24.600969944+00:00"


def line(text: str, *, stream: str = "stdout", mark: str = "F") -> str:
    return f"{T} {stream} {mark} {text}\n"


def test_partial_lines_are_joined_each_stream_for_itself() -> None:
    text = line("a", mark="P") + line("err", stream="stderr") + line("b", mark="P") + line("c d ")
    assert join_lines(text.encode().splitlines()) == [LogLine(T, "stderr", "err"), LogLine(T, "stdout", "abc d ")]


def test_what_is_not_in_the_format_is_shown_as_it_is() -> None:
    assert join_lines([b"conmon: oops", b"", b"\xff\x00"]) == [
        LogLine("", "stdout", "conmon: oops"),
        LogLine("", "stdout", ""),
        LogLine("", "stdout", "\ufffd\x00"),
    ]


def test_a_line_that_never_ends_is_cut() -> None:
    raws = [line("x" * 8192, mark="P").rstrip().encode()] * 20
    lines = join_lines(raws)
    assert all(len(one.text) <= LINE_MAX_BYTES + 8192 for one in lines)
    assert sum(len(one.text) for one in lines) == 20 * 8192


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_lines(raws: list[bytes]) -> None:
    assert all(one.stream in ("stdout", "stderr") for one in join_lines(raws))


def test_the_tail_reaches_over_a_rotation(tmp_path: Path) -> None:
    older, current = tmp_path / "ctr.log.1", tmp_path / "ctr.log"
    older.write_text("".join(line(f"old {n}") for n in range(5)))
    current.write_text(line("new 0") + line("new 1"))
    assert [one.text for one in tail([older, current], 4)] == ["old 3", "old 4", "new 0", "new 1"]
    assert [one.text for one in tail([older, current, tmp_path / "gone"], 1)] == ["new 1"]
    assert tail([older], 0) == []


async def test_following_sees_what_was_there_what_comes_and_what_comes_after_a_rotation(tmp_path: Path) -> None:
    current, older = tmp_path / "ctr.log", tmp_path / "ctr.log.1"
    followed = follow(lambda: [path for path in (older, current) if path.exists()], 1)

    async def following() -> str:
        return (await asyncio.wait_for(anext(followed), 5)).text

    waiting = asyncio.create_task(following())  # before the file exists
    await asyncio.sleep(0)
    current.write_text(line("one") + line("two"))
    assert await waiting == "two"
    with current.open("a") as file:
        file.write(line("three") + f"{T} stdout F fo")
        file.flush()
        assert await following() == "three"
        file.write("ur\n" + line("before rotation"))
    assert await following() == "four"
    os.link(current, older)
    (tmp_path / "new").write_text(line("after rotation"))
    (tmp_path / "new").replace(current)
    assert await following() == "before rotation"
    assert await following() == "after rotation"
    await followed.aclose()  # type: ignore[attr-defined]
