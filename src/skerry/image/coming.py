"""What images that are just coming in need: objects that no collection may take, though nothing holds the image yet.

An image is coming in from the first time that somebody asks what is missing of it until its tree is made, or until nobody
has asked for an hour. Kept in memory alone: after a restart whoever wants the image asks again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

FORGOTTEN_S = 3600.0  # whoever was handing it over has given up
MOST = 64  # images: who asks about many must not keep all objects, and our memory, for ever


class Coming:
    """By image digest. For any thread."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._needs: dict[str, tuple[float, frozenset[str]]] = {}  # the one asked for last at the end

    def needs(self, digest: str, hashes: Iterable[str]) -> None:
        """Say so before looking which of them are here: then none that was seen is taken afterwards."""
        with self._lock:
            _, before = self._needs.pop(digest, (0.0, frozenset()))
            self._needs[digest] = (self._now_s(), before.union(hashes))
            while len(self._needs) > MOST:
                del self._needs[next(iter(self._needs))]

    def ends(self, digest: str) -> None:
        """It is held now, and needed as such, or no longer wanted."""
        with self._lock:
            self._needs.pop(digest, None)

    @contextmanager
    def unless_needed(self, hash: str) -> Iterator[bool]:
        """Whether nothing that is coming in needs this object; that stays so until the block ends."""
        with self._lock:
            since_s = self._now_s() - FORGOTTEN_S
            yield not any(asked_s >= since_s and hash in needed for asked_s, needed in self._needs.values())
