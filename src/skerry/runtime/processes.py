"""Running a short-lived program and waiting for it, and watching processes that aren't our children: both by pidfd.

posix_spawn instead of asyncio's subprocesses: no thread and no pipe per call, which is a third of a container's start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
WORDS_MAX_BYTES = 8192


class Ended(NamedTuple):
    """`code`: 128 + n for signal n. `words`: the end of what it wrote to standard error."""

    code: int
    words: str


async def run(
    argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] = ENVIRONMENT, give: int | None = None
) -> Ended:
    """Run it to its end. `give`: a descriptor that it gets as its number 3. Its output is thrown away.

    Raises FileNotFoundError for a missing program, TimeoutError (it was killed then).
    """
    words = os.memfd_create("words", os.MFD_CLOEXEC)
    try:
        pid = _spawn(argv, environment, words, give)
        file = os.pidfd_open(pid)
        try:
            async with asyncio.timeout(timeout_s):
                await wait_readable(file)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(file)
            _, status = os.waitpid(pid, 0)  # noqa: ASYNC222  it has ended: no wait
        code = os.waitstatus_to_exitcode(status)
        size = os.fstat(words).st_size
        text = os.pread(words, WORDS_MAX_BYTES, max(0, size - WORDS_MAX_BYTES)).decode("utf-8", "replace")
        return Ended(128 - code if code < 0 else code, text.strip())
    finally:
        os.close(words)


async def wait_readable(file: int) -> None:
    """Until `file` (a pidfd: its process ended; a pipe: data or its end) can be read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(file, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(file)


async def wait_writable(file: int) -> None:
    """Until `file` (a pipe or terminal) takes more, or nobody reads it any more."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(file, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(file)


def open_process(pid: int) -> int | None:
    """A pidfd, or None if there is no such process. Check who it is after opening: numbers are used again."""
    try:
        return os.pidfd_open(pid)
    except (ProcessLookupError, OverflowError, OSError):
        return None


def numbers(pid: int) -> tuple[int, ...]:
    """What it is called in each pid namespace that it is in: ours first, its own last. Empty if it is gone.

    Source: proc(5), `NSpid` of /proc/pid/status.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("NSpid:"):
                return tuple(int(number) for number in line.split()[1:])
    return ()


def processes_with_argument(argument: str) -> list[int]:
    """All processes that were started with exactly this argument, such as a bundle's path."""
    wanted = b"\0" + os.fsencode(argument) + b"\0"
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def _spawn(argv: Sequence[str], environment: Mapping[str, str], words: int, give: int | None) -> int:
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, words, 2),
    ]
    if give is not None:
        actions.append((os.POSIX_SPAWN_DUP2, give, 3))
    return os.posix_spawn(
        argv[0],
        list(argv),
        dict(environment),
        file_actions=actions,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these; what it starts must not inherit that
    )
