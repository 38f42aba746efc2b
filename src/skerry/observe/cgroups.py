"""Figures of one container out of its cgroup: cgroup v1, v2 and hybrid alike. Files are opened once and read by `pread`.

A figure that this kernel doesn't give is NaN, "unknown": never a zero that looks like one. Nor is a text that no kernel writes.
Source: Linux, Documentation/admin-guide/cgroup-v1/*.rst, cgroup-v2.rst and accounting/psi.rst.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
READ_BYTES = 512  # most have less; room that isn't needed costs time
LONG_BYTES = {"memory_stat": 8192, "io": 16384}
SLOW_TURNS = 10  # so many times is it read until what changes slowly is read again
NO_LIMIT = 1 << 60  # v1's word for "none" is the greatest page-aligned number
NAN = math.nan
# file -> where it is, below the root of all cgroups
_V2 = {
    "cpu": "{}/cpu.stat",
    "periods": "{}/cpu.stat",
    "memory": "{}/memory.current",
    "memory_stat": "{}/memory.stat",
    "limit": "{}/memory.max",
    "oom": "{}/memory.events",
    "pids": "{}/pids.current",
    "cpu_wait": "{}/cpu.pressure",
    "memory_wait": "{}/memory.pressure",
    "io_wait": "{}/io.pressure",
    "io": "{}/io.stat",
}
_V1 = {
    "cpu": "cpuacct/{}/cpuacct.usage",
    "periods": "cpu/{}/cpu.stat",
    "memory": "memory/{}/memory.usage_in_bytes",
    "memory_stat": "memory/{}/memory.stat",
    "limit": "memory/{}/memory.limit_in_bytes",
    "oom": "memory/{}/memory.oom_control",
    "pids": "pids/{}/pids.current",
    "cpu_wait": "unified/{}/cpu.pressure",
    "memory_wait": "unified/{}/memory.pressure",
    "io_wait": "unified/{}/io.pressure",
    "io": "blkio/{}/blkio.throttle.io_service_bytes",
}


class Counters(NamedTuple):
    """What a cgroup says at one moment. Seconds, `periods`, `throttled`, `oom_kills` and bytes read and written: since it began.

    `periods`: of the scheduler, in which it ran under a CPU limit; `throttled`: those of them in which that stopped it.
    `memory_bytes`: without the file cache that can go at once.
    """

    cpu_s: float = NAN
    periods: float = NAN
    throttled: float = NAN
    memory_bytes: float = NAN
    limit_bytes: float = NAN
    cpu_wait_s: float = NAN
    memory_wait_s: float = NAN
    io_wait_s: float = NAN
    oom_kills: float = NAN
    pids: float = NAN
    read_bytes: float = NAN
    written_bytes: float = NAN


def single(data: bytes) -> float:
    """A file with one number; "max" and whatever else is no number are unknown."""
    text = data.strip()
    return float(text) if text.isdigit() and len(text) <= 20 else NAN


class Keyed:
    """The number behind a key of a file; unknown where there is none."""

    def __init__(self, key: bytes) -> None:
        self._search = re.compile(re.escape(key) + rb"(\d{1,20})\b").search

    def __call__(self, data: bytes) -> float:
        found = self._search(data)
        return float(found[1]) if found else NAN


usage_us = Keyed(b"usage_usec ")
nr_periods, nr_throttled = Keyed(b"nr_periods "), Keyed(b"nr_throttled ")
inactive_file, total_inactive_file = Keyed(b"\ninactive_file "), Keyed(b"\ntotal_inactive_file ")
oom_kill = Keyed(b"oom_kill ")
waited_us = Keyed(b"total=")  # of "some", which is the first line of a PSI file
_DEVICE_V2 = re.compile(rb"rbytes=(\d{1,20}) wbytes=(\d{1,20})")
_DEVICE_V1 = re.compile(rb" (Read|Write) (\d{1,20})")


def read_written(data: bytes) -> tuple[float, float]:
    """Bytes of all devices, of v2's io.stat or v1's blkio.throttle.io_service_bytes; none was used: zeros."""
    read = written = 0.0
    for found in _DEVICE_V2.finditer(data):
        read, written = read + float(found[1]), written + float(found[2])
    for found in _DEVICE_V1.finditer(data):
        if found[1] == b"Read":
            read += float(found[2])
        else:
            written += float(found[2])
    return read, written


class Cgroup:
    """An open cgroup such as "/skerry/ID". One that is not there yet, or gone, gives unknowns. To be closed.

    `missing`: the files that this kernel, or this way of mounting cgroups, doesn't have.
    """

    def __init__(self, path: str, root: Path = ROOT) -> None:
        self._files: dict[str, int] = {}
        self.is_v2 = (root / "cgroup.controllers").exists()
        self._paths = {key: root / name.format(path.lstrip("/")) for key, name in (_V2 if self.is_v2 else _V1).items()}
        self._turn = zlib.crc32(path.encode()) % SLOW_TURNS  # not all containers' in the same second
        self._cached = self._limit = NAN
        self._look()

    @property
    def missing(self) -> frozenset[str]:
        return frozenset(self._paths.keys() - self._files.keys())

    def _open(self) -> None:
        """A container is known before its cgroup is made, one controller's after the other's."""
        for key in self.missing:
            with contextlib.suppress(OSError):
                self._files[key] = os.open(self._paths[key], os.O_RDONLY | os.O_CLOEXEC)

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used."""
        data = self._data("cpu")
        return usage_us(data) / 1e6 if self.is_v2 else single(data) / 1e9

    def read(self) -> Counters:
        self._turn += 1
        if self._turn % SLOW_TURNS == 0 or not self._files:
            self._look()
        of = self._data
        memory, cached = single(of("memory")), self._cached
        periods = of("periods")
        read, written = read_written(of("io")) if "io" in self._files else (NAN, NAN)
        return Counters(
            self.cpu_s(),
            nr_periods(periods),
            nr_throttled(periods),
            memory - cached if cached <= memory else memory,
            self._limit,
            waited_us(of("cpu_wait")) / 1e6,
            waited_us(of("memory_wait")) / 1e6,
            waited_us(of("io_wait")) / 1e6,
            oom_kill(of("oom")),
            single(of("pids")),
            read,
            written,
        )

    def _look(self) -> None:
        """What changes slowly, or costs more than all the rest."""
        self._open()
        self._cached = (inactive_file if self.is_v2 else total_inactive_file)(self._data("memory_stat"))
        limit = single(self._data("limit"))
        self._limit = NAN if limit >= NO_LIMIT else limit

    def close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files = {}

    def _data(self, key: str) -> bytes:
        """b"" where there is no such file, or the cgroup is gone."""
        fd = self._files.get(key)
        if fd is None:
            return b""
        try:
            return os.pread(fd, LONG_BYTES.get(key, READ_BYTES), 0)
        except OSError:
            return b""
