"""Where the processes of a container are, many times a second: the stacks of user space as the kernel takes them, and nothing else.

The events are opened here, by the node itself, and never by a tool (decision 26): some kernels keep them for root, and who may open
them may also open the kernel's, or another app's. What comes out is a recording that any perf reads (perfdata.py); names are found by
a tool, which needs no right for that. A thread is sampled only if it still is the container's after its event was opened: a number
that was used again meanwhile gives nothing of somebody else.
Sources: perf_event_open(2); linux/perf_event.h (the ring: struct perf_event_mmap_page).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import mmap
import os
import platform
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from skerry.observe.look import perfdata
from skerry.observe.look.confine import SYS_PTRACE, keep_only
from skerry.observe.look.errors import NothingToSee
from skerry.observe.look.job import Job
from skerry.observe.look.procfs import Process, processes_of

EVENTS_MAX = 8192  # threads times processors
THREADS_MAX = 1000  # of one process
RING_PAGES = 64
MAPS_BYTES = 4 << 20
LOOK_S = 0.1
ONLINE = Path("/sys/devices/system/cpu/online")
_CALLS = {"x86_64": 298, "aarch64": 241}
_CLOSED_AT_EXEC = 8
_ENABLE, _SET_OUTPUT = 0x2400, 0x2405
_HEAD_AT = 1024  # head, tail, and where the records begin and how many bytes they have
_libc = ctypes.CDLL(None, use_errno=True)


class Ring:
    """Where the kernel writes what happens on one processor. `file`: the event that it belongs to."""

    def __init__(self, file: int) -> None:
        page = mmap.PAGESIZE
        self._map = mmap.mmap(file, (1 + RING_PAGES) * page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.file = file

    def take(self) -> bytes:
        """What came since the last time: whole records."""
        head, tail, begin, length = struct.unpack_from("=QQQQ", self._map, _HEAD_AT)
        at, more = begin + tail % length, head - tail
        first = self._map[at : at + min(more, begin + length - at)]
        data = first + self._map[begin : begin + more - len(first)]
        struct.pack_into("=Q", self._map, _HEAD_AT + 8, head)
        return data


def samples(
    job: Job, send: Callable[[bytes], None], send_rows: Callable[[list[dict[str, Any]]], None]
) -> dict[str, Any]:
    """For so many seconds, or until `limit` bytes have come. A row each second: how many samples there are."""
    threads = list(_threads(_meant(job)))
    if not threads:
        raise NothingToSee("nothing was sampled", "no process of it is left", "see skerry events")
    with contextlib.ExitStack() as held:
        rings, left_out = _open(job, threads, held)
        keep_only((SYS_PTRACE,))  # for the maps of processes of other users; events need no right any more
        began = perfdata.HEAD + perfdata.event(job.rate) + b"".join(_who_runs(threads))
        send(began)
        sent, taken, lost = len(began), 0, 0
        ends_s = told_s = time.monotonic()
        ends_s += job.seconds
        why = ""
        while not why:
            time.sleep(max(0.0, min(LOOK_S, ends_s - time.monotonic())))
            now_s = time.monotonic()
            why = f"{job.seconds:g} s are over" if now_s >= ends_s else ""
            for data in filter(None, (ring.take() for ring in rings)):
                send(data)
                came, missing = perfdata.counted(data)
                sent, taken, lost = sent + len(data), taken + came, lost + missing
            if sent >= job.limit:
                why = f"{job.limit} bytes came"
            if why or now_s - told_s >= 1.0:
                told_s = now_s
                send_rows([{"samples": taken, "lost": lost}])
    return {
        "samples": taken,
        "lost": lost,
        "size_bytes": sent,
        "threads": len(threads),
        "left_out": left_out,
        "why": why,
    }


def _meant(job: Job) -> list[int]:
    """Processes of the container; with `process`, that one and what it has started."""
    if not job.process:
        return list(job.pids)
    parents: dict[int, int] = {}
    for process in processes_of(job.pids):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parents[process.pid] = int(process.read("stat").rpartition(")")[2].split()[1])
    found = [job.process] if job.process in parents else []
    for pid in found:  # which grows meanwhile
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _threads(pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(process, thread) of all of them."""
    for process in processes_of(pids):
        with contextlib.suppress(OSError), os.scandir(f"/proc/{process.pid}/task") as entries:
            for entry in itertools.islice(entries, THREADS_MAX):
                yield process.pid, int(entry.name)


def _open(job: Job, threads: list[tuple[int, int]], held: contextlib.ExitStack) -> tuple[list[Ring], int]:
    """One ring for each processor, and how many threads there was no room for. Sampling has begun."""
    cpus = parse_online(ONLINE.read_text())
    most = EVENTS_MAX // len(cpus)
    files: dict[int, list[int]] = {}
    rings: list[Ring] = []
    for cpu in cpus:
        ring: Ring | None = None
        for _, thread in threads[:most]:
            file = _event(job.rate, thread, cpu)
            if file is None:
                continue
            held.callback(os.close, file)
            if ring is None:
                ring = Ring(file)
                rings.append(ring)
            else:
                fcntl.ioctl(file, _SET_OUTPUT, ring.file)
            files.setdefault(thread, []).append(file)
    ours = {thread for _, thread in _threads(_meant(job))}
    for thread in files.keys() & ours:
        for file in files[thread]:
            fcntl.ioctl(file, _ENABLE, 0)
    return rings, max(0, len(threads) - most)


def _event(rate: int, thread: int, cpu: int) -> int | None:
    """None where the thread has ended. Raises NothingToSee with the kernel's reason."""
    attributes = perfdata.attributes(rate)
    file = int(_libc.syscall(_CALLS.get(platform.machine(), -1), attributes, thread, cpu, -1, _CLOSED_AT_EXEC))
    if file >= 0:
        return file
    number = ctypes.get_errno()
    if number == 3:  # ESRCH
        return None
    raise NothingToSee("nothing was sampled", f"perf_event_open: {os.strerror(number)}", "see skerry doctor")


def _who_runs(threads: list[tuple[int, int]]) -> Iterator[bytes]:
    told = 0
    for pid, thread in threads:
        with contextlib.suppress(OSError), Process(pid) as process:
            yield perfdata.named(pid, thread, process.read(f"task/{thread}/comm").rstrip("\n"))
            if pid != told:
                told = pid
                yield from perfdata.mapped(pid, process.read("maps", MAPS_BYTES))


def parse_online(text: str) -> list[int]:
    """Processors, of a list such as `0-3,6`."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
