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
from operator import itemgetter
from typing import Any

from skerry.client.merging import Merge
from skerry.client.session import Session
from skerry.errors import BadFormat, Refusal, SkerryError

AGAIN_S = 1.0  # between two tries of a host that doesn't answer
NEW_S = 5.0  # between two looks for hosts that have joined
SILENT_S = 5.0  # a host that follows says something several times a second
MISSED = 100_000  # lines of a host that is back

Row = dict[str, Any]
_stamp = itemgetter("time")


def rows_of(item: Any, node: str) -> tuple[list[Row], str]:
    """(rows, mark) of what a host sent. Raises BadFormat: it may send anything."""
    try:
        rows = [
            {"node": node, "slot": row[1], "time": row[0], "stream": row[2], "text": row[3]}
            if len(row) == 4
            else {"node": node, "slot": row[1], "time": row[0], "stream": "", "text": "", "dropped": int(row[4])}
            for row in item["rows"]
        ]
        "".join([row["time"] for row in rows])  # texts, all of them: they are compared
        return rows, str(item.get("now", ""))
    except (LookupError, TypeError, ValueError) as error:
        raise BadFormat(f"what {node} sent is no log", str(error), "use one version of skerry") from None


async def past(session: Session, args: dict[str, Any], only: Collection[str] = ()) -> list[Row]:
    """The last `tail` of all hosts' lines by time, and a row for each host that did not answer. `only`: ask these hosts.

    Raises Unreachable when there is none that can be asked, or what they refused.
    """
    errors: dict[str, SkerryError] = {}

    async def one(node: str) -> list[Row]:
        name = node.removeprefix("node/")
        found: list[Row] = []
        try:
            async for item in session.stream("logs", args, node=node):
                found += rows_of(item, name)[0]
        except SkerryError as error:
            errors[node] = error
        return found

    nodes = list(only or session.nodes)
    found = await asyncio.gather(*(one(node) for node in nodes))
    if len(errors) == len(nodes):
        raise _none(session, errors)
    told = [_unanswered(node, error) for node, error in errors.items()]
    rows = [row for each in found for row in each]
    rows.sort(key=_stamp)  # runs that are sorted already cost one comparison a line and a merge
    return told + _last(rows, args["tail"])


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
                async for item in session.stream("logs", wanted, node=node, silence_s=SILENT_S):
                    rows, mark = rows_of(item, name)
                    merge.add(name, place.new(rows, mark), time.monotonic(), mark)
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

    def new(self, rows: list[Row], mark: str) -> list[Row]:
        """Rows that were not told before."""
        fresh = []
        for row in rows:
            key = (row["time"], row["slot"], row["text"])
            if self._known[key] > 0:
                self._known[key] -= 1
                continue
            fresh.append(row)
            self._seen.append(key)
        if mark:
            self.mark = mark
            self._known.clear()
            self._seen = [key for key in self._seen if key[0] >= mark]
        return fresh


def _last(rows: list[Row], n: int) -> list[Row]:
    """The last `n` lines, and what is told between them."""
    if len(rows) <= n:
        return rows
    at = len(rows)
    while n > 0 and at > 0:
        at -= 1
        n -= "dropped" not in rows[at]
    return rows[at:]


def _unanswered(node: str, error: SkerryError) -> Row:
    return {"node": node.removeprefix("node/"), "time": "", "unanswered": str(error)}


def _none(session: Session, errors: dict[str, SkerryError]) -> SkerryError:
    refused = [error for error in errors.values() if isinstance(error, Refusal)]
    whys = [f"{node.removeprefix('node/')} did not answer: {error}" for node, error in errors.items()]
    return refused[0] if refused else session.unreached(whys)
