"""What /proc tells about the processes of one container, as rows. Pure parsers first, then two thin readers.

Read from outside, from the host's /proc, through a folder that stays with its process: a number that is used again meanwhile
gives no row of somebody else. What a process says of itself (its name, its arguments) is its own word.
Source: Linux, Documentation/filesystems/proc.rst; proc(5).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from skerry.errors import BadFormat, SkerryError
from skerry.observe.look.job import Job
from skerry.observe.look.root import locate, reopen

SAMPLE_S = 0.25
READ_BYTES = 64 << 10
COMMAND_MAX = 4096
PASSWD_BYTES = 256 << 10
THREADS_MAX = ENDED_MAX = 1000
STATES = {
    "R": "running", "S": "sleeping", "D": "waiting for a device", "Z": "zombie", "T": "stopped", "t": "traced",
    "I": "idle", "X": "dead", "P": "parked",
}  # fmt: skip


class Stat(NamedTuple):
    """`cpu_ticks`: used since its start; `start_ticks`: since the host's boot."""

    name: str
    state: str
    parent: int
    cpu_ticks: int
    threads: int
    start_ticks: int
    rss_pages: int


def parse_stat(text: str) -> Stat:
    """Of /proc/PID/stat. The name is in parentheses and may hold any, also `)`. Raises BadFormat."""
    before, _, rest = text.rpartition(")")
    _, _, name = before.partition("(")
    words = rest.split()
    try:
        return Stat(
            name=name,
            state=words[0],
            parent=int(words[1]),
            cpu_ticks=int(words[11]) + int(words[12]),
            threads=int(words[17]),
            start_ticks=int(words[19]),
            rss_pages=int(words[21]),
        )
    except (IndexError, ValueError):
        raise BadFormat("a process was not read", f"its stat is {text[:80]!r}") from None


def parse_status(text: str) -> dict[str, str]:
    """Of /proc/PID/status: word -> the rest of its line."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def users_of(passwd: str) -> dict[int, str]:
    """Names by number, of the image's /etc/passwd, which may say anything."""
    found: dict[int, str] = {}
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isascii() and fields[2].isdigit() and len(fields[2]) < 11:
            found.setdefault(int(fields[2]), fields[0][:64])
    return found


class Process:
    """One process of the container, held by its folder in /proc. Use as `with`."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when there is none."""
        self.pid = pid
        self._folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    def read(self, name: str, most_bytes: int = READ_BYTES) -> str:
        """The beginning of a file of it. Raises OSError when it is gone."""
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            parts, left = [], most_bytes
            while left and (part := os.read(file, left)):
                parts.append(part)
                left -= len(part)
        finally:
            os.close(file)
        return b"".join(parts).decode("utf-8", "backslashreplace")

    def links(self, name: str) -> Iterator[tuple[str, str]]:
        """What its descriptors are."""
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        yield entry.name, os.readlink(entry.name, dir_fd=folder)
        finally:
            os.close(folder)


def processes_of(pids: Iterable[int]) -> Iterator[Process]:
    """Those that live and are in one control group with the first of them that does; and those of its pid namespace that have ended
    and that nobody has asked about: such are in no group any more.
    """
    group, depth = "", 0
    for pid in pids:
        with contextlib.suppress(OSError), Process(pid) as process:
            status = parse_status(process.read("status"))
            deep = len(status.get("NSpid", "").split())
            if not group:
                group, depth = process.read("cgroup"), deep
            if process.read("cgroup") == group or (status.get("State", "").startswith("Z") and deep == depth):
                yield process


def procs(job: Job) -> Iterator[dict[str, Any]]:
    """A row for each process, then a summary."""
    hz, page_bytes = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    before, began_s = _cpu_ticks(job.pids), time.monotonic()
    time.sleep(SAMPLE_S)
    users = users_of(_passwd(job.root))
    boot_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    inner: dict[int, int] = {}
    shown = 0
    for process in processes_of([*job.pids, *_children(job.pids)]):
        with contextlib.suppress(OSError):
            stat, status = parse_stat(process.read("stat")), parse_status(process.read("status"))
            took_s = time.monotonic() - began_s
            inner[process.pid] = _last(status.get("NSpid", ""))
            shown += 1
            yield _row(process, stat, status, users) | {
                "parent": inner.get(stat.parent, 0),
                "cpu_cores": max(stat.cpu_ticks - before.get(process.pid, stat.cpu_ticks), 0) / hz / took_s,
                "cpu_s": stat.cpu_ticks / hz,
                "memory_bytes": stat.rss_pages * page_bytes,
                "started": boot_s + stat.start_ticks / hz,
            }
    yield {"shown": shown, "more": len(job.pids) >= job.limit > 0}


def _children(pids: Iterable[int]) -> list[int]:
    """Of these, without themselves: who has ended and was not asked about stands in no control group, but with its parent."""
    known, found = {*pids}, set[int]()
    for process in processes_of(known):
        with contextlib.suppress(OSError), os.scandir(f"/proc/{process.pid}/task") as threads:
            for thread in itertools.islice(threads, THREADS_MAX):
                with contextlib.suppress(OSError):
                    found.update(int(word) for word in process.read(f"task/{thread.name}/children").split())
    return sorted(found - known)[:ENDED_MAX]


def _row(process: Process, stat: Stat, status: Mapping[str, str], users: Mapping[int, str]) -> dict[str, Any]:
    uid = int((status.get("Uid", "").split() or ["-1"])[0])
    words = process.read("cmdline", COMMAND_MAX).rstrip("\0").split("\0")
    waits = ""
    with contextlib.suppress(OSError):
        waits = process.read("wchan").strip("\0\n")
    return {
        "pid": _last(status.get("NSpid", "")),
        "host_pid": process.pid,
        "uid": uid,
        "user": users.get(uid, str(uid)),
        "state": STATES.get(stat.state, stat.state),
        "threads": stat.threads,
        "waits_in": "" if waits == "0" else waits,
        "name": stat.name,
        "command": words if words != [""] else [f"[{stat.name}]"],
    }


def _cpu_ticks(pids: Iterable[int]) -> dict[int, int]:
    found = {}
    for process in processes_of(pids):
        with contextlib.suppress(OSError):
            found[process.pid] = parse_stat(process.read("stat")).cpu_ticks
    return found


def _passwd(root: int) -> str:
    """Of the image; "" where there is none, or it is no plain file."""
    if root < 0:
        return ""
    try:
        place = locate(root, "/etc/passwd")
        file = reopen(place, "/etc/passwd")
    except SkerryError:
        return ""
    try:
        return os.read(file, PASSWD_BYTES).decode("utf-8", "replace")
    except OSError:  # a folder
        return ""
    finally:
        os.close(file)
        os.close(place)


def _last(numbers: str) -> int:
    """Its number inside, of what it is called in each pid namespace."""
    words = numbers.split()
    return int(words[-1]) if words else 0
