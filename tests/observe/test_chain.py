"""The diary's chain: whatever is changed, taken out, put in or moved is found, and where."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.observe.chain import Head, hash_of, walk
from skerry.observe.events import EventLog


def written(directory: Path, count: int, max_bytes: int = 1 << 20) -> EventLog:
    diary = EventLog(directory, max_bytes, now=lambda: 1.5)
    for n in range(count):
        diary.append("kind", f"s{n}", "x" * 20)
    return diary


def test_a_diary_left_alone_holds_over_rotations_and_lives(tmp_path: Path) -> None:
    for life in range(4):
        diary = written(tmp_path, 37, max_bytes=4000)
        walked = walk(diary.lines(), diary.anchor())
        assert walked.breaks == ()
        assert walked.head == diary.head == Head(37 * (life + 1), walked.head.hash)
        diary.close()
    assert walked.first > 1, "older lines were let go of"


def test_what_was_let_go_of_is_not_more_than_that(tmp_path: Path) -> None:
    """Somebody takes the oldest lines that are kept away."""
    diary = written(tmp_path, 100, max_bytes=4000)
    lines = list(diary.lines())
    first = walk(lines).first
    walked = walk(lines[3:], diary.anchor())
    assert [b.n for b in walked.breaks] == [first + 3]
    assert f"number {first - 1} was the last" in walked.breaks[0].why


LINES: list[bytes] = []


def chained() -> list[bytes]:
    if not LINES:
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            LINES.extend(written(Path(directory), 12).lines())
    return LINES


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_of_the_past_is_found(data: st.DataObject) -> None:
    lines = list(chained())
    at = data.draw(st.integers(0, len(lines) - 2))
    what = data.draw(st.sampled_from(["change", "take", "put", "swap"]))
    if what == "change":
        byte = data.draw(st.integers(0, len(lines[at]) - 1))
        lines[at] = lines[at][:byte] + bytes([lines[at][byte] ^ data.draw(st.integers(1, 255))]) + lines[at][byte + 1 :]
    elif what == "take":
        del lines[at]
    elif what == "put":
        lines.insert(at + 1, lines[at])
    else:
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    walked = walk(lines, Head(0, ""))
    assert walked.breaks
    assert all(abs(b.line - (at + 1)) <= 2 for b in walked.breaks)


def test_what_is_cut_off_the_end_is_found_by_who_noted_the_head() -> None:
    lines = chained()
    whole, cut = walk(lines, wanted=[12]), walk(lines[:9], wanted=[12])
    assert whole.hashes[12] == hash_of(lines[11])
    assert not cut.breaks and cut.head.n == 9 and 12 not in cut.hashes


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_lines_can_be_walked(lines: list[bytes]) -> None:
    walked = walk(lines)
    assert walked.lines == len(lines)


def test_lines_from_before_there_was_a_chain_stay_readable() -> None:
    old = [b'{"time":1.0,"kind":"a","subject":"s"}']
    lines = [*old, *chained()]
    walked = walk(lines)
    assert [b.n for b in walked.breaks] == [1], "number 1 was not written after that line"
    assert "without a number" in walk([*chained(), *old]).breaks[0].why
