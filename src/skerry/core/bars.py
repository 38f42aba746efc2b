"""Who may not try a slot again for now. A failure bars a node from that slot, each further one for twice as long.

Doubling instead of "only the first few ranks count": no slot stays empty for ever, and who grabs and drops is soon idle
(notes/decisions.md: 2 changes in 30 s instead of 26).
"""

from __future__ import annotations

from skerry.core.records import Slot


class Bars:
    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._held: dict[Slot, dict[str, tuple[int, float]]] = {}  # slot -> node -> failures, barred until

    def bar(self, slot: Slot, node: str, now: float) -> float:
        """Count one failure; gives until when the node is barred."""
        of_slot = self._held.setdefault(slot, {})
        failures = of_slot.get(node, (0, 0.0))[0] + 1
        until = now + min(self._most_s, self._first_s * 2.0 ** min(failures - 1, 30))
        of_slot[node] = (failures, until)
        return until

    def until(self, slot: Slot, node: str, now: float) -> float:
        """When the bar ends; 0.0 if there is none any more."""
        of_slot = self._held.get(slot)
        if of_slot is None:
            return 0.0
        until = of_slot.get(node, (0, 0.0))[1]
        return until if until > now else 0.0

    def ever(self, slot: Slot) -> list[str]:
        """Who was barred from this slot at all."""
        return list(self._held.get(slot, ()))

    def forget(self, app: str) -> None:
        """A newer version of the app: everybody may try anew."""
        for slot in [slot for slot in self._held if slot.app == app]:
            del self._held[slot]
