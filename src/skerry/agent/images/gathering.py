"""One image on its way in, from several hosts at once: every portion asked of a host that has it, the rare ones first.

Who has the image, or is fetching it as we are, tells what it has, and of whom else it knows. Nothing that comes is believed: files are
hashed as they come; a large file that turns out wrong is fetched anew from one host alone, and then it shows whose part was
false. A host that is slow, silent or false is left; what was asked of it is asked of the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from heapq import nsmallest
from typing import Any

from skerry.agent.images.stock import Stock, Stocks
from skerry.errors import BadFormat, Passing, SkerryError, TrustRefusal, Unreachable
from skerry.image.contract import ImageTooLarge
from skerry.image.oci import hash_of
from skerry.image.packs import PART_BYTES, BadPack, Portion, unpack
from skerry.mesh import carrying as c
from skerry.mesh.connections import Outgoing
from skerry.mesh.messages import MESSAGE_BYTES
from skerry.store.disk import DiskFull

PARTNERS = 8  # hosts that are asked at once
KNOWN = 64
TRIES = 8  # of one host: it may get some of it only later
ASKED, FEW = (
    2,
    3,
)  # portions asked of one host at a time, so that its line never idles; of more hosts than so many, one each
OFFERED = 16  # portions among which it may choose
OFFER_S = 1.0  # after so long without its choice they are offered to others
AWAY_S, AWAY_MOST_S = 0.1, 0.5  # pause with a host that sent us elsewhere
SLOW_S = 3.0  # what was asked so long ago may be asked of another, too, if there is nothing else to ask for
STUCK_S, STARVED_S = 2.0, 15.0  # without anything coming, when all that are asked have all; else
SILENT_S = 10.0  # of a host that owes us something
LEAST_BYTES, LEAST_S = 32 << 10, 20.0  # in so long
IDLE_S = 0.5  # a host that has had nothing for us for so long makes room for another
HOPELESS_S = 120.0  # without anything coming
LOOK_S = 0.1
SYNC_BYTES = 16 << 20
PORTION_BYTES = 8 << 20  # a file of 4 MiB that doesn't pack, and some more


class NotWhole(Passing):
    """Hosts were asked, and the image is still not here. What came is kept."""

    code = "image-not-whole"


class FalseFile(TrustRefusal):
    """A host sent bytes that are not those of the hash. Nothing of them was kept."""

    code = "false-file"


class Gathering:
    """`open(peer, path)` opens a stream; `tell(error, peer)` says for people what a host did wrong."""

    def __init__(
        self,
        me: str,
        stock: Stock,
        stocks: Stocks,
        open: Callable[[str, str], Awaitable[Outgoing]],
        tell: Callable[[SkerryError, str], None],
    ) -> None:
        self.stock = stock
        self._me = me
        self._stocks = stocks
        self._open = open
        self._tell = tell
        self._known: deque[str] = deque()
        self._tries: dict[str, int] = {}
        self._peers: dict[str, _Peer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._offered: dict[int, tuple[str, float]] = {}
        self._whys: dict[str, str] = {}
        self._left: set[str] = set()  # those that did wrong, or were too slow: not asked again
        self._changed = asyncio.Event()
        self._unsynced_bytes = 0
        self._taking: set[int] = set()
        self._usual_s = 0.0  # from the promise of a portion to its arrival, of late
        self._joining = 0  # large files that are being made of their parts
        self._turn = int.from_bytes(hashlib.sha256(f"{me} {stock.image}".encode()).digest()[:4])
        self._givers: dict[str, dict[int, tuple[str, str]]] = {}  # large file -> part -> who gave it, its hash
        self._alone: dict[str, str] = {}  # large file -> the only host that it is asked of
        self._doubted: dict[str, list[tuple[int, str, str]]] = {}  # large file -> parts of the time before
        self._failed: SkerryError | OSError | None = None

    def meet(self, peers: Iterable[str], *, first: bool = False) -> None:
        """Hosts that may have some of it; `first`: that have what we lack, as somebody says."""
        for peer in peers:
            tries = self._tries.setdefault(peer, 0) if len(self._tries) < KNOWN else TRIES
            if peer in self._tasks or peer == self._me or tries >= TRIES or peer in self._left:
                continue
            if first and peer in self._known:
                self._known.remove(peer)
            if first:
                self._known.appendleft(peer)
            elif peer not in self._known:
                self._known.append(peer)
        self._changed.set()

    async def run(self, sources: Iterable[str]) -> None:
        """Until all of it is here. Raises NotWhole when no host is left to ask, DiskFull, BadImage."""
        self.meet(sources)
        self._came_s = self._now()
        try:
            while not self.stock.whole or self._joining:
                if self._failed is not None:
                    raise self._failed
                self._go_to_others()
                if not self._tasks:
                    whys = "; ".join(f"{peer}: {why}" for peer, why in self._whys.items())
                    raise NotWhole(f"image {self.stock.image[:19]} is not whole", whys or "nobody has it")
                if self._now() - self._came_s > HOPELESS_S:
                    raise NotWhole(
                        f"image {self.stock.image[:19]} is not whole", f"nothing came for {HOPELESS_S:.0f} s"
                    )
                for peer in list(self._peers.values()):
                    self._watch(peer)
                    with contextlib.suppress(Unreachable):  # its own task finds that, too
                        await self._ask(peer)
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), LOOK_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await asyncio.to_thread(self._stocks.objects.sync_all)

    def _go_to_others(self) -> None:
        if self._known and len(self._tasks) >= PARTNERS:
            self._let_one_go()
        while self._known and len(self._tasks) < PARTNERS:
            name = self._known.popleft()
            self._tries[name] += 1
            self._tasks[name] = asyncio.create_task(self._with(name))

    def _let_one_go(self) -> None:
        """The one that has had nothing for us the longest: else hosts that all lack the same would ask one another for ever."""
        now_s, lacking = self._now(), set(range(len(self.stock.portions))) - self.stock.have
        for peer in self._peers.values():
            if peer.asked or peer.asking is not None or not self.stock.documents or peer.have & lacking:
                peer.useful_s = now_s
        idle = min(self._peers.values(), key=lambda peer: peer.useful_s, default=None)
        if idle is not None and now_s - idle.useful_s > IDLE_S:
            idle.useful_s = now_s
            idle.let_go = True
            idle.stream.transport.abort()

    async def _with(self, name: str) -> None:
        """One host, from the first word to the last."""
        stream, peer = None, None
        try:
            stream = await self._open(name, "/image")
            peer = _Peer(name, stream, self._now())
            await c.send(stream, c.About(bytes.fromhex(hash_of(self.stock.image))))
            self._peers[name] = peer
            while True:
                message = await c.recv(
                    stream, c.Has, c.Got, c.Others, c.Will, c.Elsewhere, c.Portion, most_bytes=MESSAGE_BYTES
                )
                peer.busy = True  # our own disk may be slow, too
                await self._hear(peer, message)
                peer.busy = False
                self._changed.set()
        except (DiskFull, ImageTooLarge) as error:
            self._failed = error
        except Unreachable as error:
            self._whys[name] = (peer.left if peer is not None else "") or error.why or str(error)
            if self._tries[name] == 1 and not (peer is not None and peer.let_go):
                self.meet([name])
        except SkerryError as error:
            self._whys[name] = str(error)
            self._left.add(name)
            self._tell(error, name)
        finally:
            if peer is not None and peer.left:
                self._left.add(name)
            self._peers.pop(name, None)
            self._tasks.pop(name, None)
            self._changed.set()
            if stream is not None:
                stream.transport.abort()

    async def _hear(self, peer: _Peer, message: Any) -> None:
        peer.heard_s = self._now()
        match message:
            case c.Has(documents, have):
                peer.documents = documents
                peer.bits = have
                self._number(peer)
            case c.Got(number):
                peer.have.add(number)
            case c.Others(nodes):
                self.meet(nodes)
            case c.Will(number) if number in peer.asked:  # it waits for its turn there
                peer.slow_since_s, peer.slow_bytes = self._now(), peer.stream.heard_bytes
            case c.Will(number) if peer.asking is not None and number in peer.asking:
                peer.asked[number] = (self._now(), peer.asking[number])
                self._unask(peer)
                peer.away_s = AWAY_S
            case c.Elsewhere(nodes) if peer.asking is not None:
                self._unask(peer)
                peer.again_s = self._now() + peer.away_s
                peer.away_s = min(2 * peer.away_s, AWAY_MOST_S)
                self.meet(nodes, first=True)
            case c.Portion(number, frame) if number in peer.asked:
                try:
                    await c.send(peer.stream, c.Took(number))
                    await self._take(peer, number, frame)
                finally:
                    del peer.asked[number]  # not sooner: it would be asked for again
            case _:
                raise BadFormat(f"a message of {peer.name} was not taken", f"a {type(message).__name__} out of turn")

    def _number(self, peer: _Peer) -> None:
        if self.stock.documents:
            peer.have |= c.numbers(peer.bits, len(self.stock.portions))

    def _unask(self, peer: _Peer) -> None:
        for number in peer.asking or ():
            if self._offered.get(number, ("", 0.0))[0] == peer.name:
                del self._offered[number]
        peer.asking = None

    # -- asking

    async def _ask(self, peer: _Peer) -> None:
        """One more portion, if this host has any that we lack and that isn't asked of another."""
        now_s = self._now()
        if (
            peer.asking is not None
            or len(peer.asked) >= (ASKED if len(self._peers) <= FEW else 1)
            or now_s < peer.again_s
            or peer.left
        ):
            return
        numbers = self._candidates(peer)
        if not numbers:
            return
        wishes: dict[int, tuple[int, ...]] = {}
        for number in numbers:
            lacks = self._lacks(number)
            if lacks is None:
                self.stock.got(number)  # another image brought it
            else:
                wishes[number] = lacks
        if not wishes:
            self._changed.set()
            return
        waited_s = now_s - self._came_s
        flying = any(other.asked for other in self._peers.values())
        alone = not any(
            not self.stock.documents or len(p.have) < len(self.stock.portions) for p in self._peers.values()
        )
        urgent = waited_s > STARVED_S or (waited_s > STUCK_S and not flying and alone)
        peer.asking = wishes
        peer.asked_s = now_s
        self._offered |= dict.fromkeys(wishes, (peer.name, now_s))
        await c.send(peer.stream, c.Ask(tuple(c.Wish(n, self._bits(n, files)) for n, files in wishes.items()), urgent))

    def _candidates(self, peer: _Peer) -> list[int]:
        if not self.stock.documents:
            # Asked of two at a time: there is nothing else to do, and they are few bytes.
            others = sum(c.DOCUMENTS in other.asked or bool(other.asking) for other in self._peers.values())
            return [c.DOCUMENTS] if peer.documents and others < 2 else []
        now_s, count = self._now(), len(self.stock.portions)
        flying: dict[int, float] = {}
        for other in self._peers.values():
            for number, (at_s, _) in other.asked.items():
                flying[number] = max(at_s, flying.get(number, 0.0))
        lacking = [
            number
            for number in peer.have
            if number < count
            and number not in self.stock.have
            and number not in peer.asked
            and now_s - self._offered.get(number, ("", 0.0))[1] > OFFER_S
            and self._may_give(peer, number)
        ]
        free = [number for number in lacking if number not in flying]
        free = free or [number for number in lacking if now_s - flying[number] > max(SLOW_S, 3 * self._usual_s)]
        free = nsmallest(4 * OFFERED, free, key=lambda number: (number + self._turn) % count)
        holders = {number: sum(number in other.have for other in self._peers.values()) for number in free}
        return sorted(free, key=lambda number: (holders[number], (number + self._turn) % count))[:OFFERED]

    def _may_give(self, peer: _Peer, number: int) -> bool:
        hash = self.stock.portions[number].files[0][0]
        if not self.stock.portions[number].is_part or hash not in self._alone:
            return True
        if self._alone[hash] not in self._peers and all(n in peer.have for n in self._parts_of(hash)):
            self._alone[hash] = peer.name
        return self._alone[hash] == peer.name

    def _lacks(self, number: int) -> tuple[int, ...] | None:
        """Which files of it are missing; None: none."""
        if number == c.DOCUMENTS:
            return ()
        lacks = self._stocks.lacks(self.stock.portions[number])
        return tuple(lacks) if lacks else None

    def _bits(self, number: int, files: tuple[int, ...]) -> bytes:
        if number == c.DOCUMENTS or len(files) == len(self.stock.portions[number].files):
            return b""
        return c.bits(files, len(self.stock.portions[number].files))

    # -- taking

    async def _take(self, peer: _Peer, number: int, frame: bytes) -> None:
        asked_s, files = peer.asked[number]
        if self.stock.holds(number) or number in self._taking:
            return  # another was quicker
        self._taking.add(number)
        try:
            await self._take_in(peer, number, files, frame)
        finally:
            self._taking.discard(number)
        self._came_s = self._now()
        self._usual_s += (self._came_s - asked_s - self._usual_s) / 4
        self._unsynced_bytes += len(frame)
        if self._unsynced_bytes > SYNC_BYTES:
            self._unsynced_bytes = 0
            await asyncio.to_thread(self._stocks.objects.sync_all)

    async def _take_in(self, peer: _Peer, number: int, files: tuple[int, ...], frame: bytes) -> None:
        if number == c.DOCUMENTS:
            await asyncio.to_thread(self._stocks.take_documents, self.stock, frame)
            for other in self._peers.values():
                self._number(other)
            self.stock.got(number)
        elif len(frame) > PORTION_BYTES:
            raise BadPack(f"it has {len(frame)} bytes")
        elif self.stock.portions[number].is_part:
            await self._take_part(peer, number, frame)
        else:
            wrong = await asyncio.to_thread(self._take_pack, self.stock.portions[number], files, frame)
            if wrong:
                await self._refuse(peer, wrong)
            self.stock.got(number)

    def _take_pack(self, portion: Portion, files: tuple[int, ...], frame: bytes) -> str:
        """In a thread. Gives the hash of a file that came wrong, "" if all are right."""
        wanted = [portion.files[n] for n in files]
        for (hash, size), content in zip(wanted, unpack(frame, [size for _, size in wanted]), strict=True):
            writer = self._stocks.objects.writer(hash, sync=False, most_bytes=size)
            writer.write(content)
            if not writer.finish():
                return hash
        return ""

    async def _refuse(self, peer: _Peer, hash: str) -> None:
        with contextlib.suppress(Unreachable):
            await c.send(peer.stream, c.Wrong(bytes.fromhex(hash)))
        raise FalseFile(
            f"file {hash[:12]} from {peer.name} was refused",
            "its bytes have another hash",
            "it is asked of the next host that has it",
        )

    async def _take_part(self, peer: _Peer, number: int, frame: bytes) -> None:
        portion = self.stock.portions[number]
        hash, size = portion.files[0]
        (data,) = unpack(frame, [portion.length])
        await asyncio.to_thread(self._stocks.parts.put, hash, portion.at, data)
        part = portion.at // PART_BYTES
        self._givers.setdefault(hash, {})[part] = (peer.name, hashlib.sha256(data).hexdigest())
        numbers = self._parts_of(hash)
        self.stock.got(number)
        if not all(n in self.stock.have for n in numbers):
            return
        self._joining += 1
        try:
            right = await asyncio.to_thread(self._stocks.parts.join, hash, size, self._stocks.objects)
        except FileNotFoundError:  # another image that has this file, too, found them wrong and threw them away
            self.stock.have -= set(numbers)
            self._givers.pop(hash, None)
            return
        finally:
            self._joining -= 1
        if right:
            await self._judge(hash)
            return
        self.stock.have -= set(numbers)
        givers = self._givers.pop(hash)
        whole = {name for name, _ in givers.values()}
        if len(whole) == 1 and len(givers) == len(numbers):  # nobody else had a hand in it
            self._alone.pop(hash, None)
            liar = self._peers.get(whole.pop())
            if liar is not None:
                await self._leave(liar, hash)
            return
        self._doubted.setdefault(hash, []).extend((part, name, of) for part, (name, of) in givers.items())
        self._alone[hash] = ""

    async def _judge(self, hash: str) -> None:
        """The file is right; whoever gave a part that isn't in it lied, or has a broken disk."""
        right = {part: of for part, (_, of) in self._givers.pop(hash, {}).items()}
        liars = {name for part, name, of in self._doubted.pop(hash, []) if right.get(part, of) != of}
        for name in sorted(liars):
            if (peer := self._peers.get(name)) is not None:
                await self._leave(peer, hash)
            else:
                self._tell(_false(hash, name), name)

    async def _leave(self, peer: _Peer, hash: str) -> None:
        error = _false(hash, peer.name)
        self._tell(error, peer.name)
        self._whys[peer.name] = peer.left = str(error)
        with contextlib.suppress(Unreachable):
            await c.send(peer.stream, c.Wrong(bytes.fromhex(hash)))
        await peer.stream.close()

    def _parts_of(self, hash: str) -> list[int]:
        return [n for n, portion in enumerate(self.stock.portions) if portion.is_part and portion.files[0][0] == hash]

    # -- watching

    def _watch(self, peer: _Peer) -> None:
        """Leave one that owes us something and is silent, or sends next to nothing."""
        now_s = self._now()
        if peer.busy or (not peer.asked and peer.asking is None):  # it waits for us, or owes nothing
            peer.heard_s = now_s
            peer.slow_since_s, peer.slow_bytes = now_s, peer.stream.heard_bytes
            return
        heard_bytes = peer.stream.heard_bytes
        if heard_bytes > peer.heard_bytes:
            peer.heard_bytes, peer.heard_s = heard_bytes, now_s
        if now_s - peer.slow_since_s > LEAST_S:
            if heard_bytes - peer.slow_bytes < LEAST_BYTES:
                peer.left = f"it sent {heard_bytes - peer.slow_bytes} bytes in {LEAST_S:.0f} s"
            peer.slow_since_s, peer.slow_bytes = now_s, heard_bytes
        if now_s - max(peer.heard_s, peer.asked_s) > SILENT_S:
            peer.left = f"it was silent for {SILENT_S:.0f} s"
        if peer.left:
            self._tell(
                Unreachable(f"{peer.name} was left while it gave image {self.stock.image[7:19]}", peer.left), peer.name
            )
            peer.stream.transport.abort()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Peer:
    """A host that we ask. `asking`: portions among which it has not chosen yet; `asked`: what it will send, since when."""

    def __init__(self, name: str, stream: Outgoing, now_s: float) -> None:
        self.name, self.stream = name, stream
        self.documents = False
        self.bits = b""
        self.have: set[int] = set()
        self.asking: dict[int, tuple[int, ...]] | None = None
        self.asked: dict[int, tuple[float, tuple[int, ...]]] = {}
        self.asked_s = self.heard_s = self.slow_since_s = now_s
        self.again_s, self.away_s = 0.0, AWAY_S
        self.heard_bytes = self.slow_bytes = 0
        self.left = ""  # why we leave it
        self.useful_s = now_s
        self.busy = False
        self.let_go = False  # to make room for another


def _false(hash: str, name: str) -> FalseFile:
    return FalseFile(
        f"file {hash[:12]} from {name} was refused",
        "a part of it was false",
        "it was asked of another host; look at that host's disk",
    )
