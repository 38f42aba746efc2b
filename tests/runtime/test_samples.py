"""What the node itself records of a running container, for a flame graph: its own user-space stacks, and nothing more."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bench import OciBench
from skerry.agent.looking.child import Child, running
from skerry.observe.look import perfdata
from skerry.observe.look.confine import SYS_PTRACE
from skerry.observe.look.errors import NothingToSee
from skerry.observe.look.job import DATA, ERROR, SUMMARY, Job
from skerry.observe.look.samples import parse_online

BUSY = "while :; do i=$((i+1)); done"
FORKS = "while :; do (i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done); done"
SAMPLE, COMM, MMAP2 = 9, 3, 10


class Recording(NamedTuple):
    data: bytes
    summary: dict[str, Any]

    def records(self) -> Iterator[tuple[int, bytes]]:
        at = 16
        while at < len(self.data):
            kind, _, length = struct.unpack_from("<IHH", self.data, at)
            yield kind, self.data[at + 8 : at + length]
            at += length
        assert at == len(self.data)

    def of(self) -> set[int]:
        """Processes that were sampled."""
        return {struct.unpack_from("<I", body, 8)[0] for kind, body in self.records() if kind == SAMPLE}

    def addresses(self) -> set[int]:
        found: set[int] = set()
        for kind, body in self.records():
            if kind == SAMPLE:
                (count,) = struct.unpack_from("<Q", body, 24)
                found.update(struct.unpack_from("<Q", body), struct.unpack_from(f"<{count}Q", body, 32))
        return {address for address in found if address < 1 << 64 - 12}  # else a mark of where a stack begins

    def names(self) -> set[bytes]:
        return {body[8:].partition(b"\0")[0] for kind, body in self.records() if kind == COMM}


@pytest.fixture
async def bench() -> AsyncIterator[OciBench]:
    bench = OciBench("runc")
    yield bench
    await bench.finish()


async def recorded(job: Job, meanwhile: Any = None) -> Recording:
    data, summary = b"", {}
    async with running(job) as child:
        async for message in child.messages():
            if message[:1] == DATA:
                data += message[1:]
                if meanwhile:
                    meanwhile(child)
            if message[:1] in (SUMMARY, ERROR):
                summary = msgspec.json.decode(message[1:])
    return Recording(data, summary)


async def begun(bench: OciBench, id: str, script: str, user: str) -> tuple[int, ...]:
    await bench.runtime.start(msgspec.structs.replace(bench.shell(id, script), user=user))
    async with asyncio.timeout(20):
        while not (pids := bench.runtime.pids(id)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return tuple(sorted(pids))


def job(pids: tuple[int, ...], **more: Any) -> Job:
    return Job(what="samples", pids=pids, seconds=1.0, rate=200, limit=1 << 20, **more)


@pytest.mark.real
async def test_its_own_stacks_are_recorded_and_nothing_of_a_neighbour_or_the_kernel(bench: OciBench) -> None:
    """Also where a number of the neighbour's is among those that were told: it may have been used again. Once the events are open,
    the child has no right left by which it could open others."""
    ours, other = await begun(bench, "a", BUSY, "12345:12345"), await begun(bench, "b", BUSY, "0:0")
    held: set[str] = set()

    def look(child: Child) -> None:
        status = Path(f"/proc/{child._process.pid}/status").read_text()
        held.add(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")))

    until_some_came = msgspec.structs.replace(job((*ours, *other)), seconds=60.0, limit=2 << 10)
    found = await recorded(until_some_came, look)
    assert found.of() == {*ours} and found.summary["samples"] > 10, found.summary
    assert all(address < 1 << 47 for address in found.addresses())
    assert held == {f"{1 << SYS_PTRACE:016x}"}
    assert found.names() == {b"sh"}


@pytest.mark.real
async def test_what_starts_meanwhile_is_sampled_and_one_process_alone_where_that_is_asked(bench: OciBench) -> None:
    pids = await begun(bench, "f", f"sleep 1000 & {FORKS}", "app")
    found = await recorded(job(pids[:1]))
    assert found.of() - {*pids}, "children of its that were not there when it began"
    async with asyncio.timeout(20):
        while len(sleeping := [pid for pid in bench.runtime.pids("f") if comm(pid) == "sleep"]) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    alone = await recorded(job(tuple(sorted(bench.runtime.pids("f"))), process=sleeping[0]))
    assert (alone.of(), alone.summary["samples"], alone.names()) == (set(), 0, {b"sleep"})


@pytest.mark.real
async def test_it_ends_at_its_bound_and_of_what_has_ended_there_is_nothing(bench: OciBench) -> None:
    pids = await begun(bench, "a", BUSY, "app")
    found = await recorded(msgspec.structs.replace(job(pids), limit=1, seconds=60.0))
    assert found.summary["why"] == "1 bytes came"
    await bench.runtime.stop("a", signal="SIGKILL", grace_s=0)
    gone = await recorded(job(pids))
    assert gone.summary["code"] == NothingToSee.code and "no process of it is left" in gone.summary["why"]


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@given(st.binary(max_size=300))
def test_counting_takes_anything(records: bytes) -> None:
    samples, lost = perfdata.counted(records)
    assert samples >= 0 and lost >= 0


@settings(max_examples=50)
@given(st.text(max_size=40), st.text(max_size=200))
def test_names_and_paths_may_be_anything_and_each_record_is_whole(name: str, path: str) -> None:
    line = f"55d0c0a00000-55d0c0a01000 r-xp 00002000 fe:01 4242 {path}"
    for record in (perfdata.named(7, 8, name), *perfdata.mapped(7, line)):
        assert len(record) % 8 == 0 and struct.unpack_from("<IHH", record)[2] == len(record)


def test_only_what_can_be_executed_is_mapped() -> None:
    maps = """\
55d0c0a00000-55d0c0a01000 r--p 00000000 fe:01 4242       /usr/bin/app
55d0c0a01000-55d0c0a03000 r-xp 00001000 fe:01 4242       /usr/bin/app with a space
7ffd3d5e0000-7ffd3d5e2000 r-xp 00000000 00:00 0          [vdso]
7f1200000000-7f1200001000 rwxp 00000000 00:00 0
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]
no line of it
"""
    paths = [record[8 + 8 + 56 :].partition(b"\0")[0] for record in perfdata.mapped(7, maps)]
    assert paths == [b"/usr/bin/app with a space", b"[vdso]", b"//anon", b"[vsyscall]"]


def test_processors_that_are_at_work() -> None:
    assert parse_online("0\n") == [0] and parse_online("0-3,6,8-9\n") == [0, 1, 2, 3, 6, 8, 9]
