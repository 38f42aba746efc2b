"""The agent's loop: gather → core → carry out. The only place on a host that joins the rooms.

Events are handed to core one at a time, in the order in which they came; each effect is carried out at once or, where it
has to wait for something, by a task of its own. No effect's failure reaches core but as an event.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from skerry.core import effects as do
from skerry.core.events import Event, NotKept, Timer
from skerry.core.facts import FactBody
from skerry.core.node import NodeCore
from skerry.store.disk import DiskFull
from skerry.trust.accept import Stale

log = logging.getLogger(__name__)

Carry = Callable[[Any], Any]


class Loop:
    """`carriers`: effect type -> what carries it out (a function, or one that gives a coroutine).

    `together`: within it, what has to be synced may wait for its end.
    """

    def __init__(
        self,
        core: NodeCore,
        *,
        now_s: Callable[[], float] = time.monotonic,
        together: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.core = core
        self.now_s = now_s
        self._together = together
        self.carriers: dict[type[do.Effect], Carry] = {}
        self._events: deque[Event] = deque()
        self._stepping = False
        self._closed = False
        self._live = False  # while loading, core asks for a Timer at once with each event: it comes once all is there
        self._tasks: set[asyncio.Task[Any]] = set()
        self._onlookers: list[asyncio.Future[None]] = []
        self._wake: asyncio.TimerHandle | None = None  # of the next Timer, and for when
        self._wake_s = 0.0
        self._loop: asyncio.AbstractEventLoop
        self.broken: asyncio.Future[None]  # ends with the first bug in a task

    def begin(self) -> None:
        """Call first, within the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.broken = self._loop.create_future()

    def live(self) -> None:
        """All is loaded and ready: from now on core decides."""
        self._live = True
        self.post(Timer())

    def post(self, event: Event) -> None:
        """Take an event in. Safe to call from within an effect: events are never nested."""
        if self._closed:
            return
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                self._carry_all(self.core.step(self._events.popleft(), self.now_s()))
        except Exception as error:  # effects of this step are lost: whoever called, this agent can't go on
            self.fail(error)
            raise
        finally:
            self._stepping = False
            onlookers, self._onlookers = self._onlookers, []
            for onlooker in onlookers:
                if not onlooker.done():
                    onlooker.set_result(None)

    async def stepped(self) -> None:
        """Wait until core has taken in something new: what `core.rows()` gives may be another."""
        onlooker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._onlookers.append(onlooker)
        await onlooker

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run beside the loop. A bug in it ends the agent (systemd starts it anew): half an agent is worse than none."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    @property
    def is_live(self) -> bool:
        return self._live

    def end(self, why: Exception) -> None:
        """Nothing is decided any more, and the agent ends with this."""
        self._closed = True
        if not self.broken.done():
            self.broken.set_exception(why)

    def call(self, do: Callable[[], None]) -> None:
        """Have `do` run on this loop's own thread, from whatever thread."""
        self._loop.call_soon_threadsafe(do)

    async def close(self) -> None:
        self._closed = True
        if self._wake is not None:
            self._wake.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _carry_all(self, effects: Sequence[do.Effect]) -> None:
        """Facts first, synced as one: a claim is on disk before anything is done about it."""
        with self._together():
            for effect in effects:
                if isinstance(effect, do.Publish):
                    self._carry(effect)
        for effect in effects:
            if not isinstance(effect, do.Publish):
                self._carry(effect)

    def _carry(self, effect: do.Effect) -> None:
        if isinstance(effect, do.Wake):
            self._set_wake(effect.at_s)
            return
        work = self.carriers[type(effect)](effect)
        if asyncio.iscoroutine(work):
            self.spawn(work)

    def _set_wake(self, at_s: float) -> None:
        if not self._live:
            return
        if self._wake is not None:
            if at_s == self._wake_s:
                return
            self._wake.cancel()
        delay_s = max(0.0, at_s - self.now_s())
        self._wake, self._wake_s = self._loop.call_later(delay_s, self._woken), at_s

    def _woken(self) -> None:
        self._wake = None
        self.post(Timer())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        self.fail(task.exception())

    def fail(self, error: BaseException | None) -> None:
        """End the agent: a bug, or a disk that can only be begun anew."""
        log.error("the agent broke", exc_info=error)
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)


class Author:
    """Signs this node's facts: sequence (start count, n), never reused."""

    def __init__(
        self,
        sign: Callable[[str, str, tuple[int, int], float, FactBody | None], bytes],
        boot: int,
        wall_s: Callable[[], float],
        offer: Callable[..., Any],
        post: Callable[[Event], None],
    ) -> None:
        """`offer`: the door's. `post` tells core what could not be kept."""
        self._sign = sign
        self._post = post
        self._boot = boot
        self._n = 0
        self._wall_s = wall_s
        self._offer = offer

    @property
    def newest(self) -> tuple[int, int]:
        """The highest sequence that this life of the host has given."""
        return self._boot, self._n

    def publish(self, effect: do.Publish) -> None:
        self._n += 1
        try:
            raw = self._sign(effect.kind, effect.key, self.newest, self._wall_s(), effect.body)
            self._offer(raw, binding=effect.binding, to=effect.to)
        except DiskFull as full:
            self._post(NotKept(effect.kind, effect.key, full.why))
        except Stale as stale:  # a life that our disk has forgotten has said more; the agent begins anew above it
            log.warning("not published: %s", stale)


class Routes:
    """Brings the newest wanted routes into force, one replacement at a time; what came meanwhile is folded into the next.

    Nothing is replaced before `may` has ended.
    """

    def __init__(
        self,
        apply: Callable[[do.Route], Coroutine[Any, Any, None]],
        may: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._apply, self._may = apply, may
        self._wanted: do.Route | None = None
        self._new = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def carry(self, effect: do.Route) -> None:
        self._wanted = effect
        self._settled.clear()
        self._new.set()

    async def settled(self) -> None:
        """Wait until what was wanted when this was called is in force."""
        await self._settled.wait()

    async def run(self) -> None:
        await self._may()
        while True:
            await self._new.wait()
            self._new.clear()
            wanted = self._wanted
            assert wanted is not None
            await self._apply(wanted)
            if not self._new.is_set():
                self._settled.set()
