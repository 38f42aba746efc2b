"""Taking an image in from an operator's machine: a bundle, or packs and parts of what is missing; resumed where it stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from skerry.agent.images.bundles import Bundles, NotFromHere
from skerry.agent.images.stock import Stock, Stocks
from skerry.errors import BadFormat, SkerryError, Unreachable
from skerry.image.bundle import BadBundle
from skerry.image.oci import hash_of
from skerry.image.packs import PART_BYTES, WHOLE_BYTES, BadPack, parts_of, unpack
from skerry.image.trees import Images
from skerry.mesh import carrying as c
from skerry.mesh.messages import Stream, who_has

IDLE_S = 60.0
SYNC_BYTES = 16 << 20
PACK_MOST_BYTES = 8 << 20


class Uploads:
    """`missing(image)`: what it lacks here, once there is room for it; `ready(image)`: all of it is here now: make its tree and
    say so."""

    def __init__(
        self,
        images: Images,
        stocks: Stocks,
        bundles: Bundles,
        *,
        missing: Callable[[str], Awaitable[list[str]]],
        ready: Callable[[str], Awaitable[None]],
    ) -> None:
        self._images = images
        self._stocks = stocks
        self._bundles = bundles
        self._missing = missing
        self._ready = ready

    async def take(self, stream: Stream, most_bytes: int) -> None:
        """One stream of `/image/put`, one image. Raises BadFormat, BadPack, DiskFull, ImageTooLarge; what
        came whole is kept."""
        hand = await c.recv(stream, c.Hand, timeout_s=IDLE_S, most_bytes=1 << 16)
        try:
            await self._take(stream, hand, most_bytes)
        except SkerryError as error:  # whoever hands it over learns why, and what to do
            with contextlib.suppress(Unreachable):
                await c.send(stream, c.Refused(error.as_dict() | {"exit_code": error.exit_code}))
            raise

    async def _take(self, stream: Stream, hand: c.Hand, most_bytes: int) -> None:
        image = f"sha256:{hand.image.hex()}"
        intake = _Intake(self._stocks, image, who_has(stream), most_bytes)
        try:
            lacks = await self._lacks(intake)
            held = set(await asyncio.to_thread(self._images.held)) if hand.bases and lacks else ()
            bases = [base for base in hand.bases if f"sha256:{base.hex()}" in held]
            await c.send(stream, c.Here(bases[0] if bases else b"", lacks))
            while lacks:
                match await c.recv(stream, c.Bundle, c.Portion, c.Packed, c.Done, timeout_s=IDLE_S):
                    case c.Bundle() as bundle:
                        lacks = await self._take_bundle(
                            bundle, image, [f"sha256:{base.hex()}" for base in bases], intake
                        )
                        await c.send(stream, c.Here(b"", lacks))
                    case c.Portion(c.DOCUMENTS, frame):
                        await asyncio.to_thread(self._stocks.take_documents, Stock(image), frame)
                    case c.Portion():
                        raise BadFormat(
                            f"a portion of {intake.who} was not taken", "here they are called by their hash"
                        )
                    case c.Packed() as packed:
                        await intake.take(packed)
                    case c.Done():
                        await asyncio.to_thread(self._stocks.objects.sync_all)
                        lacks = await self._lacks(intake)
                        await c.send(stream, c.Here(b"", lacks))
        finally:
            await asyncio.to_thread(self._stocks.objects.sync_all)

    async def _take_bundle(self, bundle: c.Bundle, image: str, bases: list[str], intake: _Intake) -> tuple[c.Lack, ...]:
        with contextlib.suppress(BadBundle, NotFromHere):  # packs do without it
            await self._bundles.take(bundle, image, bases)
        return await self._lacks(intake)

    async def _lacks(self, intake: _Intake) -> tuple[c.Lack, ...]:
        """What is still missing; once it is nothing, the image is ready here."""
        lacks = await asyncio.to_thread(self._lacks_of, intake, await self._missing(intake.image))
        if not lacks and self._images.root(intake.image) is None:
            await self._ready(intake.image)
        return lacks

    def _lacks_of(self, intake: _Intake, missing: list[str]) -> tuple[c.Lack, ...]:
        intake.sizes = {}
        if missing and self._stocks.objects.has(hash_of(intake.image)):
            try:
                files = self._images.tree(intake.image).files()
            except SkerryError:  # it is the tree that is missing
                files = iter(())
            intake.sizes = {entry.sha256: entry.size for entry in files}
        intake.lacking = set(missing)
        lacks = []
        for hash in missing[: c.PORTIONS]:
            size = intake.sizes.get(hash, 0)
            begun = self._stocks.parts.here(hash, size) if size > WHOLE_BYTES else set()
            lacks.append(c.Lack(bytes.fromhex(hash), c.bits(begun, len(parts_of(hash, size))) if begun else b""))
        return tuple(lacks)


class _Intake:
    """What may come now: `lacking` hashes; `sizes` of those of which they are known."""

    def __init__(self, stocks: Stocks, image: str, who: str, most_bytes: int) -> None:
        self.image = image
        self.lacking: set[str] = set()
        self.sizes: dict[str, int] = {}
        self._stocks = stocks
        self.who = who
        self._left_bytes = most_bytes
        self._unsynced_bytes = 0

    async def take(self, packed: c.Packed) -> None:
        files = [(file.hash.hex(), file.size) for file in packed.files]
        part = packed.at >= 0
        for hash, size in files:
            if hash not in self.lacking or size != self.sizes.get(hash):
                raise BadFormat(f"a file of {self.who} was not taken", "it was not to be sent, or has another size")
        size = PART_BYTES if part else sum(size for _, size in files)
        if size > PACK_MOST_BYTES or (part and (len(files) > 1 or packed.at % PART_BYTES or packed.at >= files[0][1])):
            raise BadFormat(f"a pack of {self.who} was not taken", "it is too large, or no part of its file")
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise BadFormat(f"a pack of {self.who} was not taken", "there is no room for more")
        await asyncio.to_thread(self._take_part if part else self._take_pack, files, packed)
        self._unsynced_bytes += size
        if self._unsynced_bytes > SYNC_BYTES:
            self._unsynced_bytes = 0
            await asyncio.to_thread(self._stocks.objects.sync_all)

    def _take_pack(self, files: list[tuple[str, int]], packed: c.Packed) -> None:
        for (hash, size), content in zip(files, unpack(packed.frame, [size for _, size in files]), strict=True):
            writer = self._stocks.objects.writer(hash, sync=False, most_bytes=size)
            writer.write(content)
            if not writer.finish():
                raise BadPack(f"file {hash[:12]} of it has another hash")

    def _take_part(self, files: list[tuple[str, int]], packed: c.Packed) -> None:
        ((hash, size),) = files
        (data,) = unpack(packed.frame, [min(PART_BYTES, size - packed.at)])
        self._stocks.parts.put(hash, packed.at, data)
        if len(self._stocks.parts.here(hash, size)) < len(parts_of(hash, size)):
            return
        if not self._stocks.parts.join(hash, size, self._stocks.objects):
            raise BadPack(f"the parts of file {hash[:12]} are not that file")
