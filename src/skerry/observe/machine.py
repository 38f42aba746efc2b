"""Figures of this machine each second: files of /proc that are opened once and read by `pread`. What it is made of: host.py.

Sources: proc(5), Linux Documentation/admin-guide/iostats.rst and accounting/psi.rst. Unknown is NaN.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from skerry.errors import BadFormat
from skerry.observe.cgroups import Keyed, waited_us
from skerry.observe.host import PROC, parse_meminfo

READ_MAX_BYTES, PIECE_BYTES = 1 << 20, 64 << 10  # a larger piece is memory of its own each time (mallopt(3))
SECTOR_BYTES = 512  # of /proc/diskstats, whatever the disk's own are
SLOW_S = 10.0  # between two looks at what changes slowly or costs more
NAN = math.nan
oom_kill = Keyed(b"\noom_kill ")
_OTHERS = re.compile(r"(loop|ram|zram|dm-|md|sr|fd)\d*")  # stand on other disks, or are none


class Machine(NamedTuple):
    """What the machine says at one moment; `…_s` and bytes read, written, received and sent: since it started."""

    busy_s: float = NAN
    cpu_wait_s: float = NAN
    memory_bytes: float = NAN
    memory_total_bytes: float = NAN
    memory_wait_s: float = NAN
    io_wait_s: float = NAN
    oom_kills: float = NAN
    pids: float = NAN
    read_bytes: float = NAN
    written_bytes: float = NAN
    load1: float = NAN
    disk_used_bytes: float = NAN
    disk_total_bytes: float = NAN


def busy_s(stat: bytes, tick: int) -> float:
    """CPU time of all CPUs, of /proc/stat: all but idle, waiting for disks, and stolen by other guests."""
    fields = stat.partition(b"\n")[0].split()
    if fields[:1] != [b"cpu"] or len(fields) < 8 or not all(field.isdigit() for field in fields[1:8]):
        return NAN
    user, nice, system, _, _, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / tick


def read_written(diskstats: bytes) -> tuple[float, float]:
    """Bytes of all whole disks: partitions are those whose name begins with a disk's before them."""
    read = written = 0.0
    disk = " "
    for line in diskstats.splitlines():
        fields = line.split()
        if len(fields) < 10 or not (fields[5].isdigit() and fields[9].isdigit()):
            continue
        name = fields[2].decode("ascii", "replace")
        if _OTHERS.match(name) or name.startswith(disk):
            continue
        disk = name
        read += int(fields[5]) * SECTOR_BYTES
        written += int(fields[9]) * SECTOR_BYTES
    return read, written


def interfaces(text: bytes) -> dict[str, tuple[float, float]]:
    """Bytes received and sent of each network interface, of /proc/net/dev."""
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(b":")
        if not colon:
            continue
        fields = rest.split(None, 9)
        if len(fields) == 10 and fields[0].isdigit() and fields[8].isdigit():
            found[name.strip().decode("utf-8", "replace")] = (float(fields[0]), float(fields[8]))
    return found


def ways_out(route: bytes) -> frozenset[str]:
    """Interfaces with a default route, of /proc/net/route."""
    rows = [line.split() for line in route.splitlines()[1:]]
    return frozenset(row[0].decode("utf-8", "replace") for row in rows if len(row) > 7 and row[1] == row[7] == b"0" * 8)


class MachineFiles:
    """`directory`: on the file system whose room is told. To be closed."""

    def __init__(self, directory: Path, proc: Path = PROC, now_s: Callable[[], float] = time.monotonic) -> None:
        self._directory, self._now_s = directory, now_s
        self._tick = os.sysconf("SC_CLK_TCK")
        self._files: dict[str, int] = {}
        for name in (
            "stat", "meminfo", "loadavg", "diskstats", "vmstat", "net/dev", "net/route",
            "pressure/cpu", "pressure/memory", "pressure/io",
        ):  # fmt: skip
            with contextlib.suppress(OSError):
                self._files[name] = os.open(proc / name, os.O_RDONLY | os.O_CLOEXEC)
        self.has_pressure = "pressure/memory" in self._files
        self._looked_s = -math.inf
        self._oom = NAN
        self._disk = (NAN, NAN)
        self.ways_out: frozenset[str] = frozenset()

    def read(self) -> Machine:
        if (now_s := self._now_s()) - self._looked_s >= SLOW_S:
            self._looked_s = now_s
            self._look()
        memory = total = NAN
        with contextlib.suppress(BadFormat):
            told = parse_meminfo(self._data("meminfo").decode("ascii", "replace"))
            memory, total = float(told.total_bytes - told.available_bytes), float(told.total_bytes)
        load1, tasks = _load(self._data("loadavg"))
        read, written = read_written(self._data("diskstats")) if "diskstats" in self._files else (NAN, NAN)
        return Machine(
            busy_s(self._data("stat"), self._tick),
            waited_us(self._data("pressure/cpu")) / 1e6,
            memory,
            total,
            waited_us(self._data("pressure/memory")) / 1e6,
            waited_us(self._data("pressure/io")) / 1e6,
            self._oom,
            tasks,
            read,
            written,
            load1,
            *self._disk,
        )

    def interfaces(self) -> dict[str, tuple[float, float]]:
        """Of this network namespace: bytes received and sent."""
        return interfaces(self._data("net/dev"))

    def close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files = {}

    def _look(self) -> None:
        self._oom = oom_kill(self._data("vmstat"))
        self.ways_out = ways_out(self._data("net/route"))
        try:
            told = os.statvfs(self._directory)
            free = told.f_bavail * told.f_frsize  # as others than root see it
            used = (told.f_blocks - told.f_bfree) * told.f_frsize
            self._disk = float(used), float(used + free)
        except OSError:
            self._disk = NAN, NAN

    def _data(self, name: str) -> bytes:
        """Text that is made as it is read comes in pieces."""
        fd = self._files.get(name)
        if fd is None:
            return b""
        found = b""
        try:
            while len(found) < READ_MAX_BYTES and (more := os.pread(fd, PIECE_BYTES, len(found))):
                found += more
                if not name.startswith("net/") and name != "diskstats":
                    break
        except OSError:
            return b""
        return found


def _load(loadavg: bytes) -> tuple[float, float]:
    """(mean of a minute, tasks that there are)."""
    found = re.match(rb"(\d+\.\d+) \S+ \S+ \d+/(\d+)", loadavg)
    return (float(found[1]), float(found[2])) if found else (NAN, NAN)
