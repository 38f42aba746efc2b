"""The streams that this node serves beside its record links: requests, objects, and records to keep for a neighbour."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from skerry.errors import BadFormat, SkerryError, TrustRefusal, Unreachable
from skerry.mesh.links import Handler
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.mesh.streams import receive_objects, serve_objects
from skerry.trust.requests import judge_request

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

IDLE_S = 60.0  # between two requests of one client


class Streams:
    """A handler for each path; `who` is a node's path or a client's key, proven by TLS."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def handlers(self) -> dict[str, Handler]:
        return {
            "/request": self.request,
            "/objects": self.objects,
            "/objects/put": self.upload,
            "/keep": self.keep,
        }

    async def request(self, stream: Stream, who: str) -> None:
        """Signed requests, one after the other until the client goes: each has a nonce of its own."""
        while await self._answer_one(stream, who):
            pass

    async def _answer_one(self, stream: Stream, who: str) -> bool:
        """Greeted with a nonce, answered by items, ended by `{"end": true}` or `{"error": …}`. False: the client is gone."""
        agent = self._agent
        nonce = os.urandom(16).hex()
        try:
            await send_bytes(stream, msgspec.json.encode({"node": agent.me, "nonce": nonce}))
            raw = await recv_bytes(stream, timeout_s=IDLE_S)
        except Unreachable:
            return False
        try:
            request = judge_request(raw, agent.trusted, node=agent.me, nonce=nonce, now_s=agent.clock.wall_s())
            async for item in agent.server.answer(request):
                await send_bytes(stream, msgspec.json.encode({"item": item}))
            await send_bytes(stream, msgspec.json.encode({"end": True}))
        except SkerryError as error:
            if isinstance(error, TrustRefusal | BadFormat):
                agent.links.tell(error, f"client {who[:16]}")
            await send_bytes(stream, msgspec.json.encode({"error": error.as_dict() | {"exit_code": error.exit_code}}))
        return True

    async def objects(self, stream: Stream, who: str) -> None:
        await serve_objects(stream, self._agent.objects)

    async def upload(self, stream: Stream, who: str) -> None:
        """From clients. Bytes are kept by their hash; nothing runs because of them."""
        await receive_objects(stream, self._agent.objects)

    async def keep(self, stream: Stream, who: str) -> None:
        """A neighbour wants these records synced here before it calls them accepted."""
        for raw in msgspec.msgpack.decode(await recv_bytes(stream), type=list[bytes]):
            self._agent.door.offer(raw, who)
        await send_bytes(stream, b"kept")
