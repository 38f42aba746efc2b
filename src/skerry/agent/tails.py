"""What this host's containers wrote and write, as one stream: those that ended, those that run, those that start later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.agent.containers import Containers
from skerry.core.records import is_meant
from skerry.observe.logs import LogLine, follow, tail

LOOK_S = 0.5  # how soon a new container's lines are followed
WHOLE = 10_000  # lines of a container that started meanwhile: all that it wrote
WAITING_MAX = 1000


class Tails:
    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def past(self, targets: list[str], n: int, since: str) -> list[dict[str, str]]:
        """The last `n` lines not older than `since` (RFC 3339, UTC), oldest first."""
        found = [
            _row(slot, line)
            for id, slot in self._containers.with_logs()
            if is_meant(targets, slot)
            for line in tail(self._containers.logs(id), n)
            if line.time >= since
        ]
        return sorted(found, key=lambda row: row["time"])[-n:] if n else []

    async def following(self, targets: list[str], n: int, since: str) -> AsyncIterator[dict[str, str]]:
        """The past as above, then each new line as it comes, for ever. No line is missed or told twice between the two."""
        queue: asyncio.Queue[dict[str, str]] = asyncio.Queue(WAITING_MAX)
        watched: dict[str, asyncio.Task[None]] = {}
        past = self.past(targets, n, since)
        seen = {id for id, _ in self._containers.with_logs()}
        for id, slot in self._running(targets).items():
            last = tail(self._containers.logs(id), 1)
            watched[id] = asyncio.create_task(self._pour(queue, id, slot, after=last[-1].time if last else ""))
        try:
            for row in past:
                yield row
            while True:
                running = self._running(targets)
                for id, slot in self._containers.with_logs():
                    if id in seen or not is_meant(targets, slot):
                        continue
                    seen.add(id)
                    if id in running:
                        watched[id] = asyncio.create_task(self._pour(queue, id, slot, after=""))
                    else:  # it lived for less than a look
                        for line in tail(self._containers.logs(id), WHOLE):
                            yield _row(slot, line)
                try:
                    async with asyncio.timeout(LOOK_S):
                        row = await queue.get()
                except TimeoutError:
                    for id in [id for id in watched if id not in running]:  # ended, and its last lines have come
                        watched.pop(id).cancel()
                    continue
                yield row
        finally:
            for task in watched.values():
                task.cancel()

    def _running(self, targets: list[str]) -> dict[str, str]:
        return {id: slot for id, slot in self._containers.running().items() if is_meant(targets, slot)}

    async def _pour(self, queue: asyncio.Queue[dict[str, str]], id: str, slot: str, *, after: str) -> None:
        """Every line later than `after` into the queue; a reader that is too slow holds it up."""
        async for line in follow(lambda: self._containers.logs(id), n=WHOLE):
            if line.time > after:
                await queue.put(_row(slot, line))


def _row(slot: str, line: LogLine) -> dict[str, Any]:
    return {"slot": slot, "time": line.time, "stream": line.stream, "text": line.text}
