"""Getting images whole: by a bundle from the version before, where there is one; what is missing then in portions from several hosts.

Trust lies in the digest alone: whoever sends the bytes, they are hashed before they are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from skerry.agent.images.bundles import Bundles, NotFromHere
from skerry.agent.images.gathering import Gathering
from skerry.agent.images.stock import Stocks
from skerry.agent.images.vetting import Vetting
from skerry.core.effects import Fetch
from skerry.core.events import Event, ImageFailed
from skerry.errors import SkerryError, Unreachable
from skerry.image.contract import ImageIncomplete, ImageTooLarge
from skerry.image.trees import Images
from skerry.mesh.links import Mesh
from skerry.store.disk import full_disk_told

BUNDLE_HOSTS = 3  # that are asked for a bundle before portions are fetched
MENDED = 3  # times that an image is completed anew because objects of it turned out to be damaged


class Fetcher:
    """`directory`: where the trees are made, for what is told when its disk is full. `bases(image)`: versions of it that are
    here, the likeliest first. `tell(error, host)`: what a host did wrong, for people.
    """

    def __init__(
        self,
        me: str,
        images: Images,
        directory: Path,
        stocks: Stocks,
        bundles: Bundles,
        mesh: Mesh,
        vetting: Vetting,
        post: Callable[[Event], None],
        bases: Callable[[str], list[str]],
        tell: Callable[[SkerryError, str], None],
    ) -> None:
        self._me = me
        self._images = images
        self._directory = directory
        self._stocks = stocks
        self._bundles = bundles
        self._mesh = mesh
        self._vetting = vetting
        self._post = post
        self._bases = bases
        self._tell = tell
        self._one_by_one: dict[str, asyncio.Lock] = {}
        self._gatherings: dict[str, Gathering] = {}

    async def fetch(self, effect: Fetch) -> None:
        """Answers with ImageReady, or with ImageFailed once every source was tried. Raises ImageTooLarge."""
        async with self._one_by_one.setdefault(effect.image, asyncio.Lock()):
            try:
                await self._complete(effect.image, effect.sources)
            except ImageTooLarge:  # from nobody would it be smaller: agent/images/budget.py makes room, or says so
                raise
            except (SkerryError, OSError) as error:
                self._post(ImageFailed(effect.image, str(error), True))

    def met(self, image: str, peer: str) -> None:
        """This host asked us about the image: it may have some of it."""
        if image in self._gatherings:
            self._gatherings[image].meet([peer])

    async def _complete(self, image: str, sources: Sequence[str]) -> None:
        for left in reversed(range(MENDED)):
            if await asyncio.to_thread(self._images.missing, image):  # else an operator has handed it over here
                await self._bundle(image, sources)
            if await asyncio.to_thread(self._images.missing, image):
                await self._gather(image, sources)
            try:
                await self.make(image)
            except ImageIncomplete:
                if not left:
                    raise
            else:
                return

    async def _bundle(self, image: str, sources: Sequence[str]) -> None:
        """What is new since the version that is here, if some host can tell. Without that all is fetched."""
        if not (bases := self._bases(image)):
            return
        for source in sources[:BUNDLE_HOSTS]:
            try:
                await self._bundles.fetch(source, image, bases)
            except (Unreachable, NotFromHere):
                continue
            except ImageTooLarge:
                raise
            except SkerryError as error:
                self._tell(error, source)
            else:
                return

    async def _gather(self, image: str, sources: Sequence[str]) -> None:
        stock = await self._stocks.begin(image)
        gathering = Gathering(self._me, stock, self._stocks, lambda peer, path: self._mesh.open(peer, path), self._tell)
        self._gatherings[image] = gathering
        try:
            await gathering.run(sources)
        finally:
            del self._gatherings[image]
            self._stocks.end(image)
            needed = {hash for each in self._gatherings.values() for p in each.stock.portions for hash, _ in p.files}
            await asyncio.to_thread(self._stocks.parts.tidy, needed)

    async def make(self, image: str) -> None:
        """Its tree, once all of it is here; then core is told. Raises DiskFull, or why it can't be made."""
        with full_disk_told(self._directory):
            await asyncio.to_thread(self._images.make, image)
            await self._vetting.ready(image)
        self._bases(image)  # takes note of what it is a version of
