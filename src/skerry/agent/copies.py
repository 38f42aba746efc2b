"""Whether a neighbour has on its disk, too, what was accepted here: only then is an operator told so.

Records have been pushed to every neighbour when they were accepted, and frames are in order: so it is enough to ask, over the
links that are there. For a change the first that says yes will do; who is expelled must be known to all.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence

from skerry.core.gossip import Send, SendMessage
from skerry.core.messages import HoldsAnswer, HoldsAsk
from skerry.core.records import MachineSlot

AGAIN_S = 0.25  # who hasn't got them yet is asked again: perhaps they wait there for what they rest on


class Copies:
    """`holds(hash)`: whether a document is on this disk."""

    def __init__(
        self,
        carry: Callable[[Iterable[Send]], None],
        neighbours: Callable[[], Sequence[str]],
        holds: Callable[[str], bool],
    ) -> None:
        self._carry = carry
        self._neighbours = neighbours
        self._holds = holds
        self._numbers = itertools.count()
        self._asked: dict[int, Callable[[str], None]] = {}  # number -> what hears of each that says yes

    async def second(self, hashes: Sequence[str], within_s: float) -> str:
        """A neighbour that has synced all of these documents (payload hashes); "" if none said so in time.

        A fixed host, if one is linked: a pool's machine may be gone tomorrow, and its disk with it.
        """
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def fixed(linked: Sequence[str]) -> Sequence[str]:
            return [peer for peer in linked if MachineSlot.of_path(peer) is None] or linked

        def yes(peer: str) -> None:
            if not found.done():
                found.set_result(peer)

        await self._ask(hashes, within_s, fixed, yes, found)
        return found.result() if found.done() else ""

    async def all(self, hashes: Sequence[str], within_s: float) -> frozenset[str]:
        """Every neighbour that has synced all of these documents; ends once all have that are linked, or after `within_s`."""
        have: set[str] = set()
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def left(linked: Sequence[str]) -> Sequence[str]:
            return [peer for peer in linked if peer not in have]

        def yes(peer: str) -> None:
            have.add(peer)
            if not left(self._neighbours()) and not done.done():
                done.set_result(peer)

        await self._ask(hashes, within_s, left, yes, done)
        return frozenset(have)

    async def _ask(
        self,
        hashes: Sequence[str],
        within_s: float,
        whom: Callable[[Sequence[str]], Sequence[str]],
        yes: Callable[[str], None],
        done: asyncio.Future[str],
    ) -> None:
        """Again and again, until `done`, or nobody is linked that `whom` picks."""
        number = next(self._numbers)
        self._asked[number] = yes
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while not done.done() and (peers := whom(self._neighbours())):
                        self._carry(SendMessage(peer, HoldsAsk(number, tuple(hashes))) for peer in peers)
                        await asyncio.wait([done], timeout=AGAIN_S)
        finally:
            del self._asked[number]

    def asked(self, peer: str, message: HoldsAsk) -> None:
        ok = all(self._holds(hash) for hash in message.hashes)
        self._carry([SendMessage(peer, HoldsAnswer(message.number, ok))])

    def answered(self, peer: str, message: HoldsAnswer) -> None:
        if message.ok and (yes := self._asked.get(message.number)) is not None:
            yes(peer)
