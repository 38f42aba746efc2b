"""What is to be looked at again, and when: single slots, or all that a service has. Marks only; who decides takes them.

An event marks the slots that it is about, and deciding looks at no others (docs/decisions/0041).
"""

from __future__ import annotations

import heapq
import math

from skerry.core.records import Slot

ServiceKey = tuple[str, str]  # (app, service)
_SPARE = 64  # times in the heap that hold no longer


class Agenda:
    def __init__(self) -> None:
        self._whole: set[ServiceKey] = set()
        self._slots: dict[ServiceKey, set[Slot]] = {}
        self._due: dict[Slot, float] = {}
        self._heap: list[tuple[float, Slot]] = []  # of `_due`, and what it held before

    def __bool__(self) -> bool:
        return bool(self._whole or self._slots)

    def mark(self, app: str, service: str) -> None:
        """All slots of a service, those too that are wanted no more."""
        self._whole.add((app, service))

    def mark_slot(self, slot: Slot) -> None:
        self._slots.setdefault((slot.app, slot.service), set()).add(slot)

    def take(self) -> list[tuple[ServiceKey, set[Slot] | None]]:
        """What is marked, service by service; None: all of it. Nothing is marked after that."""
        whole, slots = self._whole, self._slots
        self._whole, self._slots = set(), {}
        return [(key, None if key in whole else slots[key]) for key in sorted(whole | slots.keys())]

    def services(self) -> list[ServiceKey]:
        """Those with something marked."""
        return sorted(self._whole | self._slots.keys())

    # --- later --------------------------------------------------------------------------------------------------------

    def later(self, slot: Slot, at_s: float) -> None:
        """Of several times for a slot the first counts."""
        if at_s < self._due.get(slot, math.inf):
            self._due[slot] = at_s
            heapq.heappush(self._heap, (at_s, slot))
            if len(self._heap) > 2 * len(self._due) + _SPARE:
                self._heap = [(due_s, other) for other, due_s in self._due.items()]
                heapq.heapify(self._heap)

    def forget(self, slot: Slot) -> None:
        """It is being looked at: what it waits for is found out anew."""
        self._due.pop(slot, None)

    def due(self, now_s: float) -> list[Slot]:
        """Slots whose time has come."""
        found = []
        while self._heap and self._heap[0][0] <= now_s:
            at_s, slot = heapq.heappop(self._heap)
            if self._due.get(slot) == at_s:
                del self._due[slot]
                found.append(slot)
        return found

    def next_s(self) -> float:
        """When the next one is due; infinite: none is."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf
