"""The nodes that a service may run on, prepared so that an order need not be made where only a place in it is asked for.

An order ranks all nodes (order.py): a thousand hashes for one slot. Almost always a node asks only whether some others come before
itself, and then it is none of the slot's business. That is found out by looking at a few others, beginning at another one for each
slot, until enough of them are seen to come first: some twenty hashes (docs/decisions/0041). It is a proof, no guess; where there is
none, the whole order is made.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, TypeVar, overload

import msgspec

from skerry.core.intent import Node
from skerry.core.order import order_by_name, order_for, score
from skerry.core.records import MachineSlot

T = TypeVar("T")
_Ring = list[tuple[str, bytes]]  # path, and what goes before a name when its score is hashed; twice all of them
_SCORE_BYTES = 6
_MOST = b"\xff" * (32 - _SCORE_BYTES)


class _Behind(msgspec.Struct):
    """How many groups come before one by a service's order, as far as somebody had to know; `others`: goes on looking."""

    others: Iterator[str]
    ahead: int = 0


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
        self._rings = {
            pool: self._ring(path for [path] in zones) for pool, zones in self._zones.items() if self._alone[pool]
        }
        self._fixed = [path for path, (pool, _) in self._place.items() if not pool] or list(nodes)
        self._fixed_ring = self._ring(self._fixed)
        self._even = len({node.weight for node in nodes.values()}) == 1 and all(n.weight > 0 for n in nodes.values())
        self._behind: dict[tuple[str, str], _Behind] = {}  # (path or zone, service)

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
        for path in self._better(self._rings[pool], slot, mine, at):
            if counts(path):
                found.append(path)
                if len(found) >= enough:
                    return tuple(found)
        return None

    def _ring(self, paths: Iterable[str]) -> _Ring:
        """To begin anywhere and go round once."""
        once = [(path, self._salted[path]) for path in paths]
        return once + once

    def _better(self, ring: _Ring, name: str, mine: Any, at: int) -> Iterator[str]:
        """Those with a better score. Most of what a large cloud's deciding takes is spent here."""
        whole = len(ring) // 2
        start = at % whole
        if not self._even:
            yield from (path for path, _ in ring[start : start + whole] if self._score(path, name) > mine)
            return
        hashed, bound = name.encode(), mine + _MOST
        while whole:
            path, salted = ring[start]
            if sha256(salted + hashed).digest() > bound:
                yield path
            start, whole = start + 1, whole - 1

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
        better = self._better(self._fixed_ring, name, self._score(me, name), _number(name))
        if next(islice(better, most - 1, None), None) is not None:
            return False
        # Of two alike the first.
        return me in order_by_name(name, {path: self.nodes[path] for path in self._fixed})[:most]

    def _score(self, path: str, name: str) -> Any:
        """Compares as score() does; of nodes of one weight without the logarithm (what 48 bits don't tell apart is equal here)."""
        if not self._even:
            return score(path, self.nodes[path], name)
        return sha256(self._salted[path] + name.encode()).digest()[:_SCORE_BYTES]

    def _is_at(self, turn: int, key: str, service: str, zone_of_pool: str | None = None) -> bool:
        """Whether a zone among the zones of its pool, or a node among those of its zone, is at this place by the service's own order:
        the slot begins there."""
        held = self._behind.get((key, service))
        if held is None:
            mine = max(self._score(path, service) for path in self._members(key, zone_of_pool))
            held = self._behind[key, service] = _Behind(self._ahead_of(key, service, mine, zone_of_pool))
        while held.ahead <= turn and next(held.others, None) is not None:
            held.ahead += 1
        return held.ahead == turn

    def _members(self, key: str, zone_of_pool: str | None) -> Sequence[str]:
        return self._pools[zone_of_pool][key] if zone_of_pool is not None else [key]

    def _ahead_of(self, key: str, service: str, mine: Any, zone_of_pool: str | None) -> Iterator[str]:
        """Of the groups beside this one those that come before it."""
        if zone_of_pool is not None and self._alone[zone_of_pool]:
            return self._better(self._rings[zone_of_pool], service, mine, _number(service))
        if zone_of_pool is not None:
            groups: Sequence[Sequence[str]] = self._zones[zone_of_pool]
        else:
            pool, zone = self._place[key]
            groups = [[path] for path in self._pools[pool][zone]]
        others = _from(groups, _number(service))
        return (group[0] for group in others if any(self._score(path, service) > mine for path in group))

    def order(self, service: str, index: int) -> tuple[str, ...]:
        """All nodes, best first, as order_for; quicker where nodes differ by their hashes alone."""
        if len(self._zones) == 1 and self._even and all(self._alone.values()):
            name = f"{service}/{index}".encode()
            digests = {sha256(salted + name).digest()[:_SCORE_BYTES]: path for path, salted in self._salted.items()}
            of_service = {
                sha256(salted + service.encode()).digest()[:_SCORE_BYTES]: path for path, salted in self._salted.items()
            }
            if len(digests) == len(of_service) == len(self.nodes):
                first = of_service[sorted(of_service, reverse=True)[index % len(of_service)]]
                return (
                    first,
                    *(path for digest in sorted(digests, reverse=True) if (path := digests[digest]) != first),
                )
        return order_for(service, index, self.nodes)


class Order(Sequence[str]):
    """All nodes of a field, best first, for one slot: made when somebody asks for more than whether a node is in it."""

    __slots__ = ("_all", "_field", "_index", "_service")

    def __init__(self, field: Field, service: str, index: int) -> None:
        self._field, self._service, self._index = field, service, index
        self._all: tuple[str, ...] | None = None

    def all(self) -> tuple[str, ...]:
        if self._all is None:
            self._all = self._field.order(self._service, self._index)
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
