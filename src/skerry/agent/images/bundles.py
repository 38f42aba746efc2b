"""Bundles between hosts: made once for all who ask, asked for over the link that is there already, taken in if they are true."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from skerry.core import messages as m
from skerry.core.intent import Release
from skerry.errors import Passing, SkerryError, Unreachable
from skerry.image.bundle import BUNDLE_BYTES, BadBundle, make_bundle, open_bundle, version_of
from skerry.image.contract import ImageTooLarge
from skerry.image.oci import hash_of
from skerry.mesh import carrying as c
from skerry.mesh.links import Mesh
from skerry.store.disk import full_disk_told
from skerry.store.objects import ObjectDamaged, ObjectStore
from skerry.trust.accept import Trusted

KEPT, KEPT_BYTES = 8, 2 << 20  # bundles made lately; a larger one is made again
ASKED_EACH = 2  # at once, by one neighbour over its link
LINK_S = 5.0  # for an answer over the link
STREAM_S = 60.0  # for one over a stream: it may have to be made first, and be 24 MiB


class NotFromHere(Passing):
    """That host has no bundle for us."""

    code = "no-bundle-there"


class Versions:
    """Which images are versions of one another: those that releases have named for the same service, of late."""

    def __init__(self, trusted: Trusted) -> None:
        self._trusted = trusted
        self._named: OrderedDict[tuple[str, str], dict[str, None]] = OrderedDict()

    def look(self) -> None:
        """Take note of what is named now; the next release may come without the one before."""
        for document in self._trusted.documents():
            release, older = document.body, self._trusted.named(getattr(document.body, "fallback", "") or "")
            for body in (older.body if older else None, release):
                for service, image in body.images.items() if isinstance(body, Release) else ():
                    named = self._named.setdefault((document.path, service), {})
                    named.pop(image, None)
                    named[image] = None
                    while len(named) > c.BASES:
                        del named[next(iter(named))]

    def here(self, image: str, held: Sequence[str]) -> list[str]:
        """Other versions of it that are held, what was named last first."""
        self.look()
        found: dict[str, None] = {}
        for named in self._named.values():
            if image in named:
                found |= dict.fromkeys(each for each in reversed(named) if each != image and each in held)
        return list(found)[: c.BASES]


class Bundles:
    """`spawn` runs a task beside; links carry the answers that are small enough (`m.BUNDLE_BYTES`)."""

    def __init__(
        self, objects: ObjectStore, mesh: Mesh, spawn: Callable[..., None], spare_bytes: Callable[[], int]
    ) -> None:
        self._objects = objects
        self._spare_bytes = spare_bytes
        self._mesh = mesh
        self._spawn = spawn
        self._made: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._making = asyncio.Lock()
        self._asked: dict[tuple[str, bytes], asyncio.Future[m.Bundle]] = {}
        self._answering: Counter[str] = Counter()

    # -- making

    async def make(self, image: str, bases: Sequence[str]) -> c.Bundle:
        """From the first of these that is here whole; without data if there is none."""
        for base in bases:
            async with self._making:  # one at a time: each may want a hundred MiB for a moment
                data = self._made.get((image, base))
                if data is None:
                    with contextlib.suppress(SkerryError, OSError):
                        data = await asyncio.to_thread(self._make, image, base)
                        if len(data) <= KEPT_BYTES:
                            self._made[image, base] = data
                        while len(self._made) > KEPT:
                            self._made.popitem(last=False)
            if data is not None:
                return c.Bundle(bytes.fromhex(hash_of(image)), bytes.fromhex(hash_of(base)), data)
        return c.Bundle(bytes.fromhex(hash_of(image)), bytes(32), b"")

    def _make(self, image: str, base: str) -> bytes:
        read = self._objects.read
        return make_bundle(version_of(base, read), version_of(image, read), read)

    # -- taking in

    async def take(self, bundle: c.Bundle | m.Bundle, image: str, bases: Sequence[str]) -> int:
        """Keep what it brings; gives its bytes. Raises BadBundle, NotFromHere, DiskFull, ImageTooLarge; nothing is kept then."""
        base = f"sha256:{bundle.base.hex()}"
        if not bundle.data:
            raise NotFromHere("no bundle was had", "that host has none of our versions", "packs are fetched")
        if bundle.image.hex() != hash_of(image) or base not in bases:
            raise BadBundle("it is none that was asked for")
        try:
            await asyncio.to_thread(self._take, bundle.data, base, image)
        except (ObjectDamaged, FileNotFoundError) as error:
            raise NotFromHere("a bundle was not used", f"what it builds upon is not whole here: {error}") from None
        return len(bundle.data)

    def _take(self, data: bytes, base: str, image: str) -> None:
        objects = self._objects
        opened = open_bundle(data, version_of(base, objects.read), image, objects.read)
        staged = {hash: content for hash, content in opened.files.items() if not objects.has(hash)}
        new_bytes = sum(map(len, staged.values())) + sum(patch.size for patch in opened.patches)
        if new_bytes > (spare := self._spare_bytes()):
            raise ImageTooLarge(image, new_bytes, spare)
        with full_disk_told(objects.path(hash_of(image)).parent.parent):
            for patch in opened.patches:  # first, as any of them may turn out to be wrong
                if objects.here(patch.sha256) is None:
                    self._stage(patch.sha256, patch.apply(objects.read(patch.old)))
            for hash, content in staged.items():
                self._stage(hash, content)
            objects.sync_all()

    def _stage(self, hash: str, content: bytes) -> None:
        writer = self._objects.writer(hash, sync=False, most_bytes=len(content))
        writer.write(content)
        if not writer.finish():
            raise BadBundle(f"the file {hash[:12]} has another hash")

    # -- asking

    async def fetch(self, peer: str, image: str, bases: Sequence[str]) -> int:
        """Ask this host; gives the bytes that came. Raises what `take` does, and Unreachable."""
        told = await self._ask_link(peer, image, bases)
        if told is not None and not told.large:
            return await self.take(told, image, bases)
        return await self.take(await self._ask_stream(peer, image, bases), image, bases)

    async def _ask_link(self, peer: str, image: str, bases: Sequence[str]) -> m.Bundle | None:
        """None: there is no link, or no answer over it."""
        hash = bytes.fromhex(hash_of(image))
        ask = m.WantBundle(hash, tuple(bytes.fromhex(hash_of(base)) for base in bases[: m.BASES]))
        answer = self._asked.setdefault((peer, hash), asyncio.get_running_loop().create_future())
        if not self._mesh.send(peer, m.encode(ask)):
            return None
        try:
            async with asyncio.timeout(LINK_S):
                return await asyncio.shield(answer)
        except TimeoutError:
            return None
        finally:
            self._asked.pop((peer, hash), None)

    async def _ask_stream(self, peer: str, image: str, bases: Sequence[str]) -> c.Bundle:
        stream = await self._mesh.open(peer, "/image")
        try:
            await c.send(stream, c.About(bytes.fromhex(hash_of(image))))
            await c.send(stream, c.WantBundle(tuple(bytes.fromhex(hash_of(base)) for base in bases[: c.BASES])))
            async with asyncio.timeout(STREAM_S):
                while True:
                    match await c.recv(stream, c.Has, c.Got, c.Others, c.Bundle, most_bytes=BUNDLE_BYTES + 1024):
                        case c.Bundle() as bundle:
                            return bundle
        except TimeoutError:
            raise Unreachable(f"{peer} was given up", f"no bundle came in {STREAM_S:.0f} s") from None
        finally:
            await stream.close()

    def heard(self, peer: str, message: m.WantBundle | m.Bundle) -> None:
        """What a neighbour says over its link."""
        if isinstance(message, m.Bundle):
            answer = self._asked.get((peer, message.image))
            if answer is not None and not answer.done():
                answer.set_result(message)
        elif self._answering[peer] < ASKED_EACH:
            self._answering[peer] += 1
            self._spawn(self._answer(peer, message))

    async def _answer(self, peer: str, ask: m.WantBundle) -> None:
        try:
            made = await self.make(f"sha256:{ask.image.hex()}", [f"sha256:{base.hex()}" for base in ask.bases])
        finally:
            self._answering[peer] -= 1
        large = len(made.data) > m.BUNDLE_BYTES
        self._mesh.send(peer, m.encode(m.Bundle(ask.image, made.base, b"" if large else made.data, large)))
