"""Reading containers' log files: CRI lines ("time stream F|P text"), across one rotation, joined where they were split.

Pure parsing first, then bounded readers. Nothing is neutralised here: what a container wrote comes out as it is, and
whoever shows it on a terminal must take the control characters out (that is the CLI's).
Source: Kubernetes, CRI "kubelet log format"; conmon's k8s-file driver.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

LINE_MAX_BYTES = 64 << 10  # of one joined line; what is longer is cut, and the rest becomes further lines
TAIL_MAX_BYTES = 4 << 20  # read from the end for one `tail`
BLOCK_BYTES = 256 << 10  # read at once
STREAMS = ("stdout", "stderr")


def stamp(unix_s: float) -> str:
    """A time as monitors write it, RFC 3339 in UTC: such texts compare as the times do."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds")


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


_new = tuple.__new__  # a third of what calling the class costs, and there are many lines


class Joiner:
    """Joins partial lines, each stream for itself. Feed it lines without their line ends."""

    def __init__(self) -> None:
        self._parts: dict[str, list[_Part]] = {}
        self._held: dict[str, int] = {}

    def feed(self, raw: bytes) -> LogLine | None:
        """The line that this one completes, if it does."""
        return self.join(_parse_text(raw.decode("utf-8", "replace")))

    def join(self, part: _Part) -> LogLine | None:
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


def parse_block(data: bytes) -> list[LogLine]:
    """All lines of a piece of log that begins and ends with whole ones: as `join_lines`, several times faster.

    What is not in the format takes the time of the line before it, so that it stays where it stood.
    """
    lines: list[LogLine] = []
    joiner = Joiner()
    open_streams: set[str] = set()
    last = ""
    for raw in data.decode("utf-8", "replace").split("\n"):
        pieces = raw.split(" ", 3)
        if len(pieces) == 4 and pieces[2] == "F" and pieces[1] not in open_streams and pieces[1] in STREAMS:
            last = pieces[0]
            lines.append(_new(LogLine, (last, pieces[1], pieces[3])))
            continue
        if not raw:
            continue
        part = _parse_text(raw)
        line = joiner.join(part)
        if line is None:
            open_streams.add(part.stream)
            continue
        open_streams.discard(line.stream)
        last = line.time or last
        lines.append(line if line.time else LogLine(last, line.stream, line.text))
    return lines + joiner.rest()


def parse_rows(data: bytes, name: str) -> list[list[str]]:
    """As `parse_block`, as rows `[time, name, stream, text]`. Almost all lines are whole: what is split is the row already."""
    rows = [raw.split(" ", 3) for raw in data.decode("utf-8", "replace").split("\n")]
    if rows[-1] == [""]:
        del rows[-1]
    for row in rows:
        if len(row) != 4 or row[2] != "F" or row[1] not in STREAMS:
            return [[time, name, stream, text] for time, stream, text in parse_block(data)]
        row[2], row[1] = row[1], name
    return rows


def count_lines(data: bytes) -> int:
    """How many lines `parse_block` would find, nearly: a text may look like the beginning of a part."""
    return max(0, data.count(b"\n") - data.count(b" stdout P ") - data.count(b" stderr P "))


def whole_bytes(data: bytes) -> int:
    """How much of the beginning of `data` is whole: up to the last line that ends a text (mark F), else to the last line end."""
    end = data.rfind(b"\n") + 1
    while end:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if not _is_partial(data[begin:end]):
            return end
        end = begin
    return data.rfind(b"\n") + 1


def blocks_back(file: int, end: int) -> Iterator[bytes]:
    """Pieces of a log file before `end`, the last first, each of whole lines; at most BLOCK_BYTES and a line each."""
    end -= _unended(file, end)
    left = b""
    while end > 0:
        begin = max(0, end - BLOCK_BYTES)
        data = os.pread(file, end - begin, begin) + left
        if begin > 0:  # what belongs to a text that began earlier goes with that
            line_end = data.find(b"\n") + 1
            after = data.find(b"\n", line_end) + 1
            while after and _is_partial(data[line_end:after]):
                line_end, after = after, data.find(b"\n", after) + 1
            cut = (after or line_end) if len(data) < 2 * BLOCK_BYTES else line_end
            left, data = data[:cut], data[cut:]
        end = begin
        if data:
            yield data
    return


def blocks_after(file: int, end: int, time: str) -> Iterator[bytes]:
    """Pieces of a log file up to `end`, the first first, beginning shortly before its first line that is later than `time`."""
    low, high = 0, end
    while high - low > BLOCK_BYTES:
        middle = (low + high) // 2
        data = os.pread(file, LINE_MAX_BYTES, middle)
        line = data[data.find(b"\n") + 1 :]
        if line[: line.find(b" ")].decode("ascii", "replace") <= time:
            low = middle
        else:
            high = middle
    at = low
    if at:
        at += os.pread(file, LINE_MAX_BYTES, at).find(b"\n") + 1
    while at < end:
        data = os.pread(file, min(BLOCK_BYTES, end - at), at)
        data = data[: whole_bytes(data) or (len(data) if len(data) == BLOCK_BYTES else 0)]
        if not data:
            return
        at += len(data)
        yield data


def tail(paths: Sequence[Path], n: int) -> list[LogLine]:
    """The last `n` lines of log files given oldest first; at most TAIL_MAX_BYTES are read. Missing files are empty."""
    data = b""
    for path in reversed(paths if n > 0 else ()):
        piece = _read_end(path, TAIL_MAX_BYTES - len(data))
        data = piece[: piece.rfind(b"\n") + 1] + data
        if len(data) >= TAIL_MAX_BYTES or data.count(b"\n") > n * 2:
            break
    return join_lines(data.split(b"\n")[:-1])[-n:] if data else []


def _is_partial(raw: bytes) -> bool:
    return raw.split(b" ", 3)[2:3] == [b"P"]


def _parse_text(text: str) -> _Part:
    pieces = text.split(" ", 3)
    if len(pieces) >= 3 and pieces[1] in STREAMS and pieces[2] in ("F", "P"):
        return _Part(pieces[0], pieces[1], pieces[2] == "F", pieces[3] if len(pieces) == 4 else "")
    return _Part("", "stdout", True, text)


def _read_end(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
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
