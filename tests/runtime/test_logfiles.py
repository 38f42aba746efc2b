"""Log files whose monitor goes on writing while we look at them: each line is kept or counted, whatever falls between two steps."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from skerry.runtime import logcounts, logfiles
from skerry.runtime.logcounts import PREFIX_BYTES, count
from skerry.runtime.logfiles import LogFiles

LINE = b"2026-01-01T00:00:00.000000000+00:00 stdout F line\n"
FILE_LINES = 40


class Monitor:
    """As conmon: `ctr.log.tmp` is opened anew, and moved over `ctr.log` once that is full."""

    def __init__(self, current: Path, elsewhere: int) -> None:
        self._current = current
        self._file = current.open("wb", buffering=0)
        self._room = FILE_LINES
        self.lines = 0
        self.written = self.read = elsewhere
        self.is_full = False  # the disk

    def write(self, lines: int) -> None:
        for _ in range(lines):
            if not self._room:
                self.move_away()
            self._room -= 1
            self.lines += 1
            self.read += len(LINE) - PREFIX_BYTES
            if not self.is_full:
                self.written += self._file.write(LINE)

    def move_away(self) -> None:
        self._file.close()
        fresh = self._current.with_name("ctr.log.tmp")
        self._file = fresh.open("wb", buffering=0)
        fresh.replace(self._current)
        self._room = FILE_LINES

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogFiles:
    monkeypatch.setattr(logfiles, "STAYS_S", -1.0)
    return LogFiles(tmp_path)


def watch(files: LogFiles, id: str, monitor: int) -> None:
    """As `watch`, without what the kernel would tell a loop of: each test says when it looks."""
    files._live[id] = monitor
    files.look()
    files._counts.begin(id, monitor, files.current(id).stat().st_size)


def begun(files: LogFiles, monkeypatch: pytest.MonkeyPatch) -> Monitor:
    files.make("a", {"slot": "shop.web/0"}, limit=FILE_LINES * len(LINE))
    monitor = Monitor(files.current("a"), elsewhere=700)
    monkeypatch.setattr(logcounts, "passed", lambda pid: (monitor.read, monitor.written))
    watch(files, "a", 1)
    return monitor


def told_of(files: LogFiles) -> int:
    """Lines that are here, and those that are counted."""
    files._counts.close()  # what is counted beside is counted now
    here = sum(count(path)[0] for path in files.paths("a"))
    return here + files.missing("a")


def wait_for_counts(files: LogFiles) -> None:
    deadline_s = time.monotonic() + 10.0
    while files._counts.is_counting("a"):
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


class Meanwhile:
    """`step` is done between any two lines of a module's code, now and then."""

    def __init__(self, module: Any, step: Callable[[], None]) -> None:
        self._file = module.__file__
        self._step = step

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._enter)

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, value: object) -> Any:
        return self._line if frame.f_code.co_filename == self._file else None

    def _line(self, frame: FrameType, event: str, value: object) -> Any:
        if event == "line":
            self._step()
        return self._line


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_moved_away_while_we_look_is_counted(
    files: LogFiles, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monitor, dice = begun(files, monkeypatch), random.Random(seed)
    often, most = dice.choice([(0.02, 150), (0.05, 60), (0.2, 20), (0.5, 4)])

    def goes_on() -> None:
        if dice.random() < often:
            monitor.write(dice.randint(1, most))

    for _ in range(6):
        monitor.write(dice.randint(0, 3 * FILE_LINES))
        with Meanwhile(logfiles, goes_on):
            files.look()
    files.look()  # the kernel told of the last one
    monitor.close()
    assert told_of(files) == monitor.lines


def test_two_files_that_are_moved_away_before_a_look_are_both_here(
    files: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = begun(files, monkeypatch)
    monkeypatch.setattr(logcounts, "passed", lambda pid: (0, 0))  # the monitor is gone by then
    monitor.write(2 * FILE_LINES + 5)
    monitor.close()
    files.ended("a")
    assert told_of(files) == monitor.lines


def test_what_waits_to_be_counted_is_bounded_and_the_rest_is_reckoned(
    files: LogFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monitor, go = begun(files, monkeypatch), threading.Event()
    counting = logcounts.LogCounts._count
    monkeypatch.setattr(logcounts.LogCounts, "_count", lambda *words: (go.wait(10.0), counting(*words)))  # a busy host
    for _ in range(12):
        monitor.write(FILE_LINES)
        files.look()
    assert len(list(tmp_path.glob("a/out.*"))) == logcounts.WAITING
    go.set()
    monitor.close()
    assert told_of(files) == monitor.lines and not list(tmp_path.glob("a/out.*"))


def test_a_container_that_is_gone_waits_until_all_is_counted(files: LogFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = begun(files, monkeypatch)
    waiting: list[Path] = []
    monkeypatch.setattr(files._counts, "leave_out", lambda id, path: waiting.append(path))
    for _ in range(4):
        monitor.write(FILE_LINES)
        files.look()
    monitor.close()
    files.ended("a")
    kept = 0
    for closed in files.closed():
        assert files.take(closed)
        kept += count(closed.path)[0] + closed.dropped
        files.taken(closed)
    assert files.closed() == [] and waiting
    for path in waiting:
        files._counts._count("a", path)
    for closed in files.closed():
        kept += count(closed.path)[0] + closed.dropped
    assert kept == monitor.lines


def test_what_a_full_disk_did_not_take_is_counted_once_the_file_is_moved_away(
    files: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logcounts, "SHORT_BYTES", len(LINE))
    monitor = begun(files, monkeypatch)
    for is_full in (False, True, True, False):
        monitor.write(FILE_LINES // 2)
        monitor.is_full = is_full
        monitor.write(FILE_LINES // 2)
        files.look()
        wait_for_counts(files)
    monitor.write(1)
    files.look()
    monitor.close()
    assert told_of(files) == monitor.lines
