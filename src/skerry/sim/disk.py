"""A pretended disk for records: what was synced survives a power cut, what was put a moment before may not.

The same calls as store/records.py, whose own tests hold it to the same promises on a real disk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from skerry.agent.door import ROOT_OF_ALL
from skerry.store.disk import DiskFull

SAFE_AFTER_S = 5.0  # so long after it was written the kernel has brought it to the disk by itself


class _Held(NamedTuple):
    hash: str
    raw: bytes


class _Change(NamedTuple):
    """Not synced: what stood there before it."""

    at_s: float
    id: str
    before: _Held | None


class Disk:
    """Records of one machine, over all its lives."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._records: dict[str, _Held] = {}
        self._kept: dict[str, bytes] = {}
        self._evidence: dict[str, bytes] = {}
        self._loose: list[_Change] = []
        self.full = False

    def lose_power(self, chance: random.Random) -> None:
        """Undo, from the newest on, a random part of what was not synced."""
        now_s = self._now_s()
        loose = [change for change in self._loose if now_s - change.at_s < SAFE_AFTER_S]
        self._loose = []
        for change in reversed(loose[len(loose) - chance.randint(0, len(loose)) :] if loose else []):
            if change.before is None:
                self._records.pop(change.id, None)
            else:
                self._records[change.id] = change.before

    def members(self) -> Disk:
        """Another one, with no more on it than who belongs to the cloud: as agent/upkeep.py keeps a spare copy."""
        spare = Disk(self._now_s)
        spare._kept = dict(self._kept)
        spare._records = {
            id: held for id, held in self._records.items() if "|" not in id and id.partition("/")[0] in ROOT_OF_ALL
        }
        return spare

    def put(self, id: str, raw: bytes, *, hash: str, sync: bool = False, now: bool = False) -> None:
        if now and self.full:
            raise DiskFull(Path("/sim"))
        if sync or now:  # syncing the log brings all before it along
            self._loose.clear()
        else:
            self._loose.append(_Change(self._now_s(), id, self._records.get(id)))
        self._records[id] = _Held(hash, raw)

    def get(self, id: str) -> bytes | None:
        held = self._records.get(id)
        return held.raw if held is not None else None

    def by_hash(self, hash: str) -> bytes | None:
        return next((held.raw for held in self._records.values() if held.hash == hash), None) or self._kept.get(hash)

    def all(self) -> Iterator[tuple[str, bytes]]:
        yield from [(id, held.raw) for id, held in sorted(self._records.items())]

    def keep(self, hash: str, raw: bytes) -> None:
        self._kept[hash] = raw
        self._loose.clear()

    def unkeep(self, hash: str) -> None:
        self._kept.pop(hash, None)

    def kept(self) -> list[tuple[str, bytes]]:
        return sorted(self._kept.items())

    def evidence(self, id: str, raw: bytes) -> None:
        self._evidence[id] = raw

    def drop(self, id: str) -> None:
        if id in self._records:
            self._loose.append(_Change(self._now_s(), id, self._records.pop(id)))

    def drop_author(self, node: str) -> None:
        for id in [id for id in self._records if id.startswith(f"{node}|")]:
            self.drop(id)
