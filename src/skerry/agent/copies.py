"""Whether a neighbour has on its disk, too, what was accepted here: only then is an operator told so.

Records have been pushed to every neighbour when they were accepted, and frames are in order: so it is enough to ask, over the
links that are there. The first that says yes will do.
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
        self._asked: dict[int, asyncio.Future[str]] = {}

    async def second(self, hashes: Sequence[str], within_s: float) -> str:
        """A neighbour that has synced all of these documents (payload hashes); "" if none said so in time.

        A fixed host, if one is linked: a pool's machine may be gone tomorrow, and its disk with it.
        """
        number = next(self._numbers)
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[number] = found
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while linked := self._neighbours():
                        fixed = [peer for peer in linked if MachineSlot.of_path(peer) is None]
                        self._carry(SendMessage(p, HoldsAsk(number, tuple(hashes))) for p in fixed or linked)
                        await asyncio.wait([found], timeout=AGAIN_S)
                        if found.done():
                            return found.result()
        finally:
            del self._asked[number]
        return ""

    def asked(self, peer: str, message: HoldsAsk) -> None:
        ok = all(self._holds(hash) for hash in message.hashes)
        self._carry([SendMessage(peer, HoldsAnswer(message.number, ok))])

    def answered(self, peer: str, message: HoldsAnswer) -> None:
        found = self._asked.get(message.number)
        if message.ok and found is not None and not found.done():
            found.set_result(peer)
