"""Which files a container's program asks for: strace outside of it, and its lines read. The program can't see it in its /proc."""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from skerry.errors import Passing, Refusal

ATTACHED_WITHIN_S = 10.0
ENDED_WITHIN_S = 10.0
LINES_MAX = 5_000_000
_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))")
_PATH = re.compile(r'(?:(AT_FDCWD)(?:<[^>]*>)?, |(-?\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_FAILED = re.compile(r"= -1 E[A-Z]+ ")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|(.))")


class NoStrace(Refusal):
    """Looking at what a program asks for is strace's work, and it isn't installed."""

    code = "no-strace"


class TraceFailed(Passing):
    """strace could not watch the program, in its own words."""

    code = "trace-failed"


class Asked(msgspec.Struct, frozen=True):
    """A path that was there when it was asked for. `how`: "run", "opened" or "looked at"."""

    path: str
    how: str


class Tracer:
    """strace on a process and all that it starts, from before its first step. Its lines go to `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        if not shutil.which("strace"):
            raise NoStrace("the program can't be watched", "strace is not installed", "apt-get install strace")

    def attach(self, pid: int) -> None:
        """Returns when it watches. Raises TraceFailed."""
        command = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", "trace=%file", "-e", "signal=none"]
        self._process = subprocess.Popen(
            [*command, "-o", str(self._log), "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        until_s = time.monotonic() + ATTACHED_WITHIN_S
        while not all(_is_traced(task) for task in Path(f"/proc/{pid}/task").iterdir()):
            if self._process.poll() is not None or time.monotonic() > until_s:
                self._process.kill()
                said = (self._process.communicate()[1] or b"").decode("utf-8", "replace").strip()
                raise TraceFailed("the program can't be watched", said or "strace did not begin", "try again as root")
            time.sleep(0.01)

    def close(self) -> None:
        """It ends by itself when all that it watches has ended."""
        if self._process is not None:
            try:
                self._process.communicate(timeout=ENDED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()


def _is_traced(task: Path) -> bool:
    try:
        lines = (task / "status").read_text().splitlines()
    except OSError:
        return True
    return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)


def parse_trace(lines: Iterable[str], first: str, working_dir: str) -> Iterator[Asked]:
    """Paths that were found, absolute and without dots, each way once. Pure.

    `first`: the program; what was asked before it was begun is the runtime's matter. `working_dir`: what relative paths begin from.
    Source: strace(1), its output with -f, -y and -o.
    """
    begun = False
    pending: dict[str, tuple[str, str]] = {}
    told: set[tuple[str, str]] = set()
    folders: dict[str, str] = {}
    for count, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None or count > LINES_MAX:
            continue
        pid, call, rest = found[1], found[2] or found[4], found[3] if found[2] else found[5]
        if found[2]:
            text = rest
            if rest.endswith("<unfinished ...>"):
                pending[pid] = (call, rest)
                continue
        else:
            held = pending.pop(pid, None)
            if held is None:
                continue
            text = held[1] + rest
        if _FAILED.search(text):
            continue
        paths = list(_paths(text, folders.get(pid, working_dir)))
        if not begun:
            begun = call.startswith("execve") and first in paths
            if not begun:
                continue
        if call == "chdir" and paths:
            folders[pid] = paths[0]
        how = "run" if call.startswith("execve") else "opened" if call.startswith("open") else "looked at"
        for path in paths:
            if (path, how) not in told:
                told.add((path, how))
                yield Asked(path, how)


def _paths(text: str, working_dir: str) -> Iterator[str]:
    """The paths among a call's arguments: the first text, and the second where it follows a folder."""
    for number, found in enumerate(_PATH.finditer(text)):
        if number > 1:
            return
        path = _plain(found[4])
        if number and not (found[1] or found[2]):
            return  # argv of execve, or a link's target
        if not path.startswith("/"):
            path = posixpath.join(found[3] or working_dir, path)
        yield posixpath.normpath(path)


def _plain(text: str) -> str:
    """strace's escapes, as in C."""

    def one(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return bytes([int(found[1], 8) & 255])
        return {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}.get(found[2], found[2])

    return _ESCAPE.sub(one, text.encode("utf-8", "replace")).decode("utf-8", "replace")
