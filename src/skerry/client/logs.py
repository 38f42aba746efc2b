"""Lines of replicas and hosts, from all hosts that may have some, as one: the past at once, or as they come, for ever.

A host that can't be asked is told as a row of its own, and the rest is shown. While following, hosts that come back are gone on
with where they were left, hosts that join are followed too, and nothing is told twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from skerry.client.merging import Merge
from skerry.client.session import Session
from skerry.errors import Refusal, SkerryError

AGAIN_S = 1.0  # between two tries of a host that doesn't answer
NEW_S = 5.0  # between two looks for hosts that have joined
SILENT_S = 5.0  # a host that follows says something several times a second
MISSED = 100_000  # lines of a host that is back
SHARES, SHARE_MIN = 4, 200  # a host is asked for at first: so many times its part of the lines, and at least so many

Row = dict[str, Any]


class Line(msgspec.Struct, array_like=True, gc=False):
    """As hosts send it: a line, or how many are missing. (Many are held at once: without `gc` they cost a third.)"""

    time: str
    slot: str
    stream: str
    text: str
    dropped: int = 0
    node: str = ""

    def row(self) -> Row:
        row: Row = {"node": self.node, "slot": self.slot, "time": self.time, "stream": self.stream, "text": self.text}
        return row | {"dropped": self.dropped} if self.dropped else row


class Batch(msgspec.Struct):
    """`now`: all that was written before has been told."""

    rows: list[Line]
    now: str = ""


_stamp = attrgetter("time")


class Past(NamedTuple):
    """The last lines of all hosts, by time, and who did not answer."""

    lines: list[Line]
    unanswered: list[Row]


async def past(session: Session, args: dict[str, Any], only: Collection[str] = ()) -> Past:
    """The last `tail` lines. `only`: ask these hosts.

    Where many lines of many hosts are asked for, each first gives its share of them, and then those give more whose share was
    too small. Raises Unreachable when there is none that can be asked, or what they refused.
    """
    errors: dict[str, SkerryError] = {}
    tail = args["tail"]
    nodes = list(only or session.nodes)
    share = min(tail, max(SHARE_MIN, SHARES * tail // max(1, len(nodes))))

    async def one(node: str, tail: int) -> list[Line]:
        found: list[Line] = []
        try:
            async for batch in session.stream("logs", {**args, "tail": tail}, node=node, shape=Batch):
                found += batch.rows
        except SkerryError as error:
            errors[node] = error
        name = node.removeprefix("node/")
        for line in found:
            line.node = name
        return found

    found = dict(zip(nodes, await asyncio.gather(*(one(node, share) for node in nodes)), strict=True))
    lines = _last([line for each in found.values() for line in each], tail)
    cut = lines[0].time if lines and len(lines) >= tail else ""
    short = [n for n, each in found.items() if share < tail and len(each) >= share and each[0].time > cut]
    if short:
        found |= dict(zip(short, await asyncio.gather(*(one(node, tail) for node in short)), strict=True))
        lines = _last([line for each in found.values() for line in each], tail)
    if len(errors) == len(nodes):
        raise _none(session, errors)
    return Past(lines, [_unanswered(node, error) for node, error in errors.items()])


async def following(session: Session, args: dict[str, Any], only: Collection[str] = ()) -> AsyncGenerator[list[Row]]:
    """Rows as they become ready, several at once. Raises as `past` does."""
    news = asyncio.Event()
    merge = Merge()
    told: list[Row] = []
    errors: dict[str, SkerryError] = {}
    broken: list[BaseException] = []
    tasks: dict[str, asyncio.Task[None]] = {}

    async def one(node: str, first: dict[str, Any]) -> None:
        name = node.removeprefix("node/")
        wanted, place = first, _Place()
        while True:
            try:
                merge.join(name)
                async for batch in session.stream("logs", wanted, node=node, silence_s=SILENT_S, shape=Batch):
                    for line in batch.rows:
                        line.node = name
                    merge.add(name, place.new(batch), time.monotonic(), batch.now)
                    errors.pop(node, None)
                    news.set()
                if args.get("until"):
                    merge.leave(name)
                    return
                error = SkerryError("it ended the stream")
            except Refusal as refusal:
                if not place.mark:
                    errors[node] = refusal
                    told.append(_unanswered(node, refusal))
                    merge.leave(name)
                    news.set()
                    return
                error = refusal
            except SkerryError as passing:
                error = passing
            if node not in errors:
                told.append(_unanswered(node, error))
            errors[node] = error
            merge.leave(name)
            news.set()
            await asyncio.sleep(AGAIN_S)
            if place.mark:
                wanted = {**args, "tail": MISSED, "since": place.mark}
                place.again()

    async def look() -> None:
        while True:
            await asyncio.sleep(NEW_S)
            with contextlib.suppress(SkerryError):
                await session.sync(1)
            for node in () if only else session.nodes.keys() - tasks.keys():
                begin(node, {**args, "tail": MISSED})
            for node in tasks.keys() - session.nodes.keys():
                tasks.pop(node).cancel()
                errors.pop(node, None)
                merge.leave(node.removeprefix("node/"))

    def begin(node: str, wanted: dict[str, Any]) -> None:
        tasks[node] = asyncio.create_task(one(node, wanted))
        tasks[node].add_done_callback(ended)

    def ended(task: asyncio.Task[None]) -> None:
        """A bug in it must not leave whoever listens waiting for ever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            broken.append(error)
        news.set()

    for node in list(only or session.nodes):
        begin(node, args)
    looking = asyncio.create_task(look())
    try:
        while True:
            rows, told[:] = [*merge.ready(time.monotonic()), *told], []
            if rows:
                yield rows
            if broken:
                raise broken[0]
            if not errors.keys() ^ (tasks.keys() or session.nodes.keys()):
                raise _none(session, errors)
            if all(task.done() for task in tasks.values()) and merge.next_s() is None:
                return
            news.clear()
            next_s = merge.next_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if next_s is None else max(0.0, next_s - time.monotonic())):
                    await news.wait()
    finally:
        for task in (looking, *tasks.values()):
            task.cancel()


