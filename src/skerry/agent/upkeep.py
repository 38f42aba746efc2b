"""What the agent looks after beside core's wishes: its disk and its clock. Nothing here decides what runs.

What was gathered goes to disk; a full disk, a damaged image and a wrong clock are told once when they begin and once when
they end; a spare copy of who belongs to the cloud is kept beside the records, so that a host whose records are lost still
knows whom to ask for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from skerry.agent.door import Door
from skerry.core.events import Event, ImageGone
from skerry.errors import SkerryError
from skerry.image.trees import Images
from skerry.outside import UNREADABLE
from skerry.store.disk import DiskFull, Reserve, is_full, replace_synced
from skerry.store.records import RecordStore
from skerry.trust import clock

log = logging.getLogger(__name__)
FLUSH_S = 0.5
CLOCK_S = 5.0
LOOKS = 3  # before a clock is called wrong: at a start the first neighbour to be heard may be the one that is
READ_THROUGH_S = 3600.0  # one image each time: 50 MB take a tenth of a second


class Upkeep:
    """`note(kind, subject, reason)` writes an event for people; `post` tells core."""

    def __init__(
        self,
        me: str,
        state: Path,
        records: RecordStore,
        door: Door,
        images: Images,
        reserve: Reserve,
        *,
        wall_s: Callable[[], float],
        post: Callable[[Event], None],
        note: Callable[[str, str, str], Any],
    ) -> None:
        self._me = me
        self._state = state
        self._records = records
        self._door = door
        self._images = images
        self._wall_s = wall_s
        self._post = post
        self._note = note
        self._reserve = reserve
        self._spare = state / "members"
        self._full = False
        self._clock_off = False

    # -- the disk

    def spare_members(self) -> list[bytes]:
        """The copy of `door.members()`, [] if there is none that can be read: what is in it is judged like anything else."""
        try:
            return msgspec.msgpack.decode(self._spare.read_bytes(), type=list[bytes])
        except (FileNotFoundError, *UNREADABLE):
            return []

    def begin(self) -> None:
        """The agent runs from now on."""
        if self._reserve.is_spent:
            self._met(DiskFull(self._state))

    def flush_soon(self) -> None:
        """Records have begun to gather."""
        asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        try:
            self._records.flush()
        except DiskFull as full:  # `look_at_disk` tries again
            self._met(full)

    def look_at_disk(self) -> None:
        """To be called each second."""
        try:
            self._records.flush()  # what there was no room for
            if self._door.members_changed:
                replace_synced(self._spare, msgspec.msgpack.encode(self._door.members()))
                self._door.members_changed = False
            self._reserve.set_aside()
        except DiskFull as full:
            self._met(full)
        if is_full(self._state):
            self._met(DiskFull(self._state))
        elif self._full and not self._reserve.is_spent:
            self._full = False
            self._note("host", self._me, "the disk has room again")

    def _met(self, full: DiskFull) -> None:
        if not self._full:
            self._full = True
            self._note("disk-full", self._me, str(full))

    # -- images

    async def doubt(self, hash: str) -> None:
        """An object was found damaged and put aside: whatever image is made of it is fetched and mended."""
        for image in await asyncio.to_thread(self._images.made_of, hash):
            self._doubt(image, f"object {hash[:12]} on this disk was damaged")

    async def read_images(self) -> None:
        """Runs for ever: reads one image after the other through, so that damage is found before it is needed."""
        while True:
            for image in self._images.held():
                await asyncio.sleep(READ_THROUGH_S)
                await self.read_through(image)
            await asyncio.sleep(READ_THROUGH_S)

    async def read_through(self, image: str) -> None:
        try:
            damaged = await asyncio.to_thread(self._images.verify, image)
        except (SkerryError, OSError) as error:  # forgotten meanwhile, or the disk can't even read it
            log.warning("%s could not be read through: %s", image, error)
            return
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            self._doubt(image, f"{damaged[0]}{more} on this disk was damaged")

    def _doubt(self, image: str, why: str) -> None:
        if self._images.root(image) is None:
            return  # it was found in two ways at once
        self._images.doubt(image)
        self._note("damaged", image[:19], f"{why}: it is fetched again; look at the disk if it happens more often")
        self._post(ImageGone(image))

    # -- the clock

    async def watch_clock(self) -> None:
        """Runs for ever. A wrong clock is told and changes nothing: facts are ordered by number, not by time."""
        looks = 0
        while True:
            await asyncio.sleep(CLOCK_S)
            off_s = clock.differs(self._wall_s(), self._door.neighbours_s())
            looks = looks + 1 if off_s is not None else 0
            if 0 < looks < LOOKS:
                continue
            if off_s is not None and not self._clock_off:
                self._note(
                    "clock",
                    self._me,
                    f"this host's clock is {off_s:+.0f} s off its neighbours': run a time service on it",
                )
            elif off_s is None and self._clock_off:
                self._note("clock", self._me, "this host's clock is right again")
            self._clock_off = off_s is not None
