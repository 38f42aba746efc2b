"""What `make fuzz` notes, keeps and counts. That atheris runs it is seen by running it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest

import fuzz.__main__ as driver
from fuzz import corpus
from fuzz.child import Find, Watch


def finds(folder: Path) -> dict[str, bytes]:
    found = [msgspec.msgpack.decode(path.read_bytes(), type=Find) for path in folder.glob("*")]
    return {find.kind.partition(" at ")[0]: find.data for find in found}


def test_each_kind_of_failure_is_noted_once_and_the_run_goes_on(tmp_path: Path) -> None:
    ran: list[bytes] = []

    def reader(data: bytes) -> None:
        ran.append(data)
        if data[:1] == b"x":
            raise KeyError(data)
        if data == b"slow":
            end_s = time.process_time() + 1.1
            while time.process_time() < end_s:
                pass

    watch = Watch(reader, tmp_path)
    for data in (b"x1", b"x2", b"good", b"slow"):
        watch(data)
    assert ran == [b"x1", b"x2", b"good", b"slow", b"slow"]  # what was slow is measured again
    assert finds(tmp_path) == {"KeyError": b"x1", "1 s of processor time": b"slow"}


def test_a_find_stays_in_the_corpus_when_the_rest_is_chosen_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    corpus.keep("one", [b"a", b"\xff\n"])
    corpus.add_find("one", b"bad", "KeyError at x\ny")
    corpus.add_find("one", b"bad", "again")
    corpus.keep("one", [b"c", b"bad"])
    assert (tmp_path / "one.txt").read_text() == "b'c'\n# KeyError at x y\nb'bad'\n"
    assert (corpus.read("one"), corpus.finds("one"), corpus.read("none")) == ([b"c", b"bad"], [b"bad"], [])


def branches(data: bytes) -> int:
    if data == b"":
        return 0
    if data[:1] == b"a":
        if data[1:2] == b"b":
            return 1
        return 2
    return 3


def test_the_shortest_inputs_that_reach_more_than_the_seeds_are_chosen() -> None:
    gathered = [b"abcd", b"ab", b"ac", b"zzzz", b"z", b"", b"abc"]
    assert sorted(corpus.minimised(branches, [b""], gathered, {__file__})) == [b"ab", b"ac", b"z"]


def test_executions_add_up_over_runs_also_of_one_that_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "COUNTS", tmp_path / "fuzz.json")
    driver.count("one", b"#512 pulse\nstat::number_of_executed_units: 700\n", 1.0)
    driver.count("one", b"#2 INITED\n#1024 pulse  cov: 3\n", 2.0)
    assert json.loads((tmp_path / "fuzz.json").read_text()) == {"one": {"executions": 1724, "seconds": 3.0}}