class _Place:
    """Up to where a host has been heard, so that it can be gone on with."""

    def __init__(self) -> None:
        self.mark = ""  # everything before it has been told
        self._seen: list[tuple[str, str, str]] = []  # what was told of it and after
        self._known: Counter[tuple[str, str, str]] = Counter()

    def again(self) -> None:
        self._known = Counter(self._seen)

    def new(self, batch: Batch) -> list[Row]:
        """Rows that were not told before."""
        fresh = []
        for line in batch.rows:
            key = (line.time, line.slot, line.text)
            if self._known[key] > 0:
                self._known[key] -= 1
                continue
            fresh.append(line.row())
            self._seen.append(key)
        if batch.now:
            self.mark = batch.now
            self._known.clear()
            self._seen = [key for key in self._seen if key[0] >= batch.now]
        return fresh


def _last(lines: list[Line], n: int) -> list[Line]:
    """The last `n` by time, and what is told between them."""
    lines.sort(key=_stamp)  # each host's are sorted already: that costs one comparison a line and a merge
    if len(lines) <= n:
        return lines
    at = len(lines)
    while n > 0 and at > 0:
        at -= 1
        n -= not lines[at].dropped
    return lines[at:]


def _unanswered(node: str, error: SkerryError) -> Row:
    return {"node": node.removeprefix("node/"), "time": "", "unanswered": str(error)}


def _none(session: Session, errors: dict[str, SkerryError]) -> SkerryError:
    refused = [error for error in errors.values() if isinstance(error, Refusal)]
    whys = [f"{node.removeprefix('node/')} did not answer: {error}" for node, error in errors.items()]
    return refused[0] if refused else session.unreached(whys)
