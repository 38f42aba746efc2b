"""Which addresses the containers of each service have, by what all nodes say of their slots. Kept up as facts come: a cloud has

thousands of slots, and where names lead changes often. An address is its node's word; trust has held it to the node's own subnet.
"""

from __future__ import annotations

from skerry.core.facts import FactBody, SlotState
from skerry.core.records import Slot

ServiceKey = tuple[str, str]  # (app, service)


class Lodging:
    def __init__(self) -> None:
        self._of: dict[ServiceKey, dict[tuple[str, str], str]] = {}  # -> (node, key) -> address

    def heard(self, node: str, key: str, body: FactBody | None) -> None:
        """What a node says of a slot now; None: nothing any more."""
        slot = Slot.read(key)
        if slot is None:
            return
        place = slot.app, slot.service
        if isinstance(body, SlotState) and body.address:
            self._of.setdefault(place, {})[node, key] = body.address
        elif (held := self._of.get(place)) is not None:
            held.pop((node, key), None)
            if not held:
                del self._of[place]

    def services(self) -> set[ServiceKey]:
        """Those that have a container somewhere."""
        return set(self._of)

    def addresses(self, place: ServiceKey) -> dict[str, str]:
        """address -> the node that says so."""
        return {address: node for (node, _), address in self._of.get(place, {}).items()}
