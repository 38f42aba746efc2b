"""A captured host's agent, rewritten by its thief: `python -m e2e.hostile JSON`, in the network of that host and with its real keys.

All at once, against each honest host, until its time is over: what a key allows, and what needs none. Prints how much it sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import random
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from websockets.exceptions import WebSocketException

from skerry.core import messages as m
from skerry.core.facts import Claim, Decline, Lost, SlotState, Verdict
from skerry.core.intent import App, Service
from skerry.errors import SkerryError
from skerry.mesh import carrying as c
from skerry.mesh.dial import Identity, dial, split_address
from skerry.trust.documents import sign_document, sign_fact
from skerry.trust.identity import Signer, private_pem

GONE = (SkerryError, WebSocketException, OSError, TimeoutError)
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x1b[8m\r\n\u202eevil"
DEEP = b"\x91" * 200_000


class Hostile:
    """`target`: name, address and certificate of the honest host that this one is against."""

    def __init__(self, given: dict[str, Any], target: dict[str, str]) -> None:
        self.signer = Signer(bytes.fromhex(given["seed"]))
        self.identity = Identity(base64.b64decode(given["certificate"]), private_pem(self.signer.seed))
        self.cloud, self.node, self.slots, self.digest = given["cloud"], given["node"], given["slots"], given["image"]
        self.name, self.address = target["name"], target["address"]
        self.pinned = base64.b64decode(target["certificate"])
        self.host, self.port = split_address(self.address)
        self.until_s = time.monotonic() + given["seconds"]
        self.sent: Counter[str] = Counter()
        self.n = int(time.time() * 1000) % 1_000_000_000

    def fact(self, kind: str, key: str, body: Any, *, node: str = "", n: int = 0) -> bytes:
        self.n += 1
        return sign_fact(self.signer, self.cloud, node or self.node, kind, key, (5000, n or self.n), time.time(), body)

    def document(self, path: str, body: Any) -> bytes:
        now_s = time.time()
        return sign_document(self.signer, self.cloud, path, body, version=10_000, issued=now_s, expires=now_s + 600)

    # -- with its keys

    async def others_names(self) -> None:
        """Intent, facts of others, the same with a signature that is none."""
        mine = App(services={"web": Service(command=("/mine",))})
        good = self.fact("decline", "a.b/0", Decline(spec="0" * 16, reason=ESCAPES))
        broken = good.replace(b'"sig":"', b'"sig":"AAAA', 1)
        await self.push(
            self.document("app/small", mine), self.document(f"app/x{random.random()}"[:12], mine),
            self.fact("claim", "small.web/0", None, node=f"node/{self.name}"), broken,
        )  # fmt: skip

    async def lies(self) -> None:
        """Of slots, room, health, votes; addresses that aren't its own; two facts under one number; escapes in every word."""
        raws = []
        for slot in self.slots:
            spec = "0" * 16
            raws.append(self.fact("claim", slot, Claim(spec=spec, image=self.digest, rank=0, reason=ESCAPES)))
            for address in ("127.0.0.1", "169.254.169.254", self.host, "10.77.1.1", "8.8.8.8"):
                state = SlotState(spec=spec, image=self.digest, state="running", address=address, healthy=True)
                raws.append(self.fact("slot", slot, state))
            raws.append(self.fact("decline", slot, Decline(spec=spec, reason=ESCAPES, failed=True)))
        raws.append(self.fact("verdict", "small.web", Verdict(spec="0" * 16, evidence={self.node: ESCAPES})))
        raws.append(self.fact("lost", f"node/{self.name}", Lost(boot=2**53, beat=1, why=ESCAPES)))
        self.n += 1
        raws += [
            self.fact("decline", "twice.web/0", Decline(spec="0" * 16, reason=str(k)), n=self.n + 10**9)
            for k in range(2)
        ]
        await self.push(*raws)

    async def facts(self) -> None:
        """As many as it can sign, as large as they may be."""
        body = Decline(spec="0" * 16, reason="x" * 1500)
        await self.push(*(self.fact("decline", f"app{self.n % 3000}.web/0", body) for _ in range(300)))

    async def push(self, *raws: bytes) -> None:
        link = await self.link()
        with contextlib.suppress(*GONE):
            for _ in range(3):
                await link.send(m.encode(m.Push(raws)))
            await asyncio.sleep(0.5)
        link.transport.abort()

    async def frames(self) -> None:
        """None of them is one: giant, deep, garbage."""
        for frame in (os.urandom(60_000), DEEP, bytes(4 << 20), b""):
            link = await self.link()
            with contextlib.suppress(*GONE):
                await link.send(frame)
                self.sent["frames"] += 1  # after one of them it may be turned away for a while
                await link.recv()
            link.transport.abort()

    async def never_reads(self) -> None:
        """Asks for all records again and again, and takes none."""
        link = await self.link()
        link.transport.pause_reading()
        ids = tuple(f"{self.node}|decline|app{n}.web/0" for n in range(500))
        with contextlib.suppress(*GONE):
            for _ in range(300):
                await asyncio.wait_for(link.send(m.encode(m.Want(ids))), 2.0)
        link.transport.abort()

    async def streams(self) -> None:
        """Each kind begun and never ended, or begun with what makes no sense."""
        opened = []
        for path in ("/image", "/objects/put", "/request", "/catch-up", "/look", "/debug", "/nothing", "/image"):
            with contextlib.suppress(*GONE):
                stream = await dial([self.address], self.pinned, self.identity, path, 2.0)
                opened.append(stream)
                await stream.send(
                    b"\0" + msgspec.msgpack.encode(["about", b"x" * 32]) if path == "/image" else b"\1" + DEEP
                )
        await asyncio.sleep(2.0)
        for stream in opened:
            stream.transport.abort()

    async def image(self) -> None:
        """Asks for an image that is there, for everything of it at once, and takes nothing."""
        stream = await dial([self.address], self.pinned, self.identity, "/image", 2.0)
        with contextlib.suppress(*GONE):
            await c.send(stream, c.About(bytes.fromhex(self.digest.removeprefix("sha256:"))))
            stream.transport.pause_reading()
            for number in range(-1, 3):
                await c.send(stream, c.Ask((c.Wish(number),), True))
            await asyncio.sleep(3.0)
        stream.transport.abort()

    async def half_open(self) -> None:
        """A handshake, and not a word after it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        from skerry.mesh.dial import _own_context

        own = _own_context(self.identity)
        own.verify_mode = ssl.CERT_NONE
        held = []
        for _ in range(10):
            with contextlib.suppress(*GONE):
                held.append((await asyncio.open_connection(self.host, self.port, ssl=own, server_hostname="skerry"))[1])
        await asyncio.sleep(6.0)
        for writer in held:
            writer.transport.abort()

    # -- without any

    async def silent(self) -> None:
        """Connections that say nothing, or the first bytes of something."""
        held = []
        for n in range(100):
            with contextlib.suppress(*GONE):
                _, writer = await asyncio.wait_for(asyncio.open_connection(self.host, self.port), 1.0)
                writer.write((b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", os.urandom(300))[n % 4])
                held.append(writer)
        await asyncio.sleep(1.0)
        for writer in held:
            writer.transport.abort()

    async def stranger(self) -> None:
        """A good handshake under a key that nobody enrolled, and with none."""
        unknown = Signer(os.urandom(32))
        from skerry.trust.identity import certificate

        for identity in (Identity(certificate(unknown.seed, "node/vps-1", 1), private_pem(unknown.seed)),):
            for _ in range(10):
                with contextlib.suppress(*GONE):
                    await dial([self.address], self.pinned, identity, "/link", 2.0)

    async def datagrams(self) -> None:
        """What WireGuard and the names of containers would read."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for _ in range(500):
                with contextlib.suppress(OSError):
                    udp.sendto(os.urandom(148), (self.host, self.port))
                    udp.sendto(os.urandom(60), (self.host, 53))
        await asyncio.sleep(0.2)

    async def link(self) -> Any:
        return await dial([self.address], self.pinned, self.identity, "/link", 3.0)

    async def play(self) -> None:
        ways: list[Callable[[], Awaitable[None]]] = [
            self.others_names, self.lies, self.facts, self.frames, self.never_reads, self.streams, self.image, self.half_open,
            self.silent, self.stranger, self.datagrams,
        ]  # fmt: skip
        await asyncio.gather(*map(self._again, ways))

    async def _again(self, way: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self.until_s:
            try:
                await asyncio.wait_for(way(), 10.0)
                self.sent[way.__name__] += 1
            except GONE:
                self.sent[f"{way.__name__} refused"] += 1
            await asyncio.sleep(random.uniform(0.0, 0.1))


async def main() -> None:
    logging.disable()  # asyncio's words about each connection that was closed under it
    given = json.loads(sys.argv[1])
    against = [Hostile(given, target) for target in given["targets"]]
    await asyncio.gather(*(each.play() for each in against))
    print(json.dumps({each.name: dict(each.sent) for each in against}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
