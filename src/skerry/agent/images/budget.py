"""What a host's disk has for images, and how it keeps to it: what is not in use goes, the oldest first, and nothing stops.

Core says which images may go, and in which order (MayGo); only here is it known how much room there is. An image that
doesn't fit even then is refused before its files are fetched, and core lets another host run it.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from skerry.core.effects import Fetch, Forget, MayGo
from skerry.core.events import Event, ImageFailed, ImageGone, ImageRoom
from skerry.errors import SkerryError
from skerry.image.contract import ImageTooLarge
from skerry.image.trees import Images

SHARE = 0.2  # of the whole disk, where the enrolment says nothing
LEFT_FREE = 0.05  # of the whole disk: images never take the last of it
SPARED_S = 3600.0  # an object that came since may belong to an image whose documents have not come yet


class ImageBudget:
    """`signed_bytes`: what the enrolment says, 0 for nothing; `fetch`: gets an image, and raises ImageTooLarge.

    `note(kind, subject, reason)` writes an event for people.
    """

    def __init__(
        self,
        state: Path,
        images: Images,
        fetch: Callable[[Fetch], Awaitable[None]],
        *,
        post: Callable[[Event], None],
        signed_bytes: Callable[[], int],
        note: Callable[[str, str, str], Any],
    ) -> None:
        self._state = state
        self._images = images
        self._fetch = fetch
        self._post = post
        self._signed_bytes = signed_bytes
        self._note = note
        self._may_go: list[str] = []
        self._used_bytes = 0
        self._looked_at_bytes = -1
        self._refused: dict[str, int] = {}  # image -> how much room it would take
        self._removing: set[str] = set()
        self._one_by_one = asyncio.Lock()

    def allowed_bytes(self) -> int:
        return self._signed_bytes() or int(shutil.disk_usage(self._state).total * SHARE)

    def spare_bytes(self) -> int:
        """How much more images may take: of their budget, and of what the disk has left. Below zero: too much is used."""
        disk = shutil.disk_usage(self._state)
        return min(self.allowed_bytes() - self._used_bytes, disk.free - int(disk.total * LEFT_FREE))

    def figures(self) -> dict[str, int]:
        """For `status` and `doctor`."""
        return {
            "held": len(self._images.held()),
            "used_bytes": self._used_bytes,
            "budget_bytes": self.allowed_bytes(),
        }

    def may_go(self, effect: MayGo) -> None:
        self._may_go = list(effect.images)

    async def fetch(self, effect: Fetch) -> None:
        """Answers with ImageReady or ImageFailed; room is made for it if need be."""
        await self._removed(effect.image)
        while True:
            try:
                await self._fetch(effect)
            except ImageTooLarge as error:
                if await self._make_room(error.lacking_bytes):
                    continue
                self._refused[effect.image] = self.spare_bytes() + error.lacking_bytes
                self._post(ImageFailed(effect.image, str(error), passing=False, too_large=True))
            else:
                self._refused.pop(effect.image, None)
            await self.keep()
            return

    async def missing(self, image: str) -> list[str]:
        """What a client still has to hand over of it. Raises ImageTooLarge once no room can be made."""
        await self._removed(image)
        while True:
            try:
                return await asyncio.to_thread(self._images.missing, image)
            except ImageTooLarge as error:
                if not await self._make_room(error.lacking_bytes):
                    raise

    async def forget(self, effect: Forget) -> None:
        """The image's tree goes, and with it the objects that only it had."""
        self._removing.add(effect.image)
        async with self._one_by_one:
            await self._remove(effect.image)
        await self.keep()

    async def keep(self) -> None:
        """Look how much is used now, and go below the budget if it is too much."""
        await self._make_room(0)

    def look(self) -> bool:
        """To be called each second. Whether an operator has changed the budget: then `keep` is due."""
        self._tell_room()  # somebody may have made room on the disk
        before, self._looked_at_bytes = self._looked_at_bytes, self.allowed_bytes()
        return before != self._looked_at_bytes

    async def _make_room(self, lacking_bytes: int) -> bool:
        """Remove what may go until there is so much more room than now. False: it can't be had."""
        async with self._one_by_one:
            await self._measure()
            goal_bytes = self.spare_bytes() + lacking_bytes if lacking_bytes else 0
            while self.spare_bytes() < goal_bytes and self._may_go:
                image, *self._may_go = self._may_go
                self._removing.add(image)
                lacking_mb = (goal_bytes - self.spare_bytes()) / 1e6
                self._note(
                    "image", image[:19], f"removed: not in use, and {lacking_mb:.1f} MB more are needed for others"
                )
                self._post(ImageGone(image))  # first: core must not count on it any more
                await self._remove(image)
                await self._measure()
            self._tell_room()
            return self.spare_bytes() >= goal_bytes

    async def _removed(self, image: str) -> None:
        """Wait until an image that is just being removed is gone: half of it would be taken for the whole."""
        if image in self._removing:
            async with self._one_by_one:
                pass

    async def _remove(self, image: str) -> None:
        try:
            await asyncio.to_thread(self._take_away, image)
        finally:
            self._removing.discard(image)

    def _take_away(self, image: str) -> None:
        try:
            objects = self._images.objects(image)
        except SkerryError:  # its documents are damaged or gone: what was its own is old some day
            objects = []
        self._images.forget(image)
        self._images.collect(came_before_s=time.time() - SPARED_S, gone=objects)

    async def _measure(self) -> None:
        self._used_bytes = await asyncio.to_thread(self._images.used_bytes)

    def _tell_room(self) -> None:
        """What was too large may fit now."""
        if not self._refused:
            return
        spare_bytes = self.spare_bytes()
        if any(needed_bytes <= spare_bytes for needed_bytes in self._refused.values()):
            self._refused.clear()
            self._post(ImageRoom())
