"""Which containers of exclusive slots are here, and until when each may live: told to the guard, and confirmed by it.

Core decides on leases (effect Guard); a container is started only after the guard has confirmed it, and stays known to it
until nothing of it is left. Of what the guard has ended, the agent only tells.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from skerry.agent.guarding.asking import NoGuard, ask
from skerry.core.effects import Guard
from skerry.core.records import Slot
from skerry.errors import Passing
from skerry.guarding.words import Answer, Kept

TELL_WITHIN_S = 4.0  # longer than systemd takes to begin a guard anew that stood still
AGAIN_S = 0.1

log = logging.getLogger(__name__)


class LeaseOver(Passing):
    """The lease under which an exclusive slot was to be started is over, or another holds by now."""

    code = "lease-over"


class Guarded:
    """`begin` has a guard run; `cgroup` and `wire` say where a container is; `note` writes an event."""

    def __init__(
        self,
        run: Path,
        *,
        begin: Callable[[Path], Awaitable[None]],
        cgroup: Callable[[str], str],
        wire: Callable[[str], str],
        note: Callable[[str, str, str], Any],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._begin, self._cgroup, self._wire = run, begin, cgroup, wire
        self._note, self._now_s = note, now_s
        self._leases: dict[Slot, tuple[int, float]] = {}  # number, until when (as the guard counts)
        self._wanted: dict[str, Kept] = {}
        self._slots: dict[str, Slot] = {}
        self._told: set[str] = set()  # ended by the guard, and said so
        self._lock = asyncio.Lock()

    def carry(self, effect: Guard) -> Coroutine[Any, Any, None] | None:
        """A lease was granted, renewed, or (until 0) let go: what still runs under it is ended by the guard at once."""
        slot, number = effect.slot, effect.number
        over = effect.until_s <= 0
        until_s = 0.0 if over else _boottime() + effect.until_s - self._now_s()
        if over:
            self._leases.pop(slot, None)
        else:
            self._leases[slot] = (number, until_s)
        meant = [
            id
            for id, kept in self._wanted.items()
            if self._slots[id] == slot and (kept.number == number or (over and kept.number < number))
        ]
        for id in meant:
            self._wanted[id] = msgspec.structs.replace(self._wanted[id], until_s=until_s)
        return self._renew(slot) if meant else None

    async def hold(self, id: str, slot: Slot, number: int, address: str, *, wire_of: str = "") -> None:
        """Before a container starts: guarded from here on. `wire_of`: the container whose wire it shares.

        Raises NoGuard, LeaseOver (both passing): then it must not start.
        """
        held, until_s = self._leases.get(slot, (0, 0.0))
        if held != number:
            raise LeaseOver(f"{slot} is not started", f"lease {number} is not held here any more", "")
        self._slots[id] = slot
        self._wanted[id] = Kept(
            id=id, cgroup=self._cgroup(id), interface=self._wire(wire_of or id), address=address, number=number,
            until_s=until_s,
        )  # fmt: skip
        try:
            answer = await self._tell()
            if not any(each.kept.id == id and not each.ended_s for each in answer.held):
                raise LeaseOver(f"{slot} is not started", f"lease {number} has run out meanwhile", "")
        except Passing:
            self._forget(id)
            raise

    async def let_go(self, id: str) -> None:
        """Nothing of it runs any more (else the guard keeps it to the end of its lease)."""
        if id not in self._wanted:
            return
        self._forget(id)
        try:
            await self._tell()
        except NoGuard as error:  # told with the next word that gets through
            log.warning("%s", error)

    async def recall(self, asked: dict[str, Slot]) -> dict[str, Kept]:
        """After a restart of the agent: which of these containers may still live, as the guard says. None, if it does not answer."""
        if not asked:
            return {}
        try:
            await self._begin(self._run)
            self._slots |= asked  # of those that it has ended is told
            answer = await self._ask(None)
        except NoGuard as error:
            log.warning("%s", error)
            return {}
        living = {each.kept.id: each.kept for each in answer.held if each.kept.id in asked and not each.ended_s}
        self._wanted |= living
        self._slots |= {id: asked[id] for id in living}
        return living

    async def _renew(self, slot: Slot) -> None:
        try:
            await self._tell()
        except NoGuard as error:  # the next renewal tries again; until then the guard's, and the kernel's, time runs
            self._note("guard", str(slot), str(error))

    async def _tell(self) -> Answer:
        """Raises NoGuard."""
        async with self._lock:
            return await self._ask(tuple(self._wanted.values()))

    async def _ask(self, wanted: tuple[Kept, ...] | None) -> Answer:
        """Until it answers, or TELL_WITHIN_S. What changes meanwhile is told by whoever changed it."""
        end_s, begun = self._now_s() + TELL_WITHIN_S, False
        while True:
            try:
                answer = await ask(self._run, wanted)
                break
            except NoGuard:
                if self._now_s() > end_s:
                    raise
            if not begun:
                begun = True
                await self._begin(self._run)
            await asyncio.sleep(AGAIN_S)
        for each in answer.lately:
            if (slot := self._slots.get(each.kept.id)) is not None and each.kept.id not in self._told:
                self._told.add(each.kept.id)
                ago_s = _boottime() - each.ended_s
                self._note(
                    "cut-off",
                    str(slot),
                    f"lease {each.kept.number} was not renewed: killed and cut off {ago_s:.1f} s ago",
                )
        self._forget_old()
        return answer

    def _forget(self, id: str) -> None:
        """Its slot stays known for a while: the guard may have ended it, and that is told with its next answer."""
        self._wanted.pop(id, None)

    def _forget_old(self) -> None:
        for id in [id for id in self._slots if id not in self._wanted]:
            del self._slots[id]
            self._told.discard(id)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
