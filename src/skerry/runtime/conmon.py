"""conmon, the monitor that stays with each container: its command line, its first word, its exit files.

One small process per container holds its output and learns its exit code, so that the agent may die and come back.

It is the first process of a pid namespace of its own, the *outer* one, and the container's is made below that: so there is
a namespace in which the container's processes can be seen and traced, and no other container's (decision 17). Whatever looks
at pids of a living container, the OCI runtime too, must do it from there, with a /proc of it.
Source: conmon(8); the sync pipe: conmon's `sync_pipe_fd`, one JSON line with the pid, or -1 and the runtime's words;
pid_namespaces(7); unshare(1), nsenter(1).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skerry.outside import UNREADABLE
from skerry.runtime import processes
from skerry.runtime.contract import RuntimeBusy, RuntimeRefused

CREATE_WITHIN_S = 30.0
FIRST_WORD_MAX_BYTES = 16 << 10
# Of util-linux, which every host has. The second makes a /proc of the pid namespace that it is called in.
UNSHARE, NSENTER = "/usr/bin/unshare", "/usr/bin/nsenter"
WITH_PROC = ("--mount", "--mount-proc", "--")
WHY_MAX = 600
# What the world may mend; all other words of a runtime are about the container.
_PASSING = (
    "no space left",
    "resource temporarily unavailable",
    "cannot allocate memory",
    "too many open files",
    "device or resource busy",
    "disk quota exceeded",
    "input/output error",
)


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where one container's files are. `bundle`: its folder; `state`: the OCI runtime's `--root`."""

    id: str
    bundle: Path
    state: Path
    exits: Path
    log: Path

    @property
    def monitor_pid(self) -> Path:
        return self.bundle / "conmon.pid"

    @property
    def exit(self) -> Path:
        return self.exits / self.id


class _FirstWord(msgspec.Struct):
    data: int
    message: str = ""


def arguments(conmon: Path, runtime: Path, places: Places, log_max_bytes: int) -> list[str]:
    """conmon's command line. It makes the container by `runtime create`; starting it is a second step.

    conmon forks once, and that child is the first in the new pid namespace; the runtime that it calls needs its /proc.
    """
    making = (*WITH_PROC, str(runtime), "--root", str(places.state))
    return [
        *(UNSHARE, "--pid", "--"),
        str(conmon),
        *("--api-version", "1"),
        *("-c", places.id, "-u", places.id),
        *("-r", UNSHARE, *(word for each in making for word in ("--runtime-arg", each))),
        *("-b", str(places.bundle)),
        *("-p", str(places.bundle / "pid"), "--conmon-pidfile", str(places.monitor_pid)),
        *("--exit-dir", str(places.exits)),
        *("-l", f"k8s-file:{places.log}", "--log-size-max", str(log_max_bytes)),
        *("--log-level", "error"),
        "--full-attach",  # its socket in the bundle: nothing of it elsewhere
        "--no-sync-log",  # an exit is told at once, not after the disk
    ]


def inside(monitor: int, argv: Sequence[str]) -> list[str]:
    """The same command in the outer pid namespace of a monitor, where its container's pids are what the runtime took down."""
    return [NSENTER, f"--pid=/proc/{monitor}/ns/pid", "--", UNSHARE, *WITH_PROC, *argv]


async def create(conmon: Path, runtime: Path, places: Places, log_max_bytes: int) -> int:
    """Start the monitor, which makes the container; gives its pid in the outer namespace. It waits to be started.

    Raises RuntimeRefused or RuntimeBusy with the runtime's own words.
    """
    ours, its = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(its, True)
    environment = {**processes.ENVIRONMENT, "_OCI_SYNCPIPE": "3", "TZ": "UTC0"}  # log times compare as text
    argv = arguments(conmon, runtime, places, log_max_bytes)
    try:
        try:
            ended = await processes.run(argv, timeout_s=CREATE_WITHIN_S, environment=environment, give=its)
        finally:
            os.close(its)
        async with asyncio.timeout(CREATE_WITHIN_S):
            line = await _read_line(ours)
    except TimeoutError as error:
        raise RuntimeBusy(f"container {places.id} was not made", f"no word in {CREATE_WITHIN_S:g} s") from error
    except OSError as error:
        raise RuntimeBusy(f"container {places.id} was not made", f"{conmon}: {error.strerror}") from error
    finally:
        os.close(ours)
    return parse_first_word(line, places.id, ended.words)


def parse_first_word(line: bytes, id: str, words: str = "") -> int:
    """The container's pid, as conmon numbers it, out of the sync pipe's line; `words`: what conmon itself complained about."""
    try:
        word = msgspec.json.decode(line, type=_FirstWord)
    except UNREADABLE:
        raise failed(id, words or "the monitor ended without a word") from None
    if word.data <= 0:
        raise failed(id, word.message or words)
    return word.data


def failed(id: str, words: str) -> RuntimeRefused | RuntimeBusy:
    """The error for what a runtime said; passing only where its words name something that passes."""
    why = " ".join(words.split())[:WHY_MAX]
    if any(sign in why.lower() for sign in _PASSING):
        return RuntimeBusy(f"container {id} was not started", why, "free what is short on this host")
    return RuntimeRefused(f"container {id} was not started", why, "mend the image, or the service's command and rights")


def read_exit(places: Places) -> int | None:
    """Its exit code; None while it runs (or was never told)."""
    try:
        text = places.exit.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.strip().isdigit() else None  # made, and not written yet


def read_pid(path: Path) -> int:
    """A pid file; 0 if it isn't there or isn't whole."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(path.read_text())
    return 0


async def _read_line(file: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < FIRST_WORD_MAX_BYTES:
        await processes.wait_readable(file)
        piece = os.read(file, FIRST_WORD_MAX_BYTES)
        if not piece:
            break
        line += piece
    return line
