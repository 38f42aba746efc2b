"""Looking into containers from outside, as programs see it (docs/looking.md). The work itself is client.looking's."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from skerry.client import looking
from skerry.errors import BadFormat
from skerry.sdk.connection import Connection
from skerry.sdk.seen import FILE_BYTES, ROWS, Changed, Crash, Entry, Process, Socket

T = TypeVar("T")


class Looks:
    """`client.looks`: the container does not notice. It takes the right to debug the app; operators see each as an event.

    `slot`: as people say it, "shop.web/0", or a service with one replica. `crashed`: of its last crash, which is kept for a day.
    All raise NoSuchSubject, NotHeld.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self, slot: str, path: str = "/", *, crashed: bool = False, limit: int = ROWS) -> list[Entry]:
        """What lies at a path of the container. Links are followed within it, never out of it."""
        return await self._rows(slot, "ls", Entry, path=path, crashed=crashed, limit=limit)

    async def cat(self, slot: str, path: str, *, crashed: bool = False, limit_bytes: int = FILE_BYTES) -> bytes:
        """A file's content; a larger one is refused."""
        session = self._connection.session
        place = await looking.find(session, slot, crashed=crashed)
        kept = bytearray()
        args: dict[str, Any] = {"path": path, "limit": limit_bytes, "crashed": crashed}
        async with looking.opened(session, place, "cat", **args) as answer, aclosing(answer.data()) as pieces:
            async for piece in pieces:
                kept += piece
                if len(kept) > limit_bytes:
                    raise BadFormat("a host's answer was not understood", "it sent more than was asked for", "")
        return bytes(kept)

    async def procs(self, slot: str) -> list[Process]:
        """Its processes, measured for a moment."""
        return await self._rows(slot, "procs", Process, limit=looking.ROWS_MAX)

    async def sockets(self, slot: str, *, limit: int = ROWS) -> list[Socket]:
        """Its sockets, listening ones too."""
        return await self._rows(slot, "sockets", Socket, limit=limit)

    async def files(self, slot: str, *, crashed: bool = False, limit: int = ROWS) -> list[Changed]:
        """What it has changed since it started."""
        return await self._rows(slot, "files", Changed, crashed=crashed, limit=limit)

    async def crashes(self, subject: str = "") -> list[Crash]:
        """What hosts keep of containers that crashed, newest first; of all that may be seen without a subject."""
        return _read(await looking.crashes(self._connection.session, subject), Crash)

    async def _rows(self, slot: str, what: str, kind: type[T], *, crashed: bool = False, **args: Any) -> list[T]:
        session = self._connection.session
        place = await looking.find(session, slot, crashed=crashed)
        more = {"crashed": True} if crashed else {}
        rows, _ = await looking.rows(session, place, what, **args, **more)
        return _read(rows, kind)


def _read(rows: list[dict[str, Any]], kind: type[T]) -> list[T]:
    """A captured host may answer anything. Raises BadFormat."""
    try:
        return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise BadFormat("a host's answer was not understood", str(error), "see skerry host ls") from None
