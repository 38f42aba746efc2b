"""What of an image is here: in portions that all hosts number alike, so that one that is still fetching serves what it has."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
import zstandard

from skerry.agent.parts import FileParts
from skerry.errors import SkerryError
from skerry.image.contract import BadImage
from skerry.image.manifest import MAX_MANIFEST_BYTES, parse_tree
from skerry.image.oci import MAX_JSON_BYTES, hash_of, parse_config, parse_manifest
from skerry.image.packs import PART_BYTES, BadPack, Portion, pack, portions_of
from skerry.image.trees import Images
from skerry.mesh.carrying import DOCUMENTS
from skerry.store.objects import ObjectStore

STOCKS = 16  # looked at lately
GIVEN_S = 60.0  # for so long whoever got a portion is trusted to pass it on
DOCUMENTS_BYTES = MAX_MANIFEST_BYTES + 2 * MAX_JSON_BYTES + 64


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
        self.given: dict[int, dict[str, float]] = {}
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

    def give(self, number: int, who: str) -> None:
        self.given.setdefault(number, {})[who] = time.monotonic()

    def given_to(self, number: int, who: str) -> list[str]:
        """Others that got this portion from here lately."""
        since = time.monotonic() - GIVEN_S
        return [other for other, at_s in self.given.get(number, {}).items() if other != who and at_s > since]


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
        stock = self._stocks.pop(image, None) or Stock(image)  # those who watch it go on watching
        await asyncio.to_thread(self._read, stock)
        self._stocks[image] = stock
        stock.bred = True
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
        except (SkerryError, OSError):
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
            texts = (manifest, self.objects.read(refs.config), self.objects.read(refs.tree))
            return pack([msgspec.msgpack.encode(texts)])
        portion = stock.portions[number]
        if not portion.is_part:
            wanted = [hash for n, (hash, _) in enumerate(portion.files) if files is None or n in files]
            return pack(self._content(hash) for hash in wanted)
        hash = portion.files[0][0]
        path = self.objects.here(hash)
        if path is None:
            return pack([self.parts.read(hash, portion.at)])
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
        """Keep them if they are those that the digest names. Raises BadPack, BadImage. In a thread."""
        try:
            told = zstandard.get_frame_parameters(frame).content_size
            if not 0 < told <= DOCUMENTS_BYTES:
                raise BadPack(f"documents of {told} bytes")
            data = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
            manifest, config, tree = msgspec.msgpack.decode(data, type=tuple[bytes, bytes, bytes])
        except (zstandard.ZstdError, msgspec.DecodeError, ValueError, MemoryError) as error:
            raise BadPack(f"its documents can't be read: {error}") from None
        if hashlib.sha256(manifest).hexdigest() != hash_of(stock.image):
            raise BadPack("its manifest is another image's")
        refs = parse_manifest(manifest)
        if not refs.tree:
            raise BadImage(f"image {stock.image} was refused", "its manifest names no tree: import it first")
        if (hashlib.sha256(config).hexdigest(), hashlib.sha256(tree).hexdigest()) != (refs.config, refs.tree):
            raise BadPack("its config or tree is not what the manifest names")
        parse_config(config)
        parse_tree(tree)
        for text in (config, tree, manifest):
            self.objects.put(text)
        self._read(stock)
