"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from skerry.sdk import looks
from skerry.sdk.beside import Beside
from skerry.sdk.seen import (
    FILE_BYTES,
    ROWS,
    Changed,
    Crash,
    Entry,
    Process,
    Socket,
)


class Looks:
    """`client.looks`: the container does not notice. It takes the right to debug the app; operators see each as an event.

    `slot`: as people say it, "shop.web/0", or a service with one replica. `crashed`: of its last crash, which is kept for a day.
    All raise NoSuchSubject, NotHeld.
    """

    def __init__(self, its: looks.Looks, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self, slot: str, path: str = "/", *, crashed: bool = False, limit: int = ROWS) -> list[Entry]:
        """What lies at a path of the container. Links are followed within it, never out of it."""
        return self._beside.run(self._its.ls(slot, path, crashed=crashed, limit=limit))

    def cat(self, slot: str, path: str, *, crashed: bool = False, limit_bytes: int = FILE_BYTES) -> bytes:
        """A file's content; a larger one is refused."""
        return self._beside.run(self._its.cat(slot, path, crashed=crashed, limit_bytes=limit_bytes))

    def procs(self, slot: str) -> list[Process]:
        """Its processes, measured for a moment."""
        return self._beside.run(self._its.procs(slot))

    def sockets(self, slot: str, *, limit: int = ROWS) -> list[Socket]:
        """Its sockets, listening ones too."""
        return self._beside.run(self._its.sockets(slot, limit=limit))

    def files(self, slot: str, *, crashed: bool = False, limit: int = ROWS) -> list[Changed]:
        """What it has changed since it started."""
        return self._beside.run(self._its.files(slot, crashed=crashed, limit=limit))

    def crashes(self, subject: str = "") -> list[Crash]:
        """What hosts keep of containers that crashed, newest first; of all that may be seen without a subject."""
        return self._beside.run(self._its.crashes(subject))
