"""The words of perf's files, as far as a recording of user-space stacks needs them. Pure.

A recording is a stream, as `perf record -o -` writes it: a head, the one event that was sampled, who ran and what was mapped when it
began, and then the kernel's own records as they came. `perf script -i -` reads it.
Sources: linux/perf_event.h; Linux, tools/perf/Documentation/perf.data-file-format.txt; perf_event_open(2); proc(5) for maps.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

HEAD = struct.pack("<8sQ", b"PERFILE2", 16)
ATTR_BYTES = 128  # as perf of Linux 5.13 and later knows it: an earlier kernel takes zeros that it doesn't know
_ATTR = struct.Struct("<IIQQQQQIIQ")
_SOFTWARE, _CPU_CLOCK = 1, 0
_IP, _TID, _TIME, _CALLCHAIN = 1 << 0, 1 << 1, 1 << 2, 1 << 5
_DISABLED, _INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 0, 1 << 1, 1 << 5, 1 << 6
_MMAP, _COMM, _FREQUENCY, _TASK = 1 << 8, 1 << 9, 1 << 10, 1 << 13
_ID_IN_ALL, _NO_KERNEL_CHAIN, _MMAP2 = 1 << 18, 1 << 21, 1 << 23
_RECORD = struct.Struct("<IHH")  # kind, what it concerns, its bytes
_OF_COMM, _OF_MMAP2, _OF_LOST, _OF_SAMPLE, _OF_ATTR = 3, 10, 2, 9, 64
_USER = 2
_WHO = struct.Struct("<II")
_LAST = struct.Struct("<IIQ")  # who, when: at the end of each record that is no sample
_MAP = struct.Struct("<QQQIIQQII")
_NAME_BYTES = 15
_PATH_BYTES = 4095
_MAPPED = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)[ \t]*(.*)")


def attributes(rate: int) -> bytes:
    """What is asked of the kernel: the stacks of user space alone, `rate` times in each second of a processor that it runs on, of one
    task and of what it starts. The clock, not a counter of the processor: virtual machines often have none.
    """
    flags = (
        _DISABLED | _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HV | _MMAP | _COMM | _FREQUENCY | _TASK
        | _ID_IN_ALL | _NO_KERNEL_CHAIN | _MMAP2
    )  # fmt: skip
    kinds = _IP | _TID | _TIME | _CALLCHAIN
    return _ATTR.pack(_SOFTWARE, ATTR_BYTES, _CPU_CLOCK, rate, kinds, 0, flags, 0, 0, 0).ljust(ATTR_BYTES, b"\0")


def event(rate: int) -> bytes:
    """The record that says which event the samples are of."""
    return _record(_OF_ATTR, 0, attributes(rate))


def named(pid: int, thread: int, name: str) -> bytes:
    """The record that says what a thread is called."""
    text = name.encode("utf-8", "replace")[:_NAME_BYTES]
    return _record(_OF_COMM, 0, _WHO.pack(pid, thread) + _padded(text) + _LAST.pack(pid, thread, 0))


def mapped(pid: int, maps: str) -> Iterator[bytes]:
    """Records of what a process can execute, out of the text of its /proc/PID/maps."""
    for line in maps.splitlines():
        found = _MAPPED.fullmatch(line)
        if found is None or found[3][2] != "x":
            continue
        begin, end, offset, major, minor = (int(found[number], 16) for number in (1, 2, 4, 5, 6))
        if end > 1 << 64 or begin >= end:
            continue
        path = found[8].encode("utf-8", "backslashreplace")[:_PATH_BYTES] or b"//anon"
        body = _MAP.pack(
            begin, end - begin, offset & (1 << 64) - 1, major, minor, int(found[7]) & (1 << 64) - 1, 0, 5, 2
        )
        yield _record(_OF_MMAP2, _USER, _WHO.pack(pid, pid) + body + _padded(path) + _LAST.pack(pid, pid, 0))


def counted(records: bytes) -> tuple[int, int]:
    """Of the kernel's records: how many are samples, and how many records it says are lost."""
    samples = lost = at = 0
    while at + _RECORD.size <= len(records):
        kind, _, length = _RECORD.unpack_from(records, at)
        if length < _RECORD.size or at + length > len(records):
            break
        if kind == _OF_SAMPLE:
            samples += 1
        elif kind == _OF_LOST and length >= 24:
            lost += struct.unpack_from("<Q", records, at + 16)[0]
        at += length
    return samples, lost


def _record(kind: int, concerns: int, body: bytes) -> bytes:
    return _RECORD.pack(kind, concerns, _RECORD.size + len(body)) + body


def _padded(text: bytes) -> bytes:
    """With a zero at its end, to full words of eight bytes."""
    return text.ljust(len(text) // 8 * 8 + 8, b"\0")
