"""The streams that this node serves beside its record links: requests, images, and what a new host has to catch up on."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from skerry.agent.greeting import greeted, refused
from skerry.agent.looking.answering import Looking
from skerry.errors import BadFormat, SkerryError, TrustRefusal, Unreachable
from skerry.mesh.links import Handler
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.mesh.streams import receive_objects
from skerry.outside import UNREADABLE
from skerry.store.disk import DiskFull, free_bytes
from skerry.trust.quotas import PATHS_MAX
from skerry.trust.requests import ATTACHED_BYTES, REQUEST_BYTES

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

IDLE_S = 60.0  # between two requests of one client


WAIT_S = 10.0  # for the one message that begins a stream
HEADS_BYTES = 4 << 20
CATCH_UP_BYTES = 24 << 20  # the rest comes as everything does, record by record
UPLOAD_BYTES = 8 << 30  # over one stream
RESERVE_BYTES = 1 << 30  # of the disk: uploads leave it to containers and records

Heads = Annotated[dict[str, tuple[int, int]], msgspec.Meta(max_length=2 * PATHS_MAX + 16)]


class NotForYou(TrustRefusal):
    """A stream that is for hosts was asked for by a client, or the other way round."""

    code = "not-for-you"


class Streams:
    """A handler for each path; `who` is a node's path or a client's key, proven by TLS.

    Hosts serve one another, clients ask and hand over; neither may do what the other is for: a captured host must not fill our
    disk, a stolen CI key must not come in where `prev` isn't asked.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._looking = Looking(agent)
        self._catching_up: set[str] = set()

    def handlers(self) -> dict[str, Handler]:
        return {
            "/request": self.request,
            "/look": self._looking.serve,
            "/image": self.image,
            "/image/put": self.upload_image,
            "/objects/put": self.upload,
            "/catch-up": self.catch_up,
            "/debug": self.debug,
        }

    async def request(self, stream: Stream, who: str) -> None:
        """Signed requests, one after the other until the client goes: each has a nonce of its own."""
        while await self._answer_one(stream, who):
            pass

    async def _answer_one(self, stream: Stream, who: str) -> bool:
        """Greeted with a nonce, answered by items, ended by `{"end": true}` or `{"error": …}`. False: the client is gone."""
        agent = self._agent
        try:
            judge = await greeted(agent, stream, within_s=IDLE_S, most_bytes=REQUEST_BYTES + ATTACHED_BYTES)
        except Unreachable:
            return False
        try:
            async with aclosing(agent.server.answer(judge())) as items:
                async for item in items:
                    await send_bytes(stream, msgspec.json.encode({"item": item}))
            await send_bytes(stream, msgspec.json.encode({"end": True}))
        except SkerryError as error:
            await send_bytes(stream, msgspec.json.encode({"error": refused(agent, error, who)}))
            return not _is_host(who)  # a host has nothing to ask here: one refusal for each handshake
        return True

    async def debug(self, stream: Stream, who: str) -> None:
        """One signed request of a client, and then the streams of the tool that it asked for."""
        await self._agent.debugging.serve(stream, who)

    async def image(self, stream: Stream, who: str) -> None:
        await self._agent.giving.serve(stream, who)

    async def upload_image(self, stream: Stream, who: str) -> None:
        """From clients, an image by what the host lacks of it."""
        await self._agent.uploads.take(stream, self._room_for(who))

    async def upload(self, stream: Stream, who: str) -> None:
        """From clients. Bytes are kept by their hash; nothing runs because of them."""
        await receive_objects(stream, self._agent.objects, most_bytes=self._room_for(who))

    def _room_for(self, who: str) -> int:
        if _is_host(who):
            raise NotForYou("objects were not taken", "hosts fetch from one another, they don't hand over", "fetch")
        state = self._agent.files.state
        room = free_bytes(state) - RESERVE_BYTES
        if room <= 0:
            raise DiskFull(state)
        return min(room, UPLOAD_BYTES)

    async def catch_up(self, stream: Stream, who: str) -> None:
        """A new host shows what it was given at its enrolment, and gets what is newer here, and who has which slot.

        Without the latter it could claim one whose data is elsewhere, and start it empty.
        """
        self._only_hosts(who)
        if who in self._catching_up:  # each is held here until it is read
            raise NotForYou("nothing was given", "the answer before is still on its way", "read that one")
        self._catching_up.add(who)
        try:
            await send_bytes(stream, await self._newer_here(stream))
        finally:
            self._catching_up.discard(who)

    async def _newer_here(self, stream: Stream) -> bytes:
        theirs = _decode(await recv_bytes(stream, timeout_s=WAIT_S, most_bytes=HEADS_BYTES), Heads)
        newer: list[bytes] = []
        size = 0
        for raw in (*self._agent.door.newer_than(theirs), *self._agent.door.told_of_slots()):
            size += len(raw) + 16
            if size > CATCH_UP_BYTES:
                break
            newer.append(raw)
        return msgspec.msgpack.encode(newer)

    def _only_hosts(self, who: str) -> None:
        if not _is_host(who):
            raise NotForYou("nothing was taken", "this stream is for hosts", "use a request")


def _is_host(who: str) -> bool:
    return who.startswith("node/")


def _decode(data: bytes, shape: Any) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=shape)
    except UNREADABLE as error:
        raise BadFormat("a message of a host was not taken", str(error)) from None
