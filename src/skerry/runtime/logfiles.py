"""Containers' log files while the monitor writes them, and until somebody takes them. Reading is observe/logs.py.

The monitor writes `ctr.log`; once that is full it moves `ctr.log.tmp` over it and forgets the old. So that the old stays we hold a
second name for what is written to (`ctr.log.held`), and are told by the kernel of the move: then the old one becomes
`closed.N`, for whoever keeps what is written (`closed`, `taken`). The next `ctr.log.tmp` lies ready, because a monitor that
can't make one ends, and its container with it: that must not depend on the disk's last room. It has its second name
beforehand (`ctr.log.ahead`): so a monitor that moves two files away before we look loses none of them.

A container that writes more than can be kept isn't held up, nor may it fill the disk: only the newest closed file waits; older ones
go, and their lines are counted (logcounts.py).
Source: conmon 2.1.6, ctr_logging.c (`reopen_k8s_file`); inotify(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from skerry.outside import UNREADABLE
from skerry.runtime import logcounts, syscalls
from skerry.runtime.contract import ClosedLog
from skerry.runtime.logcounts import LogCounts

LABELS, CURRENT = "labels.json", "ctr.log"
NEXT, HELD, AHEAD = (f"{CURRENT}.{word}" for word in ("tmp", "held", "ahead"))
ENDED_KEPT = 16  # folders of containers that are gone; beyond, the longest untouched go
STAYS_S = 5.0  # a container that is gone: whoever follows it reads it to the end there
RESERVED_BYTES = 128 << 10
LOOKS = 8  # at a file that is moved away while we look


class LogFiles:
    """`directory`: one folder per container. Any thread may call, but `watch` and `close`, which are the loop's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._live: dict[str, int] = {}  # id -> its monitor's pid, 0 if it isn't known
        self._moves = -1
        self._watched: dict[int, str] = {}
        self._lock = threading.RLock()
        self._counts = LogCounts(directory, self._lock)
        self._unsure: set[str] = set()  # files may have been moved away unseen, and were not reckoned yet
        self._being_taken: set[Path] = set()

    def make(self, id: str, labels: Mapping[str, str], limit: int = 0) -> None:
        """Make its folder and hold it back from being cleared away. `labels` are kept with it for as long as it stays; the monitor
        moves a file away at `limit` bytes.
        """
        self._live[id] = 0
        folder = self._directory / id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / LABELS).write_bytes(msgspec.json.encode(labels))
        self._counts.of(id).limit = limit
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
        with self._lock, contextlib.suppress(FileNotFoundError):
            self._counts.begin(id, monitor, self.current(id).stat().st_size)
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
            self._unsure.discard(id)
            folder = self._directory / id
            for number in [number for number, watched in self._watched.items() if watched == id]:
                del self._watched[number]
            with contextlib.suppress(FileNotFoundError):
                gone = [path for path in self._directory.iterdir() if path.name not in self._live]
                for old in sorted(gone, key=_touched)[:-ENDED_KEPT]:
                    shutil.rmtree(old, ignore_errors=True)
                    self._counts.forget(old.name)
                for spare in (NEXT, HELD, AHEAD):
                    (folder / spare).unlink(missing_ok=True)

    def closed(self) -> list[ClosedLog]:
        """What may be taken, oldest first for each container. A container that is gone has written all that it ever will."""
        with self._lock:
            found = []
            for folder in self._folders():
                id, files = folder.name, _closed(folder)
                is_gone = id not in self._live and _touched(folder) < time.time() - STAYS_S
                if is_gone and not self._counts.is_counting(id):  # the last tells of all that is missing
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
            self._counts.of(closed.id).dropped -= closed.dropped
            folder = closed.path.parent
            if closed.id not in self._live and not _closed(folder) and not (folder / CURRENT).exists():
                shutil.rmtree(folder, ignore_errors=True)
                self._counts.forget(closed.id)
            else:
                self._counts.write(closed.id)

    def missing(self, id: str) -> int:
        """Lines that are missing before the oldest file that is here."""
        with self._lock:
            return self._counts.of(id).dropped

    def close(self) -> None:
        self._live.clear()
        if self._moves >= 0:
            asyncio.get_running_loop().remove_reader(self._moves)
            os.close(self._moves)
            self._moves = -1
        self._counts.close()

    def _moved(self) -> None:
        for number, name in syscalls.moves(self._moves):
            if number < 0:
                self.look()
            elif name == CURRENT and number in self._watched:
                self._hold(self._watched[number])

    def _hold(self, id: str) -> None:
        """Give what is written to a second name; what had it before is closed then. The monitor goes on meanwhile."""
        with self._lock:
            folder = self._directory / id
            current, held = folder / CURRENT, folder / HELD
            try:
                for _ in range(LOOKS):
                    self._turn(id, folder)
                    if id in self._live and _lay_ready(folder) and not held.samefile(current):
                        self._unsure.add(id)  # it is not the next after this one
                    if id not in self._unsure or self._reckon(id, held, current):
                        if id in self._live:
                            _reserve(held)
                        return
            except FileNotFoundError:
                return  # not begun, or cleared away meanwhile

    def _turn(self, id: str, folder: Path) -> None:
        """Hold what was written to a moment ago. Raises FileNotFoundError."""
        current, held, ahead = folder / CURRENT, folder / HELD, folder / AHEAD
        if _is(held, current.stat()):
            return
        if held.exists():
            self._close(id, held)
        if _exists_elsewhere(ahead, folder / NEXT):  # it was moved to its place
            if _is(ahead, current.stat()):
                ahead.replace(held)  # and nothing was missed
                return
            self._close(id, ahead)  # and away again
        if self._counts.of(id).n:
            self._unsure.add(id)
        os.link(current, held)
        if _exists_elsewhere(ahead, folder / NEXT):  # it was moved only now
            if held.samefile(ahead):
                ahead.unlink()
            elif not _is(ahead, current.stat()):
                self._close(id, ahead)

    def _close(self, id: str, file: Path) -> None:
        counts = self._counts.of(id)
        for old in _closed(file.parent):  # the newest waits, and no other
            if old not in self._being_taken:
                self._counts.leave_out(id, old.rename(old.with_name(f"out.{old.name}")))
        counts.n += 1
        size = file.stat().st_size
        counts.closed += size
        closed = file.replace(file.with_name(f"closed.{counts.n:08}"))
        if id in self._live:
            self._counts.fell_short(id, self._live[id], closed, size)
        self._counts.write(id)

    def _reckon(self, id: str, held: Path, current: Path) -> bool:
        """Whether files were moved away unseen, by bytes. False: it was too busy to tell; the next look will."""
        size = held.stat().st_size
        _, written = logcounts.passed(self._live.get(id, 0))
        grown = held.stat().st_size - size
        if not held.samefile(current) or grown > (self._counts.of(id).limit or size) // 4:
            return False
        self._counts.reckon(id, written, size, held)
        self._counts.write(id)
        self._unsure.discard(id)
        return True


