"""What the API remembers between requests, and over a restart: answers to idempotency keys, and operations. One SQLite file.

Bounded in number and age. A key whose answer isn't there when the server comes back was begun and is not known to be done:
that is told, and nothing is done again by itself.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

ANSWERS_MAX = 10_000
OPERATIONS_MAX = 1_000
PRUNED_EACH = 100  # so many more answers there may be for a while
LIFE_S = 86_400.0

_SCHEMA = """
create table if not exists answers (
  token text, key text, asked text, status integer, headers text, body blob, made_s real, primary key (token, key)
) without rowid;
create index if not exists answers_made on answers (made_s);
create table if not exists operations (id text primary key, content blob, begun_s real) without rowid;
"""


class Answer(NamedTuple):
    """`asked`: a hash of the whole request. `status` 0: begun, and no answer yet."""

    asked: str
    status: int
    headers: str
    body: bytes


class Ledger:
    """One server writes it at a time. Calls take well under a millisecond."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)
        self._begun = 0

    def close(self) -> None:
        self._db.close()

    # -- idempotency keys

    def begin(self, token: str, key: str, asked: str) -> Answer | None:
        """Take the key for this request; what is known of it, if it was taken before."""
        now_s = time.time()
        self._db.execute("delete from answers where made_s < ?", (now_s - LIFE_S,))
        row = self._db.execute(
            "select asked, status, headers, body from answers where token = ? and key = ?", (token, key)
        ).fetchone()
        if row is not None:
            return Answer(*row)
        self._db.execute("insert into answers values (?, ?, ?, 0, '', '', ?)", (token, key, asked, now_s))
        self._begun += 1
        if self._begun % PRUNED_EACH == 0:
            self._db.execute(
                "delete from answers where made_s < (select made_s from answers order by made_s desc limit 1 offset ?)",
                (ANSWERS_MAX - 1,),
            )
        return None

    def answer(self, token: str, key: str, status: int, headers: str, body: bytes) -> None:
        self._db.execute(
            "update answers set status = ?, headers = ?, body = ? where token = ? and key = ?",
            (status, headers, body, token, key),
        )

    def forget(self, token: str, key: str) -> None:
        """The request came to nothing that must not be done twice: the key may be used again."""
        self._db.execute("delete from answers where token = ? and key = ?", (token, key))

    # -- operations

    def keep(self, id: str, content: bytes, begun_s: float) -> None:
        self._db.execute("insert or replace into operations values (?, ?, ?)", (id, content, begun_s))
        self._db.execute(
            "delete from operations where begun_s < (select begun_s from operations order by begun_s desc limit 1 offset ?)",
            (OPERATIONS_MAX - 1,),
        )

    def operations(self) -> list[bytes]:
        """Newest first."""
        return [row[0] for row in self._db.execute("select content from operations order by begun_s desc, id")]

    def operation(self, id: str) -> bytes | None:
        row = self._db.execute("select content from operations where id = ?", (id,)).fetchone()
        return row[0] if row is not None else None
