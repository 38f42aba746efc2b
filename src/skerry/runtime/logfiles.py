"""Containers' log files while the monitor writes them, and until somebody takes them. Reading is observe/logs.py.

The monitor writes `ctr.log`; once that is full it moves an empty file, `ctr.log.tmp`, over it and forgets the old. So that the old
stays we hold a second name for what is written to (`ctr.log.held`), and are told by the kernel of the move: then the old one
becomes `closed.N`, for whoever keeps what is written (`closed`, `taken`). The next `ctr.log.tmp` lies ready, because a monitor
that can't make one ends, and its container with it: that must not depend on the disk's last room.

A container that writes more than can be kept isn't held up, nor may it fill the disk: only the newest closed file waits; older ones
go, and their lines are counted. What was moved away before we saw it can be told by bytes alone: the kernel counts what the
monitor wrote.
Source: conmon 2.1.6, ctr_logging.c (`reopen_k8s_file`); proc(5), `wchar`; inotify(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from skerry.runtime import syscalls
from skerry.runtime.contract import ClosedLog

LABELS, COUNTS, CURRENT = "labels.json", "counts.json", "ctr.log"
ENDED_KEPT = 16  # folders of containers that are gone; beyond, the longest untouched go
STAYS_S = 5.0  # a container that is gone: whoever follows it reads it to the end there
COUNTED_BYTES = 256 << 10  # read at once
PARTS = (b" stdout P ", b" stderr P ")  # of a line that goes on: not counted twice
LINE_BYTES = 100  # of an average line, until we know better


class Counts(msgspec.Struct):
    """Of one container: bytes of closed files, bytes that were never seen, lines left out that nobody was told of yet."""

    closed: int = 0
    unseen: int = 0
    dropped: int = 0
    lines: int = 0  # of what was counted, and its bytes: how long a line is
    bytes: int = 0
    n: int = 0  # closed files so far


class LogFiles:
    """`directory`: one folder per container. Any thread may call, but `watch` and `close`, which are the loop's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._live: dict[str, int] = {}  # id -> its monitor's pid, 0 if it isn't known
        self._counts: dict[str, Counts] = {}
        self._moves = -1
        self._watched: dict[int, str] = {}
        self._beside: ThreadPoolExecutor | None = None
        self._lock = threading.RLock()
        self._being_taken: set[Path] = set()

    def make(self, id: str, labels: Mapping[str, str]) -> None:
        """Make its folder and hold it back from being cleared away. `labels` are kept with it for as long as it stays."""
        self._live[id] = 0
        folder = self._directory / id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / LABELS).write_bytes(msgspec.json.encode(labels))
        _lay_ready(folder)

    def kept(self) -> dict[str, dict[str, str]]:
        """Labels of all whose folders are here, oldest first."""
        labels = {folder.name: _labels(folder) for folder in self._folders()}
        return {id: found for id, found in labels.items() if found is not None}

    def _folders(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(self._directory.iterdir(), key=_touched)
        return []

    def current(self, id: str) -> Path:
        return self._directory / id / CURRENT

    def watch(self, id: str, monitor: int = 0) -> None:
        """It runs: hold its log from now on. `monitor`: who writes it."""
        self._live[id] = monitor
        self._hold(id)
        with contextlib.suppress(FileNotFoundError):
            if self._moves < 0:
                self._moves = syscalls.watch_moves()
                asyncio.get_running_loop().add_reader(self._moves, self._moved)
            self._watched[syscalls.add_moves(self._moves, str(self._directory / id))] = id

    def look(self) -> None:
        """Notice what was rotated meanwhile; the kernel tells most of it at once."""
        for id in list(self._live):
            self._hold(id)

    def paths(self, id: str) -> list[Path]:
        """Those that exist, oldest first."""
        if id in self._live:
            self._hold(id)
        folder = self._directory / id
        return [path for path in (*_closed(folder), folder / CURRENT) if path.exists()]

    def ended(self, id: str) -> None:
        """The container is gone: its log stays until it is taken, or enough newer ones have ended."""
        with self._lock:
            self._hold(id)
            self._live.pop(id, None)
            folder = self._directory / id
            for number in [number for number, watched in self._watched.items() if watched == id]:
                del self._watched[number]
            with contextlib.suppress(FileNotFoundError):
                gone = [path for path in self._directory.iterdir() if path.name not in self._live]
                for old in sorted(gone, key=_touched)[:-ENDED_KEPT]:
                    shutil.rmtree(old, ignore_errors=True)
                    self._counts.pop(old.name, None)
                for spare in (f"{CURRENT}.tmp", f"{CURRENT}.held"):
                    (folder / spare).unlink(missing_ok=True)

    def closed(self) -> list[ClosedLog]:
        """What may be taken, oldest first for each container. A container that is gone has written all that it ever will."""
        with self._lock:
            found = []
            for folder in self._folders():
                id, files = folder.name, _closed(folder)
                if id not in self._live and _touched(folder) < time.time() - STAYS_S:
                    files.append(folder / CURRENT)
                if not files or (labels := _labels(folder)) is None:
                    continue
                for n, path in enumerate(files):
                    found.append(ClosedLog(id, labels, path, 0 if n else self.missing(id)))
            return found

    def take(self, closed: ClosedLog) -> bool:
        """It is being read now, and stays until it is `taken`. False: it is gone meanwhile."""
        with self._lock:
            if closed.path.exists():
                self._being_taken.add(closed.path)
            return closed.path in self._being_taken

    def left(self, closed: ClosedLog) -> None:
        """It could not be kept."""
        with self._lock:
            self._being_taken.discard(closed.path)

    def taken(self, closed: ClosedLog) -> None:
        """It is kept elsewhere now, and so is what was missing before it."""
        with self._lock:
            self._being_taken.discard(closed.path)
            closed.path.unlink(missing_ok=True)
            counts = self._counts_of(closed.id)
            counts.dropped -= closed.dropped
            folder = closed.path.parent
            if closed.id not in self._live and not _closed(folder) and not (folder / CURRENT).exists():
                shutil.rmtree(folder, ignore_errors=True)
                self._counts.pop(closed.id, None)
            else:
                self._write_counts(closed.id)

    def missing(self, id: str) -> int:
        """Lines that are missing before the oldest file that is here."""
        with self._lock:
            return self._counts_of(id).dropped

    def close(self) -> None:
        self._live.clear()
        if self._moves >= 0:
            asyncio.get_running_loop().remove_reader(self._moves)
            os.close(self._moves)
            self._moves = -1
        if self._beside is not None:
            self._beside.shutdown()

    def _moved(self) -> None:
        for number, name in syscalls.moves(self._moves):
            if number < 0:
                self.look()
            elif name == CURRENT and number in self._watched:
                self._hold(self._watched[number])

    def _hold(self, id: str) -> None:
        """Give what is written to a second name; what had it before is closed then."""
        with self._lock:
            folder = self._directory / id
            current, held = folder / CURRENT, folder / f"{CURRENT}.held"
            try:
                if held.exists():
                    if os.path.samestat(held.stat(), current.stat()):
                        return
                    self._close(id, folder, held)
                os.link(current, held)
            except FileNotFoundError:
                return  # not begun, or cleared away meanwhile
            except FileExistsError:
                return
            if id in self._live:
                _lay_ready(folder)

    def _close(self, id: str, folder: Path, held: Path) -> None:
        counts = self._counts_of(id)
        for old in _closed(folder):  # the newest waits, and no other
            if old not in self._being_taken:
                self._leave_out(id, old.rename(old.with_name(f"out.{old.name}")))
        counts.n += 1
        size = held.stat().st_size
        counts.closed += size
        held.replace(folder / f"closed.{counts.n:08}")
        if monitor := self._live.get(id, 0):
            written = _written(monitor)
            unseen = written - counts.closed - (folder / CURRENT).stat().st_size - counts.unseen
            counts.unseen += unseen
            missed = (
                (unseen + size // 2) // max(1, size) * size
            )  # whole files; the monitor writes a little elsewhere, too
            counts.dropped += missed * counts.lines // counts.bytes if counts.bytes else missed // LINE_BYTES
        self._write_counts(id)

    def _leave_out(self, id: str, path: Path) -> None:
        """Count its lines, and remove it."""
        if self._beside is None:
            self._beside = ThreadPoolExecutor(1, "log files")
        self._beside.submit(_count, path).add_done_callback(lambda counted: self._counted(id, counted))

    def _counted(self, id: str, counted: Future[tuple[int, int]]) -> None:
        lines, size = counted.result()
        with self._lock:
            counts = self._counts_of(id)
            counts.dropped += lines
            counts.lines += lines
            counts.bytes += size
            self._write_counts(id)

    def _counts_of(self, id: str) -> Counts:
        counts = self._counts.get(id)
        if counts is None:
            counts = Counts()
            with contextlib.suppress(OSError, msgspec.DecodeError):
                counts = msgspec.json.decode((self._directory / id / COUNTS).read_bytes(), type=Counts)
            self._counts[id] = counts
            for left in (self._directory / id).glob("out.*"):  # of an agent that died
                self._leave_out(id, left)
        return counts

    def _write_counts(self, id: str) -> None:
        """So that the next agent knows. A disk that is full has nothing to say against going on."""
        with contextlib.suppress(OSError):
            (self._directory / id / COUNTS).write_bytes(msgspec.json.encode(self._counts_of(id)))


def _labels(folder: Path) -> dict[str, str] | None:
    """None: there are none that can be read."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / LABELS).read_bytes(), type=dict[str, str])
    return None


def _closed(folder: Path) -> list[Path]:
    return sorted(folder.glob("closed.*"))


def _lay_ready(folder: Path) -> None:
    """The monitor's next file."""
    with contextlib.suppress(OSError):
        os.close(os.open(folder / f"{CURRENT}.tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _count(path: Path) -> tuple[int, int]:
    """(lines, bytes) of a file that goes."""
    lines = size = 0
    buffer = bytearray(COUNTED_BYTES)
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(buffer):
            lines += buffer.count(b"\n", 0, length) - sum(buffer.count(part, 0, length) for part in PARTS)
            size += length
    path.unlink()
    return lines, size


def _written(pid: int) -> int:
    """Bytes that a process has written; 0 where that can't be known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/io").read_text().split("wchar:")[1].split()[0])
    return 0


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
