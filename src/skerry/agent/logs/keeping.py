"""Moves what containers wrote from the monitors' files into the store: what was rotated away, and what those that are gone left.

One thread of low priority does it, a block at a time: a container that writes as fast as it can costs this host one file every
LOOK_S, and no more (runtime/logfiles.py counts the rest). An agent that dies on the way has written down how far it was.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from skerry.observe.logs import stamp, whole_bytes
from skerry.observe.logstore import BLOCK_BYTES, LogStore, pack
from skerry.runtime.contract import ClosedLog, Runtime

log = logging.getLogger(__name__)
LOOK_S = 2.0
TIDY_EVERY_S = 60.0
NICE = 10
FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM_MADE = 2  # times, before a file is left for later


class LogKeeping:
    """`directory`: of the store. It works from when `begin` is called, which must be after all containers that run are known."""

    def __init__(self, directory: Path) -> None:
        self.store = LogStore(directory)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_full = False

    def begin(self, runtime: Runtime) -> None:
        self._thread = threading.Thread(target=self._run, args=(runtime,), name="logs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, runtime: Runtime) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        tidied_s = 0.0
        while not self._over.wait(LOOK_S):
            try:
                self.move(runtime)
                if time.monotonic() - tidied_s > TIDY_EVERY_S:
                    self.store.tidy()
                    tidied_s = time.monotonic()
            except OSError as error:  # a disk that is full or damaged; what is written now still is
                log.warning("logs were not kept: %s", error)

    def move(self, runtime: Runtime) -> None:
        """Everything that can be taken now. Blocks."""
        for closed in runtime.closed_logs():
            if self._over.is_set():
                return
            if runtime.take_log(closed):
                try:
                    self._move_one(runtime, closed)
                except OSError as error:
                    if error.errno not in FULL:
                        raise
                    self._tell_of_room(full=True)
                    return
                finally:
                    runtime.log_left(closed)
        self._tell_of_room(full=False)

    def _move_one(self, runtime: Runtime, closed: ClosedLog) -> None:
        slot = closed.labels.get("slot", "")
        source = f"{closed.id}/{closed.path.name}"
        try:
            blocks = list(_blocks(closed, source, self.store.upto(slot, source)))
        except FileNotFoundError:
            return
        with self.store.moving:  # whoever reads sees it here or there
            if slot:
                self._append(slot, blocks)
            runtime.log_taken(closed)

    def _append(self, slot: str, blocks: list[bytes]) -> None:
        """Where there is no room even after others gave theirs, the file stays where it is: raises OSError."""
        for _ in range(ROOM_MADE):
            try:
                self.store.append(slot, blocks)
                return
            except OSError as error:
                if error.errno not in FULL or not self.store.make_room():
                    raise
        self.store.append(slot, blocks)

    def _tell_of_room(self, *, full: bool) -> None:
        if full and not self._is_full:
            log.warning(
                "the disk is full: containers' logs stay in their own files, the newest of each; the rest is counted"
            )
        elif self._is_full and not full:
            log.warning("there is room for logs again")
        self._is_full = full


def _blocks(closed: ClosedLog, source: str, begin: int) -> Iterator[bytes]:
    """The file from there on, as blocks of the store. A text is in one block, unless it is larger."""
    file = os.open(closed.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        dropped = 0 if begin else closed.dropped
        while data := os.pread(file, BLOCK_BYTES, begin):
            data = data[: whole_bytes(data) or len(data)]
            begin += len(data)
            if not data.endswith(b"\n"):
                data += b"\n"  # the last line of one that was killed
            yield pack(data, dropped=dropped, source=source, upto=begin)
            dropped = 0
            with contextlib.suppress(OSError):
                os.posix_fadvise(file, 0, begin, os.POSIX_FADV_DONTNEED)
        if dropped:  # and nothing was written after them
            yield pack(b"", dropped=dropped, source=source, time=stamp(os.fstat(file).st_mtime))
    finally:
        os.close(file)
