"""Objects: files known by the SHA-256 of their bytes, in `objects/ab/cdef…`. A name never holds anything but its bytes.

What arrives is written under a temporary name, hashed on the way, synced, and only then renamed. Of many small ones the
sync is one for all: they stay staged, and unseen by `has`, until `sync_all`. Damage is found by the hash when an object
is read; it is put aside and can be fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from skerry.errors import BadInput, Passing
from skerry.store.disk import full_disk_told, is_old, sync_directory

OBJECT_BYTES = 8 << 30  # no object may be larger
DAMAGED_KEPT = 16  # to be looked at: the last ones
READ_BYTES = 1 << 20
SYNC_EACH = 16  # files; of more, all of the disk is synced at once

_HASH = re.compile(r"[0-9a-f]{64}\Z")


class ObjectDamaged(Passing):
    """The bytes on disk were not those of the hash. They are put aside: fetch the object again."""

    code = "object-damaged"

    def __init__(self, hash: str, aside: Path) -> None:
        super().__init__(
            what=f"object {hash[:12]} on this disk was damaged",
            why=f"its bytes have another hash; they are now in {aside}",
            fix="it is fetched again from another host; look at the disk if it happens more often",
        )


class ObjectWriter:
    """One object on its way in. Made by ObjectStore.writer; ends with `finish` or `abort`."""

    def __init__(self, store: ObjectStore, hash: str, temporary: Path, *, sync: bool, most_bytes: int) -> None:
        self._store = store
        self._hash = hash
        self._temporary = temporary
        self._sync = sync
        self._left_bytes = most_bytes
        self._digest = hashlib.sha256()
        with full_disk_told(temporary.parent):
            self._file = temporary.open("xb", buffering=0)

    def write(self, chunk: bytes) -> None:
        """Raises DiskFull, or BadInput for more bytes than were allowed; both have aborted it."""
        self._left_bytes -= len(chunk)
        try:
            if self._left_bytes < 0:
                raise BadInput(f"object {self._hash[:12]} was not taken", "it is larger than it was said to be")
            self._digest.update(chunk)
            view = memoryview(chunk)
            with full_disk_told(self._temporary.parent):
                while view:
                    view = view[self._file.write(view) :]
        except BaseException:
            self.abort()
            raise

    def finish(self) -> bool:
        """True: it is in the store (or staged). False: these were not its bytes, and nothing of them is left."""
        if self._digest.hexdigest() != self._hash:
            self.abort()
            return False
        try:
            if self._sync and self._store._durable:
                with full_disk_told(self._temporary.parent):
                    os.fsync(self._file.fileno())
            self._file.close()
            self._store._take_in(self._hash, self._temporary, synced=self._sync)
        except BaseException:
            self.abort()
            raise
        return True

    def abort(self) -> None:
        """Leave nothing. May be called again."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


