"""A real container that writes as fast as it can: nothing grows without bound, and each line is kept or counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from bench.flood import LINE, OnDisk, counted, flood

from disks import disk_of
from skerry.agent.logs import keeping as logkeeping
from skerry.agent.logs.keeping import LogKeeping
from skerry.observe.logs import parse_block
from skerry.runtime import logfiles

pytestmark = pytest.mark.real
LINES = 1_500_000
WITHIN_S = 30.0


async def test_a_flood_is_bounded_and_what_is_left_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "STAYS_S", 0.0)  # nobody follows it
    figures = await flood(LINES)
    assert figures["dropped"] > 0, "it was faster than what is kept"
    assert figures["kept"] > 50_000
    assert abs(figures["kept"] + figures["dropped"] - LINES) < LINES * 0.02, figures
    assert figures["mb_per_s_of_text"] > 5, "the container isn't held up"
    assert figures["agent_cpu_share"] < 0.6, figures
    assert figures["disk_at_most_mb"] < 80, figures


BURST, BURSTS, MORE = 10_000, 30, 100_000
NOISY = f"""
s=0.1
trap 'n=0; while [ $n -lt {BURSTS} ]; do yes "{LINE}" | head -n {BURST}; n=$((n+1)); usleep 30000; done; s=0.11' USR1
trap 'yes "{LINE}" | head -n {MORE}; echo noisy goes on' USR2
while :; do sleep $s; done
"""
QUIET = "n=0; while :; do n=$((n+1)); echo quiet says $n; sleep 0.05; done"


async def wait(what: str, see: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not see():
        assert time.monotonic() < deadline_s, f"waited {WITHIN_S} s for {what}"
        await asyncio.sleep(0.05)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


async def test_a_flood_on_a_disk_that_is_full_takes_no_other_lines_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logfiles, "STAYS_S", 0.0)
    monkeypatch.setattr(logkeeping, "LOOK_S", 0.2)
    with disk_of(tmp_path / "disk", "64m") as disk:
        bench = OnDisk("runc", disk)
        keeping = LogKeeping(disk / "kept")
        try:
            quiet = bench.shell("quiet", QUIET)
            await bench.runtime.start(msgspec.structs.replace(quiet, labels={"slot": "shop.quiet/0"}))
            keeping.begin(bench.runtime)
            spec = bench.shell("noisy", NOISY)
            noisy = await bench.runtime.start(msgspec.structs.replace(spec, labels={"slot": "shop.noisy/0"}))
            await wait("it to be there", lambda: sleeps(noisy.pid, "0.1"))
            fill(disk)
            begun = said(bench)
            os.kill(noisy.pid, signal.SIGUSR1)
            await wait("the flood to be over", lambda: sleeps(noisy.pid, "0.11"))
            await wait("the other to go on", lambda: said(bench) > begun + 5)
            assert "the disk is full" in caplog.text
            assert shutil.disk_usage(disk).free < 1 << 20
            (disk / "filler").unlink()
            os.kill(noisy.pid, signal.SIGUSR2)
            await wait("room to be told of", lambda: "there is room for logs again" in caplog.text)
            await wait("lines to come again", lambda: "noisy goes on" in end_of(bench.runtime.logs("noisy")[-1]))
            await wait("the other to go on", lambda: said(bench) > begun + 10)
            for id in ("noisy", "quiet"):
                await bench.runtime.stop(id, signal="SIGKILL", grace_s=0)
            await wait("all to be kept", lambda: not any((disk / "logs").iterdir()))
            kept, dropped = counted(disk / "kept")
            told = texts(keeping, "shop.quiet/0")
            assert told == [f"quiet says {n}" for n in range(1, len(told) + 1)], "none of its lines is missing"
            written = BURST * BURSTS + MORE
            # What the writer lost in a file is estimated when that is closed: a fifth was the most, on a busy machine.
            assert abs(kept - len(told) + dropped - written) < written * 0.25, (kept, dropped)
        finally:
            keeping.close()
            await bench.finish()


def end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 200))
        return file.read().decode(errors="replace")


def said(bench: OnDisk) -> int:
    """The last number that the quiet one said, and that is in its log."""
    lines = [line for line in end_of(bench.runtime.logs("quiet")[-1]).splitlines() if "quiet says" in line]
    return int(lines[-1].rpartition(" ")[2]) if lines else 0


def sleeps(pid: int, seconds: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(Path(f"/proc/{n}/cmdline").read_bytes() == f"sleep\0{seconds}\0".encode() for n in children)
    return False


def texts(keeping: LogKeeping, slot: str) -> list[str]:
    pieces = list(keeping.store.snapshot(slot).back())
    return [line.text for piece in reversed(pieces) for line in parse_block(piece.data)]
