"""Where the core files of this host lie, compressed, and how much of them may: three of a slot, for three days, and so many bytes.

A folder for each slot; a core is `NAME.core.gz` and beside it `NAME.json`, which is written last: without it there is no core.
All is root's alone. Handler and agent both write here, and neither waits for the other: locks are taken or it isn't kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

EACH_OF_SLOT = 3
KEPT_S = 3 * 24 * 3600.0
HOST_BYTES = 2 << 30
HOST_SHARE = 0.05  # of the whole disk, if that is less
EACH_SHARE = 0.5  # of what the host has for them
LEFT_FREE = 0.1  # of the whole disk: below that nothing is written here
CORE_BYTES = 8 << 30  # uncompressed: what isn't there is zeros, and has to be read all the same
WRITE_S = 60.0  # its container waits meanwhile
AGAIN_S = 60.0  # of a slot that crashes again and again, one in a minute
WRITERS = 2  # at once
FREE_LOOKED_AT_BYTES = 8 << 20
RECORD_BYTES = 64 << 10
HEAD_BYTES = 4 << 20  # in which the program headers of any core are
HALF_MADE_S = 3600.0
CORE, RECORD, MISSED, NEW, LOCK = ".core.gz", ".json", ".missed", ".new-", ".lock"


class NotKept(Exception):
    """Why there is no core, or no more of it."""


class Shelf:
    def __init__(self, directory: str) -> None:
        self.directory = directory

    def folder(self, slot: str) -> str:
        return os.path.join(self.directory, slot.replace("/", "_"))

    def records(self) -> list[dict[str, Any]]:
        """Of all cores, oldest first. `missed`: how many came so soon after it that they were not kept."""
        import json

        found = []
        for folder in _folders(self.directory):
            for name in _names(folder):
                if not name.endswith(RECORD):
                    continue
                stem = os.path.join(folder, name.removesuffix(RECORD))
                with contextlib.suppress(OSError, ValueError, RecursionError), open(stem + RECORD, "rb") as file:
                    row = json.loads(file.read(RECORD_BYTES))
                    if isinstance(row, dict) and self.folder(str(row.get("slot"))) == folder:
                        found.append(row | {"name": name.removesuffix(RECORD), "missed": _size(stem + MISSED)})
        return sorted(found, key=lambda row: float(row.get("time", 0)))

    def path(self, row: dict[str, Any]) -> str:
        return os.path.join(self.folder(row["slot"]), row["name"] + CORE)

    def remove(self, row: dict[str, Any]) -> None:
        """The record first: what is left over then is nobody's, and swept."""
        stem = os.path.join(self.folder(row["slot"]), row["name"])
        for ending in (RECORD, CORE, MISSED):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(stem + ending)

    def told(self, row: dict[str, Any]) -> None:
        """Remember that people were told of it."""
        stem = os.path.join(self.folder(row["slot"]), row["name"])
        with contextlib.suppress(OSError):
            _write_record(stem, {**row, "told": True})

    def sweep(self, now_s: float) -> None:
        """What is too old, what is left of a writer that died, and all of it when the disk is short."""
        for row in self.records():
            if now_s - float(row["time"]) > KEPT_S or self.short():
                self.remove(row)
        for folder in _folders(self.directory):
            names = _names(folder)
            for name in names:
                known = any(name == other.removesuffix(RECORD) + CORE for other in names if other.endswith(RECORD))
                path = os.path.join(folder, name)
                if (name.startswith(NEW) or name.endswith(CORE)) and not known:
                    with contextlib.suppress(OSError):
                        if now_s - os.stat(path).st_mtime > HALF_MADE_S:
                            os.unlink(path)
            if names == [LOCK] and now_s - os.stat(folder).st_mtime > KEPT_S:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, LOCK))
                    os.rmdir(folder)

    # -- bounds

    def allowed_bytes(self) -> int:
        disk = os.statvfs(self.directory)
        return min(HOST_BYTES, int(disk.f_blocks * disk.f_frsize * HOST_SHARE))

    def each_bytes(self) -> int:
        """Of one core, compressed."""
        return int(self.allowed_bytes() * EACH_SHARE)

    def short(self) -> bool:
        disk = os.statvfs(self.directory)
        return disk.f_bavail < disk.f_blocks * LEFT_FREE

    # -- one more

    @contextlib.contextmanager
    def one_more(self, slot: str, name: str, *, at_once: bool = False) -> Iterator[Draft]:
        """A core of that slot, which is there once `Draft.finish` was called. `at_once`: asked for, however soon after the last.

        Raises NotKept, OSError.
        """
        folder = self.folder(slot)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with contextlib.ExitStack() as held:
            if not _locked(os.path.join(folder, LOCK), held):
                raise NotKept("another one of this slot is being written")
            self._must_be_time(slot, at_once)
            if not any(_locked(os.path.join(self.directory, f".writer-{n}"), held) for n in range(WRITERS)):
                raise NotKept(f"{WRITERS} are being written on this host")
            self._make_room(slot)
            draft = Draft(self, folder, name)
            try:
                yield draft
            finally:
                draft.close()

    def _must_be_time(self, slot: str, at_once: bool) -> None:
        mine = [row for row in self.records() if row["slot"] == slot and row.get("by") == "crash"]
        if at_once or not mine:
            return
        age_s = time.time() - float(mine[-1]["time"])
        if 0 <= age_s < AGAIN_S:
            stem = os.path.join(self.folder(slot), mine[-1]["name"])
            with open(stem + MISSED, "ab", 0) as file:  # a byte for each
                if file.tell() < 1 << 20:
                    file.write(b".")
            raise NotKept(f"one of {age_s:.0f} s ago is kept")

    def _make_room(self, slot: str) -> None:
        if self.short():
            raise NotKept("the disk is short")
        rows = self.records()
        mine = [row for row in rows if row["slot"] == slot]
        for row in mine[: max(len(mine) - EACH_OF_SLOT + 1, 0)]:
            self.remove(row)
            rows.remove(row)
        room_bytes = self.allowed_bytes() - self.each_bytes()
        while rows and sum(int(row["kept_bytes"]) for row in rows) > room_bytes:
            self.remove(rows.pop(0))


