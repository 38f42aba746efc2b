"""Signals, exit words, cgroup trees, records and the trial program: pure parts of the runtime."""

from __future__ import annotations

import signal
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


def test_a_rotated_log_is_kept_once(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    logs.make("a", {})
    current = logs.current("a")
    for content in ("first", "second", "third"):
        fresh = current.with_name("fresh")
        fresh.write_text(content)
        fresh.replace(current)  # as the monitor does it
        logs.watch("a")
    assert [path.read_text() for path in logs.paths("a")] == ["second", "third"]


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
