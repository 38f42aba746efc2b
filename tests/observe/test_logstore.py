"""The store of logs: what goes in comes out, found by time; torn and damaged files; bounds that are fair."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.observe import logstore
from skerry.observe.logs import parse_block
from skerry.observe.logstore import LogStore, blocks_of, pack


def lines(*seconds: int, text: str = "line") -> bytes:
    return "".join(f"2026-01-01T00:{s // 60:02}:{s % 60:02}.0+00:00 stdout F {text} {s}\n" for s in seconds).encode()


def noise(size: int) -> bytes:
    """Lines that don't get smaller."""
    return b"".join(
        b"2026-01-01T00:00:00.0+00:00 stdout F " + os.urandom(500).hex().encode() + b"\n" for _ in range(size // 1040)
    )


def texts(store: LogStore, slot: str, since: str = "", until: str = "") -> list[str]:
    pieces = list(store.snapshot(slot).back(since, until))
    return [line.text for piece in reversed(pieces) for line in parse_block(piece.data)]


def stamp(second: int) -> str:
    return f"2026-01-01T00:{second // 60:02}:{second % 60:02}"


def test_what_was_kept_is_found_by_slot_and_time(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    store.append("shop.web/0", [pack(lines(1, 2)), pack(lines(3, 4), dropped=9)])
    store.append("shop.web/0", [pack(lines(5, 6))])
    store.append("shop.web/1", [pack(lines(7))])
    again = LogStore(tmp_path)
    assert again.slots() == ["shop.web/0", "shop.web/1"]
    assert texts(again, "shop.web/0") == [f"line {n}" for n in range(1, 7)]
    assert texts(again, "shop.web/0", since=stamp(5)) == ["line 5", "line 6"], "older blocks aren't read"
    assert texts(again, "shop.web/0", until=stamp(3)) == ["line 1", "line 2"]
    assert [piece.dropped for piece in again.snapshot("shop.web/0").back()] == [0, 9, 0]
    assert texts(again, "no.such/0") == []


def test_other_programs_read_it_too(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    store.append("shop.web/0", [pack(lines(1)), pack(lines(2))])
    (segment,) = (tmp_path / "shop.web~0").iterdir()
    code = "import sys, zstandard as z; print(z.ZstdDecompressor().stream_reader(sys.stdin.buffer, read_across_frames=True)"
    code += ".read().decode(), end='')"
    with segment.open("rb") as file:
        ran = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=True)
    assert ran.stdout == lines(1) + lines(2)


@given(st.integers(0, 2**16), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_what_a_power_cut_left_torn_is_cut_off_and_gone_on_from(cut: int, kept: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LogStore(Path(folder))
        blocks = [pack(lines(n, n + 1), source="a/closed.1", upto=n) for n in range(1, 7, 2)]
        store.append("shop.web/0", blocks)
        (segment,) = (Path(folder) / "shop.web~0").iterdir()
        size = sum(map(len, blocks[:kept])) + cut % len(blocks[kept])
        os.truncate(segment, size)
        again = LogStore(Path(folder))
        whole = [f"line {n}" for n in range(1, 1 + 2 * kept)]
        assert texts(again, "shop.web/0") == whole
        assert again.upto("shop.web/0", "a/closed.1") == (2 * kept - 1 if kept else 0)
        again.append("shop.web/0", [pack(lines(50))])
        assert texts(again, "shop.web/0") == [*whole, "line 50"]


def test_room_that_was_made_and_never_written_is_cut_off(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    block = pack(lines(3, 4))
    store.append("shop.web/0", [pack(lines(1, 2)), block])
    (segment,) = (tmp_path / "shop.web~0").iterdir()
    with segment.open("r+b") as file:  # as file systems leave it: the size is there, the last bytes are zeros
        file.seek(-10, os.SEEK_END)
        file.write(bytes(10))
    assert texts(LogStore(tmp_path), "shop.web/0") == ["line 1", "line 2"]
    LogStore(tmp_path).append("shop.web/0", [pack(lines(5))])
    assert texts(LogStore(tmp_path), "shop.web/0") == ["line 1", "line 2", "line 5"]


@given(st.binary(max_size=400), st.integers(0, 600))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_without_harm(garbage: bytes, at: int) -> None:
    good = pack(lines(1, 2)) + pack(lines(3, 4))
    data = good[:at] + garbage + good[at + len(garbage) :]
    with tempfile.TemporaryDirectory() as folder:
        store = LogStore(Path(folder))
        (Path(folder) / "shop.web~0").mkdir()
        (Path(folder) / "shop.web~0" / "0000000001.zst").write_bytes(data)
        assert set(texts(store, "shop.web/0")) <= {f"line {n}" for n in range(1, 5)}, "what is damaged is left out"
        store.append("shop.web/0", [pack(lines(9))])
        assert texts(store, "shop.web/0")[-1] == "line 9"


def test_a_slot_that_writes_much_pushes_out_its_own_lines_only(tmp_path: Path) -> None:
    with mock.patch.object(logstore, "SEGMENT_BYTES", 20_000):
        store = LogStore(tmp_path, host_bytes=200_000)
        store.append("shop.quiet/0", [pack(lines(1, 2))])
        for n in range(40):
            store.append("shop.noisy/0", [pack(noise(20_000))])
            store.append("shop.noisy/1", [pack(noise(10_000))])
            store.tidy()
            assert sum(store.bytes().values()) <= 200_000 + 30_000, n
        assert texts(store, "shop.quiet/0") == ["line 1", "line 2"]
        used = store.bytes()
        assert abs(used["shop.noisy/0"] - used["shop.noisy/1"]) <= 40_000, "equal shares"


def test_each_slot_and_age_have_bounds(tmp_path: Path) -> None:
    with mock.patch.object(logstore, "SEGMENT_BYTES", 20_000):
        store = LogStore(tmp_path, slot_bytes=60_000)
        for _ in range(20):
            store.append("shop.noisy/0", [pack(noise(20_000))])
        store.tidy()
        assert store.bytes()["shop.noisy/0"] <= 60_000
        store.append("shop.web/0", [pack(lines(1))])
        (old,) = (tmp_path / "shop.web~0").iterdir()
        os.utime(old, (1, 1))
        store.tidy()
        assert store.slots() == ["shop.noisy/0"]


def test_a_full_disk_keeps_what_is_there_and_the_largest_gives_way(tmp_path: Path) -> None:
    with mock.patch.object(logstore, "SEGMENT_BYTES", 20_000):
        store = LogStore(tmp_path)
        store.append("shop.web/0", [pack(lines(1))])
        for _ in range(3):
            store.append("shop.noisy/0", [pack(noise(20_000))])
        real = os.pwrite

        def full(file: int, data: bytes, at: int) -> int:
            real(file, data[:5], at)
            raise OSError(errno.ENOSPC, "no room")

        with mock.patch.object(logstore.os, "pwrite", full), pytest.raises(OSError, match="no room"):
            store.append("shop.web/0", [pack(lines(2))])
        assert texts(store, "shop.web/0") == ["line 1"]
        before = store.bytes()
        assert store.make_room()
        assert store.bytes()["shop.noisy/0"] < before["shop.noisy/0"]
        store.append("shop.web/0", [pack(lines(3))])
        assert texts(store, "shop.web/0") == ["line 1", "line 3"]


def test_a_file_is_read_only_where_its_blocks_are_whole(tmp_path: Path) -> None:
    file = os.memfd_create("segment")
    block = pack(lines(1))
    os.write(file, block + block[: len(block) // 2])
    assert len(list(blocks_of(file, len(block) * 2))) == 1
    os.close(file)
