"""A container's files as bytes: one, or a tree as a tar stream. In pieces, never more than was allowed for.

The tar is written header by header: tarfile's writer keeps every name that it wrote. Pipes, devices, sockets and the kernel's own
file systems are left out, and told.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from skerry.errors import SkerryError
from skerry.observe.look.errors import NotReadable, TooMuch
from skerry.observe.look.job import DEPTH_MAX, PIECE_BYTES, Job
from skerry.observe.look.listing import text_of
from skerry.observe.look.root import READ, kernels_own, kind_of, locate, reopen, told

ENTRIES_MAX = 200_000
SKIPPED_TOLD = 100
BLOCK = 512

Send = Callable[[bytes], None]


def cat(job: Job, send: Send) -> dict[str, Any]:
    """One file. Raises NotReadable, TooMuch before anything was sent (or, of one that grows meanwhile, when it is)."""
    place = locate(job.root, job.path)
    status = os.fstat(place)
    if stat.S_ISDIR(status.st_mode):
        raise NotReadable(f"{job.path} can't be shown", "it is a folder", "see skerry ls; skerry cp copies it")
    if status.st_size > job.limit:
        raise _too_much(job, status)
    file = reopen(place, job.path)
    sent = 0
    try:
        while piece := os.read(file, PIECE_BYTES):
            sent += len(piece)
            if sent > job.limit:
                raise _too_much(job, os.fstat(file))
            send(piece)
    except OSError as error:
        raise told(error, job.path) from error
    return {"size_bytes": sent, "modified": status.st_mtime}


def _too_much(job: Job, status: os.stat_result) -> TooMuch:
    return TooMuch(
        f"{job.path} was not sent whole",
        f"it has {status.st_size} bytes ({status.st_blocks * 512} on disk), {job.limit} are allowed",
        "allow for more: --limit SIZE",
    )


class Tree:
    """A file, or a folder and what is in it, as tar. Links are copied as links; what they lead to isn't."""

    def __init__(self, job: Job, send: Send) -> None:
        self._job, self._send = job, send
        self._left = job.limit
        self._figures = {"files": 0, "directories": 0, "links": 0, "size_bytes": 0}
        self._skipped: list[dict[str, str]] = []
        self._skipped_count = 0
        self._device = 0

    def write(self) -> dict[str, Any]:
        """Raises TooMuch; what was sent by then is to be thrown away."""
        place = locate(self._job.root, self._job.path)
        name = self._job.path.rstrip("/").rpartition("/")[2]
        name = "root" if name in ("", ".", "..") else name
        if stat.S_ISREG(os.fstat(place).st_mode):
            self._one(reopen(place, self._job.path), name)
        else:
            self._folder(reopen(place, self._job.path), name, 0)
        self._send(bytes(2 * BLOCK))
        return {**self._figures, "skipped": self._skipped, "skipped_count": self._skipped_count}

    def _folder(self, folder: int, path: str, depth: int) -> None:
        try:
            self._figures["directories"] += 1
            self._head(path, os.fstat(folder), tarfile.DIRTYPE)
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entry(folder, entry.name, f"{path}/{entry.name}", depth + 1)
        finally:
            os.close(folder)

    def _entry(self, folder: int, name: str, path: str, depth: int) -> None:
        try:
            place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            self._skip(path, error.strerror or str(error))
            return
        try:
            status = os.fstat(place)
            if stat.S_ISLNK(status.st_mode):
                self._link(place, path, status)
            elif stat.S_ISREG(status.st_mode):
                self._one(reopen(place, path), path)
            elif not stat.S_ISDIR(status.st_mode):
                self._skip(path, f"a {kind_of(status.st_mode)}")
            elif depth >= DEPTH_MAX:
                self._skip(path, f"more than {DEPTH_MAX} folders deep")
            elif (own := kernels_own(place)) is not None:
                self._skip(path, f"the kernel's own ({own})")
            else:
                self._folder(os.open(f"/proc/self/fd/{place}", READ | os.O_DIRECTORY), path, depth)
        except TooMuch:
            raise
        except SkerryError as error:
            self._skip(path, error.why)
        except OSError as error:
            self._skip(path, error.strerror or str(error))
        finally:
            os.close(place)

    def _link(self, place: int, path: str, status: os.stat_result) -> None:
        if not self._job.untouched:
            self._skip(path, "a link, which can't be read here without a trace")
            return
        self._figures["links"] += 1
        self._head(path, status, tarfile.SYMTYPE, target=os.readlink("", dir_fd=place))

    def _one(self, file: int, path: str) -> None:
        """Of exactly the length that it has now: what it grows by meanwhile is left out, what it loses is zeros, and told."""
        try:
            status = os.fstat(file)
            if status.st_size > self._left:
                raise _too_much(self._job, status) if not self._figures["files"] else self._no_more(path)
            self._left -= status.st_size
            self._figures["files"] += 1
            self._figures["size_bytes"] += status.st_size
            self._head(path, status, tarfile.REGTYPE)
            left = status.st_size
            while left and (piece := os.read(file, min(left, PIECE_BYTES))):
                self._send(piece)
                left -= len(piece)
            if left:
                self._skip(path, f"it became shorter meanwhile: its last {left} bytes are zeros")
            while left:
                self._send(bytes(min(left, PIECE_BYTES)))
                left -= min(left, PIECE_BYTES)
            if status.st_size % BLOCK:
                self._send(bytes(BLOCK - status.st_size % BLOCK))
        finally:
            os.close(file)

    def _head(self, path: str, status: os.stat_result, kind: bytes, *, target: str = "") -> None:
        if self._figures["files"] + self._figures["directories"] + self._figures["links"] > ENTRIES_MAX:
            raise TooMuch(
                f"{self._job.path} was not copied", f"it has more than {ENTRIES_MAX} files", "copy a part of it"
            )
        info = tarfile.TarInfo(path)
        info.type, info.linkname = kind, target
        info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        info.mtime = int(status.st_mtime)
        info.size = status.st_size if kind == tarfile.REGTYPE else 0
        self._send(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def _skip(self, path: str, why: str) -> None:
        self._skipped_count += 1
        if len(self._skipped) < SKIPPED_TOLD:
            self._skipped.append({"path": text_of(path)[:1000], "why": why})

    def _no_more(self, path: str) -> TooMuch:
        return TooMuch(
            f"{self._job.path} was not copied whole",
            f"with {text_of(path)[:1000]} it has more than the {self._job.limit} bytes that are allowed",
            "allow for more: --limit SIZE",
        )


def rows_of(rows: Iterator[dict[str, Any]], send_rows: Callable[[list[dict[str, Any]]], None]) -> dict[str, Any]:
    """Send all but the last, which is the summary; some hundred at a time. Gives the summary."""
    batch: list[dict[str, Any]] = []
    held: dict[str, Any] = {}
    for number, row in enumerate(rows):
        if number:
            batch.append(held)
        held = row
        if len(batch) == 100:
            send_rows(batch)
            batch = []
    if batch:
        send_rows(batch)
    return held
