"""A real container that writes as fast as it can: what it costs the agent, what the disk holds, and whether each line is kept or
counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from runtime.bench import OciBench
from skerry.agent.logs.keeping import LogKeeping
from skerry.observe.logstore import blocks_of
from skerry.runtime.oci import OciRuntime

LINE = "2026-11-27 06:30:00 GET /shop/basket?item=4711&colour=blue HTTP/1.1 200 1532 0.004 the rest of it"

TAKEN_WITHIN_S = 30.0  # all of one that is gone


class OnDisk(OciBench):
    """Its logs are where a host's are: on a disk."""

    def __init__(self, runtime: str, disk: Path | None = None) -> None:
        self.disk = disk or Path(tempfile.mkdtemp(prefix="skr-flood-", dir="/var/tmp"))
        super().__init__(runtime)

    def make(self) -> OciRuntime:
        return OciRuntime(self.own / "c", self.own / "run", self.disk / "logs", self.binaries, self.cgroup)


def used(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if (stat := path.lstat()) and not path.is_dir():
                total += stat.st_blocks * 512 // max(1, stat.st_nlink)
    return total


async def flood(lines: int, runtime: str = "runc", line: str = LINE) -> dict[str, Any]:
    """`lines` lines at once. Needs root; the folder of the logs is on a disk."""
    bench = OnDisk(runtime)
    keeping = LogKeeping(bench.disk / "kept")
    try:
        spec = bench.shell("flood", f"yes '{line}' | head -n {lines}; sleep 1000")
        spec = msgspec.structs.replace(spec, labels={"slot": "shop.noisy/0"})
        begun_s, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        await bench.runtime.start(spec)
        keeping.begin(bench.runtime)
        most = late = 0.0
        peak_threads = threading.active_count()
        written, still = 0, 0
        while still < 10:  # until it says nothing for a second
            before_s = time.monotonic()
            await asyncio.sleep(0.1)
            late = max(late, time.monotonic() - before_s - 0.1)
            most = max(most, await asyncio.to_thread(used, bench.disk))
            now = written_by(bench, "flood")
            still = still + 1 if now == written else 0
            written = now
        seconds = time.monotonic() - begun_s - 1.0
        after = resource.getrusage(resource.RUSAGE_SELF)
        counts = msgspec.json.decode((bench.disk / "logs/flood/counts.json").read_bytes())
        await bench.runtime.stop("flood", signal="SIGKILL", grace_s=0)
        async with asyncio.timeout(TAKEN_WITHIN_S):
            while (bench.disk / "logs/flood").exists():  # noqa: ASYNC110 - of a folder nobody tells
                await asyncio.sleep(0.05)
        await asyncio.to_thread(keeping.close)
        kept, dropped = counted(bench.disk / "kept")
        return {
            "lines": lines,
            "seconds": round(seconds, 1),
            "mb_per_s_of_text": round(lines * (len(line) + 1) / seconds / 1e6, 1),
            "mb_per_s_written_by_the_monitor": round(written / seconds / 1e6, 1),
            "bytes_never_seen": counts["unseen"],
            "files": counts["n"],
            "kept": kept,
            "dropped": dropped,
            "told_of_all": round((kept + dropped) / lines, 5),
            "agent_cpu_share": round((after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime) / seconds, 3),
            "loop_late_at_most_s": round(late, 3),
            "disk_at_most_mb": round(most / 1e6, 1),
            "rss_at_most_mb": round(after.ru_maxrss / 1024, 1),
            "rss_before_mb": round(cpu.ru_maxrss / 1024, 1),
            "threads": peak_threads,
        }
    finally:
        keeping.close()
        await bench.finish()
        shutil.rmtree(bench.disk, ignore_errors=True)


def written_by(bench: OnDisk, id: str) -> int:
    from skerry.runtime import conmon
    from skerry.runtime.logcounts import passed

    return passed(conmon.read_pid(bench.own / "c" / id / "conmon.pid"))[1]


def counted(directory: Path) -> tuple[int, int]:
    kept = dropped = 0
    for path in segments(directory):
        with path.open("rb") as file:
            for head, _ in blocks_of(file.fileno(), path.stat().st_size):
                kept += head.lines
                dropped += head.dropped
    return kept, dropped


def segments(directory: Path) -> Iterator[Path]:
    yield from sorted(directory.glob("*/*.zst"))


def measure() -> dict[str, Any]:
    """Short lines, for their number; long ones, for their bytes."""
    short, long = asyncio.run(flood(10_000_000)), asyncio.run(flood(2_000_000, line=LINE * 12))
    return {
        f"flood_{kind}_{name}": value
        for kind, each in (("short", short), ("long", long))
        for name, value in each.items()
    }


if __name__ == "__main__":
    import json

    print(json.dumps(measure(), indent=2))
