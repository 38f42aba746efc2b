"""Which container has which address of the host's subnet. A pure list and its file; no interface is touched here.

A freed address is given out again only after all others of the subnet: a client, a name or a route that still knows
it must not meet another container there.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec

from skerry.errors import BadInput, Passing
from skerry.outside import UNREADABLE


class NoAddressLeft(Passing):
    """All addresses of the host's subnet are in use."""

    code = "no-address-left"

    def __init__(self, subnet: str) -> None:
        super().__init__(
            what=f"no address left in {subnet}",
            why="each has a container",
            fix="stop containers on this host, or enrol it again with a greater subnet",
        )


class _Saved(msgspec.Struct):
    last: int  # offset in the subnet of the one given out last
    held: dict[str, str]  # container id -> address
    of: dict[str, str] = {}  # container id -> "app.service"


def network_of(text: str) -> ipaddress.IPv4Network:
    """Raises BadInput for what is no IPv4 network, or one without room for a gateway and a container."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as e:
        raise BadInput(f"{text!r} is not a network", str(e), "write it as 10.77.3.0/24") from None
    if network.prefixlen > 29:
        raise BadInput(f"{text} is too small", "it must hold a gateway and containers", "take a /29 or greater")
    return network


class Addresses:
    """Addresses by container id.

    The first of the subnet is the gateway's; network and broadcast address stay unused.
    """

    def __init__(
        self, subnet: str, held: dict[str, str] | None = None, last: int = 1, of: dict[str, str] | None = None
    ) -> None:
        self._network = network_of(subnet)
        self._held: dict[str, str] = {}
        self._of = dict(of or {})
        self._last = last if 1 <= last < self._network.num_addresses - 1 else 1
        for container_id, address in (held or {}).items():
            if self._is_ours(address) and address not in self._held.values():
                self._held[container_id] = address

    def get(self, container_id: str) -> str | None:
        return self._held.get(container_id)

    def held(self) -> dict[str, str]:
        return dict(self._held)

    def owners(self) -> dict[str, str]:
        """address -> "app.service", of those of which that was told."""
        return {address: self._of[id] for id, address in self._held.items() if id in self._of}

    def is_of(self, container_id: str, service: str) -> None:
        """Whose container it is: "app.service"."""
        self._of[container_id] = service

    def take(self, container_id: str) -> str:
        """The one that it has, else the next free one after the one given out last. Raises NoAddressLeft."""
        if (has := self._held.get(container_id)) is not None:
            return has
        used = set(self._held.values())
        room = self._network.num_addresses - 3  # without network, gateway, broadcast
        for step in range(1, room + 1):
            offset = 2 + (self._last - 2 + step) % room
            address = str(self._network[offset])
            if address not in used:
                self._last = offset
                self._held[container_id] = address
                return address
        raise NoAddressLeft(str(self._network))

    def adopt(self, container_id: str, address: str) -> None:
        """It lives and has this address, whatever the list said: what runs is right, and the list may be older."""
        if not self._is_ours(address):
            raise BadInput(f"{address} is not a container's address here", f"this host has {self._network}")
        self._held = {i: a for i, a in self._held.items() if a != address}
        self._held[container_id] = address

    def free(self, container_id: str) -> str | None:
        self._of.pop(container_id, None)
        return self._held.pop(container_id, None)

    def _is_ours(self, address: str) -> bool:
        try:
            offset = int(ipaddress.IPv4Address(address)) - int(self._network.network_address)
        except ValueError:
            return False
        return 2 <= offset <= self._network.num_addresses - 2

    # The file. Not synced: a power cut takes the containers, too, and an agent that dies leaves the page cache as it
    # is.

    def save(self, path: Path) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(_Saved(last=self._last, held=self._held, of=self._of)))
        new.replace(path)

    @classmethod
    def load(cls, path: Path, subnet: str) -> Addresses:
        """What was saved; a file that is missing, damaged or of another subnet counts as empty (`adopt` mends it)."""
        try:
            saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
        except (OSError, *UNREADABLE):
            return cls(subnet)
        return cls(subnet, saved.held, saved.last, saved.of)
