"""Handing out images to other hosts, a portion at a time, so that all of them together cost us about one image.

Who asks names portions that it would take; we choose the one that we gave to the fewest. A host that had the image before the
others asked gives each portion once: the next that asks for it is sent to those who got it, unless it says that they don't
give it. A few at a time leave here, the others wait their turn; who finds the queue long is sent elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from skerry.agent.images.bundles import Bundles
from skerry.agent.images.stock import Stock, Stocks
from skerry.errors import BadFormat, Unreachable
from skerry.mesh import carrying as c
from skerry.mesh.messages import Stream, who_has

LEAVING = 2  # portions that are being sent at a time: the fewer, the sooner each can be passed on
QUEUE = 6  # portions promised and not sent: who would wait long finds another meanwhile
EACH = 4  # of these to one host
COPIES, DOCUMENT_COPIES = 1, 4  # that we give before we send others to those who got one
TOLD = 8  # hosts that are named to one that asks
ASKED_S = 60.0  # a host that asked is named to others for so long
IDLE_S = 60.0
PATIENT_S = 10.0  # one that has not arrived by then no longer keeps others waiting
SOON_S = 3.0
SEND_S, SEND_BYTES_S = 30.0, 16 << 10  # a portion may take so long: this, and a second for so many bytes
COMPLAINTS = 16
QUESTION_BYTES = 1 << 20


class Giving:
    """`met(image, who)`: a host asked about an image; it may have some of it soon."""

    def __init__(self, stocks: Stocks, bundles: Bundles, met: Callable[[str, str], None]) -> None:
        self._stocks = stocks
        self._bundles = bundles
        self._met = met
        self._leaving = asyncio.Semaphore(LEAVING)
        self._promised = 0

    async def serve(self, stream: Stream, who: str) -> None:
        """One stream of `/image`, until the other end closes it."""
        about = await c.recv(stream, c.About, timeout_s=IDLE_S, most_bytes=QUESTION_BYTES)
        image = f"sha256:{about.image.hex()}"
        stock = await self._stocks.of(image)
        if stock is None:
            await c.send(stream, c.Has(False, b""))
            return
        asker = _Asker(self, stream, who, stock)
        stock.watchers.add(asker.tell)
        tasks: list[asyncio.Future[None]] = []
        try:
            await asker.say(c.Has(stock.documents, c.bits(stock.have, len(stock.portions))))
            await asker.say(c.Others(self.others(stock, who)))
            stock.askers[who] = time.monotonic()
            self._met(image, who)
            works = (asker.send_promised(), asker.tell_news(), asker.say_soon(), self._listen(asker))
            tasks += map(asyncio.ensure_future, works)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            stock.watchers.discard(asker.tell)
            for each in tasks:
                each.cancel()
            for number in list(asker.promised):
                stock.given.get(number, {}).pop(who, None)
                self.kept(asker, number)

    def kept(self, asker: _Asker, number: int) -> None:
        """A promise is kept, or void."""
        del asker.promised[number]
        self._promised -= 1

    async def _listen(self, asker: _Asker) -> None:
        complaints = 0
        while True:
            match await c.recv(
                asker.stream, c.Ask, c.Took, c.Wrong, c.WantBundle, timeout_s=IDLE_S, most_bytes=QUESTION_BYTES
            ):
                case c.Ask(wishes, urgent):
                    await self._answer(asker, wishes, urgent)
                case c.Took(number):
                    if number == asker.leaving:
                        asker.took.set()
                case c.WantBundle(bases):
                    await asker.say(await self._bundles.make(asker.stock.image, [f"sha256:{b.hex()}" for b in bases]))
                case c.Wrong(hash) if complaints < COMPLAINTS:
                    complaints += 1
                    if not await asyncio.to_thread(self._stocks.objects.verify, hash.hex()):
                        self._stocks.doubt(asker.stock.image)

    async def _answer(self, asker: _Asker, wishes: tuple[c.Wish, ...], urgent: bool) -> None:
        if len(asker.promised) >= EACH:
            raise BadFormat(f"a question of {asker.who} was not answered", "it asks for too much at a time")
        wish = self._choose(asker, wishes, urgent)
        if wish is None:
            await asker.say(c.Elsewhere(self._holders(asker, wishes)))
            return
        asker.stock.give(wish.number, asker.who, sent=False)
        asker.promised[wish.number] = wish
        self._promised += 1
        await asker.say(c.Will(wish.number))
        asker.wake.set()

    def _choose(self, asker: _Asker, wishes: tuple[c.Wish, ...], urgent: bool) -> c.Wish | None:
        stock = asker.stock
        here = [wish for wish in wishes if stock.holds(wish.number) and wish.number not in asker.promised]
        if not here or (self._promised >= QUEUE and not urgent):
            return None
        best = min(here, key=lambda wish: len(stock.given_to(wish.number, asker.who, urgent=urgent)))
        copies = DOCUMENT_COPIES if best.number == c.DOCUMENTS else COPIES
        if len(stock.given_to(best.number, asker.who, urgent=urgent)) >= copies and not stock.bred:
            return None
        return best

    def _holders(self, asker: _Asker, wishes: tuple[c.Wish, ...]) -> tuple[str, ...]:
        """Those who got some of these portions from here."""
        given: dict[str, None] = {}
        for wish in wishes:
            given |= dict.fromkeys(asker.stock.given_to(wish.number, asker.who, urgent=False))
        return tuple(random.sample(list(given), min(TOLD, len(given)))) or self.others(asker.stock, asker.who)

    def others(self, stock: Stock, who: str) -> tuple[str, ...]:
        """Some of those who asked lately: other ones each time."""
        since = time.monotonic() - ASKED_S
        known = [node for node, at_s in stock.askers.items() if node != who and at_s > since]
        return tuple(random.sample(known, min(TOLD, len(known))))

    async def give(self, asker: _Asker, wish: c.Wish) -> None:
        """Until it has arrived; but one that takes long doesn't keep the others waiting."""
        await self._leaving.acquire()
        patience = asyncio.get_running_loop().call_later(PATIENT_S, self._leaving.release)
        try:
            frame = await self._frame(asker, wish)
            async with asyncio.timeout(SEND_S + len(frame) / SEND_BYTES_S):
                asker.leaving = wish.number
                asker.took.clear()
                sent_bytes = await asker.say(c.Portion(wish.number, frame))
                asker.stock.sent_bytes += sent_bytes
                await asker.took.wait()
                asker.leaving = None
            asker.stock.give(wish.number, asker.who, sent=True)
        except TimeoutError:
            asker.stream.transport.abort()
            raise Unreachable(f"{asker.who} was given up", "it takes what it asked for too slowly") from None
        finally:
            if not patience.cancelled() and patience.when() > asyncio.get_running_loop().time():
                patience.cancel()
                self._leaving.release()

    async def _frame(self, asker: _Asker, wish: c.Wish) -> bytes:
        files = None
        if wish.files and wish.number != c.DOCUMENTS:
            files = c.numbers(wish.files, len(asker.stock.portions[wish.number].files))
        try:
            return await asyncio.to_thread(self._stocks.read, asker.stock, wish.number, files)
        except FileNotFoundError:
            self._stocks.doubt(asker.stock.image)
            raise BadFormat("a portion could not be given", "a file of it is gone from this disk") from None


