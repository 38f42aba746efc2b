"""Getting images whole: what is missing is asked of one holder after the other; what is wrong is asked of the next.

Trust lies in the digest alone: whoever sends the bytes, they are hashed before they are kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from skerry.core.effects import Fetch
from skerry.core.events import Event, ImageFailed, ImageReady
from skerry.errors import SkerryError
from skerry.image.contract import ImageTooLarge
from skerry.image.trees import Images
from skerry.mesh.links import Mesh
from skerry.mesh.streams import fetch_objects
from skerry.store.disk import full_disk_told
from skerry.store.objects import ObjectStore

log = logging.getLogger(__name__)


class Fetcher:
    """`directory`: where the trees are made, for what is told when its disk is full."""

    def __init__(
        self, images: Images, directory: Path, objects: ObjectStore, mesh: Mesh, post: Callable[[Event], None]
    ) -> None:
        self._images = images
        self._directory = directory
        self._objects = objects
        self._mesh = mesh
        self._post = post
        self._one_by_one: dict[str, asyncio.Lock] = {}

    async def fetch(self, effect: Fetch) -> None:
        """Answers with ImageReady, or with ImageFailed once every source was tried. Raises ImageTooLarge."""
        async with self._one_by_one.setdefault(effect.image, asyncio.Lock()):
            whys = []
            for source in ("", *effect.sources):  # "": perhaps an operator has pushed it here already
                try:
                    await self._complete_from(source, effect.image)
                    await self.make(effect.image)
                except ImageTooLarge:  # from nobody would it be smaller: agent/budget.py makes room, or says so
                    raise
                except (SkerryError, OSError) as error:
                    whys.append(f"{source or 'here'}: {error}")
                else:
                    self._post(ImageReady(effect.image))
                    return
            self._post(ImageFailed(effect.image, "; ".join(whys) or "nobody is known to have it", True))

    async def make(self, image: str) -> None:
        """Its tree, once all of it is here. Raises DiskFull, or why it can't be made."""
        with full_disk_told(self._directory):
            await asyncio.to_thread(self._images.make, image)

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
