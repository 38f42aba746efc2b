"""Rings: what was put in comes out, over laps, restarts, torn files and clocks that jump; and nothing that wasn't put in."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.observe.metrics import OF_HOST, OF_SLOT, one_of
from skerry.observe.ringfile import BLOCKS, FILE_BYTES, RingFile
from skerry.observe.rings import BLOCK_BYTES, HEADER_BYTES, RINGS, ROW_BYTES, Column, Rings, finest

NOW = 1_700_000_000
TWO = (Column("memory_bytes", float(1 << 24)), Column("oom_kills", fold="max"))


class Memory:
    """A block in memory."""

    def __init__(self) -> None:
        self.data = bytearray(BLOCK_BYTES)

    def read(self, at: int, size: int) -> bytes:
        return bytes(self.data[at : at + size])

    def write(self, at: int, data: bytes | bytearray) -> None:
        self.data[at : at + len(data)] = data


def near(value: float, other: float) -> bool:
    """As exact as half a float is."""
    return (math.isnan(value) and math.isnan(other)) or math.isclose(value, other, rel_tol=5e-4, abs_tol=1e-6)


def test_the_file_holds_a_hundred_slots_in_64_mb() -> None:
    assert BLOCKS * BLOCK_BYTES <= FILE_BYTES <= 64_000_000
    assert BLOCKS > 101
    assert [ring.step_s * ring.steps for ring in RINGS] == [15 * 60, 86400, 30 * 86400]
    assert len(OF_SLOT) <= 16 >= len(OF_HOST)


@pytest.mark.parametrize(("age_s", "step_s"), [(1, 1), (900, 1), (901, 10), (86400, 10), (86401, 300), (1e9, 300)])
def test_the_finest_ring_that_goes_back_so_far(age_s: float, step_s: int) -> None:
    assert RINGS[finest(age_s)].step_s == step_s


# A clock that mostly goes on, and now and then jumps.
MOVES = st.lists(st.one_of(st.just(1), st.integers(1, 12), st.integers(-4000, 4000)), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(moves=MOVES, restarts=st.sets(st.integers(0, 79)), torn=st.booleans())
def test_what_is_read_is_what_was_put_last_or_unknown(moves: list[int], restarts: set[int], torn: bool) -> None:
    """Whatever the clock does, and however often the agent begins anew: no second shows what was not put for it."""
    storage = Memory()
    put: dict[int, list[float]] = {}
    rings = Rings(storage, TWO, 1)
    at = NOW
    for number, move in enumerate(moves):
        at += move
        value = float(number % 50) * (1 << 20)
        rings.put(at, [value, float(number)])
        put.setdefault(at, []).append(value)
        if number in restarts:
            if not torn:
                rings.flush()
            rings = Rings(storage, TWO, 1)
    rings.flush()
    for second in {t + d for t in put for d in (-1, 0, 1)}:
        found = rings.read(0, second, second + 1, [0])[0][0]
        assert math.isnan(found) or any(near(found, value) for value in put.get(second, ())), second
    if not torn or not restarts:
        assert near(rings.read(0, at, at + 1, [0])[0][0], put[at][-1])
    if not torn and all(0 < move < 900 for move in moves):
        lap = [second for second in put if at - 890 < second <= at]
        assert all(near(rings.read(0, second, second + 1, [0])[0][0], put[second][-1]) for second in lap)


def test_coarser_rings_are_folded_from_the_finer_ones() -> None:
    rings = Rings(Memory(), TWO, 1)
    begin = NOW - NOW % 300
    for second in range(1200):
        rings.put(begin + second, [float(second % 10) * (1 << 24), float(second // 600)])
    tens = rings.read(1, begin // 10, begin // 10 + 119, [0, 1])
    assert all(near(value, 4.5 * (1 << 24)) for value in tens[0])
    assert tens[1][:60] == [0.0] * 60
    assert tens[1][60:] == [1.0] * 59
    fives = rings.read(2, begin // 300, begin // 300 + 3, [0, 1])
    assert all(near(value, 4.5 * (1 << 24)) for value in fives[0])
    assert fives[1] == [0.0, 0.0, 1.0]


def test_a_lap_leaves_nothing_of_the_one_before() -> None:
    rings = Rings(Memory(), TWO, 1)
    for second in (*range(100), *range(900, 911)):
        rings.put(NOW + second, [1.0, 1.0])
    first = rings.read(0, NOW, NOW + 911, [1])[0]
    assert sum(value == value for value in first) == 101  # the first ten were written over
    assert all(math.isnan(value) for value in rings.read(0, NOW + 911, NOW + 1000, [1])[0])


def test_an_agent_that_was_killed_goes_on_with_what_is_on_disk() -> None:
    storage = Memory()
    begin = NOW - NOW % 300
    rings = Rings(storage, TWO, 1)
    for second in range(205):
        rings.put(begin + second, [1 << 24, 1.0])
    rings = Rings(storage, TWO, 1)  # no flush
    for second in range(210, 301):
        rings.put(begin + second, [1 << 24, 2.0])
    ones = rings.read(0, begin, begin + 300, [1])[0]
    assert ones[:200] == [1.0] * 200
    assert ones[210:] == [2.0] * 90
    assert rings.read(2, begin // 300, begin // 300 + 1, [0, 1]) == [[1 << 24], [2.0]]


@given(at=st.integers(HEADER_BYTES, BLOCK_BYTES - 1), length=st.integers(1, 5000), byte=st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_what_a_power_cut_tore_is_unknown_and_the_rest_is_there(at: int, length: int, byte: int) -> None:
    storage = Memory()
    rings = Rings(storage, TWO, 1)
    begin = NOW - NOW % 300
    for second in range(400):
        rings.put(begin + second, [float(second) * 4096, 1.0])
    rings.flush()
    torn = storage.data[at : at + length]
    storage.data[at : at + length] = bytes([byte]) * len(torn)
    again = Rings(storage, TWO, 1)
    for n, ring in enumerate(RINGS):
        until = (begin + 400) // ring.step_s
        found = again.read(n, begin // ring.step_s, until, [1])[0]
        assert all(math.isnan(value) or value == 1.0 for value in found)
        lost = sum(math.isnan(value) for value in found)
        assert lost <= (2 + length // ring.chunk_bytes) * ring.rows


@given(values=st.lists(st.floats(0, 60000), min_size=1, max_size=16))
def test_a_half_float_keeps_three_digits(values: list[float]) -> None:
    rings = Rings(Memory(), [Column(f"c{n}") for n in range(len(values))], 1)
    rings.put(NOW, values)
    found = [column[0] for column in rings.read(0, NOW, NOW + 1, range(len(values)))]
    assert all(near(value, put) for value, put in zip(found, values, strict=True))


@pytest.mark.parametrize("value", [1e300, -1e300, math.inf])
def test_what_is_too_large_is_kept_as_the_largest(value: float) -> None:
    rings = Rings(Memory(), TWO, 1)
    rings.put(NOW, [value, 1.0])
    assert abs(rings.read(0, NOW, NOW + 1, [0])[0][0]) >= 65504.0 * (1 << 24)


@pytest.mark.parametrize(("fold", "expected"), [("mean", 2.0), ("max", 3.0), ("last", 2.0)])
def test_one_value_of_many(fold: str, expected: float) -> None:
    assert one_of([1.0, math.nan, 3.0, 2.0], fold) == expected  # type: ignore[arg-type]
    assert math.isnan(one_of([math.nan], fold))  # type: ignore[arg-type]


# -- the file


def test_subjects_come_back_after_a_restart(tmp_path: Path) -> None:
    file = RingFile(tmp_path / "metrics", 3)
    block, _ = file.block("shop.web/0", TWO, [])
    assert block is not None
    block.rings.put(NOW, [1 << 24, 3.0])
    file.close()
    again = RingFile(tmp_path / "metrics", 3)
    held = again.blocks["shop.web/0", ""]
    assert held.rings.read(0, NOW, NOW + 1, [0, 1]) == [[1 << 24], [3.0]]
    assert (tmp_path / "metrics").stat().st_size == 3 * BLOCK_BYTES
    again.close()


def test_the_slot_that_ended_first_makes_room_and_never_one_that_runs(tmp_path: Path) -> None:
    file = RingFile(tmp_path / "metrics", 3)
    for number, slot in enumerate(("a.a/0", "b.b/0", "c.c/0")):
        block, dropped = file.block(slot, TWO, [])
        assert block is not None
        assert dropped == ""
        block.rings.put(NOW, [1.0, 1.0])
        if slot != "c.c/0":
            block.end(NOW - number)  # b ended before a
    block, dropped = file.block("d.d/0", TWO, ["c.c/0"])
    assert dropped == "b.b/0"
    assert block is not None
    assert all(math.isnan(column[0]) for column in block.rings.read(0, NOW, NOW + 1, [0, 1]))  # nothing of b's
    block, dropped = file.block("e.e/0", TWO, ["c.c/0", "d.d/0"])
    assert dropped == "a.a/0"
    assert file.block("f.f/0", TWO, ["c.c/0", "d.d/0", "e.e/0"]) == (None, "")
    file.close()


def test_a_torn_header_is_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    file = RingFile(path, 2)
    block, _ = file.block("a.a/0", TWO, [])
    assert block is not None
    block.rings.put(NOW, [1.0, 7.0])
    block.end(NOW)  # the second copy of its header
    at = block.number * BLOCK_BYTES + HEADER_BYTES // 2
    file.close()
    with path.open("r+b") as raw:
        raw.seek(at + 20)
        raw.write(b"\xff" * 8)
    again = RingFile(path, 2)
    assert again.blocks["a.a/0", ""].header.ended_s == 0.0
    assert again.blocks["a.a/0", ""].rings.read(0, NOW, NOW + 1, [1]) == [[7.0]]
    again.close()


@given(junk=st.binary(min_size=1, max_size=300), at=st.integers(0, 2 * BLOCK_BYTES))
@settings(max_examples=30, deadline=None)
def test_a_file_of_anything_can_be_opened(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    path = tmp_path_factory.mktemp("junk") / "metrics"
    with path.open("wb") as raw:
        raw.seek(at)
        raw.write(junk)
    file = RingFile(path, 2)
    block, _ = file.block("a.a/0", TWO, [])
    assert block is not None
    block.rings.put(NOW, [1.0, 1.0])
    file.close()
    assert path.stat().st_size == 2 * BLOCK_BYTES


def test_a_disk_that_takes_nothing_loses_figures_and_nothing_else(tmp_path: Path) -> None:
    file = RingFile(tmp_path / "metrics", 1)
    block, _ = file.block("a.a/0", TWO, [])
    assert block is not None
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, file._fd)
    os.close(full)
    for second in range(30):
        block.rings.put(NOW + second, [1.0, 1.0])
    assert "space" in file.failed
    file.close()


def test_other_columns_begin_a_subject_anew(tmp_path: Path) -> None:
    file = RingFile(tmp_path / "metrics", 1)
    block, _ = file.block("a.a/0", TWO, [])
    assert block is not None
    block.rings.put(NOW, [1.0, 1.0])
    block.rings.flush()
    other, dropped = file.block("a.a/0", [Column("pids")], ["a.a/0"])
    assert other is not None
    assert dropped == ""
    assert math.isnan(other.rings.read(0, NOW, NOW + 1, [0])[0][0])
    file.close()


def test_rows_fill_what_a_row_has() -> None:
    assert 16 * 2 == 8 * 4 == ROW_BYTES


def test_the_page_explains_every_figure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert [metric.name for metric in (*OF_SLOT, *OF_HOST) if f"`{metric.name}`" not in page] == []
