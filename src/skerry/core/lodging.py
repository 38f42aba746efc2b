"""Which addresses the containers of each service have, by what all nodes say of their slots. Kept up as facts come: a cloud has

thousands of slots, and where names lead changes often. An address is its node's word; trust has held it to the node's own subnet.
"""

from __future__ import annotations

from skerry.core.facts import FactBody, SlotState
from skerry.core.records import Slot

ServiceKey = tuple[str, str]  # (app, service)


class Lodging:
    def __init__(self) -> None:
        self._of: dict[str, dict[str, dict[tuple[str, str], str]]] = {}  # app -> service -> (node, key) -> address
        # Apps of which an address, or what is wanted, has changed since the routes were reckoned.
        self.moved: set[str] = set()

    def heard(self, node: str, key: str, body: FactBody | None) -> None:
        """What a node says of a slot now; None: nothing any more."""
        slot = Slot.read(key)
        if slot is None:
            return
        services = self._of.setdefault(slot.app, {})
        held = services.setdefault(slot.service, {})
        now = body.address if isinstance(body, SlotState) else ""
        if now != held.pop((node, key), ""):
            self.moved.add(slot.app)
        if now:
            held[node, key] = now
        if not held:
            del services[slot.service]
        if not services:
            del self._of[slot.app]

    def apps(self) -> set[str]:
        """Those that have a container somewhere."""
        return set(self._of)

    def services(self, app: str) -> set[str]:
        """Those of an app that have a container somewhere."""
        return set(self._of.get(app, ()))

    def addresses(self, place: ServiceKey) -> dict[str, str]:
        """address -> the node that says so."""
        app, service = place
        return {address: node for (node, _), address in self._of.get(app, {}).get(service, {}).items()}
