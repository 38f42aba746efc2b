"""Applications' own figures: real texts and hostile ones, held against Prometheus' own parser."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from skerry.observe import promtext
from skerry.observe.promtext import ANSWER_MAX_BYTES, NotTold, Sample, fetch, read

NAME = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", fullmatch=True)
LABEL = st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,10}", fullmatch=True)


def test_what_an_application_tells() -> None:
    registry = CollectorRegistry()
    Gauge("queue_length", "Jobs.", ["queue"], registry=registry).labels('a b\n"c\\').set(7)
    Counter("jobs", "Done.", registry=registry).inc(3)
    Histogram("took_seconds", "Took.", registry=registry).observe(0.2)
    text = generate_latest(registry).decode()
    found = {sample.name: sample for sample in read(text, (), 100).samples}
    assert found["queue_length"] == Sample("queue_length", (("queue", 'a b\n"c\\'),), 7.0, False)
    assert (found["jobs_total"].value, found["jobs_total"].counts) == (3.0, True)
    assert found["took_seconds_count"].counts
    assert "took_seconds_bucket" not in found
    assert {sample.name for sample in read(text, {"took_seconds_bucket"}, 100).samples} == {"took_seconds_bucket"}
    assert {sample.name for sample in read(text, {"jobs"}, 100).samples} == {"jobs_total"}


@settings(max_examples=80, deadline=None)
@given(name=NAME, labels=st.dictionaries(LABEL, st.text(max_size=12), max_size=4), value=st.floats())
def test_any_gauge_is_read_as_prometheus_reads_it(name: str, labels: dict[str, str], value: float) -> None:
    registry = CollectorRegistry()
    labels = {key: text for key, text in labels.items() if not key.startswith("__") and key != "le"}
    try:
        gauge = Gauge(name, "About.", list(labels), registry=registry)
    except ValueError:
        return
    (gauge.labels(**labels) if labels else gauge).set(value)
    text = generate_latest(registry).decode()
    theirs = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    ours = read(text, (), 10).samples
    assert [(s.name, dict(s.labels)) for s in ours] == [(s.name, s.labels) for s in theirs]
    assert all(
        a.value == b.value or (math.isnan(a.value) and math.isnan(b.value)) for a, b in zip(ours, theirs, strict=True)
    )


PIECES = [
    "a",
    "_",
    "{",
    "}",
    '"',
    "\\",
    ",",
    "=",
    " ",
    "# TYPE a counter",
    "1",
    "1_0",
    "NaN",
    "-Inf",
    "e9",
    "²",
    "\0",
    "\t",
]
PIECES += ['x="y"', 'a{x="y"', "} 1", "a 1"]


@settings(max_examples=400, deadline=None)
@given(line=st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=60))
def test_what_is_taken_for_a_sample_is_one_to_prometheus_too(line: str) -> None:
    line = line.replace("\n", "")
    for sample in read(line, (), 5).samples:
        (theirs,) = [found for family in text_string_to_metric_families(line + "\n") for found in family.samples]
        assert (theirs.name, theirs.labels) == (sample.name, dict(sample.labels))
        assert theirs.value == sample.value or math.isnan(theirs.value)


def test_bounds_hold() -> None:
    many = "\n".join(f"a{n} {n}" for n in range(50))
    found = read(many, (), 32)
    assert (len(found.samples), found.left) == (32, 18)
    assert read("\n".join(f"a{n} 1" for n in range(20_000)), {"a19999"}, 5) == ([], 1)
    assert read(f'a{{x="{"y" * 500}"}} 1', (), 5) == ([], 1)
    labels = ",".join(f'l{n}=""' for n in range(20))
    assert read("a{" + labels + "} 1", (), 5).samples == []
    assert read("a" * 10_000 + " 1", (), 5).samples == []
    assert read("a 1_000\nb infinity\nc 0x1\nd 1 2 3\ne", (), 5).samples == []


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def answered(answer: bytes, *, hold: bool = False) -> str:
    held = asyncio.Event()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            await writer.drain()
            if hold:
                await held.wait()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        return await fetch("127.0.0.1", server.sockets[0].getsockname()[1], "/metrics")
    finally:
        held.set()
        server.close()


async def test_an_application_is_asked() -> None:
    assert await answered(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\na 1\n") == "a 1\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "no HTTP 200"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP 200"),
        (b"", "no HTTP 200"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100, "no HTTP 200"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n", "in chunks"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (ANSWER_MAX_BYTES + 1), "more than 1 MiB"),
    ],
    ids=["404", "ssh", "nothing", "no end", "chunks", "too much"],
)
async def test_what_is_no_answer_says_why(answer: bytes, why: str) -> None:
    with pytest.raises(NotTold, match=why):
        await answered(answer)


async def test_who_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promtext, "WITHIN_S", 0.2)
    with pytest.raises(NotTold, match="no answer"):
        await answered(b"HTTP/1.1 200 OK\r\n\r\na 1\n", hold=True)


async def test_nobody_there_says_so() -> None:
    with pytest.raises(NotTold, match="port 1: "):
        await fetch("127.0.0.1", 1, "/")
