"""Records as exact bytes, by id, in one SQLite file (WAL). Nothing here reads them: they are judged before they come.

Two grades. `sync=True`: on disk before the call returns (intent, own claims, grants). Otherwise: gathered in memory and
written together by `flush`, which the caller calls half a second after `on_waiting`; a power cut may take the last ones, neighbours
give them back. (`up` facts don't belong here: from a disk they would be no sign of life.)

A full disk refuses new intent and nothing else: what goes with records taken in already (`keep`, `drop`, evidence) is owed
to the disk until there is room.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from skerry.store.disk import DiskFull, StoreDamaged, is_full, replace_synced

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, hash TEXT NOT NULL, raw BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS records_by_hash ON records (hash);
CREATE TABLE IF NOT EXISTS kept (hash TEXT PRIMARY KEY, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS evidence (id TEXT PRIMARY KEY, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
"""
_KEEP = "INSERT OR REPLACE INTO kept VALUES (?, ?)"
_UNKEEP = "DELETE FROM kept WHERE hash = ?"
CACHE_KIB = 512  # of pages in memory: the whole agent has 48 MB
WAL_BYTES = 4 << 20


class _Waiting(NamedTuple):
    hash: str
    raw: bytes


class RecordStore:
    """The records of one node. One process, one thread.

    `put` (synced, or now), `flush`, `clear` and the meta calls may raise DiskFull (nothing of that call was written), all may raise
    StoreDamaged: start again, the file is then put aside; `on_damage` hears of it, too. `damaged` says, after opening, what
    was put aside just now. `on_waiting` hears that there is something to flush where there was nothing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        on_damage: Callable[[StoreDamaged], None] = lambda _: None,
        on_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = directory / "records.sqlite"
        self._suspect = directory / "records.suspect"
        self._boot = directory / "boot"
        self._waiting: dict[str, _Waiting] = {}  # newer than what the file has
        self._together = self._due = False
        self._owed: dict[tuple[str, str], tuple[str | bytes, ...]] = {}  # (statement, its subject) -> values
        self._on_damage = on_damage
        self._on_waiting = on_waiting
        self.damaged: StoreDamaged | None = None
        self._db = self._open_or_put_aside()

    def put(self, id: str, raw: bytes, *, hash: str, sync: bool = False, now: bool = False) -> None:
        """Keep these bytes under this id, replacing what was there. `hash`: of the payload, for `by_hash`.

        `now`: synced before this returns, also within `together`.
        """
        if now or (sync and not self._together):
            with self._writing(sync=True):
                self._insert(id, hash, raw)
            self._waiting.pop(id, None)
        else:
            if not self._waiting:
                self._on_waiting()
            self._waiting[id] = _Waiting(hash, raw)
            self._due = self._due or sync

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is put within is synced once, when it ends: a sync takes milliseconds. Not before that does it count.

        Only for what we say of ourselves: on a full disk it waits for room, as what goes on must be told even so.
        """
        if self._together:
            yield
            return
        self._together = True
        try:
            yield
        finally:
            self._together = False
            if self._due:
                with suppress(DiskFull):
                    self._write_waiting(sync=True)

    @property
    def dirty(self) -> bool:
        """Whether `flush` has something to write."""
        return bool(self._waiting or self._owed)

    def flush(self) -> None:
        """Write what was gathered, in one go. It survives our own death from now on, and a power cut a little later."""
        if self.dirty:
            self._write_waiting(sync=self._due or bool(self._owed))

    def _write_waiting(self, *, sync: bool) -> None:
        with self._writing(sync=sync):
            for id, waiting in self._waiting.items():
                self._insert(id, waiting.hash, waiting.raw)
        self._waiting.clear()
        self._due = False

    def get(self, id: str) -> bytes | None:
        if id in self._waiting:
            return self._waiting[id].raw
        return self._one("SELECT raw FROM records WHERE id = ?", id)

    def by_hash(self, hash: str) -> bytes | None:
        """The record, or the kept document, whose payload has this hash."""
        for waiting in self._waiting.values():
            if waiting.hash == hash:
                return waiting.raw
        if (owed := self._owed.get((_KEEP, hash))) is not None:
            return bytes(owed[1])  # type: ignore[arg-type]
        raw = self._one("SELECT raw FROM records WHERE hash = ?", hash)
        return raw if raw is not None else self._one("SELECT raw FROM kept WHERE hash = ?", hash)

    def keep(self, hash: str, raw: bytes) -> None:
        """Hold a document that no path names any more, because something may be turned back to it. Synced."""
        self._owed.pop((_UNKEEP, hash), None)
        self._do(_KEEP, hash, (hash, raw), sync=True)

    def unkeep(self, hash: str) -> None:
        self._owed.pop((_KEEP, hash), None)
        self._do(_UNKEEP, hash, (hash,))

    def kept(self) -> list[tuple[str, bytes]]:
        """All kept documents: (payload hash, bytes)."""
        with self._told():
            return [(hash, bytes(raw)) for hash, raw in self._db.execute("SELECT hash, raw FROM kept ORDER BY hash")]

    def evidence(self, id: str, raw: bytes) -> None:
        """Keep the loser of two documents with one number: the last one for each path."""
        self._do("INSERT OR REPLACE INTO evidence VALUES (?, ?)", id, (id, raw))

    def evidence_of(self, id: str) -> bytes | None:
        return self._one("SELECT raw FROM evidence WHERE id = ?", id)

    def drop(self, id: str) -> None:
        self._waiting.pop(id, None)
        self._do("DELETE FROM records WHERE id = ?", id, (id,))

    def drop_author(self, node: str) -> None:
        """All facts of this node ("node/vps-1"), whose ids begin with its path and a bar. Its enrolment stays."""
        for id in [id for id in self._waiting if id.startswith(f"{node}|")]:
            del self._waiting[id]
        # "}" is what comes after "|"
        self._do("DELETE FROM records WHERE id > ? AND id < ?", node, (f"{node}|", f"{node}}}"))

    def clear(self) -> None:
        """Forget everything but the number of starts: the host was taken over by another root. Synced."""
        self._waiting.clear()
        with self._writing(sync=True):
            for table in ("records", "kept", "evidence", "meta"):
                self._db.execute(f"DELETE FROM {table}")

    def all(self) -> Iterator[tuple[str, bytes]]:
        """Every record, by id, as it is now; what is put meanwhile may be left out."""
        with self._told():
            ids = {id for (id,) in self._db.execute("SELECT id FROM records")} | self._waiting.keys()
        for id in sorted(ids):
            raw = self.get(id)
            if raw is not None:
                yield id, raw

    def next_boot(self) -> int:
        """One more than ever before, on disk before it returns: call it once each start.

        In a file of its own: it must outlive a damaged database, or our facts would be refused as old.
        """
        try:
            before = int(self._boot.read_text("ascii"))
        except FileNotFoundError:
            before = 0
        except ValueError:
            before = 0
            self.damaged = self.damaged or StoreDamaged(
                f"{self._boot} does not hold a number", fix="nothing to do: neighbours will tell the last one they saw"
            )
        replace_synced(self._boot, b"%d\n" % (before + 1))
        return before + 1

    def start_after(self, boot: int) -> None:
        """The next start shall have a greater number than this, and than all before. Call it after `next_boot`. Synced."""
        if boot > int(self._boot.read_text("ascii")):
            replace_synced(self._boot, b"%d\n" % boot)

    def get_meta(self, key: str) -> bytes | None:
        return self._one("SELECT value FROM meta WHERE key = ?", key)

    def set_meta(self, key: str, value: bytes) -> None:
        """Small things of the node itself. Synced."""
        with self._writing(sync=True):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Flush as far as there is room, and end. After a power cut without it nothing that was synced is missing."""
        try:
            with suppress(DiskFull):
                self.flush()
        finally:
            self._db.close()

    def _insert(self, id: str, hash: str, raw: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (id, hash, raw))

    def _do(self, statement: str, subject: str, values: tuple[str | bytes, ...], *, sync: bool = False) -> None:
        """Now, or as soon as there is room. Of several about one subject the last one counts."""
        self._owed.pop((statement, subject), None)
        try:
            with self._writing(sync=sync):
                self._db.execute(statement, values)
        except DiskFull:
            self._owed[statement, subject] = values

    def _one(self, query: str, key: str) -> bytes | None:
        with self._told():
            row = self._db.execute(query, (key,)).fetchone()
        return None if row is None else bytes(row[0])

    @contextmanager
    def _writing(self, *, sync: bool) -> Iterator[None]:
        """One transaction: all of it or nothing. What is owed goes first, as it came first."""
        with self._told():
            # FULL syncs the log with the commit, and with it whatever was committed before.
            self._db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for (owed, _), values in self._owed.items():
                    self._db.execute(owed, values)
                yield
                self._db.execute("COMMIT")
                self._owed.clear()
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns SQLite's errors into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if self._for_want_of_room(error):
                raise DiskFull(self._path.parent) from error
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR):
                self._suspect.touch()  # the quick check at the next start might not find it
                damaged = StoreDamaged(
                    f"{self._path} can't be read", str(error), "start the agent again: it puts the file aside"
                )
                self._on_damage(damaged)
                raise damaged from error
            raise

    def _for_want_of_room(self, error: sqlite3.DatabaseError) -> bool:
        """SQLite says so, or it could not make or grow one of its files: no reason to call what is there damaged."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        unmade = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        return code == sqlite3.SQLITE_FULL or (unmade and is_full(self._path.parent))

    def _open_or_put_aside(self) -> sqlite3.Connection:
        if not self._suspect.exists():
            try:
                return self._open()
            except sqlite3.DatabaseError as error:
                if self._for_want_of_room(error):
                    raise DiskFull(self._path.parent) from error
                why = str(error)
        else:
            why = "the last run met damage in it"
        aside = self._put_aside()
        self._suspect.unlink(missing_ok=True)
        self.damaged = StoreDamaged(
            f"{self._path} was damaged and put aside as {aside.name}",
            why,
            "nothing to do: records come back from the neighbours; look at the disk if it happens again",
        )
        return self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            db.executescript(SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _put_aside(self) -> Path:
        """One damaged file is kept to be looked at, not each of a series."""
        for end in ("", "-wal", "-shm"):
            path = self._path.with_name(self._path.name + end)
            if path.exists():
                path.replace(path.with_name("damaged." + path.name))
        return self._path.with_name("damaged." + self._path.name)
