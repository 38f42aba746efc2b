"""What shortcuts ask of their tools, and how they read what comes back: from hosts that may send anything. Nothing runs here."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.client.cores import CoreFile
from skerry.client.shortcuts.core import CORE_BYTES
from skerry.client.shortcuts.trace import LINE_CHARS, Call, Lines, argv_of, read_line
from skerry.core.visibility import classify
from skerry.errors import BadFormat, BadInput


def test_each_shortcut_is_of_the_class_that_is_said_first() -> None:
    trace = argv_of(["openat", "%network"], count=False)
    assert trace[:4] == ["sh", "/usr/share/skerry/trace", "{pid}", "strace"] and trace[-1] == "trace=openat,%network"
    assert classify(trace).visibility == "felt" and classify(argv_of([], count=True)).visibility == "felt"
    spy = ["sh", "/usr/share/skerry/profile", "{pid}", "10", "100", "py-spy", "record"]
    assert classify(spy).visibility == "felt" and classify([*spy, "--nonblocking"]).visibility == "unseen"
    assert classify([*spy[:5], "perf"]).visibility == "unseen"
    assert classify(["sh", "/usr/share/skerry/core", "{pid}", "gdb"]).visibility == "felt"


@pytest.mark.parametrize("name", ["open at", "-x", "open;id", "$(id)", "", "a" * 60, "Open"])
def test_what_is_no_system_call_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        argv_of([name], count=False)


def test_a_line_of_a_trace_is_taken_apart() -> None:
    line = '[pid    12] 06:46:02.363648 openat(AT_FDCWD</>, "/a b", O_RDONLY) = 3</a b>'
    assert read_line(line) == Call(12, "06:46:02.363648", 'openat(AT_FDCWD</>, "/a b", O_RDONLY) = 3</a b>')
    assert read_line("06:46:02.363648 getpid() = 1") == Call(None, "06:46:02.363648", "getpid() = 1")
    assert read_line("+++ exited with 0 +++") == Call(None, "", "+++ exited with 0 +++")


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_lines_are_the_same_however_the_bytes_come(data: bytes, cuts: list[int]) -> None:
    whole: list[str] = []
    lines = Lines(whole.append)
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        lines.take(data[at:cut])
        at = cut
    lines.take(b"", last=True)
    text = data.decode("utf-8", "replace")
    assert whole == (text[:-1] if text.endswith("\n") else text).split("\n") if text else whole == []


def test_a_line_without_end_is_cut() -> None:
    whole: list[str] = []
    lines = Lines(whole.append)
    for _ in range(4):
        lines.take(b"x" * 15_000)
    assert whole and max(len(line) for line in whole) <= LINE_CHARS + 15_000


def test_a_core_comes_whole_and_a_host_that_sends_something_else_is_refused() -> None:
    out = io.BytesIO()
    unpacking = CoreFile(out, CORE_BYTES)
    packed = gzip.compress(b"\x7fELF" + b"memory" * 1000)
    for at in range(0, len(packed), 7):
        unpacking.take(packed[at : at + 7])
    assert unpacking.whole and out.getvalue() == b"\x7fELF" + b"memory" * 1000
    for sent in (b"no gzip at all", gzip.compress(b"#!/bin/sh")):
        with pytest.raises(BadFormat):
            CoreFile(io.BytesIO(), CORE_BYTES).take(sent)
    cut = CoreFile(io.BytesIO(), CORE_BYTES)
    cut.take(packed[:-9])
    assert not cut.whole


def test_a_core_that_unpacks_without_end_is_refused() -> None:
    assert CORE_BYTES == 256 << 20
    bomb = gzip.compress(b"\x7fELF" + bytes(8 << 20))
    assert len(bomb) < 1 << 16
    with pytest.raises(BadFormat, match="more than"):
        CoreFile(io.BytesIO(), 1 << 20).take(bomb)