class ObjectStore:
    """The objects of one node. `directory`: such as /var/lib/skerry. Hashes are 64 lower-case hex digits.

    `durable=False`: nothing is synced, for a cache that can be made anew (an operator's machine). `alone=False`: other processes
    use it at the same time, so what is on its way in may be theirs. `on_damage` hears the
    hash of each object that was put aside, on whatever thread found it.
    Any call may raise BadInput for what is not a hash, those that write DiskFull. Several images arrive at once, each
    synced by a thread of its own: the store may be used from any thread, a writer from one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = True,
        alone: bool = True,
        on_damage: Callable[[str], None] = lambda hash: None,
    ) -> None:
        self._durable = durable
        self._on_damage = on_damage
        self._objects = directory / "objects"
        self._base = str(self._objects)
        self._incoming = self._objects / "incoming"
        self._damaged = self._objects / "damaged"
        for each in (self._incoming, self._damaged):
            each.mkdir(parents=True, exist_ok=True)
        for rest in self._incoming.iterdir():  # of a run that was killed
            if alone or is_old(rest):
                rest.unlink(missing_ok=True)
        self._staged: dict[str, Path] = {}
        self._staging = threading.Lock()  # around every look at `_staged`, never around disk
        self._syncing = threading.Lock()  # one sync_all at a time: the second's objects may be in the first's hands
        self._numbers = itertools.count()

    def put(self, data: bytes) -> str:
        """Store these bytes, synced; gives their hash. Those that were here count as just come: no collection takes them
        from whoever is just making an image of them.
        """
        hash = hashlib.sha256(data).hexdigest()
        try:
            os.utime(self.path(hash))
        except FileNotFoundError:
            writer = self.writer(hash, most_bytes=len(data))
            writer.write(data)
            writer.finish()
        return hash

    def writer(self, hash: str, *, sync: bool = True, most_bytes: int = OBJECT_BYTES) -> ObjectWriter:
        """Take in an object whose bytes must have this hash. `sync=False`: staged until `sync_all`."""
        self.path(hash)
        temporary = self._incoming / f"{hash[:16]}.{os.getpid()}.{next(self._numbers)}"
        return ObjectWriter(self, hash, temporary, sync=sync, most_bytes=min(most_bytes, OBJECT_BYTES))

    def sync_all(self) -> None:
        """Bring every staged object to disk, then give it its name. Blocks for as long as the disk needs."""
        with self._syncing:
            with self._staging:
                staged, self._staged = self._staged, {}
            if not staged:
                return
            left = dict(staged)
            try:
                if self._durable:
                    _sync_files(list(staged.values()))
                for hash, temporary in staged.items():
                    self._rename(hash, temporary)
                    del left[hash]
                self._sync_directories(staged)
            finally:  # after a full disk the rest can be tried again
                for hash, temporary in left.items():
                    self._stage(hash, temporary)

    def has(self, hash: str) -> bool:
        return os.path.exists(self._at(hash))  # noqa: PTH110  images ask for thousands: a Path for each costs more than the look

    def here(self, hash: str) -> Path | None:
        """Where its bytes are now, staged ones too (they move); None if nowhere. They can be passed on before they are synced."""
        path = self.path(hash)
        if path.exists():
            return path
        with self._staging:
            return self._staged.get(hash)

    def path(self, hash: str) -> Path:
        """Where it is, or would be. Read only: the file is shared by all that use the object."""
        return Path(self._at(hash))

    def _at(self, hash: str) -> str:
        if not _HASH.match(hash):
            raise BadInput(f"{hash[:80]!r} is not the hash of an object", "that is 64 lower-case hex digits")
        return f"{self._base}/{hash[:2]}/{hash[2:]}"

    def size(self, hash: str) -> int:
        """In bytes. Raises FileNotFoundError."""
        return self.path(hash).stat().st_size

    def read(self, hash: str) -> bytes:
        """All its bytes, checked. Raises ObjectDamaged (and puts it aside), FileNotFoundError."""
        with open(self._at(hash), "rb", buffering=0) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != hash:
            raise ObjectDamaged(hash, self._put_aside(hash))
        return data

    def verify(self, hash: str) -> bool:
        """Read it through. False: it was damaged and is put aside, or was not there."""
        try:
            sha256 = hashlib.sha256()
            with open(self._at(hash), "rb", buffering=0) as file:
                while chunk := file.read(READ_BYTES):
                    sha256.update(chunk)
            whole = sha256.hexdigest() == hash
        except FileNotFoundError:
            return False
        except OSError:  # the disk itself can't read it
            whole = False
        if not whole:
            self._put_aside(hash)
        return whole

    def missing(self, hashes: Iterable[str]) -> list[str]:
        """Those that are not here, each once, in their order."""
        return [hash for hash in dict.fromkeys(hashes) if not self.has(hash)]

    def remove(self, hash: str) -> None:
        """Already gone counts as removed."""
        self.path(hash).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        """The hashes of all objects; names that are not hashes are passed over."""
        for directory in sorted(self._objects.iterdir()):
            if len(directory.name) == 2:
                yield from (name for file in directory.iterdir() if _HASH.match(name := directory.name + file.name))

    def total_bytes(self) -> int:
        return sum(self.size(hash) for hash in self)

    def _take_in(self, hash: str, temporary: Path, *, synced: bool) -> None:
        temporary.chmod(0o444)
        if synced:
            self._rename(hash, temporary)
            self._sync_directories([hash])
            return
        self._stage(hash, temporary)

    def _stage(self, hash: str, temporary: Path) -> None:
        with self._staging:
            before = self._staged.get(hash)
            self._staged[hash] = temporary
        if before is not None:
            before.unlink(missing_ok=True)

    def _rename(self, hash: str, temporary: Path) -> None:
        path = self.path(hash)
        with full_disk_told(self._objects):
            path.parent.mkdir(exist_ok=True)
            temporary.replace(path)

    def _sync_directories(self, hashes: Iterable[str]) -> None:
        if self._durable:
            for directory in {self.path(hash).parent for hash in hashes} | {self._objects}:
                sync_directory(directory)

    def _put_aside(self, hash: str) -> Path:
        aside = self._damaged / hash
        with contextlib.suppress(FileNotFoundError):  # found by two at once
            self.path(hash).replace(aside)
            self._on_damage(hash)
            for old in sorted(self._damaged.iterdir(), key=lambda path: path.stat().st_ctime_ns)[:-DAMAGED_KEPT]:
                old.unlink()  # a dying disk must not fill itself with what it spoilt
        return aside


def _sync_files(paths: list[Path]) -> None:
    if len(paths) > SYNC_EACH and hasattr(os, "sync"):
        os.sync()  # one for all is far cheaper than one for each
        return
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
