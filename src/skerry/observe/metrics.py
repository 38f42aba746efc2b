"""The figures that are kept of every slot and of the host: their names, units, and how they are written and folded. Data only.

The order is that of the columns in the file (rings.py): a row has room for sixteen. Units are base units; "rate" was made of a
counter when it was read. What is unknown is a NaN here, and null to whoever asks: never a zero that looks like one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Fold = Literal["mean", "max", "last"]
Kind = Literal["gauge", "rate"]


class Metric(NamedTuple):
    """`scale`: what a value is divided by to fit a half float (rings.py). `fold`: one value of many, for the coarser rings."""

    name: str
    unit: str
    about: str
    kind: Kind = "gauge"
    scale: float = 1.0
    fold: Fold = "mean"


_MEMORY, _DISK, _FLOW = float(1 << 24), float(1 << 30), float(1 << 20)  # up to 1 TiB, 64 TiB, 64 GiB/s
CPU = Metric("cpu_cores", "cores", "CPU time used per second", "rate")
CPU_PRESSURE = Metric("cpu_pressure_share", "share", "time in which some task waited for a CPU", "rate")
MEMORY = Metric("memory_bytes", "bytes", "memory in use, without the file cache that can go at once", scale=_MEMORY)
MEMORY_PRESSURE = Metric("memory_pressure_share", "share", "time in which some task waited for memory", "rate")
IO_PRESSURE = Metric("io_pressure_share", "share", "time in which some task waited for a disk", "rate")
OOM = Metric("oom_kills", "count", "processes killed for memory since it began", fold="max")
PIDS = Metric("pids", "count", "processes and threads", scale=16.0)
DISK_READ = Metric("disk_read_bytes_per_s", "bytes/s", "read from disks", "rate", _FLOW)
DISK_WRITTEN = Metric("disk_written_bytes_per_s", "bytes/s", "written to disks", "rate", _FLOW)
RECEIVED = Metric("network_received_bytes_per_s", "bytes/s", "received over the network", "rate", _FLOW)
SENT = Metric("network_sent_bytes_per_s", "bytes/s", "sent over the network", "rate", _FLOW)

OF_SLOT = (
    CPU,
    Metric(
        "cpu_throttled_share", "share", "share of the scheduler's periods in which its CPU limit stopped it", "rate"
    ),
    MEMORY,
    Metric("memory_limit_bytes", "bytes", "what the kernel lets it use; unknown: no limit", scale=_MEMORY, fold="last"),
    CPU_PRESSURE,
    MEMORY_PRESSURE,
    IO_PRESSURE,
    OOM,
    PIDS,
    DISK_READ,
    DISK_WRITTEN,
    RECEIVED,
    SENT,
    Metric("restarts", "count", "restarts after an exit, as the host counts them", fold="max"),
    Metric("probe_s", "seconds", "how long the last health probe took"),
    Metric("probe_ok", "share", "whether the last health probe was answered well (1) or not (0)"),
)
OF_HOST = (
    CPU,
    CPU_PRESSURE,
    MEMORY,
    Metric("memory_total_bytes", "bytes", "memory that the machine has", scale=_MEMORY, fold="last"),
    MEMORY_PRESSURE,
    IO_PRESSURE,
    OOM._replace(about="processes killed for memory since the machine started"),
    PIDS,
    DISK_READ,
    DISK_WRITTEN,
    RECEIVED,
    SENT,
    Metric("load1", "count", "tasks that run or wait, mean of a minute"),
    Metric("disk_used_bytes", "bytes", "of the file system that Skerry's own data is on", scale=_DISK, fold="last"),
    Metric("disk_total_bytes", "bytes", "of the file system that Skerry's own data is on", scale=_DISK, fold="last"),
    Metric("clock_off_s", "seconds", "how far the clock is ahead of its neighbours'", fold="last"),
)


def one_of(values: Sequence[float], fold: Fold) -> float:
    """What stands for these in a coarser ring; NaN where none is known."""
    known = [value for value in values if value == value]
    if not known:
        return float("nan")
    if fold == "mean":
        return sum(known) / len(known)
    return max(known) if fold == "max" else known[-1]
