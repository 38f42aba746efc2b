"""The node's diary: bounded, readable after damage, followed as it grows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from skerry.observe.chain import walk
from skerry.observe.events import Entry, EventLog, Wanted, parse_entries


def log(directory: Path, max_bytes: int = 1 << 20) -> EventLog:
    return EventLog(directory, max_bytes, now=lambda: 1.5)


def test_what_was_written_is_read_back_by_the_next_life(tmp_path: Path) -> None:
    first = log(tmp_path)
    first.append("started", "guestbook.web/0", "rank 0: vacant for 1 s", {"image": "sha256:ab"})
    first.close()
    second = log(tmp_path)
    second.append("stopped", "guestbook.web/0")
    assert [msgspec.structs.replace(entry, n=0, prev="") for entry in second.tail(5)] == [
        Entry(1.5, "started", "guestbook.web/0", "rank 0: vacant for 1 s", {"image": "sha256:ab"}),
        Entry(1.5, "stopped", "guestbook.web/0"),
    ]
    assert [entry.kind for entry in second.tail(1)] == ["stopped"]
    assert second.tail(0) == []


def test_it_never_grows_beyond_its_bound_and_keeps_the_newest(tmp_path: Path) -> None:
    diary = log(tmp_path, max_bytes=4000)
    for n in range(200):
        diary.append("kind", f"s{n}", "x" * 20)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    assert [entry.subject for entry in diary.tail(3)] == ["s197", "s198", "s199"]
    assert len(diary.tail(1000)) > 10


def test_a_line_cut_by_a_power_cut_is_left_out_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    log(tmp_path).append("a", "s")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'[1.5,"cut')
    diary = log(tmp_path)
    diary.append("b", "s")
    assert [entry.kind for entry in diary.tail(9)] == ["a", "diary", "b"]
    assert "9 bytes: cut off" in diary.tail(2)[0].reason
    assert walk(diary.lines()).breaks == ()


def test_a_reason_without_end_is_cut(tmp_path: Path) -> None:
    assert len(log(tmp_path).append("k", "s", "x" * 100_000).reason) == 2000


@given(st.binary(max_size=300))
def test_any_bytes_are_a_diary(data: bytes) -> None:
    assert isinstance(parse_entries(data), list)


async def test_following_sees_each_entry_once(tmp_path: Path) -> None:
    diary = log(tmp_path)
    diary.append("before", "s")
    followed = diary.follow(1)
    assert (await anext(followed)).kind == "before"
    waiting = asyncio.ensure_future(anext(followed))
    await asyncio.sleep(0)
    for kind in ("one", "two"):
        diary.append(kind, "s")
    assert (await asyncio.wait_for(waiting, 2)).kind == "one"
    assert (await asyncio.wait_for(anext(followed), 2)).kind == "two"
    await followed.aclose()  # type: ignore[attr-defined]


def test_asked_for_by_time_kind_and_words(tmp_path: Path) -> None:
    times = iter(range(100))
    diary = EventLog(tmp_path, now=lambda: float(next(times)))
    for kind, reason in (("started", "one"), ("exited", "Two"), ("started", "two"), ("started", "three")):
        diary.append(kind, "shop.web/0", reason)
    assert [e.reason for e in diary.tail(9, Wanted(kinds=("started",)))] == ["one", "two", "three"]
    assert [e.reason for e in diary.tail(9, Wanted(text="TWO"))] == ["Two", "two"]
    assert [e.reason for e in diary.tail(9, Wanted(since=1, until=2))] == ["Two", "two"]
    assert [e.reason for e in diary.tail(1, Wanted(kinds=("exited",)))] == ["Two"], "the last that is wanted"


def test_what_a_full_disk_had_no_room_for_is_counted(tmp_path: Path, monkeypatch: Any) -> None:
    diary = log(tmp_path)
    diary.append("a", "s")
    write = os.write

    def half(file: int, data: bytes) -> int:
        write(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    diary.append("lost", "s")
    diary.append("lost", "s")
    monkeypatch.setattr(os, "write", write)
    diary.append("b", "s")
    assert [entry.kind for entry in diary.tail(9)] == ["a", "diary", "b"]
    assert walk(diary.lines()).breaks == ()
