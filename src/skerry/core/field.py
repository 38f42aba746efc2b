"""The nodes that a service may run on, prepared so that an order need not be made where only a place in it is asked for.

An order ranks all nodes (order.py): a thousand hashes for one slot. Almost always a node asks only whether some others come before
itself, and then it is none of the slot's business. That is found out by looking at a few others, beginning at another one for each
slot, until enough of them are seen to come first: some twenty hashes (docs/decisions/0041). It is a proof, no guess; where there is
none, the whole order is made.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, TypeVar, overload

from skerry.core.intent import Node
from skerry.core.order import order_for, score
from skerry.core.records import MachineSlot

T = TypeVar("T")
_TURNS = 9  # so many slots of a service are told apart by one look


class Field:
    """`nodes`: path -> enrolment. Shared by all services that may run on the same ones. `small`: orders are made at once."""

    def __init__(self, nodes: dict[str, Node], *, small: bool) -> None:
        self.nodes = nodes
        self.small = small
        self._pools: dict[str, dict[str, list[str]]] = {}  # pool -> zone -> paths
        self._place: dict[str, tuple[str, str]] = {}  # path -> (pool, zone)
        for path in sorted(nodes):
            machine = MachineSlot.of_path(path)
            pool, zone = self._place[path] = (
                machine.pool if machine is not None else "",
                nodes[path].zone or f"{path} alone",
            )
            self._pools.setdefault(pool, {}).setdefault(zone, []).append(path)
        self._zones = {pool: list(zones.values()) for pool, zones in self._pools.items()}
        self._salted = {path: f"{path}\0{node.salt}\0".encode() for path, node in nodes.items()}
        self._alone = {pool: all(len(members) == 1 for members in zones) for pool, zones in self._zones.items()}
        self._fixed = [path for path, (pool, _) in self._place.items() if not pool] or list(nodes)
        self._even = len({node.weight for node in nodes.values()}) == 1 and all(n.weight > 0 for n in nodes.values())
        self._behind: dict[tuple[str, str], tuple[int, bool]] = {}  # (path or zone, service) -> so many come before it

    def before(
        self, me: str, service: str, index: int, enough: int, counts: Callable[[str], bool]
    ) -> tuple[str, ...] | None:
        """So many nodes that come before `me` in the order for the slot, and that count; None: not found, so that `me` may be
        one of the first. Empty: it is in no order at all.

        For services that are spread over zones and wish nothing else. What is said of a zone holds whether it begins with the
        slot's best node or with the service's.
        """
        if me not in self._place:
            return ()
        pool, zone = self._place[me]
        zones, slot = self._zones[pool], f"{service}/{index}"
        at = _number(slot)
        found: list[str] = []
        for path in self._earlier(pool, at):
            if counts(path):
                found.append(path)
                if len(found) >= enough:
                    return tuple(found)
        mine, members = self._score(me, slot), self._pools[pool][zone]
        rank, best = 0, mine  # ours in its zone; and the zone's
        if len(members) > 1 and not self._is_at(index // len(zones) % len(members), me, service):
            for path in _from(members, at):
                other = self._score(path, slot)
                if other > mine:
                    rank, best = rank + 1, max(best, other)
                    if counts(path):
                        found.append(path)
                        if len(found) >= enough:
                            return tuple(found)
        elif len(members) > 1:
            best = max(self._score(path, slot) for path in members)
        first = self._is_at(index % len(zones), zone, service, zone_of_pool=pool)
        if self._alone[pool]:
            return None if first else self._before_alone(pool, slot, at, mine, enough, counts, found)
        for others in _from(zones, at):
            if others is members:
                continue
            scores = sorted(((self._score(path, slot), path) for path in others), reverse=True)
            level = not first and scores[0][0] > best
            for place, (_, path) in enumerate(scores):
                worst = place + (len(others) > 1)
                if (worst < rank or (worst == rank and level)) and counts(path):
                    found.append(path)
                    if len(found) >= enough:
                        return tuple(found)
        return None

    def _before_alone(
        self, pool: str, slot: str, at: int, mine: Any, enough: int, counts: Callable[[str], bool], found: list[str]
    ) -> tuple[str, ...] | None:
        """The same where every node is a zone of its own: whoever has the better score comes first."""
        for [path] in _from(self._zones[pool], at):
            if self._score(path, slot) > mine and counts(path):
                found.append(path)
                if len(found) >= enough:
                    return tuple(found)
        return None

    def _earlier(self, pool: str, at: int) -> Iterator[str]:
        """Nodes of the pools before this one."""
        for earlier in sorted(self._zones):
            if earlier == pool:
                return
            for members in _from(self._zones[earlier], at):
                yield from members

    def keeps(self, me: str, name: str, most: int) -> bool:
        """Whether `me` is one of the `most` best fixed nodes for something that is not a slot (order_by_name)."""
        if me not in self._place or (self._place[me][0] and self._place[self._fixed[0]][0] == ""):
            return False
        mine, ahead = self._score(me, name), 0
        for path in _from(self._fixed, _number(name)):
            other = self._score(path, name)
            if other > mine or (other == mine and path < me):
                ahead += 1
                if ahead >= most:
                    return False
        return True

    def _score(self, path: str, name: str) -> Any:
        """Compares as score() does; of nodes of one weight without the logarithm (what 48 bits don't tell apart is equal here)."""
        if not self._even:
            return score(path, self.nodes[path], name)
        return sha256(self._salted[path] + name.encode()).digest()[:6]

    def _is_at(self, turn: int, key: str, service: str, zone_of_pool: str | None = None) -> bool:
        """Whether a zone among the zones of its pool, or a node among those of its zone, is at this place by the service's own order:
        the slot begins there."""
        ahead, whole = self._behind.get((key, service), (-1, False))
        if whole:
            return ahead == turn
        if ahead > turn:
            return False
        if zone_of_pool is not None:
            groups: Sequence[Sequence[str]] = self._zones[zone_of_pool]
            own: Sequence[str] = self._pools[zone_of_pool][key]
        else:
            pool, zone = self._place[key]
            groups, own = [[path] for path in self._pools[pool][zone]], [key]
        mine, ahead = max(self._score(path, service) for path in own), 0
        for group in _from(groups, _number(service)):
            ahead += any(self._score(path, service) > mine for path in group)
            if ahead > max(turn, _TURNS):
                self._behind[key, service] = (ahead, False)
                return False
        self._behind[key, service] = (ahead, True)
        return ahead == turn


class Order(Sequence[str]):
    """All nodes of a field, best first, for one slot: made when somebody asks for more than whether a node is in it."""

    __slots__ = ("_all", "_field", "_index", "_service")

    def __init__(self, field: Field, service: str, index: int) -> None:
        self._field, self._service, self._index = field, service, index
        self._all: tuple[str, ...] | None = None

    def all(self) -> tuple[str, ...]:
        if self._all is None:
            self._all = order_for(self._service, self._index, self._field.nodes)
        return self._all

    def __contains__(self, node: object) -> bool:
        return node in self._field.nodes

    def __len__(self) -> int:
        return len(self._field.nodes)

    def index(self, node: str, start: int = 0, stop: int = sys.maxsize) -> int:
        return self.all().index(node, start, stop)

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        return self.all()[at]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Order):
            return NotImplemented
        if self._field is other._field:
            return (self._service, self._index) == (other._service, other._index)
        return (
            self._field.small and self.all() == other.all()
        )  # else taken for another: to find out costs more than it helps

    def __hash__(self) -> int:
        return hash((self._service, self._index))

    def before(self, me: str, enough: int, counts: Callable[[str], bool]) -> tuple[str, ...] | None:
        """See Field.before. In a small cloud nothing is to be saved, and everybody is one of the first."""
        if self._field.small:
            return None
        if self._all is not None:
            if me not in self:
                return ()
            ahead = [node for node in self._all[: self._all.index(me)] if counts(node)]
            return tuple(ahead[:enough]) if len(ahead) >= enough else None
        found = self._field.before(me, self._service, self._index, enough, counts)
        if found is None:
            self.all()  # it will be asked for again, and the whole is quicker to look through
        return found


def _from(all_: Sequence[T], at: int) -> Iterator[T]:
    """All of them, beginning at another one for each slot."""
    start = at % len(all_) if all_ else 0
    yield from all_[start:]
    yield from all_[:start]


def _number(name: str) -> int:
    return zlib.crc32(name.encode())
