"""Sends an app's lines on to where its operators want them, from each host that has some: at least once, in order, from the store.

What waits is the store itself: a receiver that is away is gone on with when it is back, as long as the lines are kept. How far each
receiver is stands in a file, slot by slot, and moves when it has taken a batch. The sending is a child's (shipper.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.agent import child
from skerry.agent.logs.shipper import Answer, Batch
from skerry.agent.logs.tails import moment
from skerry.core.constraints import name_of
from skerry.core.intent import App
from skerry.errors import SkerryError
from skerry.observe.logs import blocks_after, parse_block
from skerry.observe.logstore import LogStore, Piece
from skerry.outside import UNREADABLE

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

ROUND_S = 3.0
BATCH_ROWS = 5000
BATCH_BYTES = 4 << 20
LIMIT_S = 40.0
AGAIN_S, AGAIN_MAX_S = 2.0, 60.0
SETTLED_S = 1.0  # lines that are younger may still get company of an earlier time

Open = Callable[[str, dict[str, str]], dict[str, str]]
Row = list[Any]
_stamp = itemgetter(0)


class Shipping:
    """`opened`: values that an app's document keeps sealed."""

    def __init__(self, agent: Agent, store: LogStore, opened: Open) -> None:
        self._agent = agent
        self._store = store
        self._opened = opened
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._quiet: dict[
            tuple[str, str], tuple[object, ...]
        ] = {}  # (receiver, slot) -> how what was read to its end looked

    async def run(self) -> None:
        """Runs for ever: one task for each receiver that an app with lines here has."""
        try:
            while True:
                wanted = self._wanted()
                for key in self._tasks.keys() - wanted:
                    self._tasks.pop(key).cancel()
                for key in wanted - self._tasks.keys():
                    self._tasks[key] = asyncio.create_task(self._ship(*key))
                for task in self._tasks.values():
                    if task.done():
                        task.result()  # a bug: it ends the agent, as any does
                await asyncio.sleep(ROUND_S)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def _wanted(self) -> set[tuple[str, str]]:
        """(app, its receiver as it stands sealed in the document)."""
        found = set()
        for document in self._agent.trusted.documents():
            app = document.body
            if isinstance(app, App) and app.ship and not app.deleted:
                found |= {(document.path.removeprefix("app/"), sealed) for sealed in app.ship.values()}
        return found

    async def _ship(self, app: str, sealed: str) -> None:
        place = Place(self._agent.files.state / "shipped", f"{app}\0{sealed}")
        told, again_s = "", AGAIN_S
        while True:
            cut = await asyncio.to_thread(place.read)
            rows, after = await asyncio.to_thread(self._next, app, sealed, cut)
            if not rows:
                await asyncio.sleep(ROUND_S)
                continue
            answer = await self._send(app, sealed, rows)
            if answer.ok or answer.final:
                await asyncio.to_thread(place.write, after)
                again_s = AGAIN_S
            if answer.final:
                self._tell(app, f"a receiver of its logs refused {len(rows)} lines: {answer.detail}")
            elif answer.ok and told:
                self._tell(app, "the receiver of its logs takes them again")
                told = ""
            elif not answer.ok:
                if not told:
                    self._tell(app, f"a receiver does not take its logs, which wait for it: {answer.detail}")
                told = answer.detail
                await asyncio.sleep(again_s)
                again_s = min(2 * again_s, AGAIN_MAX_S)
            elif len(rows) < BATCH_ROWS:
                await asyncio.sleep(ROUND_S)

    async def _send(self, app: str, sealed: str, rows: list[Row]) -> Answer:
        try:
            url = self._opened(app, {"": sealed})[""]
        except SkerryError as error:
            return Answer(ok=False, detail=str(error))
        batch = Batch(url=url, cloud=self._agent.trusted.cloud, node=name_of(self._agent.me), rows=rows)
        out, why = await child.asked("skerry.agent.logs.shipper", msgspec.json.encode(batch), limit_s=LIMIT_S)
        try:
            return msgspec.json.decode(out, type=Answer)
        except UNREADABLE:
            return Answer(ok=False, detail=why or "no answer")

    def _tell(self, app: str, words: str) -> None:
        self._agent.events.append("shipping", app, words)

    def _next(self, app: str, sealed: str, cut: Cut) -> tuple[list[Row], Cut]:
        """The next lines after `cut`, and where it is then."""
        files: dict[str, list[tuple[int, int]]] = {}
        with contextlib.ExitStack() as stack:
            with self._store.moving:
                kept = {slot: self._store.snapshot(slot) for slot in self._store.slots() if _is_of(app, slot)}
                for id, slot in self._agent.containers.with_logs():
                    for path in self._agent.containers.logs(id) if _is_of(app, slot) else ():
                        with contextlib.suppress(FileNotFoundError):
                            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                            stack.callback(os.close, file)
                            files.setdefault(slot, []).append((file, os.fstat(file).st_size))
            rows: list[Row] = []
            until, after = moment(SETTLED_S), dict(cut.slots)
            for slot in sorted(kept.keys() | files.keys()):
                begin = cut.slots.get(slot, cut.begun)
                looks = (*(kept[slot].segments if slot in kept else ()), *(_looks(f) for f, _ in files.get(slot, ())))
                is_settled = all(os.fstat(f).st_mtime < time.time() - 2 * SETTLED_S for f, _ in files.get(slot, ()))
                if is_settled and self._quiet.get((sealed, slot)) == looks:
                    continue
                pieces = itertools.chain(
                    kept[slot].after(begin) if slot in kept else (),
                    (
                        Piece(data, 0, "")
                        for file, end in files.get(slot, ())
                        for data in blocks_after(file, end, begin)
                    ),
                )
                found = _after(slot, begin, until, pieces, BATCH_ROWS - len(rows))
                self._quiet[sealed, slot] = () if found or not is_settled else looks
                if found:
                    rows += found
                    after[slot] = found[-1][0]
                if len(rows) >= BATCH_ROWS:
                    break
        rows.sort(key=_stamp)
        return rows, Cut(begun=cut.begun, slots=after)


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which time each slot's lines are taken; `begun`: for slots that aren't there."""

    begun: str
    slots: dict[str, str] = {}


class Place:
    """Where a receiver's Cut is kept."""

    def __init__(self, directory: Path, key: str) -> None:
        self._path = directory / hashlib.sha256(key.encode()).hexdigest()[:32]

    def read(self) -> Cut:
        """A receiver that is new gets what is written from now on."""
        with contextlib.suppress(OSError, *UNREADABLE):
            return msgspec.json.decode(self._path.read_bytes(), type=Cut)
        cut = Cut(begun=moment(0.0))
        self.write(cut)
        return cut

    def write(self, cut: Cut) -> None:
        """Old or new, never half; after a power cut some lines may be sent again. A disk that is full sends them again."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True, mode=0o700)
            temporary = self._path.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(cut))
            temporary.replace(self._path)


def _after(slot: str, begin: str, until: str, pieces: Iterable[Piece], most: int) -> list[Row]:
    """Lines later than `begin`, the first `most` of them, and all of the last one's time: times are how far a receiver is."""
    rows: list[Row] = []
    size = 0
    for piece in pieces:
        lines = [line for line in parse_block(piece.data) if begin < line.time < until]
        if piece.dropped and lines:
            rows.append([lines[0].time, slot, "", "", piece.dropped])
        rows += ([line.time, slot, line.stream, line.text] for line in lines)
        size += len(piece.data)
        if (len(rows) > most or size > BATCH_BYTES) and rows[0][0] != rows[-1][0]:
            rows.sort(key=_stamp)
            at = min(most, len(rows) - 1)
            while at and rows[at][0] == rows[at - 1][0]:
                at -= 1
            return rows[:at] or [row for row in rows if row[0] == rows[0][0]]
    rows.sort(key=_stamp)
    return rows


def _looks(file: int) -> tuple[int, int, int]:
    stat = os.fstat(file)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _is_of(app: str, slot: str) -> bool:
    return slot.partition(".")[0] == app
