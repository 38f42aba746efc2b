"""How many lines of containers' logs were left out, so that each line that was written is kept or counted.

Files that nobody will keep are read once, and their lines are counted. What can't be read any more is reckoned in bytes, which the
kernel counts for each monitor. What it wrote tells of whole files that were moved away before we saw them (`reckon`). Where it
moves a file away that is not full, a full disk did not take all of it: how much is told by what it read (`fell_short`).
Source: conmon 2.1.6, ctr_logging.c (`write_k8s_log`: lines that could not be written are gone); proc(5), `rchar`, `wchar`.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import RLock

import msgspec

from skerry.outside import UNREADABLE

COUNTS = "counts.json"
COUNTS_BYTES = 512  # it is written over in place: truncating it would wait for the disk (ext4 flushes it then)
WAITING = 2  # files to be counted
COUNTED_BYTES = 256 << 10  # read at once
PARTS = (b" stdout P ", b" stderr P ")  # of a line that goes on: not counted twice
LINE_BYTES = 100  # of an average line, until we know better
PREFIX_BYTES = 45  # what the monitor writes before a line's text
SHORT_BYTES = (
    64 << 10
)  # the monitor moves a file away when the next line (a buffer at most) would not fit: that is no loss


class Counts(msgspec.Struct):
    """Of one container: bytes of closed files, bytes that were never seen, lines left out that nobody was told of yet."""

    closed: int = 0
    unseen: int = 0
    dropped: int = 0
    lines: int = 0  # of what was counted, and its bytes: how long a line is
    bytes: int = 0
    n: int = 0  # closed files so far
    elsewhere: int = -1  # bytes that the monitor wrote, but not into the log; -1: not known yet
    read: int = 0  # by the monitor until it moved the last file away
    limit: int = 0  # bytes of a full file; 0: not known

    def lines_in(self, size: int, like: Path) -> int:
        """About how many lines that is, as they are in the files so far, or at the beginning of `like`."""
        if not self.lines:
            with contextlib.suppress(OSError):
                self.lines, self.bytes = count(like, COUNTED_BYTES)
        return size * self.lines // self.bytes if self.lines else size // LINE_BYTES


class LogCounts:
    """`directory`: one folder per container. `lock`: held by whoever calls."""

    def __init__(self, directory: Path, lock: RLock) -> None:
        self._directory = directory
        self._lock = lock
        self._of: dict[str, Counts] = {}
        self._beside: ThreadPoolExecutor | None = None
        self._waiting = 0

    def of(self, id: str) -> Counts:
        counts = self._of.get(id)
        if counts is None:
            counts = Counts()
            with contextlib.suppress(OSError, *UNREADABLE):
                counts = msgspec.json.decode((self._directory / id / COUNTS).read_bytes(), type=Counts)
            self._of[id] = counts
            for left in (self._directory / id).glob("out.*"):  # of an agent that died
                self.leave_out(id, left)
        return counts

    def write(self, id: str) -> None:
        """So that the next agent knows. A disk that is full has nothing to say against going on."""
        with contextlib.suppress(OSError):
            file = os.open(self._directory / id / COUNTS, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(file, msgspec.json.encode(self.of(id)).ljust(COUNTS_BYTES), 0)
            finally:
                os.close(file)

    def forget(self, id: str) -> None:
        self._of.pop(id, None)

    def is_counting(self, id: str) -> bool:
        """Files of it are still being counted."""
        self.of(id)
        return any((self._directory / id).glob("out.*"))

    def leave_out(self, id: str, path: Path) -> None:
        """Count the lines of `path` (`out.…`), and remove it. On a host so busy that counting falls behind they are reckoned by its
        bytes: what waits to be counted is on the disk, too.
        """
        if self._waiting >= WAITING:
            counts = self.of(id)
            counts.dropped += counts.lines_in(path.stat().st_size, path)
            path.unlink()
            return
        self._waiting += 1
        if self._beside is None:
            self._beside = ThreadPoolExecutor(1, "log files")
        self._beside.submit(self._count, id, path).add_done_callback(Future.result)

    def _count(self, id: str, path: Path) -> None:
        lines = size = 0
        with contextlib.suppress(FileNotFoundError):
            lines, size = count(path)
        with self._lock:
            self._waiting -= 1
            if path.exists():  # else it was cleared away meanwhile, with all that was its container's
                counts = self.of(id)
                counts.dropped += lines
                counts.lines += lines
                counts.bytes += size
                self.write(id)
                path.unlink()

    def fell_short(self, id: str, monitor: int, closed: Path, size: int) -> None:
        """The monitor moved away a file that holds so many bytes: did the disk take all that it read since the last?"""
        counts = self.of(id)
        read, _ = passed(monitor)
        text, counts.read = read - counts.read, read
        if size < counts.limit - SHORT_BYTES:
            line = max(PREFIX_BYTES + 1, counts.limit // max(1, counts.lines_in(counts.limit, closed)))
            by_what_it_read = text // (line - PREFIX_BYTES) - size // line if read else 0
            counts.dropped += max(by_what_it_read, (counts.limit - size) // line)  # it counts some of them as written

    def begin(self, id: str, monitor: int, size: int) -> None:
        """Its log has `size` bytes, and of what came before all is known: what else the monitor wrote went elsewhere."""
        counts = self.of(id)
        read, written = passed(monitor)
        if counts.elsewhere < 0 and written:
            counts.elsewhere = written - size - counts.closed - counts.unseen
            counts.read = read
            self.write(id)

    def reckon(self, id: str, written: int, size: int, like: Path) -> None:
        """All that the monitor wrote, of which the file it writes to has `size`: are whole files missing?"""
        counts = self.of(id)
        full = counts.limit or like.stat().st_size
        if written <= 0 or full <= 0:
            return
        missing = written - max(0, counts.elsewhere) - counts.closed - counts.unseen - size
        files = (missing + full // 2) // full  # it writes a little elsewhere, too
        if files > 0:
            counts.unseen += files * full
            counts.dropped += counts.lines_in(files * full, like)

    def close(self) -> None:
        if self._beside is not None:
            self._beside.shutdown()


def count(path: Path, most: int | None = None) -> tuple[int, int]:
    """(lines, bytes) of a log file, or of its first `most` bytes."""
    lines = size = 0
    buffer = bytearray(COUNTED_BYTES)
    with path.open("rb", buffering=0) as file:
        while (most is None or size < most) and (length := file.readinto(buffer)):
            lines += buffer.count(b"\n", 0, length) - sum(buffer.count(part, 0, length) for part in PARTS)
            size += length
    return lines, size


def passed(monitor: int) -> tuple[int, int]:
    """Bytes that a process has read and written. Zeros where that can't be known: its container's count too once that is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        process = Path(f"/proc/{monitor}")
        words = (process / "io").read_text().split()  # rchar: N wchar: N …
        children = process / "task" / str(monitor) / "children"
        if not children.exists() or children.read_text():
            return int(words[1]), int(words[3])
    return 0, 0
