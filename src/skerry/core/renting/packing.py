"""How many machines of a pool are needed: which slots the hosts that are there don't hold, and how few more would. Pure arithmetic.

First-fit-decreasing, over the hosts as they are filled now: what runs stays where it is, so what doesn't fit together because of that
is seen. Never more than a machine too many for each two (Johnson 1973: 11/9 of the best and a bit).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from skerry.core.records import MachineSlot


class Size(NamedTuple):
    """What containers may use of one machine."""

    cpus: float
    memory_bytes: int


class Item(NamedTuple):
    """A wanted slot. `hosts`: enrolled nodes that may run it; `pools`: whose new machines may, the one that rents for it first;
    `at`: who has it, "" for nobody.
    """

    name: str
    cpus: float
    memory_bytes: int
    hosts: frozenset[str]
    pools: tuple[str, ...] = ()
    at: str = ""

    def may(self, path: str, enrolled: bool) -> bool:
        if enrolled:
            return path in self.hosts
        machine = MachineSlot.of_path(path)
        return machine is not None and machine.pool in self.pools


class Seller(NamedTuple):
    """A pool, and what its next machine would cost. `size` None: not known yet. `is_open`: it may rent one now."""

    pool: str
    usd_hour: float
    size: Size | None
    is_open: bool

    def fits(self, cpus: float, memory_bytes: int) -> bool:
        return self.size is None or (memory_bytes <= self.size.memory_bytes and cpus <= self.size.cpus + 1e-9)


def best_first(sellers: Iterable[Seller], cpus: float, memory_bytes: int) -> tuple[str, ...]:
    """Which pool rents for what takes so much: of those whose machines are large enough and that may rent the cheapest, then by
    name. Behind it those that can't now: their machines may hold it all the same.
    """
    return tuple(
        seller.pool
        for seller in sorted(
            sellers, key=lambda one: (not one.fits(cpus, memory_bytes), not one.is_open, one.usd_hour, one.pool)
        )
    )


class Bin(msgspec.Struct):
    """A host and what is free on it. `enrolled` False: a machine that is still on its way."""

    path: str
    cpus: float
    memory_bytes: int
    enrolled: bool = True

    def takes(self, item: Item) -> bool:
        if item.memory_bytes > max(0, self.memory_bytes) or item.cpus > max(0.0, self.cpus) + 1e-9:
            return False
        return item.may(self.path, self.enrolled)

    def put(self, item: Item) -> None:
        self.cpus -= item.cpus
        self.memory_bytes -= item.memory_bytes


class Packed(NamedTuple):
    """`more`: machines beyond those that are there; `homeless`: items that would not fit even on an empty one; `placed`: item ->
    host, of those that fit now.
    """

    more: int
    homeless: tuple[str, ...]
    placed: dict[str, str]


def decreasing(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (-item.memory_bytes, -item.cpus, item.name))


def pack(items: Iterable[Item], bins: Sequence[Bin], pool: str, size: Size | None, most: int) -> Packed:
    """Place what nobody has yet into `bins` (filled by this), then into at most `most` new machines of the pool.

    Of several pools that are open to an item only the first rents for it (`best_first`): pools don't bid against one another.
    `size` None: not known yet, so one machine is thought to hold whatever doesn't fit.
    """
    new: list[Bin] = []
    homeless, placed = [], {}
    for item in decreasing(items):
        bin = next((bin for bin in (*bins, *new) if bin.takes(item)), None)
        if bin is None and item.pools[:1] == (pool,):
            bin = _new_bin(pool, len(new), size)
            if not bin.takes(item):
                homeless.append(item.name)
                continue
            if len(new) >= most:
                continue
            new.append(bin)
        if bin is not None:
            bin.put(item)
            placed[item.name] = bin.path
    return Packed(len(new), tuple(homeless), placed)


def _new_bin(pool: str, number: int, size: Size | None) -> Bin:
    cpus, memory_bytes = size if size is not None else (float("inf"), 1 << 62)
    return Bin(f"node/{pool}/{10**6 + number}", cpus, memory_bytes, enrolled=False)


def spared(items: Sequence[Item], bins: Sequence[Bin], candidates: Iterable[str]) -> list[str]:
    """Which of these hosts could go, in the order given: each with all that is on it finding room on those that stay."""
    rest = {bin.path: bin for bin in bins}
    gone: list[str] = []
    at = {item.name: item.at for item in items}
    for path in candidates:
        trial = {other: msgspec.structs.replace(bin) for other, bin in rest.items() if other != path}
        moves: dict[str, str] = {}
        for item in decreasing(item for item in items if at[item.name] == path):
            bin = next((bin for bin in trial.values() if bin.takes(item)), None)
            if bin is None:
                break
            bin.put(item)
            moves[item.name] = bin.path
        else:
            rest, at = trial, at | moves
            gone.append(path)
    return gone
