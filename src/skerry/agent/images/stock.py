"""What of an image is here: in portions that all hosts number alike, so that one that is still fetching serves what it has."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from skerry.agent.images.parts import FileParts
from skerry.errors import SkerryError
from skerry.image.oci import hash_of, parse_manifest
from skerry.image.packs import PART_BYTES, Portion, pack, pack_documents, portions_of, unpack_documents
from skerry.image.trees import Images
from skerry.mesh.carrying import DOCUMENTS
from skerry.store.objects import ObjectStore

STOCKS = 16  # looked at lately
GIVEN_S = 60.0  # for so long whoever got a portion is trusted to pass it on
PASS_ON_S, PROMISED_S = 10.0, 30.0  # the same towards who gets it from nobody else


class Stock:
    """Of one image. `have`: numbers of the portions that are here; `documents`: they are, so that `portions` is known.

    `bred`: it came from other hosts in this life of the agent. Who had it before is spared: each portion is asked of it once.
    """

    def __init__(self, image: str) -> None:
        self.image = image
        self.documents = False
        self.bred = False
        self.portions: list[Portion] = []
        self.have: set[int] = set()
        self.given: dict[int, dict[str, tuple[float, bool]]] = {}  # when, and whether it was sent
        self.askers: dict[str, float] = {}  # who asked about it, and when
        self.sent_bytes = 0
        self.watchers: set[Callable[[int], None]] = set()

    @property
    def whole(self) -> bool:
        return self.documents and len(self.have) == len(self.portions)

    def holds(self, number: int) -> bool:
        return self.documents if number == DOCUMENTS else number in self.have

    def got(self, number: int) -> None:
        if number != DOCUMENTS:
            self.have.add(number)
        for watcher in tuple(self.watchers):
            watcher(number)

    def give(self, number: int, who: str, *, sent: bool) -> None:
        """It was promised, or now sent."""
        self.given.setdefault(number, {})[who] = (time.monotonic(), sent)

    def given_to(self, number: int, who: str, *, urgent: bool) -> list[str]:
        """Others that got this portion from here lately and may pass it on; `urgent`: if they have not had the time for it yet."""
        now_s = time.monotonic()
        others = []
        for other, (at_s, sent) in self.given.get(number, {}).items():
            limit_s = (PASS_ON_S if sent else PROMISED_S) if urgent else GIVEN_S
            if other != who and now_s - at_s < limit_s:
                others.append(other)
        return others


class Stocks:
    """By digest. Made anew from what is on disk whenever they are not known."""

    def __init__(self, images: Images, objects: ObjectStore, parts: FileParts) -> None:
        self._images = images
        self.objects = objects
        self.parts = parts
        self._stocks: OrderedDict[str, Stock] = OrderedDict()
        self._coming: set[str] = set()

    async def of(self, image: str) -> Stock | None:
        """None: nothing of it is here, nor on its way."""
        stock = self._stocks.get(image)
        if stock is not None:
            self._stocks.move_to_end(image)
            if image in self._coming or (stock.whole and self.objects.has(hash_of(image))):
                return stock
            del self._stocks[image]  # collected meanwhile, or never ended
        return await self._look(image)

    async def begin(self, image: str) -> Stock:
        """It is on its way from now on, until `end`."""
        self._coming.add(image)
        stock = self._stocks.setdefault(image, Stock(image))  # those who watch it go on watching
        stock.bred = True
        await asyncio.to_thread(self._read, stock)
        return stock

    def doubt(self, image: str) -> None:
        """Something of it could not be read: look at the disk anew."""
        self._stocks.pop(image, None)

    def end(self, image: str) -> None:
        self._coming.discard(image)
        stock = self._stocks.get(image)
        if stock is not None and not stock.whole and not stock.watchers:
            del self._stocks[image]

    async def _look(self, image: str) -> Stock | None:
        stock = Stock(image)
        await asyncio.to_thread(self._read, stock)
        if not stock.documents:
            return None
        found = self._stocks.setdefault(image, stock)
        while len(self._stocks) > STOCKS:
            oldest = next((each for each in self._stocks if each not in self._coming and each != image), None)
            if oldest is None:
                break
            del self._stocks[oldest]
        return found

    def _read(self, stock: Stock) -> None:
        """What the disk says. In a thread."""
        try:
            tree = self._images.tree(stock.image)
            self._images.config(stock.image)
        except (SkerryError, OSError):  # nothing of it is here, or no longer: it was collected meanwhile
            stock.portions, stock.have, stock.documents = [], set(), False
            return
        portions = portions_of((entry.sha256, entry.size) for entry in tree.files())
        begun: dict[str, set[int]] = {}
        have = set()
        for number, portion in enumerate(portions):
            hash, size = portion.files[0]
            if all(self.objects.here(file) is not None for file, _ in portion.files):
                have.add(number)
            elif portion.is_part:
                if hash not in begun:
                    begun[hash] = self.parts.here(hash, size)
                if portion.at // PART_BYTES in begun[hash]:
                    have.add(number)
        stock.portions, stock.have, stock.documents = portions, have, True

    # -- handing out

    def read(self, stock: Stock, number: int, files: set[int] | None = None) -> bytes:
        """The frame of a portion; `files`: of a pack only these. Raises FileNotFoundError. In a thread."""
        if number == DOCUMENTS:
            refs = parse_manifest(manifest := self.objects.read(hash_of(stock.image)))
            return pack_documents(manifest, self.objects.read(refs.config), self.objects.read(refs.tree))
        portion = stock.portions[number]
        if not portion.is_part:
            wanted = [hash for n, (hash, _) in enumerate(portion.files) if files is None or n in files]
            return pack(self._content(hash) for hash in wanted)
        hash = portion.files[0][0]
        try:
            part = self.parts.read(hash, portion.at)
        except FileNotFoundError:  # the file has been made of its parts
            path = self.objects.here(hash)
            if path is None:
                raise
        else:
            return pack([part])
        with path.open("rb") as file:
            file.seek(portion.at)
            return pack([file.read(portion.length)])

    def _content(self, hash: str) -> bytes:
        for _ in range(3):  # one that is just being given its name has another the next moment
            path = self.objects.here(hash)
            if path is None:
                break
            try:
                return path.read_bytes()
            except FileNotFoundError:
                continue
        raise FileNotFoundError(hash)

    # -- taking in

    def lacks(self, portion: Portion) -> list[int]:
        """Which of its files are not here, by their place in it."""
        return [n for n, (hash, _) in enumerate(portion.files) if self.objects.here(hash) is None]

    def take_documents(self, stock: Stock, frame: bytes) -> None:
        """Keep them if they are those that the digest names. Raises BadPack, BadImage, ImageTooLarge. In a thread."""
        manifest, config, tree = unpack_documents(frame, stock.image)
        for text in (config, tree, manifest):
            self.objects.put(text)
        self._images.missing(stock.image)  # too large for this host? And: from here on no collection takes its objects
        self._read(stock)
