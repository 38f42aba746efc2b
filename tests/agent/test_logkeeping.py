"""From the monitors' files into the store: each line once, also when the agent dies on the way or the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

import pytest

from skerry.agent.logs import keeping as logkeeping
from skerry.agent.logs.keeping import LogKeeping
from skerry.observe import logstore
from skerry.observe.logs import parse_block
from skerry.runtime.contract import ClosedLog
from skerry.runtime.logfiles import LogFiles
from skerry.runtime.memory import MemoryRuntime

SLOT = "shop.web/0"


class WithFiles(MemoryRuntime):
    """Containers in memory, and log files as OciRuntime has them."""

    def __init__(self, files: LogFiles) -> None:
        super().__init__()
        self.files = files

    def closed_logs(self) -> list[ClosedLog]:
        return self.files.closed()

    def take_log(self, closed: ClosedLog) -> bool:
        return self.files.take(closed)

    def log_taken(self, closed: ClosedLog) -> None:
        self.files.taken(closed)

    def log_left(self, closed: ClosedLog) -> None:
        self.files.left(closed)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WithFiles:
    """One container that is gone, and has left 3,000 lines."""
    monkeypatch.setattr("skerry.runtime.logfiles.STAYS_S", -1.0)
    monkeypatch.setattr(logkeeping, "BLOCK_BYTES", 10_000)
    files = LogFiles(tmp_path / "logs")
    files.make("a", {"slot": SLOT})
    with files.current("a").open("w") as file:
        for n in range(3000):
            file.write(f"2026-01-01T00:00:00.{n:09}+00:00 stdout F line {n}\n")
        file.write("2026-01-01T00:00:01.0+00:00 stdout P killed in the midd")
    files.ended("a")
    return WithFiles(files)


def texts(keeping: LogKeeping) -> list[str]:
    pieces = list(keeping.store.snapshot(SLOT).back())
    return [line.text for piece in reversed(pieces) for line in parse_block(piece.data)]


WHOLE = [*(f"line {n}" for n in range(3000)), "killed in the midd"]


def test_what_a_container_left_is_kept_and_its_files_go(tmp_path: Path, runtime: WithFiles) -> None:
    keeping = LogKeeping(tmp_path / "kept")
    keeping.move(runtime)
    assert texts(keeping) == WHOLE
    assert list((tmp_path / "logs").iterdir()) == []
    keeping.move(runtime)
    assert texts(keeping) == WHOLE


@pytest.mark.parametrize("writes", [1, 4, 12])
def test_an_agent_that_dies_on_the_way_is_gone_on_from(tmp_path: Path, runtime: WithFiles, writes: int) -> None:
    real, left = os.pwrite, writes

    class Died(BaseException):
        pass

    def dies(file: int, data: bytes, at: int) -> int:
        nonlocal left
        left -= 1
        if left == 0:
            real(file, data[: len(data) // 2], at)
            raise Died
        return real(file, data, at)

    with mock.patch.object(logstore.os, "pwrite", dies), pytest.raises(Died):
        LogKeeping(tmp_path / "kept").move(runtime)
    keeping = LogKeeping(tmp_path / "kept")
    keeping.move(runtime)
    assert texts(keeping) == WHOLE


def test_an_agent_that_dies_before_the_file_goes_tells_nothing_twice(tmp_path: Path, runtime: WithFiles) -> None:
    with mock.patch.object(WithFiles, "log_taken", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        LogKeeping(tmp_path / "kept").move(runtime)
    keeping = LogKeeping(tmp_path / "kept")
    assert texts(keeping) == WHOLE
    keeping.move(runtime)
    assert texts(keeping) == WHOLE


def test_on_a_full_disk_what_was_written_waits_for_room(
    tmp_path: Path, runtime: WithFiles, caplog: pytest.LogCaptureFixture
) -> None:
    keeping = LogKeeping(tmp_path / "kept")
    with mock.patch.object(logstore.os, "pwrite", side_effect=OSError(errno.ENOSPC, "no room")):
        keeping.move(runtime)
        keeping.move(runtime)
    assert caplog.text.count("the disk is full") == 1
    keeping.move(runtime)
    assert texts(keeping) == WHOLE and list((tmp_path / "logs").iterdir()) == []
    assert "there is room for logs again" in caplog.text


def test_what_is_missing_is_told_also_where_nothing_was_written_after_it(tmp_path: Path, runtime: WithFiles) -> None:
    runtime.files.current("a").write_bytes(b"")
    runtime.files._counts.of("a").dropped = 7
    keeping = LogKeeping(tmp_path / "kept")
    keeping.move(runtime)
    (piece,) = keeping.store.snapshot(SLOT).back(since="2026")
    assert (piece.data, piece.dropped) == (b"", 7)
