"""When to ask a container whether it is well, and when its answer is worth telling. How to ask is in asks.py.

The schedule is that of the specification: every 25 ms in the first 2 s, every 200 ms until first healthy, then every
`interval_s` with a start chosen by chance, so that the probes of many hosts don't meet. Only changes are told. What a
slot is, the caller knows; nothing is decided about it here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from skerry.core.intent import Probe
from skerry.observe.asks import Answer, ask

FAST_FOR_S = 2.0
FAST_EVERY_S = 0.025
UNTIL_HEALTHY_EVERY_S = 0.2
AFTER_MISS_EVERY_S = 1.0
LATE = 0.75  # of the start period

SlotT = TypeVar("SlotT", bound=Hashable)


def next_delay_s(probe: Probe, *, age_s: float, was_healthy: bool, misses: int) -> float:
    """Seconds to wait between the end of one question and the next. Pure.

    `age_s`: since the watch began; `was_healthy`: it has been told as ok and not yet as not ok; `misses`: in a row.
    """
    if was_healthy:
        return min(AFTER_MISS_EVERY_S, probe.interval_s) if misses else probe.interval_s
    return FAST_EVERY_S if age_s < FAST_FOR_S else UNTIL_HEALTHY_EVERY_S


class Judge:
    """Turns answers into words worth telling. Pure: `age_s` comes in as an argument.

    The first ok is told at once. Misses are told once `retries` came in a row after it was well; before it was ever
    well, once most of the start period has passed: who gives it up at its end can say why. An ok after that is told again.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.misses = 0
        self.told: bool | None = None

    def hear(self, ok: bool, *, age_s: float) -> bool:
        """Whether this answer changes the word."""
        self.misses = 0 if ok else self.misses + 1
        if ok == self.told:
            return False
        if not ok:
            patient = (
                age_s < LATE * self.probe.start_period_s if self.told is None else self.misses < self.probe.retries
            )
            if patient:
                return False
        self.told = ok
        return True


class Prober(Generic[SlotT]):
    """Probes containers and calls `on_answer(slot, node, spec, ok, detail)` when the word about one changes, and
    `on_asked(slot, ok, took_s)` after each question to a container of this node.

    One task per watch; `on_answer` runs in the event loop and must not block. `ask` may be replaced in tests.
    """

    def __init__(
        self,
        on_answer: Callable[[SlotT, str, str, bool, str], None],
        *,
        on_asked: Callable[[SlotT, bool, float], None] = lambda slot, ok, took_s: None,
        ask: Callable[..., object] = ask,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._on_answer = on_answer
        self._on_asked = on_asked
        self._ask = ask
        self._jitter = jitter
        self._tasks: dict[tuple[SlotT, str, str], asyncio.Task[None]] = {}

    def watch(self, slot: SlotT, node: str, spec: str, address: str, probe: Probe, own: bool) -> None:
        """Begin, or begin anew if it was watched before (its address may have changed).

        `own`: the container is this node's. Owner and witness ask alike: what a slot waits for at its start is the
        slowest word of both.
        """
        self.unwatch(slot, node, spec)
        task = asyncio.get_running_loop().create_task(self._run(slot, node, spec, address, probe, own))
        self._tasks[slot, node, spec] = task

    def unwatch(self, slot: SlotT, node: str, spec: str) -> None:
        """End it; nothing more is told about it. Unknown ones are ignored."""
        task = self._tasks.pop((slot, node, spec), None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, slot: SlotT, node: str, spec: str, address: str, probe: Probe, own: bool) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        judge = Judge(probe)
        while True:
            asked_s = loop.time()
            answer: Answer = await self._ask(probe, address)  # type: ignore[misc]
            age_s = loop.time() - began_s
            if own:
                self._on_asked(slot, answer.ok, loop.time() - asked_s)
            if judge.hear(answer.ok, age_s=age_s):
                self._on_answer(slot, node, spec, answer.ok, answer.detail)
                if answer.ok:
                    # The first wait after becoming well is a share of the interval: here is where probes are spread.
                    await asyncio.sleep(probe.interval_s * self._jitter())
                    continue
            delay_s = next_delay_s(probe, age_s=age_s, was_healthy=bool(judge.told), misses=judge.misses)
            await asyncio.sleep(delay_s)
