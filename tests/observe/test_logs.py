"""Log files as the monitor leaves them: partial lines, rotation, damage, and readers that begin at the end."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from skerry.observe import logs
from skerry.observe.logs import LINE_MAX_BYTES, LogLine, join_lines, parse_block, parse_rows, tail

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


CRI = st.builds(
    lambda time, stream, mark, text: f"{time} {stream} {mark} {text}",
    st.sampled_from(["2026-11-23T22:05:24.6+00:00", "2026-11-23T22:05:25.6+00:00"]),
    st.sampled_from(["stdout", "stderr"]),
    st.sampled_from("FFFP"),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30),
).map(str.encode)
NOISE = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))
RAWS = st.lists(CRI | NOISE, max_size=40)


@given(RAWS)
def test_the_quick_parser_agrees_with_the_plain_one(raws: list[bytes]) -> None:
    data = b"".join(raw + b"\n" for raw in raws)
    plain = [line[1:] for line in join_lines(raw for raw in raws if raw)]
    assert [line[1:] for line in parse_block(data)] == plain
    assert parse_rows(data, "web/1") == [[line.time, "web/1", line.stream, line.text] for line in parse_block(data)]
    times = [line.time for line in join_lines(raw for raw in raws if raw)]
    assert all(mine == its for mine, its in zip((line.time for line in parse_block(data)), times, strict=True) if its)


@given(RAWS, st.integers(40, 400))
def test_pieces_from_the_end_are_the_whole_and_cut_no_text_in_two(raws: list[bytes], block: int) -> None:
    data = b"".join(raw + b"\n" for raw in raws)
    file = os.memfd_create("log")
    try:
        os.write(file, data + b"unended")
        with mock.patch.object(logs, "BLOCK_BYTES", block):
            pieces = list(logs.blocks_back(file, len(data) + 7))[::-1]
    finally:
        os.close(file)
    assert b"".join(pieces) == data
    assert all(len(piece) <= 3 * block + 200 for piece in pieces)


@given(RAWS, NOISE)
def test_what_is_whole_ends_with_a_line(raws: list[bytes], left: bytes) -> None:
    data = b"".join(raw + b"\n" for raw in raws)
    cut = logs.whole_bytes(data + left)
    assert cut <= len(data) and (cut == 0 or data[cut - 1 : cut] == b"\n")
    if data:
        assert cut > 0


def test_a_text_that_was_split_is_not_cut_between_two_pieces() -> None:
    parts = [line("x" * 100, mark="P")] * 3 + [line("end")]
    data = "".join([line("before")] * 3 + parts + [line("after")] * 3).encode()
    file = os.memfd_create("log")
    try:
        os.write(file, data)
        with mock.patch.object(logs, "BLOCK_BYTES", len(data) // 2):
            pieces = list(logs.blocks_back(file, len(data)))[::-1]
    finally:
        os.close(file)
    assert len(pieces) > 1
    told = [one.text for piece in pieces for one in parse_block(piece)]
    assert told == ["before"] * 3 + ["x" * 300 + "end"] + ["after"] * 3