def _labels(folder: Path) -> dict[str, str] | None:
    """None: there are none that can be read."""
    with contextlib.suppress(OSError, *UNREADABLE):
        return msgspec.json.decode((folder / LABELS).read_bytes(), type=dict[str, str])
    return None


def _closed(folder: Path) -> list[Path]:
    return sorted(folder.glob("closed.*"))


def _lay_ready(folder: Path) -> bool:
    """The monitor's next file, and its second name. Whether that is new."""
    with contextlib.suppress(OSError):  # it has one, or the monitor has just taken it: then it is seen as any other
        os.close(os.open(folder / NEXT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.link(folder / NEXT, folder / AHEAD)
        return True
    return False


def _reserve(file: Path) -> None:
    """Room for its next lines: so that who says little has some when others, or a flood, have filled the disk."""
    stat = file.stat()
    if stat.st_blocks * 512 - stat.st_size < RESERVED_BYTES // 2:
        with contextlib.suppress(OSError):
            descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
            try:
                syscalls.reserve(descriptor, stat.st_size, RESERVED_BYTES)
            finally:
                os.close(descriptor)


def _is(path: Path, stat: os.stat_result) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), stat)
    return False


def _exists_elsewhere(path: Path, other: Path) -> bool:
    """It exists, and isn't `other`."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return not _is(other, stat)


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
