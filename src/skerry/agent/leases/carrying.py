"""Leases for containers, as the agent carries them: a desk, the doors to it, and a look now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.agent.leases.desk import LOOK_S, LeaseDesk
from skerry.agent.leases.doors import LeaseDoors
from skerry.core import effects as do

if TYPE_CHECKING:
    from skerry.agent.loop import Loop


class LeasesHere:
    def __init__(self, me: str, run: Path, loop: Loop) -> None:
        self.desk = LeaseDesk(me=me, post=loop.post, now_s=loop.now_s)
        self.doors = LeaseDoors(run / "app-leases", self.desk)
        loop.spawn(self._look())

    def carriers(self) -> dict[type[do.Effect], Callable[[Any], Any]]:
        return {do.Leased: self.desk.leased}

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.desk.look()
