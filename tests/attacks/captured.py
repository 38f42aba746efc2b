"""A captured host: its keys in a thief's hands, its links real, its signatures valid. What it lacks is a role.

The thief knows all records (they are no secret) and the protocol as well as we do. It speaks over TLS from its own loop.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed

from agent.small import Aside, SmallCloud
from skerry.core import messages as m
from skerry.core.facts import FactBody, Up
from skerry.core.intent import Node
from skerry.errors import TrustRefusal
from skerry.mesh.dial import Identity, dial
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.trust import envelope
from skerry.trust.documents import sign_document, sign_fact
from skerry.trust.identity import Signer, private_pem
from skerry.trust.requests import make_request

ANSWER_S = 5.0


class Thief:
    """Whoever has the keys of `name`: signs, links, opens streams. `boot` is far above any start count of the real host."""

    def __init__(self, cloud: SmallCloud, name: str) -> None:
        files = cloud.files[name]
        self.cloud, self.name, self.path = cloud, name, f"node/{name}"
        self.signer = Signer(files.seed("signing"))
        self.sealing = files.seed("sealing")
        self.identity = Identity(files.certificate, private_pem(self.signer.seed))
        self._n = itertools.count(1)
        self.boot = 1000

    # -- what it signs

    def fact(
        self, kind: str, key: str, body: FactBody | None, *, seq: tuple[int, int] = (0, 0), node: str = ""
    ) -> bytes:
        seq = seq if seq != (0, 0) else (self.boot, next(self._n))
        return sign_fact(self.signer, self.cloud.cloud, node or self.path, kind, key, seq, time.time(), body)

    def up(self, **changes: Any) -> bytes:
        body = Up(
            root=1, policy=1, heads="", uptime_s=1.0, cpus=2.0, memory_bytes=1 << 30, free_cpus=2.0,
            free_memory_bytes=1 << 30, clock=time.time(),
        )  # fmt: skip
        return self.fact("up", "", msgspec.structs.replace(body, **changes))

    def next_of(self, path: str, body: Any, *signers: Signer, **header: Any) -> bytes:
        """The very next document of a path, perfect but for who signs it (the thief, unless `signers` says otherwise)."""
        held = next(iter(self.cloud.agents.values())).trusted.document(path)
        now_s = time.time()
        header = {
            "epoch": held.epoch if held else 0,
            "version": held.version + 1 if held else 1,
            "prev": held.hash if held else "",
            "issued": now_s,
            "expires": now_s + 86400,
            "cloud": self.cloud.cloud,
            **header,
        }
        return sign_document(signers or (self.signer,), header.pop("cloud"), path, body, **header)

    # -- how it speaks

    async def open(self, target: str, path: str, identity: Identity | None = None) -> Stream:
        enrolment = self._enrolment(target)
        return await dial(
            enrolment.addresses, base64.b64decode(enrolment.certificate), identity or self.identity, path, 5.0
        )

    async def link(self, target: str) -> Link:
        link = Link(await self.open(target, "/link"))
        await link.send(self.up())
        return link

    async def ask(
        self,
        target: str,
        verb: str,
        args: Any,
        *,
        key: Signer | None = None,
        identity: Identity | None = None,
        attached: Sequence[bytes] = (),
    ) -> dict[str, Any]:
        """A request as clients make them, under any key over any certificate: the first frame of the answer."""
        stream = await self.open(target, "/request", identity)
        try:
            hello = msgspec.json.decode(await recv_bytes(stream, timeout_s=ANSWER_S))
            signer, now_s = key or self.signer, time.time()
            raw = make_request(signer, self.cloud.cloud, f"node/{target}", verb, args, hello["nonce"], now_s, attached)
            await send_bytes(stream, raw)
            return dict(msgspec.json.decode(await recv_bytes(stream, timeout_s=ANSWER_S)))
        finally:
            await stream.close()

    def _enrolment(self, target: str) -> Node:
        body = self.cloud.agents[target].trusted.nodes[f"node/{target}"].body
        assert isinstance(body, Node)
        return body


class Link:
    """A record link that the thief dialled."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    async def send(self, *raws: bytes) -> None:
        await self.stream.send(m.encode(m.Push(raws)))

    async def settle(self) -> bool:
        """Wait until all that was sent was dealt with: frames are in order. False: the link was cut."""
        try:
            await self.stream.send(m.encode(m.Heads(b"\0" * 16)))
            async with asyncio.timeout(ANSWER_S):
                while True:
                    frame = await self.stream.recv(decode=False)
                    if isinstance(m.decode(frame), m.Buckets):
                        return True
        except ConnectionClosed:
            return False

    async def holds(self, *raws: bytes) -> bool:
        """What the other end says when asked whether it has these on its disk. What is no envelope has no hash to ask by."""
        try:
            hashes = tuple(envelope.parse(raw).hash for raw in raws)
        except TrustRefusal:
            return False
        await self.stream.send(m.encode(m.HoldsAsk(1, hashes)))
        async with asyncio.timeout(ANSWER_S):
            while True:
                message = m.decode(await self.stream.recv(decode=False))
                if isinstance(message, m.HoldsAnswer):
                    return message.ok

    async def close(self) -> None:
        await self.stream.close()


class World:
    """All on the honest hosts that a captured one must not change: documents, others' facts, containers, routes, names."""

    def __init__(self, aside: Aside, honest: tuple[str, ...], captured: str) -> None:
        self.aside, self.honest, self.captured = aside, honest, f"node/{captured}"

    def look(self) -> dict[str, Any]:
        return self.aside.look(self._look)

    def _look(self) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name in self.honest:
            agent = self.aside.cloud.agents[name]
            seen[name] = {
                "documents": dict(sorted(agent.trusted.heads().items())),
                "enrolled": sorted(path for path in agent.trusted.nodes if agent.trusted.enrolled(path) is not None),
                "claims": sorted(
                    id for id in agent.trusted.fact_heads() if "|claim|" in id and not id.startswith(self.captured)
                ),
                "containers": sorted(self.aside.cloud.runtimes[name].disk.specs),
                "ports": sorted(
                    f"{port.published} {target.address}" for port, targets in agent.network.ports for target in targets
                ),
                "names": {n: sorted(some) for n, some in agent.network.names.items()},
            }
        return seen

    def told(self, host: str, word: str) -> list[str]:
        """What that host's events say of the captured one and this word."""
        entries = self.aside.look(lambda: self.aside.cloud.agents[host].events.tail(500))
        return [entry.reason for entry in entries if self.captured in entry.subject and word in entry.reason]
