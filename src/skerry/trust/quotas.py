"""How much one author may have here, and how many paths there may be. Facts are remembered by number only; core has
their bodies.

Withdrawn facts are kept as well, or an old copy would bring the fact back to life. When an author is full, its oldest
withdrawn ones go, and what is new to us must then be above them (`floor`).
"""

from __future__ import annotations

import msgspec

from skerry.core.records import Fact
from skerry.trust.refusals import Quota

FACTS_MAX = 1000  # of one author
FACTS_BYTES = 1 << 20
PATHS_MAX = 10_000  # nodes apart: as many again


class Mark(msgspec.Struct, frozen=True):
    """All that trust remembers of a fact."""

    order: tuple[int, int, float, str]
    hash: str
    size_bytes: int
    withdrawn: bool


class Author:
    """One node's facts: how many, how big. `floor`: the highest sequence that was forgotten; at or below it nothing
    is new.
    """

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.size_bytes = 0
        self.floor = (-1, -1)

    def room_for(self, fact: Fact, size_bytes: int) -> list[str]:
        """Withdrawn facts, oldest first, to forget so that this one fits. Raises Quota."""
        old = self.marks.get(fact.id)
        count = len(self.marks) + (old is None)
        total = self.size_bytes + size_bytes - (old.size_bytes if old else 0)
        forget: list[str] = []
        if count > FACTS_MAX or total > FACTS_BYTES:
            for id, mark in sorted(self.marks.items(), key=lambda item: item[1].order):
                if count <= FACTS_MAX and total <= FACTS_BYTES:
                    break
                if mark.withdrawn and id != fact.id:
                    forget.append(id)
                    count, total = count - 1, total - mark.size_bytes
        if count > FACTS_MAX or total > FACTS_BYTES:
            raise Quota(
                f"a fact of {fact.node} was not taken",
                f"one node may hold {FACTS_MAX} facts of {FACTS_BYTES >> 20} MiB in all",
                "withdraw some",
            )
        return forget

    def put(self, id: str, mark: Mark) -> None:
        self.drop(id)
        self.marks[id] = mark
        self.size_bytes += mark.size_bytes

    def forget(self, id: str) -> None:
        self.floor = max(self.floor, self.marks[id].order[:2])
        self.drop(id)

    def drop(self, id: str) -> None:
        old = self.marks.pop(id, None)
        self.size_bytes -= old.size_bytes if old else 0
