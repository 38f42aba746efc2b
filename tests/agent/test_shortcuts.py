"""trace, profile and core by the command line: with the tools images that Skerry brings along, on a real container of a real app."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.beside import CloudBeside
from agent.small import Aside
from client.conftest import commands_beside, quick_age
from client.test_roles import Person
from skerry.cli.main import run

__all__ = ["quick_age"]
pytestmark = [pytest.mark.real, pytest.mark.usefixtures("quick_age")]
CACHE = Path(__file__).parents[2] / "build" / "cache"
SLOT, STUCK_SLOT = "busy.web/0", "busy.stuck/0"
APP = """
import time


def hot(n):
    return sum(i * i for i in range(n))


while True:
    hot(100_000)
    time.sleep(0.01)
"""
STUCK = """
import threading

lock = threading.Lock()
threading.Thread(target=lambda: [lock.acquire() for _ in range(2)]).start()  # whose end the interpreter awaits
"""
COMPOSE = """
name: busy
services:
  web:
    x-skerry: {image: {recipe: python, entrypoint: [python3, app.py], bytecode: false}}
    deploy: {placement: {constraints: [node==vps-1]}}
  stuck:
    x-skerry:
      image:
        recipe: python
        entrypoint: [python3, stuck.py]
        bytecode: false
        texts: {/usr/bin/python3.11-gdb.gdb: "echo planted\\n"}
    deploy: {placement: {constraints: [node==vps-1]}}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    cloud = CloudBeside(tmp_path / "hosts")
    (tmp_path / "ann/images").mkdir(parents=True)
    CACHE.mkdir(parents=True, exist_ok=True)  # a checkout in which nothing was built yet has none
    (tmp_path / "ann/images/cache").symlink_to(CACHE)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy/app.py").write_text(APP)
    (tmp_path / "busy/stuck.py").write_text(STUCK)
    (tmp_path / "busy/compose.yaml").write_text(COMPOSE)
    with commands_beside(cloud, tmp_path, monkeypatch) as aside:
        yield aside
        assert cloud.tools_left() == []


@pytest.fixture
def ann(small: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "ann", monkeypatch, capsys)


def lines_of(ann: Person, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """What a command that prints a document for each line printed."""
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    captured = capsys.readouterr()
    ann.said = captured.err
    return [json.loads(line) for line in captured.out.splitlines()]


def test_each_look_into_a_real_program(ann: Person, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One container for all of them: the tools come at first use, the host keeps them, and the program runs on."""
    ann.run("deploy", "busy/compose.yaml", "--timeout", "60s")
    ann.run("tools", "build", "base")
    calls = lines_of(ann, capsys, "trace", SLOT, "-e", "clock_nanosleep", "--limit", "1s")
    assert f"felt: {SLOT} may notice: while it is traced: system calls up to 80 times slower" in ann.said
    assert "tools base: handing" in ann.said and "the limit of 1 s is over" in ann.said
    slept = [call for call in calls if call["text"].startswith("clock_nanosleep(CLOCK_MONOTONIC")]
    assert len(slept) > 5 and all(call["time"] for call in slept)
    counted = lines_of(ann, capsys, "trace", SLOT, "--count", "--limit", "1s")
    assert any("clock_nanosleep" in call["text"] for call in counted) and "handing" not in ann.said

    told = ann.run("profile", SLOT, "--seconds", "1", "-o", "spy.svg")
    assert "tools python are not in this cloud yet: building them here, once" in ann.said
    assert (told["by"], told["visibility"]) == ("py-spy", "unseen") and told["samples"] > 0
    assert "hot (app.py:6)" in Path("spy.svg").read_text()
    told = ann.run("profile", SLOT, "--seconds", "1", "--by", "perf")
    assert (told["by"], told["visibility"], told["file"]) == ("perf", "unseen", "profile-busy.web-0.svg")
    assert told["samples"] > 0 and "_PyEval" in Path(told["file"]).read_text()

    refused = ann.run("profile", "quiet.quiet/0", "--seconds", "1", code=1)  # it pauses for ever
    assert "quiet.quiet/0 is no Python program: perf looks at it" in ann.said
    assert refused["code"] == "tool-failed" and "it did not run in 1 s" in refused["why"]

    told = ann.run("core", SLOT, "-o", "busy.core")
    assert told["visibility"] == "felt" and Path("busy.core").stat().st_size == told["size_bytes"] > 1 << 20
    assert Path("busy.core").stat().st_mode & 0o777 == 0o600
    said = subprocess.run(["file", "busy.core"], capture_output=True, text=True).stdout
    assert "core file" in said and "python3" in said, said
    assert ann.run("core", SLOT, "-o", "busy.core", code=2)["code"] == "bad-input"

    kept = ann.run("core", SLOT, "--keep")
    assert (kept["node"], kept["visibility"]) == ("vps-1", "felt")
    (row,) = ann.run("cores", "ls", SLOT)
    assert (row["name"], row["by"], row["cut"]) == (kept["name"], "request", "") and row["size_bytes"] > 1 << 20
    assert ann.run("cores", "get", SLOT, "-w", "kept.core")["size_bytes"] == row["size_bytes"]
    said = subprocess.run(["file", "kept.core"], capture_output=True, text=True).stdout
    assert "core file" in said and "python3" in said, said
    assert ann.run("cores", "rm", SLOT, "--all")["names"] == [kept["name"]] and ann.run("cores", "ls") == []

    back = ("-p", "{pid}", "-ex", "thread apply all bt")
    told = ann.run("debug", STUCK_SLOT, "--", "gdb", "-batch", *back)
    threads = told["stdout"].split("\nThread ")
    assert told["code"] == 0 and len(threads) == 3 and all("PyThread_acquire_lock" in each for each in threads[1:]), (
        told
    )
    assert "from /target/" in told["stdout"] and 'host libthread_db library "/lib/' in told["stdout"]
    assert "planted" not in told["stdout"] and "python3.11-gdb.gdb" not in told["stderr"], "nor so much as thought of"
    allowed = ("-iex", "set auto-load gdb-scripts on", "-iex", "set auto-load safe-path /")
    assert "planted" in ann.run("debug", STUCK_SLOT, "--", "gdb", "-batch", *allowed, *back)["stdout"], (
        "it lies where gdb looks"
    )

    assert ann.run("trace", SLOT, "-e", "open at;reboot", code=2)["code"] == "bad-input"
    refused = ann.run("trace", SLOT, "-e", "no_such_call", code=1)
    assert refused["code"] == "tool-failed" and "invalid system call 'no_such_call'" in refused["why"]
    assert ann.run("profile", SLOT, "--seconds", "0", code=2)["code"] == "bad-input"

    assert all(row["restarts"] == 0 for row in ann.run("ps"))
    rows = {row["name"]: row for row in ann.run("tools", "ls")}
    assert [name for name, row in rows.items() if row["hosts"] == ["vps-1"]] == ["base", "perf", "python"]
