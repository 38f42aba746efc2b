"""Signals, exit words, cgroup trees, records and the trial program: pure parts of the runtime."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.runtime import conmon, record
from skerry.runtime.cgroups import Cgroups, parse_trees
from skerry.runtime.contract import RuntimeBusy, RuntimeRefused
from skerry.runtime.logfiles import ENDED_KEPT, LogFiles
from skerry.runtime.probe import tiny_program
from skerry.runtime.signals import signal_number, would_notice

HYBRID = """20 19 0:5 / /sys/fs/cgroup ro - tmpfs tmpfs ro
21 20 0:6 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
22 20 0:7 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
23 20 0:8 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
24 20 0:9 / /elsewhere rw - cgroup cgroup rw,pids
"""


@pytest.mark.parametrize(
    ("name", "number"), [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", signal.SIGRTMIN + 3), ("SIGUSR1", 10)]
)
def test_signals_by_name_and_number(name: str, number: int) -> None:
    assert signal_number(name) == number


@given(st.text(max_size=12))
def test_any_word_is_a_signal_or_refused(word: str) -> None:
    try:
        assert 1 <= signal_number(word) <= signal.SIGRTMAX
    except RuntimeRefused as refused:
        assert refused.fix


def test_a_first_process_notices_what_it_handles_or_blocks() -> None:
    status = "Name:\tx\nSigBlk:\t0000000000000200\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004000\n"
    assert would_notice(15, status)
    assert would_notice(10, status)
    assert not would_notice(2, status)
    assert not would_notice(13, status)
    assert would_notice(2, "SigCgt: nonsense\n")
    assert would_notice(2, "")


def test_the_monitors_first_word() -> None:
    assert conmon.parse_first_word(b'{"data": 77}\n', "a") == 77
    with pytest.raises(RuntimeRefused, match="no such file"):
        conmon.parse_first_word(b'{"data": -1, "message": "exec /x: no such file or directory"}\n', "a")
    with pytest.raises(RuntimeBusy, match="left on device"):
        conmon.parse_first_word(b'{"data": -1, "message": "mkdir: No space left on device"}\n', "a")
    with pytest.raises(RuntimeRefused, match="boom"):
        conmon.parse_first_word(b"", "a", words="boom")


@given(st.binary(max_size=100))
def test_any_first_word_is_a_pid_or_an_error(line: bytes) -> None:
    try:
        assert conmon.parse_first_word(line, "a") > 0
    except (RuntimeRefused, RuntimeBusy) as error:
        assert len(error.why) <= conmon.WHY_MAX


def test_cgroup_trees_of_a_hybrid_machine() -> None:
    names = [tree.name for tree in parse_trees(HYBRID)]
    assert names == ["cpu", "systemd", "unified"]
    assert parse_trees("25 1 0:9 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n") == (Path("/sys/fs/cgroup"),)


def test_a_process_moves_into_the_one_v2_tree(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory pids")
    cgroups = Cgroups((tmp_path,))
    (tmp_path / "skerry/mon").mkdir(parents=True)
    (tmp_path / "skerry/mon/cgroup.procs").touch()
    cgroups.move(77, "/skerry/mon")
    assert cgroups.pids("/skerry/mon") == {77}
    assert cgroups.can_limit_swap()


def test_damaged_records_are_as_good_as_none(tmp_path: Path) -> None:
    assert record.read(tmp_path / "nowhere", record.Record) is None
    (tmp_path / "record.json").write_text('{"id": "a"')
    assert record.read(tmp_path, record.Record) is None
    held = record.Record(id="a", runtime="crun", boot="b", labels={"x": "y"})
    record.write(tmp_path, held)
    assert record.read(tmp_path, record.Record) == held


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_trial_program_is_one_small_segment(machine: str) -> None:
    program = tiny_program(machine)
    assert program.startswith(b"\x7fELF")
    assert len(program) < 256
    with pytest.raises(RuntimeRefused):
        tiny_program("vax")


def rotate(current: Path, content: str) -> None:
    """As the monitor does it."""
    fresh = current.with_name("ctr.log.tmp")
    fresh.write_text(content)
    fresh.replace(current)


async def test_the_newest_rotated_log_waits_to_be_taken_and_what_went_before_is_counted(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    logs.make("a", {"slot": "shop.web/0"})
    current = logs.current("a")
    current.write_text("line\n")
    logs.watch("a")
    for n in range(2, 5):
        rotate(current, "line\n" * n)
        await wait_for(lambda n=n: len(logs.paths("a")[0].read_text()) == 5 * (n - 1))  # type: ignore[misc]
    assert current.with_name("ctr.log.tmp").exists(), "the next one lies ready, should the disk be full by then"
    assert [path.read_text().count("\n") for path in logs.paths("a")] == [3, 4]
    logs.close()  # what is counted beside is counted now

    again = LogFiles(tmp_path)
    again.watch("a")
    (closed,) = again.closed()
    assert (closed.labels, closed.dropped, closed.path.read_text().count("\n")) == ({"slot": "shop.web/0"}, 3, 3)
    assert again.take(closed)
    for n in range(5, 7):
        rotate(current, "line\n" * n)
        await wait_for(lambda n=n: again.current("a").with_name(f"closed.{n - 1:08}").exists())  # type: ignore[misc]
    assert closed.path.exists(), "it is being read"
    again.taken(closed)
    await wait_for(lambda: again.missing("a") == 4)
    assert [path.read_text().count("\n") for path in again.paths("a")] == [5, 6]
    again.close()


async def test_the_log_of_a_container_that_is_gone_stays_a_while_and_goes_when_it_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = LogFiles(tmp_path)
    logs.make("a", {})
    logs.current("a").write_text("its last words\n")
    logs.watch("a")
    logs.ended("a")
    assert logs.closed() == []
    monkeypatch.setattr("skerry.runtime.logfiles.STAYS_S", -1.0)
    (closed,) = logs.closed()
    assert closed.path.read_text() == "its last words\n"
    assert logs.take(closed)
    logs.taken(closed)
    assert logs.kept() == {}
    logs.close()


async def wait_for(see: Callable[[], bool]) -> None:
    for _ in range(1000):
        if see():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 10 s")


def test_logs_of_ended_containers_are_kept_up_to_a_number(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    for n in range(ENDED_KEPT + 5):
        logs.make(f"c{n}", {"slot": f"shop.web/{n}"})
        logs.current(f"c{n}").write_text("x")
    logs.make("alive", {})
    for n in range(ENDED_KEPT + 5):
        logs.ended(f"c{n}")
    assert len(list(tmp_path.iterdir())) == ENDED_KEPT + 1
    assert (tmp_path / "alive").exists()
    assert LogFiles(tmp_path).kept()[f"c{ENDED_KEPT + 4}"] == {"slot": f"shop.web/{ENDED_KEPT + 4}"}