class Draft:
    """A core that is being written."""

    def __init__(self, shelf: Shelf, folder: str, name: str) -> None:
        self.kept_bytes = 0
        self._shelf, self._stem = shelf, os.path.join(folder, name)
        self._new = os.path.join(folder, NEW + name)
        self._most_bytes = shelf.each_bytes()
        self._looked_bytes = 0
        self._file = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Compressed bytes. Raises NotKept where no more may come; what came stays."""
        if self.kept_bytes + len(data) > self._most_bytes:
            raise NotKept(f"{self._most_bytes >> 20} MiB of one core are kept, compressed")
        if self.kept_bytes - self._looked_bytes >= FREE_LOOKED_AT_BYTES:
            self._looked_bytes = self.kept_bytes
            if self._shelf.short():
                raise NotKept("the disk is short")
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.kept_bytes += len(data)

    def finish(self, record: dict[str, Any]) -> None:
        os.rename(self._new, self._stem + CORE)
        _write_record(self._stem, {**record, "kept_bytes": self.kept_bytes})

    def close(self) -> None:
        os.close(self._file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._new)


def compress(source: int, draft: Draft, limit_bytes: int, within_s: float = WRITE_S) -> tuple[int, str]:
    """A core from that descriptor into the draft; gives its size and why it was cut short ("" if it is whole).

    A core that was cut short has no end of its compressed stream missing: what is there can be read.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    until_s = time.monotonic() + within_s
    head, came, expected, cut = bytearray(), 0, 0, ""
    try:
        while piece := os.read(source, 1 << 20):
            if not expected and len(head) < HEAD_BYTES:
                head += piece
                expected = whole_bytes(head)
            piece = piece[: limit_bytes - came]
            came += len(piece)
            draft.write(packer.compress(piece))
            if came >= limit_bytes:
                cut = f"its limit is {limit_bytes} bytes"
                break
            if time.monotonic() > until_s:
                cut = f"{within_s:g} s were over"
                break
    except NotKept as error:
        cut = str(error)
    except OSError as error:
        cut = error.strerror or str(error)
    with contextlib.suppress(NotKept, OSError):
        draft.write(packer.flush())
    if came >= expected > 0:
        cut = ""
    return came, cut or ("it ended early: the process was killed" if came < expected else "")


def whole_bytes(head: bytes | bytearray) -> int:
    """How long a core file is, by its program headers; 0 where `head`, its beginning, doesn't hold them. Source: elf(5)."""
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
        return 0
    (at,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    if size != 56 or not 0 < count < 0xFFFF or at + size * count > len(head):
        return 0
    rows = (struct.unpack_from("<Q16xQ", head, at + size * n + 8) for n in range(count))
    return int(max(offset + length for offset, length in rows))


def _locked(path: str, held: contextlib.ExitStack) -> bool:
    """Until `held` ends, or this process does."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    held.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_record(stem: str, record: dict[str, Any]) -> None:
    import json

    new = stem + RECORD + ".new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(record, file)
    os.replace(new, stem + RECORD)


def _folders(directory: str) -> list[str]:
    return [path for name in _names(directory) if os.path.isdir(path := os.path.join(directory, name))]


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
