"""Applications' own figures: every ten seconds each replica of this host whose service says where is asked, from outside.

At most 32 series of a replica are kept: those that it told first. What only grows is kept as its rate. An app that tells nonsense,
too much or nothing costs itself alone: what is wrong is told to whoever asks for its figures.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from skerry.core.intent import Endpoint
from skerry.observe.promtext import NotTold, Read, Sample, fetch, read
from skerry.observe.ringfile import Block, TooManyColumns
from skerry.observe.rings import Column

EVERY_S = 10.0
AT_ONCE = 8
SERIES_MAX = 32
PART = "own/"
Key = tuple[str, tuple[tuple[str, str], ...]]


class Asked(NamedTuple):
    address: str
    endpoint: Endpoint


class Kept:
    """The series of one slot. `blocks`: in which they are; `places`: which block, which column."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.places: dict[Key, tuple[int, int]] = {}
        self.before: dict[Key, tuple[float, float]] = {}
        self.latest: dict[str, float] = {}  # by name, all its series together


class Own:
    """`asked()`: slot -> where it is to be asked. `block(slot, part, columns)`: a place for series of it; None: there is no room."""

    def __init__(
        self,
        *,
        asked: Callable[[], Mapping[str, Asked]],
        block: Callable[[str, str, list[Column]], Block | None],
        at_s: Callable[[], int],
    ) -> None:
        self._asked, self._block, self._at_s = asked, block, at_s
        self._kept: dict[str, Kept] = {}
        self.troubles: dict[str, str] = {}  # slot -> why its figures, or some of them, are not there

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.ask_all()

    async def ask_all(self) -> None:
        asked = self._asked()
        for gone in (self._kept.keys() | self.troubles.keys()) - asked.keys():
            self._kept.pop(gone, None)
            self.troubles.pop(gone, None)
        some = asyncio.Semaphore(AT_ONCE)

        async def one(slot: str, of: Asked) -> None:
            async with some:
                await self._ask(slot, of)

        await asyncio.gather(*(one(slot, of) for slot, of in asked.items()))

    def latest(self, slot: str, name: str) -> float | None:
        """All series of this name together, as they were told last; of what only grows, the rate."""
        kept = self._kept.get(slot)
        return kept.latest.get(name) if kept is not None else None

    async def _ask(self, slot: str, asked: Asked) -> None:
        kept = self._kept.setdefault(slot, Kept())
        if any(block.is_gone for block in kept.blocks):
            kept.blocks, kept.places = [], {}
        try:
            text = await fetch(asked.address, asked.endpoint.port, asked.endpoint.path)
        except NotTold as error:
            self.troubles[slot] = f"its own figures were not read: {error}"
            kept.latest = {}
            return
        told = read(text, frozenset(asked.endpoint.names), SERIES_MAX)
        self.troubles.pop(slot, None)
        lost = self._keep(slot, kept, told)
        if lost:
            self.troubles[slot] = f"{lost} of its own series are not kept: more than {SERIES_MAX}, too long, or no room"

    def _keep(self, slot: str, kept: Kept, told: Read) -> int:
        """So many series were left out."""
        now_s, left = time.monotonic(), told.left
        values: dict[Key, float] = {}
        latest: dict[str, float] = {}
        for sample in told.samples:
            key = sample.name, sample.labels
            value = sample.value
            if sample.counts:
                before, before_s = kept.before.get(key, (math.nan, now_s))
                kept.before[key] = value, now_s
                value = (value - before) / (now_s - before_s) if value >= before and now_s > before_s else math.nan
            values[key] = value
            if value == value:
                latest[sample.name] = latest.get(sample.name, 0.0) + value
        kept.latest = latest
        kept.before = {key: before for key, before in kept.before.items() if key in values}
        if not kept.blocks:
            self._find(slot, kept)
        if new := [sample for sample in told.samples if (sample.name, sample.labels) not in kept.places]:
            left += self._add(slot, kept, new)
        rows = [[math.nan] * len(block.header.columns) for block in kept.blocks]
        for key, value in values.items():
            if (place := kept.places.get(key)) is not None:
                rows[place[0]][place[1]] = value
        for block, row in zip(kept.blocks, rows, strict=True):
            block.rings.put(self._at_s(), row)
        return left

    def _find(self, slot: str, kept: Kept) -> None:
        """Of the agent before, or of the container before."""
        for number in range(SERIES_MAX):
            block = self._block(slot, f"{PART}{number}", [])
            if block is None:
                return
            kept.blocks.append(block)
            for at, column in enumerate(block.header.columns):
                kept.places[column.name, column.labels] = number, at

    def _add(self, slot: str, kept: Kept, samples: list[Sample]) -> int:
        for at, sample in enumerate(samples):
            if len(kept.places) >= SERIES_MAX:
                return len(samples) - at
            column = Column(sample.name, labels=sample.labels, kind="rate" if sample.counts else "gauge")
            if not self._placed(slot, kept, column):
                return len(samples) - at
        return 0

    def _placed(self, slot: str, kept: Kept, column: Column) -> bool:
        if kept.blocks:
            try:
                last = kept.blocks[-1]
                last.have([*last.header.columns, column])
                kept.places[column.name, column.labels] = len(kept.blocks) - 1, len(last.header.columns) - 1
                return True
            except TooManyColumns:
                pass
        block = self._block(slot, f"{PART}{len(kept.blocks)}", [column])
        if block is None:
            return False
        kept.blocks.append(block)
        kept.places[column.name, column.labels] = len(kept.blocks) - 1, 0
        return True
