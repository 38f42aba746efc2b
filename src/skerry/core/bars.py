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
        self._held: dict[tuple[Slot, str], tuple[int, float]] = {}  # (slot, node) -> failures, barred until

    def bar(self, slot: Slot, node: str, now: float) -> float:
        """Count one failure; gives until when the node is barred."""
        failures = self._held.get((slot, node), (0, 0.0))[0] + 1
        until = now + min(self._most_s, self._first_s * 2.0 ** min(failures - 1, 30))
        self._held[slot, node] = (failures, until)
        return until

    def until(self, slot: Slot, node: str, now: float) -> float:
        """When the bar ends; 0.0 if there is none any more."""
        until = self._held.get((slot, node), (0, 0.0))[1]
        return until if until > now else 0.0

    def ever(self, slot: Slot) -> list[str]:
        """Who was barred from this slot at all."""
        return [node for held, node in self._held if held == slot]

    def forget(self, app: str) -> None:
        """A newer version of the app: everybody may try anew."""
        for key in [key for key in self._held if key[0].app == app]:
            del self._held[key]
