"""Virtual time: what happens when, in order, without waiting. Nothing but a queue."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """Seconds from 0. Of two things at one time the one that was asked for first comes first, so that a seed says all."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()

    def at(self, at_s: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (max(at_s, self.now_s), next(self._count), act))

    def after(self, delay_s: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (self.now_s + delay_s if delay_s > 0.0 else self.now_s, next(self._count), act))

    def run_until(self, end_s: float) -> None:
        while self._queue and self._queue[0][0] <= end_s:
            self.now_s, _, act = heapq.heappop(self._queue)
            act()
        self.now_s = end_s
