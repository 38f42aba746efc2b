"""A tool for a whole host: it traces the kernel and any process, and may still change nothing of the host's set-up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.bench import TOOLS_WITH, OciBench
from runtime.looking_in import Done, run

pytestmark = pytest.mark.real
HOST = Path("/")  # this machine's programs, read-only, as a tools image that has them all
SWITCHES = "tracepoint:sched:sched_switch { @[args->prev_comm] = count(); } interval:s:1 { exit(); }"


@pytest.fixture
async def bench() -> AsyncIterator[OciBench]:
    bench = OciBench(TOOLS_WITH)
    yield bench
    await bench.finish()


def counted(done: Done) -> dict[str, int]:
    """The one map that bpftrace printed."""
    lines = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    return next((line["data"]["@"] for line in lines if line["type"] == "map"), {})


async def test_bpftrace_asks_the_kernel_about_the_whole_host_and_about_one_container_it_may_not(
    bench: OciBench,
) -> None:
    """Tracepoints, also where nobody has mounted what tells of them. (kprobes: this needs a kernel that has them.)"""
    await bench.runtime.start(bench.shell("b", "while :; do sleep 0.01; done"))
    done = await run(bench, "", ["bpftrace", "-f", "json", "-e", SWITCHES], HOST)
    assert done.code == 0 and counted(done).get("sleep", 0) > 5, done
    refused = await run(bench, "b", ["bpftrace", "-e", "BEGIN { exit(); }"], HOST)
    assert refused.code != 0, refused


async def test_perf_counts_on_all_processors_and_beside_a_container_it_may_not(bench: OciBench) -> None:
    await bench.runtime.start(bench.shell("b", "while :; do sleep 0.01; done"))
    count = ["perf", "stat", "-a", "-x,", "-e", "context-switches", "--", "sleep", "0.2"]
    done = await run(bench, "", count, HOST)
    assert done.code == 0 and int(done.errors.split(",")[0]) > 5, done
    refused = await run(bench, "b", count, HOST)
    assert refused.code != 0 or "<not supported>" in refused.errors, refused
    assert not refused.errors.split(",")[0].isdigit(), refused


async def test_it_mounts_nothing_enters_nothing_and_sets_nothing(bench: OciBench) -> None:
    script = """
        mount -t tmpfs x /tmp 2>/dev/null && echo mounted; unshare -m true 2>/dev/null && echo unshared
        nsenter -t 1 -m true 2>/dev/null && echo entered; mount -o remount,rw /sys 2>/dev/null && echo remounted
        (echo 1 > /proc/sys/kernel/printk) 2>/dev/null && echo set
        (echo 0 > /sys/kernel/tracing/tracing_on) 2>/dev/null && echo switched; (: > /target/etc/it) 2>/dev/null && echo written
        id -u
    """
    done = await run(bench, "", ["sh", "-c", script], HOST)
    assert done.out == "0\n", done
