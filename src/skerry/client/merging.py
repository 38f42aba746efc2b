"""Lines of many hosts as one, in the order of their times, while they come. Pure: the time is an argument.

A line is let out once every host has told all that it wrote before it: each says so by the time of its newest line, or by a mark.
A host that is slow, whose clock is behind, or that says nothing holds others' lines back for HOLD_S at most; what it brings
later comes late, and out of order.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Any

HOLD_S = 1.0
END = "\x7f"  # later than any time


class Merge:
    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._told: dict[str, str] = {}  # host -> up to when it has told all; "" for nothing yet
        self._waiting: list[tuple[str, int, dict[str, Any]]] = []
        self._arrived: deque[tuple[float, str]] = deque()  # when, newest time of what came then
        self._n = 0

    def join(self, node: str) -> None:
        self._told.setdefault(node, "")

    def leave(self, node: str) -> None:
        """It is waited for no longer, until it says something again."""
        self._told.pop(node, None)

    def add(self, node: str, rows: Iterable[dict[str, Any]], now_s: float, mark: str = "") -> None:
        """What a host told, sorted by time; `mark`: it has told all that was written before."""
        newest = ""
        for row in rows:
            newest = max(row["time"], newest)
            self._n += 1
            heapq.heappush(self._waiting, (row["time"], self._n, row))
        if newest:
            self._arrived.append((now_s, newest))
        self._told[node] = max(self._told.get(node, ""), newest, mark)

    def ready(self, now_s: float) -> list[dict[str, Any]]:
        """What may be shown now, in order."""
        mark = min(self._told.values(), default=END)
        while self._arrived and self._arrived[0][0] + self._hold_s <= now_s:
            mark = max(mark, self._arrived.popleft()[1])
        rows = []
        while self._waiting and self._waiting[0][0] <= mark:
            rows.append(heapq.heappop(self._waiting)[2])
        return rows

    def next_s(self) -> float | None:
        """When something becomes ready though nobody says anything."""
        return self._arrived[0][0] + self._hold_s if self._waiting and self._arrived else None
