"""Reading containers' log files: CRI lines ("time stream F|P text"), across one rotation, joined where they were split.

Pure parsing first, then bounded readers. Nothing is neutralised here: what a container wrote comes out as it is, and
whoever shows it on a terminal must take the control characters out (that is the CLI's).
Source: Kubernetes, CRI "kubelet log format"; conmon's k8s-file driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

LINE_MAX_BYTES = 64 << 10  # of one joined line; what is longer is cut, and the rest becomes further lines
TAIL_MAX_BYTES = 4 << 20  # read from the end for one `tail`
CHUNK_BYTES = 64 << 10
POLL_S = 0.1  # an append is seen within this; inotify would cost a descriptor per follower for little


class LogLine(NamedTuple):
    """`time`: RFC 3339 text as the monitor wrote it, "" if the line was not CRI. `stream`: stdout or stderr."""

    time: str
    stream: str
    text: str


class _Part(NamedTuple):
    time: str
    stream: str
    whole: bool
    text: str


class Joiner:
    """Joins partial lines, each stream for itself. Feed it lines without their line ends."""

    def __init__(self) -> None:
        self._parts: dict[str, list[_Part]] = {}
        self._held: dict[str, int] = {}

    def feed(self, raw: bytes) -> LogLine | None:
        """The line that this one completes, if it does."""
        part = _parse(raw)
        parts = self._parts.setdefault(part.stream, [])
        parts.append(part)
        self._held[part.stream] = self._held.get(part.stream, 0) + len(part.text)
        if not part.whole and self._held[part.stream] < LINE_MAX_BYTES:
            return None
        del self._parts[part.stream], self._held[part.stream]
        return LogLine(parts[0].time, part.stream, "".join(p.text for p in parts))

    def rest(self) -> list[LogLine]:
        """What was begun and never ended, as lines."""
        lines = [LogLine(p[0].time, s, "".join(x.text for x in p)) for s, p in self._parts.items() if p]
        self._parts.clear()
        self._held.clear()
        return lines


def join_lines(raws: Iterable[bytes]) -> list[LogLine]:
    """All lines of a piece of log; an unended one at the end counts."""
    joiner = Joiner()
    lines = [line for raw in raws if (line := joiner.feed(raw)) is not None]
    return lines + joiner.rest()


def tail(paths: Sequence[Path], n: int) -> list[LogLine]:
    """The last `n` lines of log files given oldest first; at most TAIL_MAX_BYTES are read. Missing files are empty."""
    return _last_lines(paths, n, None)


async def follow(paths: Callable[[], Sequence[Path]], n: int = 0) -> AsyncIterator[LogLine]:
    """The last `n` lines, then each new one as it comes, for ever: the caller ends it.

    `paths` gives the log files, oldest first, and is asked anew after each rotation; the last is the one written to.
    A file that does not exist yet is waited for. Where both rotations of a moment were missed, lines are missing.
    """
    joiner = Joiner()
    file = await _open_newest(paths)
    try:
        begin = os.fstat(file).st_size
        begin -= _unended(file, begin)
        for old in _last_lines([*list(paths())[:-1], Path(f"/proc/self/fd/{file}")], n, begin):
            yield old
        position, left = begin, b""
        while True:
            chunk = os.pread(file, CHUNK_BYTES, position)
            if chunk:
                position += len(chunk)
                *raws, left = (left + chunk).split(b"\n")
                for raw in raws:
                    if (line := joiner.feed(raw)) is not None:
                        yield line
                if len(left) > LINE_MAX_BYTES:
                    left = b""
                continue
            if _is_newest(file, paths):
                await asyncio.sleep(POLL_S)
                continue
            # The old file was read to its end before the new one is opened: nothing of it can come any more.
            if os.pread(file, 1, position):
                continue
            os.close(file)
            file, position, left = await _open_newest(paths), 0, b""
    finally:
        os.close(file)


def _last_lines(paths: Sequence[Path], n: int, end: int | None) -> list[LogLine]:
    """`end`: read the last file only so far, as what comes after it will be read by somebody else."""
    data = b""
    for path in reversed(paths if n > 0 else ()):
        piece = _read_end(path, TAIL_MAX_BYTES - len(data), end)
        data = piece[: piece.rfind(b"\n") + 1] + data
        end = None
        if len(data) >= TAIL_MAX_BYTES or data.count(b"\n") > n * 2:
            break
    return join_lines(data.split(b"\n")[:-1])[-n:] if data else []


def _parse(raw: bytes) -> _Part:
    text = raw.decode("utf-8", "replace")
    pieces = text.split(" ", 3)
    if len(pieces) >= 3 and pieces[1] in ("stdout", "stderr") and pieces[2] in ("F", "P"):
        return _Part(pieces[0], pieces[1], pieces[2] == "F", pieces[3] if len(pieces) == 4 else "")
    return _Part("", "stdout", True, text)


def _read_end(path: Path, limit: int, end: int | None) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size if end is None else end
            if size > limit:
                file.seek(size - limit)
                file.readline()  # begin at a line
            return file.read(max(0, size - file.tell()))
    except FileNotFoundError:
        return b""


def _unended(file: int, size: int) -> int:
    """How many bytes at the end belong to a line that is still being written."""
    end = os.pread(file, min(size, LINE_MAX_BYTES), max(0, size - LINE_MAX_BYTES))
    return len(end) - (end.rfind(b"\n") + 1)


async def _open_newest(paths: Callable[[], Sequence[Path]]) -> int:
    while True:
        with contextlib.suppress(FileNotFoundError, IndexError):
            return os.open(paths()[-1], os.O_RDONLY | os.O_CLOEXEC)
        await asyncio.sleep(POLL_S)


def _is_newest(file: int, paths: Callable[[], Sequence[Path]]) -> bool:
    try:
        return os.path.samestat(os.fstat(file), paths()[-1].stat())
    except (FileNotFoundError, IndexError):
        return True  # removed: nothing newer to turn to