class _Asker:
    """One host that asks about one image. `promised`: what it will get, in order."""

    def __init__(self, giving: Giving, stream: Stream, who: str, stock: Stock) -> None:
        self.stream, self.stock = stream, stock
        self.who = who or who_has(stream)
        self.promised: dict[int, c.Wish] = {}
        self.wake = asyncio.Event()
        self.leaving: int | None = None
        self.took = asyncio.Event()
        self._giving = giving
        self._speaking = asyncio.Lock()  # a message is several frames
        self._heard = asyncio.Event()
        self._news: list[int] = []

    async def say(self, message: c.AnyMessage) -> int:
        async with self._speaking:
            return await c.send(self.stream, message)

    def tell(self, number: int) -> None:
        """A portion came here just now."""
        self._news.append(number)
        self._heard.set()

    async def tell_news(self) -> None:
        """For ever."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            news, self._news = self._news, []
            if c.DOCUMENTS in news or len(news) > len(self.stock.portions) // 8 + 1:
                await self.say(c.Has(self.stock.documents, c.bits(self.stock.have, len(self.stock.portions))))
            else:
                for number in news:
                    await self.say(c.Got(number))

    async def send_promised(self) -> None:
        """For ever."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.promised:
                number, wish = next(iter(self.promised.items()))
                await self._giving.give(self, wish)
                self._giving.kept(self, number)

    async def say_soon(self) -> None:
        """For ever: who waits for its turn hears that it does."""
        while True:
            await asyncio.sleep(SOON_S)
            if self.promised and not self._speaking.locked():
                async with self._speaking:  # what was promised is looked at in here: it may just have been sent
                    if (first := next(iter(self.promised), None)) not in (None, self.leaving):
                        await c.send(self.stream, c.Will(first))
