"""Power on and power off for one host; nothing of networks between hosts, disks' contents or the lab's state."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from skerry.lab import cgroups
from skerry.lab.errors import LabFailed, LabNotInTime

BANNER_LIMIT_S = 30.0
END_LIMIT_S = 20.0


class Job(NamedTuple):
    """All that one boot needs. Paths of this machine; `disks`: (ours, where it is seen inside)."""

    lab: str
    name: str
    address: str
    mac: str  # the same at each boot, as a network card's: neighbours remember it
    link: str  # our end of the wire
    wires: Path  # the network namespace that our end is in
    lower: str  # one directory, or several as overlayfs takes them: the first is on top
    upper: Path
    work: Path
    root: Path  # an empty directory to mount at
    disks: tuple[tuple[Path, str], ...]


class Pid1(NamedTuple):
    """A process that can't be mistaken for a later one of the same number. `started`: kernel ticks since boot."""

    pid: int
    started: int


def switch_on(job: Job) -> subprocess.Popen[bytes]:
    """Begin to boot; `wait_running` ends it. In a session of its own: Ctrl-C for the caller is none for the host."""
    cgroups.make(job.lab, job.name)
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "skerry.lab.inside"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps(job._asdict(), default=str).encode())
    process.stdin.close()
    return process


def wait_running(process: subprocess.Popen[bytes], name: str) -> Pid1:
    """Wait until systemd has taken over. Raises LabFailed with what went wrong inside."""
    assert process.stdout
    lines = [json.loads(line) for line in process.stdout.read().splitlines()]
    process.stdout.close()
    process.wait()
    errors = [line["error"] for line in lines if "error" in line]
    pids = [line["pid"] for line in lines if "pid" in line]
    if errors or not pids:
        raise LabFailed(f"{name} did not boot", "; ".join(errors) or "its first process ended without a word")
    pid = pids[0]
    started = started_ticks(pid)
    if started is None:
        raise LabFailed(f"{name} did not boot", "its systemd ended at once")
    return Pid1(pid, started)


def wait_ssh_banner(name: str, address: str, limit_s: float = BANNER_LIMIT_S) -> None:
    """Wait until the SSH server at `address` speaks: a connection alone proves nothing. Raises LabNotInTime."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            with socket.create_connection((address, 22), timeout=1.0) as connection:
                if connection.recv(4).startswith(b"SSH-"):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise LabNotInTime(
        f"{name} is not reachable", f"no SSH server answered at {address} within {limit_s:.0f} s", "skerry lab down"
    )


def is_running(lab: str, name: str, pid1: Pid1) -> bool:
    """Whether this very process lives and is of this host: number, start time and cgroup."""
    return (
        pid1.pid > 0
        and started_ticks(pid1.pid) == pid1.started
        and not _is_zombie(pid1.pid)
        and pid1.pid in cgroups.processes(lab, name)
    )


def power_off(lab: str, name: str | None = None, limit_s: float = END_LIMIT_S) -> int:
    """SIGKILL everything in the host's cgroups (of all hosts without `name`) and wait for the real end.

    With pid 1 all else of its pid namespace goes; whatever was only on its way in is met by number. Pids are held by
    pidfd and looked up in the cgroup once more before the signal, so that a reused number is never hit.
    Returns how many were ended. Raises LabNotInTime.
    """
    ended = 0
    end = time.monotonic() + limit_s
    while pids := cgroups.processes(lab, name):
        handles = {}
        for pid in pids:
            try:
                handles[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        try:
            for pid in handles.keys() & cgroups.processes(lab, name):
                try:
                    signal.pidfd_send_signal(handles[pid], signal.SIGKILL)
                    ended += 1
                except ProcessLookupError:
                    continue
            waiting = select.poll()
            for handle in handles.values():
                waiting.register(handle, select.POLLIN)
            left = set(handles.values())
            while left and time.monotonic() < end:
                for handle, _ in waiting.poll(200):
                    waiting.unregister(handle)
                    left.discard(handle)
        finally:
            for handle in handles.values():
                os.close(handle)
        if time.monotonic() > end:
            raise LabNotInTime(
                f"{name or lab} does not end",
                f"processes {sorted(pids)} were killed and are still there after {limit_s:.0f} s",
                "look at them with ps; then skerry lab down once more",
            )
        if not handles:  # zombies that nobody has reaped yet: they hold nothing but their number
            time.sleep(0.01)
    return ended


def started_ticks(pid: int) -> int | None:
    """When the process started, in ticks since boot; None if there is none. Source: proc(5), stat, field 22."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _is_zombie(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] == "Z"


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold blanks and brackets itself: the first is field 3."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
