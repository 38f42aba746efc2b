"""Handing images to ONE host; the others fetch from there. What it has of the app already, it gets as a bundle, else in packs.

A transfer that was cut goes on where it stopped, with the same host or, if that is gone, with the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from skerry.client.images import LocalImages
from skerry.client.session import Answered, Session, answered
from skerry.errors import Passing, SkerryError, Unreachable
from skerry.image.bundle import NoBundle, make_bundle, version_of
from skerry.image.contract import ImageTooLarge
from skerry.image.manifest import Tree
from skerry.image.oci import hash_of
from skerry.image.packs import PART_BYTES, WHOLE_BYTES, Portion, pack, pack_documents, parts_of, portions_of
from skerry.mesh import carrying as c
from skerry.mesh.messages import Stream
from skerry.sizes import size as in_words
from skerry.store.disk import DiskFull

Progress = Callable[[str], None]
ANSWER_S = 60.0  # the host has to bring to disk what it got
TELL_S = 2.0
TRIES = 3
NO_ROOM = (ImageTooLarge.code, DiskFull.code)  # on that host: the next one may have it
ROUNDS = 6  # documents, files, and some that turned out to be damaged there


class NotTaken(Passing):
    """The host still lacks files of the image after all were sent."""

    code = "image-not-taken"


async def push(
    session: Session,
    digests: Iterable[str],
    images: LocalImages,
    progress: Progress,
    earlier: Mapping[str, Iterable[str]] = {},
    *,
    node: str | None = None,
) -> int:
    """Hand over what is missing; gives the bytes sent. `earlier`: digest -> versions of it that hosts may have. `node`: this host
    and no other, else one that has room.
    """
    sent = 0
    only = node
    full: set[str] = set()  # hosts that have no room for one of them
    for digest in sorted(set(digests)):
        tries = 0
        while True:
            one = _Push(digest, images, progress, [base for base in earlier.get(digest, ()) if base != digest])
            try:
                stream, node = await session.open("/image/put", node)  # all go to the same host
                one.host = node.removeprefix("node/")
                try:
                    await one.run(stream)
                finally:
                    await stream.close()
                break
            except Answered as error:
                full.add(f"node/{one.host}")
                node = next((each for each in sorted(session.nodes) if each not in full), None)
                if error.code not in NO_ROOM or node is None or only:
                    raise
                progress(f"{one.host}: {error}; asking {node.removeprefix('node/')}")
            except Unreachable as error:
                tries += 1
                if tries == TRIES or not one.host:
                    raise
                progress(f"{one.host}: {error}; going on")
                session.turn_away()
                node = only
            finally:
                sent += one.sent_bytes
    return sent


class _Push:
    """One image to one host. `host`: its name, once it answers."""

    def __init__(self, digest: str, images: LocalImages, progress: Progress, earlier: list[str]) -> None:
        self.host = ""
        self.sent_bytes = 0
        self._digest = digest
        self._objects = images.objects
        self._progress = progress
        self._earlier = earlier[: c.BASES]
        self._told_s = time.monotonic()

    async def run(self, stream: Stream) -> None:
        """Until the host has it all. Raises NotTaken, Unreachable."""
        bases = [base for base in self._earlier if self._objects.has(hash_of(base))]
        hand = c.Hand(bytes.fromhex(hash_of(self._digest)), tuple(bytes.fromhex(hash_of(base)) for base in bases))
        await c.send(stream, hand)
        here = await self._here(stream)
        if here.lacks and here.base:
            bundle = await asyncio.to_thread(self._bundle, f"sha256:{here.base.hex()}")
            if bundle is not None:
                here = await self._ask(stream, c.Bundle(hand.image, here.base, bundle))
        for _ in range(ROUNDS):
            if not here.lacks:
                self._tell_end()
                return
            await self._send_lacking(stream, {lack.hash.hex(): lack.begun for lack in here.lacks})
            here = await self._ask(stream, c.Done())
        raise NotTaken(
            f"{self.host} did not take image {self._digest[7:19]}",
            f"it lacks {len(here.lacks)} files after all were sent",
            "look at its disk: skerry doctor; another host can take it",
        )

    async def _ask(self, stream: Stream, message: c.AnyMessage) -> c.Here:
        await self._send(stream, message)
        return await self._here(stream)

    async def _here(self, stream: Stream) -> c.Here:
        answer = await c.recv(stream, c.Here, c.Refused, timeout_s=ANSWER_S)
        if isinstance(answer, c.Refused):
            raise answered(answer.error)
        assert isinstance(answer, c.Here)
        return answer

    async def _send(self, stream: Stream, message: c.AnyMessage) -> None:
        size = await c.send(stream, message)
        self.sent_bytes += size

    def _bundle(self, base: str) -> bytes | None:
        read = self._objects.read
        try:
            return make_bundle(version_of(base, read), version_of(self._digest, read), read)
        except (NoBundle, SkerryError, OSError):  # the old version may not be whole here any more
            return None

    async def _send_lacking(self, stream: Stream, lacks: dict[str, bytes]) -> None:
        version = await asyncio.to_thread(version_of, self._digest, self._objects.read)
        documents = {hash_of(self._digest), version.refs.config, version.refs.tree}
        if any(hash in lacks for hash in documents):
            frame = await asyncio.to_thread(pack_documents, version.manifest, version.config, version.tree.encode())
            await self._send(stream, c.Portion(c.DOCUMENTS, frame))
            return
        portions = list(_portions(version.tree, lacks))
        total = sum(portion.size_bytes for portion in portions)
        done = 0
        for portion in portions:
            files = tuple(c.File(bytes.fromhex(hash), size) for hash, size in portion.files)
            frame = await asyncio.to_thread(self._frame, portion)
            await self._send(stream, c.Packed(files, portion.at, frame))
            done += portion.size_bytes
            self._tell(done, total)

    def _frame(self, portion: Portion) -> bytes:
        if not portion.is_part:
            return pack(self._objects.read(hash) for hash, _ in portion.files)
        with self._objects.path(portion.files[0][0]).open("rb") as file:
            file.seek(portion.at)
            return pack([file.read(portion.length)])

    def _tell(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_S and done < total:
            self._told_s = now_s
            self._progress(f"{self._digest[7:19]}: {in_words(done)} of {in_words(total)} handed to {self.host}")

    def _tell_end(self) -> None:
        if self.sent_bytes > 1000:
            self._progress(f"{self._digest[7:19]}: {in_words(self.sent_bytes)} handed to {self.host}")
        elif self.sent_bytes > 100:
            self._progress(f"{self._digest[7:19]}: the edit, {in_words(self.sent_bytes)}, handed to {self.host}")


def _portions(tree: Tree, lacks: Mapping[str, bytes]) -> Iterator[Portion]:
    """What to send of these files: packs of small ones, of large ones the parts that aren't there yet."""
    sizes = {entry.sha256: entry.size for entry in tree.files() if entry.sha256 in lacks}
    yield from portions_of((hash, size) for hash, size in sizes.items() if size <= WHOLE_BYTES)
    for hash, size in sizes.items():
        if size > WHOLE_BYTES:
            begun = c.numbers(lacks[hash], len(parts := parts_of(hash, size)))
            # All of them there, and the file isn't: the host found it wrong.
            yield from (part for part in parts if len(begun) == len(parts) or part.at // PART_BYTES not in begun)
