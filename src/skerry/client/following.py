"""Events of all hosts as they come, for ever: a host that ends or is cut off is told once, and gone on with when it is back; hosts
that join meanwhile are followed, too. Nothing is told twice, and nothing is left out that the host still has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from skerry.client.session import Session
from skerry.errors import Refusal, SkerryError

AGAIN_S = 1.0  # between two tries of a host that doesn't answer
BETWEEN = 100  # rows that may come between two requests
NEW_S = 5.0  # between two looks for hosts that have joined
MISSED = 1000  # rows of a host that is back which are looked through for what was missed


async def following(session: Session, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """Events with `node`, or with `unanswered`: why that host can't be asked now. Each host's rows are in its own order.

    Raises what a host refused, and Unreachable when there is none that can be asked.
    """
    queue: asyncio.Queue[dict[str, Any] | BaseException] = asyncio.Queue(1000)
    bugs: list[asyncio.Task[None]] = []
    lost: dict[str, str] = {}
    tasks: dict[str, asyncio.Task[None]] = {}

    async def one(node: str, wanted: dict[str, Any]) -> None:
        name = node.removeprefix("node/")
        last = 0.0
        begun = wanted["tail"] > 0
        while True:
            why = "it ended the stream"
            try:
                if not begun:  # where "from now on" begins, so that it is known once the host was away
                    async for row in session.stream("events", {**wanted, "follow": False, "tail": 1}, node=node):
                        last = row["time"]
                    begun, wanted = True, {**args, "tail": BETWEEN}
                async for row in session.stream("events", wanted, node=node):
                    if row["time"] > last or not row["time"]:
                        last = row["time"] or last
                        await queue.put({"node": name, **row})
                    lost.pop(node, None)
            except Refusal as error:
                await queue.put(error)
                return
            except SkerryError as error:
                why = str(error)
            if node not in lost:
                lost[node] = f"{name} did not answer: {why}"
                await queue.put({"node": name, "time": 0.0, "unanswered": why})
            if lost.keys() >= session.nodes.keys():
                await queue.put(session.unreached(list(lost.values())))
            await asyncio.sleep(AGAIN_S)
            wanted = {**args, "tail": MISSED} if begun and last else wanted

    async def look() -> None:
        while True:
            await asyncio.sleep(NEW_S)
            with contextlib.suppress(SkerryError):
                await session.sync(1)
            for node in session.nodes.keys() - tasks.keys():
                begin(node, {**args, "tail": MISSED})
            for node in tasks.keys() - session.nodes.keys():
                tasks.pop(node).cancel()
                lost.pop(node, None)

    def begin(node: str, wanted: dict[str, Any]) -> None:
        tasks[node] = asyncio.create_task(one(node, wanted))
        tasks[node].add_done_callback(ended)

    def ended(task: asyncio.Task[None]) -> None:
        """A bug in it must not leave whoever listens waiting for ever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            bugs.append(asyncio.create_task(queue.put(error)))

    for node in list(session.nodes):
        begin(node, args)
    looking = asyncio.create_task(look())
    try:
        if not tasks:
            raise session.unreached([])
        while True:
            row = await queue.get()
            if isinstance(row, BaseException):
                raise row
            yield row
    finally:
        for task in (looking, *tasks.values(), *bugs):
            task.cancel()
