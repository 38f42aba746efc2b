"""The figures of this host and its slots, put together: sampled each second, kept in rings, the latest at hand.

A slot's history goes on over its containers. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import math
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from skerry.agent.metrics.own import Own
from skerry.agent.metrics.sampling import Probed, Row, Sampler, Told
from skerry.core.records import Slot
from skerry.observe.metrics import OF_HOST, OF_SLOT, Metric, one_of
from skerry.observe.ringfile import BLOCKS, Block, RingFile
from skerry.observe.rings import Column

FILE = "metrics"
DROPPED_MAX = 50  # subjects of which it is said that their history had to go
STALE_S = 600.0  # a probe's answer that is older says nothing any more
ENDED_S = 60.0  # a slot without a container for so long has ended here


class Metrics:
    """`running()`: container -> slot. `restarts(slot)`: as this host tells the others. `note(kind, subject, reason)`: an event."""

    def __init__(
        self,
        me: str,
        state: Path,
        sampler: Sampler,
        *,
        running: Callable[[], dict[str, str]],
        restarts: Callable[[str], int | None],
        wall_s: Callable[[], float],
        note: Callable[[str, str, str], object],
        blocks: int = BLOCKS,
    ) -> None:
        self.me = me
        self.sampler = sampler
        self._phase_s = 0.05 + zlib.crc32(me.encode()) % 900 / 1000  # not at its edges
        self._running = running
        self._restarts = restarts
        self._wall_s = wall_s
        self._note = note
        self.at_s = math.floor(wall_s()) - 1  # the second that was sampled last
        self.dropped: OrderedDict[str, str] = OrderedDict()  # subject -> why there is no more of it
        self.own: Own | None = None  # what apps tell by themselves, where anybody asks them
        self._latest: dict[str, Row] = {}
        self._probes: dict[str, tuple[float, Probed]] = {}  # slot -> when it was asked, and its answer
        self._last: dict[str, float] = {}  # slot -> when it last ran here
        self._held: dict[str, Block] = {}
        self._homeless: set[str] = set()
        self._file = self._open(state / FILE, blocks)
        for block in self.blocks():  # of the agent before: those that don't run any more end after a while
            if not block.header.ended_s and block.header.subject != me:
                self._last[block.header.subject] = self.at_s

    def _open(self, path: Path, blocks: int) -> RingFile | None:
        try:
            return RingFile(path, blocks)
        except OSError as error:
            self._note(
                "metrics", self.me, f"figures are not kept, only the latest are known: {os.strerror(error.errno or 0)}"
            )
            return None

    def probed(self, slot: Slot, ok: bool, took_s: float) -> None:
        """A health probe of a container of this host was answered, or not."""
        self._probes[str(slot)] = self.at_s, Probed(took_s, float(ok))

    async def next_second(self) -> None:
        """Wait for it: by the clock, so that none is left out; hosts that share a machine have theirs at different moments."""
        await asyncio.sleep(1.0 - (self._wall_s() - self._phase_s) % 1.0)

    def sample(self) -> None:
        """The figures of the second that it is now."""
        at_s = math.floor(self._wall_s())
        if at_s == self.at_s:
            return
        self.at_s = at_s
        running = self._running()
        host, slots = self.sampler.sample(running, {slot: self._told(slot) for slot in running.values()})
        self._latest = {self.me: host, **slots}
        for slot in slots:
            self._last[slot] = at_s
        self._keep(self.me, OF_HOST, host)
        for slot, row in slots.items():
            self._keep(slot, OF_SLOT, row)
        for slot in [slot for slot, last_s in self._last.items() if not 0 <= at_s - last_s < ENDED_S]:
            self._end(slot, self._last.pop(slot))

    def latest(self, subject: str, name: str) -> float | None:
        """The newest value of a slot ("guestbook.web/0") or of this host ("node/NAME"); None: unknown."""
        row = self._latest.get(subject)
        columns = OF_HOST if subject == self.me else OF_SLOT
        at = next((i for i, metric in enumerate(columns) if metric.name == name), -1)
        if at < 0 and self.own is not None:
            return self.own.latest(subject, name)
        if row is None or at < 0 or math.isnan(row[at]):
            return None
        return row[at]

    def recent(self, name: str, of_s: float) -> dict[str, float]:
        """Of all that runs here: subject -> the mean of the last `of_s` seconds; of applications' own figures, what was told last."""
        found: dict[str, float] = {}
        for subject in self._latest:
            columns = OF_HOST if subject == self.me else OF_SLOT
            at = next((i for i, metric in enumerate(columns) if metric.name == name), -1)
            value: float | None = None
            if at >= 0 and (block := self._held.get(subject)) is not None:
                (values,) = block.rings.read(0, self.at_s + 1 - int(of_s), self.at_s + 1, [at])
                value = one_of(values, "mean")
            if value is None or math.isnan(value):
                value = self.latest(subject, name)
            if value is not None:
                found[subject] = value
        return found

    def troubles(self) -> dict[str, str]:
        """Subject -> what is not there of it, and why."""
        return {**self.dropped, **(self.own.troubles if self.own is not None else {})}

    def own_block(self, slot: str, part: str, columns: list[Column]) -> Block | None:
        """The block of what an app tells by itself; without columns only one that is there already."""
        if self._file is None or (not columns and (slot, part) not in self._file.blocks):
            return None
        if (held := self._file.blocks.get((slot, part))) is not None:
            held.go_on()
            return held
        block, gone = self._file.block(slot, columns, {self.me, *self._last}, part=part, form="float")
        if gone:
            self._say_dropped(gone, f"its history had to go for that of {slot}: it ran here no more")
        return block

    def blocks(self) -> Iterable[Block]:
        return self._file.blocks.values() if self._file is not None else ()

    def close(self) -> None:
        self.sampler.close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _told(self, slot: str) -> Told:
        restarts = self._restarts(slot)
        asked_s, probed = self._probes.get(slot, (0.0, Probed()))
        if not abs(self.at_s - asked_s) < STALE_S:
            probed = Probed()
        return Told(math.nan if restarts is None else float(restarts), *probed)

    def _keep(self, subject: str, metrics: tuple[Metric, ...], row: Row) -> None:
        block = self._held.get(subject)
        if block is None and self._file is not None and subject not in self._homeless:
            block = self._begin(self._file, subject, metrics)
        if block is not None:
            block.rings.put(self.at_s, row)

    def _begin(self, file: RingFile, subject: str, metrics: tuple[Metric, ...]) -> Block | None:
        columns = [Column(metric.name, metric.scale, metric.fold) for metric in metrics]
        block, gone = file.block(subject, columns, {self.me, *self._last})
        if block is None:
            self._homeless.add(subject)
            self._say_dropped(
                subject, f"only its latest figures are known: {len(file.blocks)} slots run here that have some"
            )
            return None
        if gone:
            self._say_dropped(gone, f"its history had to go for that of {subject}: it ran here no more")
        self.dropped.pop(subject, None)
        self._held[subject] = block
        return block

    def _end(self, slot: str, last_s: float) -> None:
        self._probes.pop(slot, None)
        self._homeless.clear()
        self._held.pop(slot, None)
        for block in self.blocks():
            if block.header.subject == slot:
                block.end(last_s)

    def _say_dropped(self, subject: str, why: str) -> None:
        self.dropped[subject] = why
        self._note("metrics", subject, why)
        while len(self.dropped) > DROPPED_MAX:
            self.dropped.popitem(last=False)
