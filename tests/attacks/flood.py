"""A captured host that sends as fast as it can, in a process of its own. `python -m attacks.flood JSON` (see test_floods).

Kinds: `facts` good facts of its own; `forged` signed by a key nobody knows; `stale` one fact again and again; `messages` every
other message of a link; `garbage` frames that are none; `huge` frames over the bound; `handshakes` and `strangers` connections
that are never finished; `reconnect` links that come and go; `streams` as many as it gets.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import os
import secrets
import sys
import time
from typing import Any

from websockets.exceptions import WebSocketException

from skerry.core import messages as m
from skerry.core.facts import Decline
from skerry.core.intent import App, Service
from skerry.errors import SkerryError
from skerry.mesh import dial as dialling
from skerry.mesh.dial import Identity, dial
from skerry.trust.documents import sign_document, sign_fact
from skerry.trust.identity import Signer, private_pem

OWN = "127.0.0.9"  # where it comes from: a host has an address of its own


class Flood:
    def __init__(self, given: dict[str, Any]) -> None:
        self.signer = Signer(bytes.fromhex(given["seed"]))
        self.identity = Identity(base64.b64decode(given["certificate"]), private_pem(self.signer.seed))
        self.cloud, self.node = given["cloud"], given["node"]
        self.address, self.pinned = given["address"], base64.b64decode(given["pinned"])
        self.until_s = time.monotonic() + given["seconds"]
        self.sent = 0
        self.n = 0

    def fact(self) -> bytes:
        self.n += 1
        body = Decline(spec="0" * 16, reason="x" * 1000)
        key = f"app{self.n % 1500}.web/{self.n % 1000}"
        return sign_fact(self.signer, self.cloud, self.node, "decline", key, (2000, self.n), time.time(), body)

    def forged(self) -> bytes:
        unknown, now_s = Signer(secrets.token_bytes(32)), time.time()
        body = App(services={"web": Service()})
        path = f"app/x{secrets.token_hex(4)}"
        return sign_document(unknown, self.cloud, path, body, version=1, issued=now_s, expires=now_s + 60)

    async def link(self) -> Any:
        return await dial([self.address], self.pinned, self.identity, "/link", 5.0)

    async def frames(self, frames: list[bytes]) -> None:
        """These over and over, on a new link whenever the old one was cut."""
        while time.monotonic() < self.until_s:
            try:
                link = await self.link()
                while time.monotonic() < self.until_s:
                    for frame in frames:
                        await link.send(frame)
                        self.sent += len(frame)
            except (SkerryError, WebSocketException, OSError):
                await asyncio.sleep(0.01)

    async def facts(self) -> None:
        await self.frames([m.encode(m.Push(tuple(self.fact() for _ in range(400)))) for _ in range(10)])

    async def unknown(self) -> None:
        await self.frames([m.encode(m.Push(tuple(self.forged() for _ in range(400)))) for _ in range(5)])

    async def stale(self) -> None:
        raw = self.fact()
        await self.frames([m.encode(m.Push((raw,) * 512))])

    async def messages(self) -> None:
        ids = tuple(f"node/x{n}|claim|" for n in range(512))
        await self.frames(
            [
                m.encode(m.Heads(os.urandom(16))),
                m.encode(m.Buckets(tuple(os.urandom(16) for _ in range(64)))),
                m.encode(m.Want(ids)),
                m.encode(m.Ids(3, "", "", dict.fromkeys(ids, "0" * 16))),
                m.encode(m.WantNamed(("ab" * 32,) * 512)),
                m.encode(m.ProbeAsk("node/vps-1")),
                m.encode(m.ProbeAnswer(f"node/{secrets.token_hex(8)}", False)),
            ]
        )

    async def garbage(self) -> None:
        await self.frames([os.urandom(60_000)])

    async def huge(self) -> None:
        await self.frames([b"\x00" * (4 << 20)])

    async def handshakes(self) -> None:
        """Connections that never say a word, as many as it gets, from as many addresses as it likes."""
        open_ones: list[Any] = []
        host, _, port = self.address.rpartition(":")
        while time.monotonic() < self.until_s:
            source = f"127.0.1.{1 + self.sent % 200}"
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                open_ones.append(
                    await asyncio.wait_for(asyncio.open_connection(host, int(port), local_addr=(source, 0)), 1.0)
                )
                self.sent += 1
            await asyncio.sleep(0.001)
        for _, writer in open_ones:
            writer.close()

    async def reconnect(self) -> None:
        while time.monotonic() < self.until_s:
            with contextlib.suppress(SkerryError, WebSocketException, OSError):
                link = await self.link()
                link.transport.abort()
                self.sent += 1

    async def streams(self) -> None:
        """Every stream that it can open, each begun and never ended."""
        open_ones = []
        while time.monotonic() < self.until_s:
            for path in ("/image", "/objects/put", "/request", "/catch-up"):
                with contextlib.suppress(SkerryError, WebSocketException, OSError):
                    stream = await dial([self.address], self.pinned, self.identity, path, 1.0)
                    await stream.send(b"\x01" + os.urandom(500_000))
                    open_ones.append(stream)
                    self.sent += 1


async def main() -> None:
    given = json.loads(sys.argv[1])
    dialling.connect = functools.partial(dialling.connect, local_addr=(OWN, 0))  # type: ignore[attr-defined,assignment]
    flood = Flood(given)
    print("ready", flush=True)
    await getattr(flood, given["kind"])()
    print(json.dumps({"sent": flood.sent}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
