"""Getting images whole: what is missing is asked of one holder after the other; what is wrong is asked of the next.

Trust lies in the digest alone: whoever sends the bytes, they are hashed before they are kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from skerry.agent.vetting import Vetting
from skerry.core.effects import Fetch, Forget
from skerry.core.events import Event, ImageFailed
from skerry.errors import SkerryError
from skerry.image.trees import Images
from skerry.mesh.links import Mesh
from skerry.mesh.streams import fetch_objects
from skerry.store.disk import full_disk_told
from skerry.store.objects import ObjectStore

log = logging.getLogger(__name__)
SPARED_S = 3600.0  # an object that came since may belong to an image that is still being handed over


class Fetcher:
    """`directory`: where the trees are made, for what is told when its disk is full."""

    def __init__(
        self,
        images: Images,
        directory: Path,
        objects: ObjectStore,
        mesh: Mesh,
        vetting: Vetting,
        post: Callable[[Event], None],
    ) -> None:
        self._images = images
        self._directory = directory
        self._objects = objects
        self._mesh = mesh
        self._vetting = vetting
        self._post = post
        self._one_by_one: dict[str, asyncio.Lock] = {}

    async def fetch(self, effect: Fetch) -> None:
        """Answers with ImageReady, or with ImageFailed once every source was tried."""
        async with self._one_by_one.setdefault(effect.image, asyncio.Lock()):
            whys = []
            for source in ("", *effect.sources):  # "": perhaps an operator has pushed it here already
                try:
                    await self._complete_from(source, effect.image)
                    await self.make(effect.image)
                except (SkerryError, OSError) as error:
                    whys.append(f"{source or 'here'}: {error}")
                else:
                    return
            self._post(ImageFailed(effect.image, "; ".join(whys) or "nobody is known to have it", True))

    async def make(self, image: str) -> None:
        """Its tree, once all of it is here; then core is told. Raises DiskFull, or why it can't be made."""
        with full_disk_told(self._directory):
            await asyncio.to_thread(self._images.make, image)
            await self._vetting.ready(image)

    async def forget(self, effect: Forget) -> None:
        """The image's tree goes, and with it the objects that only it had."""
        await asyncio.to_thread(self._images.forget, effect.image)
        await asyncio.to_thread(self._images.collect, came_before_s=time.time() - SPARED_S)

    async def _complete_from(self, source: str, image: str) -> None:
        if not source:
            return
        stream = None
        try:
            while missing := self._images.missing(image):
                if stream is None:
                    stream = await self._mesh.open(source, "/objects")
                await fetch_objects(stream, missing, self._objects)
        finally:
            if stream is not None:
                await stream.close()
