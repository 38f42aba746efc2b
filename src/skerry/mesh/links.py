"""All connections of one node: a link for records with each neighbour, and streams for everything else.

A link carries frames and says who the neighbour is; what is in a frame, and whom to trust, is known elsewhere. The
contract: send to a neighbour, ask a neighbour; never "publish to all". One link for each pair: either side dials, for
ever; of two that cross, the one dialled by the lower key stays. Presence is a heartbeat that needs no answer: any byte
is a sign of life, so that a slow line full of data is not called dead.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from websockets.asyncio.connection import Connection, broadcast
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from skerry.errors import BadFormat, SkerryError, TrustRefusal, Unreachable
from skerry.mesh import tls
from skerry.mesh.beats import BEAT_S, Beats
from skerry.mesh.connections import Incoming, Link, Outgoing, told
from skerry.mesh.dial import FRAME_BYTES, KEEPALIVE_S, QUEUED_FRAMES, WRITE_BYTES, handshake, open_stream, wire_log
from skerry.mesh.door import Door

LINK = "/link"
OPEN_S = 5.0  # for TLS and the opening request together, each
QUEUE_BYTES = 4 << 20  # sent and not yet taken by the neighbour
HOST_PATIENCE_S, CLIENT_PATIENCE_S = (
    60.0,
    600.0,
)  # a stream that isn't read; a person may have stopped `skerry logs` to read
STREAMS_EACH = 16  # at once, of one neighbour or client
REDIAL_FIRST_S = 0.2
REDIAL_MOST_S = 10.0
SETTLED_S = 5.0  # a link that lived so long was a good one: the next redial is quick again
LINGER_S = 2.0  # a handler may go on for so long after its stream has ended
SWAP_S = 1.0  # the other link of a crossing pair may finish so much later

GOODBYE = 1001  # close codes: 1001 is the protocol's own "going away"
CROSSED = 4001
ENDED = 4002  # a stream: the reason says why
NOT_OURS = {1002, 1003, 1007, 1009}  # what we close with when the other end sends what is no frame, or too big a one

# What the other end did wrong, for `Mesh.complain`.
TOO_SLOW = "let pile up what was sent to it"
GIANT = "frames that are too big, or none"
STREAMS = "streams that it may not have, or too many"
STREAM_ENDED = "streams that made no sense"
CONNECTIONS = "connections"
HALF_OPEN = "connections on which nothing was asked for"

log = logging.getLogger("skerry.mesh")

Handler = Callable[[ServerConnection, str], Awaitable[None]]


class PeerAddress(NamedTuple):
    """A node that may link to us. `addresses`: "host:port"; `dial`: whether we dial it, or only let it in."""

    certificate_der: bytes
    addresses: tuple[str, ...]
    dial: bool


class Mesh:
    """The connections of the node with this certificate. Use it in one event loop.

    `on_link(peer, up, why, goodbye)`: a link came or went; `goodbye`: the other end closed it (its process ended),
    rather than falling silent or being cut off by us. `on_frame(peer, data)`: one frame from a neighbour; it may give
    seconds after which it wants the same frame again, and no other before. `handlers`: path -> what serves a stream
    opened on it, called with the stream and who opened it; it may raise what it likes. `complain(who, what)` may be set: a
    neighbour (node/vps-1), a client (client 1a2b…) or an address did what none should; `what` is a constant of this folder.
    """

    def __init__(
        self,
        me: str,
        certificate_der: bytes,
        key_pem: bytes,
        directory: Path,
        *,
        on_link: Callable[[str, bool, str, bool], None],
        on_frame: Callable[[str, bytes], float | None],
        handlers: Mapping[str, Handler],
    ) -> None:
        self.me = me
        self._key = tls.fingerprint(certificate_der)
        identity = tls.write_identity(directory, certificate_der, key_pem)
        self._server_tls = tls.server_context(identity)
        self._client_tls = tls.client_context(identity)
        self._on_link = on_link
        self._on_frame = on_frame
        self._handlers = dict(handlers)
        self._peers: dict[str, PeerAddress] = {}
        self._clients: dict[str, str] = {}  # name -> fingerprint
        self._who: dict[str, str] = {}  # fingerprint -> name, of peers and clients
        self._links: dict[str, Link] = {}
        self._swapping: dict[str, asyncio.TimerHandle] = {}
        self._streams: dict[Incoming, str] = {}
        self._dials: dict[str, asyncio.Task[None]] = {}
        self._nudges: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._door: Door | None = None
        self._server: Server | None = None
        self._beats: Beats | None = None
        self._closing = False
        self.complain: Callable[[str, str], None] = lambda who, what: None

    async def serve(self, host: str, port: int) -> int:
        """Listen, and keep links alive from now on. Gives the port (for 0: the one that was free). Raises OSError."""
        self._door = Door(host, port, now_s=self._now, complain=self._of_stranger)
        self._door.known = self._known_hosts()
        self._server = await serve(
            self._serve_one,
            sock=self._door,
            ssl=self._server_tls,
            process_request=self._admit,
            compression=None,
            server_header=None,
            open_timeout=OPEN_S,
            ssl_handshake_timeout=OPEN_S,
            ping_interval=KEEPALIVE_S,
            ping_timeout=KEEPALIVE_S,
            close_timeout=1.0,
            max_size=FRAME_BYTES,
            max_queue=QUEUED_FRAMES,
            write_limit=WRITE_BYTES,
            create_connection=cast(type[ServerConnection], partial(Incoming, self._arrived, self._unopened)),
            logger=wire_log,
        )
        self._beats = Beats(self._links, self._cut)
        return int(self._door.getsockname()[1])

    def set_peers(self, peers: Mapping[str, PeerAddress]) -> None:
        """The whole set of nodes that may link: trusted from now on; who is no longer in it is cut off at once."""
        before, self._peers = self._peers, {name: peer for name, peer in peers.items() if self._trusts(peer)}
        self._cut_off_strangers()
        if self._door is not None:
            self._door.known = self._known_hosts()
        for name in before.keys() | self._peers.keys():
            old, new = before.get(name), self._peers.get(name)
            if old == new:
                continue
            if new is None or not new.dial:
                self._stop_dialling(name)
            elif name not in self._dials:
                self._nudges[name] = asyncio.Event()
                self._dials[name] = asyncio.create_task(self._keep_dialling(name))
            else:
                self._nudges[name].set()

    def _trusts(self, peer: PeerAddress) -> bool:
        """Whether its certificate is one: else it can't link here, and nobody else is worse off."""
        return tls.trust(self._server_tls, peer.certificate_der) and tls.trust(self._client_tls, peer.certificate_der)

    def set_clients(self, certificates: Mapping[str, bytes]) -> None:
        """The whole set of those that may open streams but no link: operators, CI. Name -> certificate."""
        good = {name: der for name, der in certificates.items() if tls.trust(self._server_tls, der)}
        self._clients = {name: tls.fingerprint(certificate) for name, certificate in good.items()}
        self._cut_off_strangers()

    def neighbours(self) -> tuple[str, ...]:
        """Those with a link now."""
        return tuple(self._links)

    def send(self, peer: str, data: bytes) -> bool:
        """Queue a frame. True: it arrives unless the neighbour goes down first, also over a link that is about to lose
        against another of the pair. False: there is no link, or it is just being exchanged for the other.
        A neighbour that lets too much pile up loses it (a slow reader).
        """
        if len(data) > FRAME_BYTES:
            raise ValueError(f"a frame of {len(data)} bytes")
        link = self._links.get(peer)
        if link is None or link.connection.state is not State.OPEN:
            return False
        broadcast([link.connection], data)
        link.sent_s = self._now()
        if link.connection.transport.get_write_buffer_size() > QUEUE_BYTES:
            if self._lives(peer):  # else it is gone, and we are about to notice
                self.complain(peer, TOO_SLOW)
            self._cut(link, f"it was too slow: {QUEUE_BYTES >> 20} MiB waited to be read")
            return False
        return True

    async def open(self, peer: str | PeerAddress, path: str, *, timeout_s: float = OPEN_S) -> Outgoing:
        """Open a stream to a node. Raises Unreachable. Close it when done."""
        target = self._peers.get(peer) if isinstance(peer, str) else peer
        if target is None:
            raise Unreachable(f"{peer} could not be reached", "it is not enrolled here")
        if isinstance(peer, PeerAddress) and not tls.trust(self._client_tls, peer.certificate_der):
            raise Unreachable(f"{target.addresses[0]} could not be reached", "its certificate is none")
        pinned = tls.fingerprint(target.certificate_der)
        stream = await open_stream(
            target.addresses, self._client_tls, pinned, path, timeout_s=timeout_s, connection=Outgoing
        )
        stream.who = peer if isinstance(peer, str) else target.addresses[0]
        return stream

    async def reach(self, peer: str, timeout_s: float) -> bool:
        """Whether this node's process answers with its key: the indirect probe. Never raises."""
        target = self._peers.get(peer)
        if target is None:
            return False
        return await handshake(target.addresses, self._client_tls, tls.fingerprint(target.certificate_der), timeout_s)

    def cut(self, peer: str, why: str) -> None:
        """End the link to a neighbour that misbehaved; it may come back. Nothing where there is none."""
        link = self._links.get(peer)
        if link is not None:
            self._cut(link, why)

    async def close(self) -> None:
        """Say goodbye to all and stop. A neighbour that has our dial and not yet our word for it hears only that we end."""
        self._closing = True
        if self._server is not None:
            self._server.close(close_connections=False)  # first: whoever hears our goodbye dials at once
        if self._beats is not None:
            self._beats.cancel()
        dials = set(self._dials.values())
        for name in list(self._dials):
            self._stop_dialling(name)
        links = [link.connection for link in self._links.values()]
        await asyncio.gather(*(each.close(GOODBYE, "goodbye") for each in [*links, *self._streams]))
        if self._server is not None:
            await self._server.wait_closed()
        for timer in self._swapping.values():
            timer.cancel()
        ending = (self._tasks | dials) - {asyncio.current_task()}
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    # Who comes in

    def _arrived(self, connection: Incoming) -> None:
        """TLS is done: the key is one that we trusted at some time. Whose is it now?"""
        transport = connection.transport
        assert self._door is not None
        self._door.finished(transport.get_extra_info("socket").fileno())
        connection.who = self._who.get(tls.peer_fingerprint(transport.get_extra_info("ssl_object")), "")
        if not connection.who:
            transport.abort()
        else:
            connection.patience_s = HOST_PATIENCE_S if connection.who in self._peers else CLIENT_PATIENCE_S
            self.complain(_named(connection.who), CONNECTIONS)

    def _unopened(self, connection: Incoming) -> None:
        """It had its handshake, and for as long as it could it asked for nothing."""
        self.complain(_named(connection.who), HALF_OPEN)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Incoming)
        if request.path == LINK and connection.who in self._peers:
            return None
        if request.path in self._handlers and Counter(self._streams.values())[connection.who] < STREAMS_EACH:
            return None
        self.complain(_named(connection.who), STREAMS)
        if request.path == LINK:
            return connection.respond(403, "links are for nodes\n")
        if request.path not in self._handlers:
            return connection.respond(404, "no such stream\n")
        return connection.respond(429, "too many streams\n")

    async def _serve_one(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Incoming) and connection.request is not None
        if self._who_has(connection) != connection.who:  # cut off while it was opening
            connection.transport.abort()
        elif self._closing:
            await connection.close(GOODBYE, "goodbye")
        elif connection.request.path == LINK:
            if connection.keepalive_task is not None:
                connection.keepalive_task.cancel()  # links have their own
            await self._run(connection.who, connection, dialler=self._fingerprint(connection.who))
        else:
            await self._serve_stream(connection, self._handlers[connection.request.path], connection.request.path)

    async def _serve_stream(self, stream: Incoming, handler: Handler, path: str) -> None:
        """Until the handler ends. One that waits for something else when its stream is gone is cancelled."""
        self._streams[stream] = stream.who
        serving = asyncio.ensure_future(handler(stream, stream.who))
        gone = asyncio.ensure_future(stream.wait_closed())
        try:
            await asyncio.wait({serving, gone}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait_for(serving, LINGER_S if gone.done() else None)
        except (ConnectionClosed, TimeoutError, SkerryError) as error:
            log.debug("stream %s of %s ended: %s", path, stream.who, error)
            if isinstance(error, TrustRefusal | BadFormat):
                self.complain(_named(stream.who), STREAM_ENDED)
            await stream.close(ENDED, str(error).encode()[:120].decode(errors="ignore"))
        except Exception:
            log.exception("stream %s of %s failed", path, stream.who)
            await stream.close(1011, "failed")
        finally:
            serving.cancel()
            gone.cancel()
            del self._streams[stream]
            self._judge_end(stream)

    def _judge_end(self, stream: Incoming) -> None:
        """Why the stream ended, as far as it tells of who was at its other end."""
        closed = stream.protocol.close_sent
        if stream.was_slow:
            if not stream.who.startswith("node/") or self._lives(
                stream.who
            ):  # else it is gone, and we are about to notice
                self.complain(_named(stream.who), TOO_SLOW)
        elif closed is not None and closed.code in NOT_OURS and not stream.protocol.close_rcvd_then_sent:
            self.complain(_named(stream.who), GIANT)

    def _lives(self, peer: str) -> bool:
        link = self._links.get(peer)
        return link is not None and self._now() - link.connection.heard_s < 2 * BEAT_S

    def _of_stranger(self, address: str, what: str) -> None:
        """Who showed no key. An enrolled host's address may have others behind it, too."""
        at = [name for name, peer in self._peers.items() if any(_host(a) == address for a in peer.addresses)]
        self.complain(f"{address}, where {at[0].removeprefix('node/')} is" if len(at) == 1 else address, what)

    def _cut_off_strangers(self) -> None:
        peers = {tls.fingerprint(peer.certificate_der): name for name, peer in self._peers.items()}
        self._who = {key: name for name, key in self._clients.items()} | peers
        for link in list(self._links.values()):
            if self._who.get(link.key) != link.peer or link.peer not in self._peers:
                self._cut(link, "it is no longer enrolled with this key")
        for stream, who in list(self._streams.items()):
            if self._who_has(stream) != who:
                stream.transport.abort()

    def _who_has(self, connection: Connection) -> str | None:
        return self._who.get(tls.peer_fingerprint(connection.transport.get_extra_info("ssl_object")))

    def _known_hosts(self) -> frozenset[str]:
        return frozenset(_host(address) for peer in self._peers.values() for address in peer.addresses)

    def _fingerprint(self, peer: str) -> str:
        return tls.fingerprint(self._peers[peer].certificate_der)

    # Links

    async def _run(self, peer: str, connection: Incoming | Outgoing, *, dialler: str) -> None:
        """A link from its first frame to its last; nothing of it is left open when we are cancelled in between."""
        try:
            await self._run_open(peer, connection, dialler)
        finally:
            connection.transport.abort()

    async def _run_open(self, peer: str, connection: Incoming | Outgoing, dialler: str) -> None:
        if self._closing:
            await connection.close(GOODBYE, "goodbye")
            return
        key = tls.peer_fingerprint(connection.transport.get_extra_info("ssl_object"))
        if self._who.get(key) != peer or peer not in self._peers:
            return  # expelled, or given another key, since we dialled it
        link = Link(peer, key, connection, dialler, since_s=self._now())
        if not self._take_up(link):
            # The neighbour may have taken this one up before it knew of the other: what it sent on it counts.
            self._spawn(connection.close(CROSSED, "crossed"))
        why, goodbye, heard_s = "closed", False, 0.0
        try:
            while True:
                data = await connection.recv(decode=False)
                if self._links.get(peer) is not link and (link.cut or self._who.get(link.key) != peer):
                    break  # what came after the cut counts no more
                while pause_s := self._on_frame(peer, data):
                    # Not all of it was taken yet: what floods waits where it comes from, in the neighbour's own queue.
                    await asyncio.sleep(pause_s)
                    if self._links.get(peer) is not link:
                        break
                if connection.heard_s == heard_s:  # another one of the same read: nobody else was asked since
                    await asyncio.sleep(0)
                heard_s = connection.heard_s
        except ConnectionClosed as error:
            why, goodbye = told(error)
            if error.sent is not None and error.sent.code in NOT_OURS and not error.rcvd_then_sent:
                self.complain(peer, GIANT)
        except Exception:
            log.exception("a frame of %s could not be handled", peer)
            why = "a frame could not be handled"
            connection.transport.abort()
        finally:
            self._let_go(link, link.cut or why, goodbye and not link.cut)

    def _take_up(self, link: Link) -> bool:
        """Whether this link is the pair's from now on."""
        old = self._links.get(link.peer)
        if old is not None:
            # An older one means that the neighbour lost it and we have not noticed: nobody dials beside a living link.
            crossing = link.since_s - old.since_s < OPEN_S and link.since_s - old.connection.heard_s < 2 * BEAT_S
            if crossing and old.dialler < link.dialler:
                return False
            self._links[link.peer] = link
            self._spawn(old.connection.close(CROSSED, "crossed"))
            return True
        self._links[link.peer] = link
        swapping = self._swapping.pop(link.peer, None)
        if swapping is not None:
            swapping.cancel()
        else:
            self._on_link(link.peer, True, "linked", False)
        return True

    def _let_go(self, link: Link, why: str, goodbye: bool) -> None:
        if self._links.get(link.peer) is not link:
            return
        del self._links[link.peer]
        if link.connection.close_code == CROSSED and not link.cut:
            # The neighbour prefers the other one of the pair, which may not have come this far on our side.
            timer = asyncio.get_running_loop().call_later(SWAP_S, self._end_swap, link.peer)
            self._swapping[link.peer] = timer
        else:
            self._on_link(link.peer, False, why, goodbye)
        # Not after a short one: we might have been cut off for what we sent, and would send it again and again.
        if goodbye and self._now() - link.since_s > SETTLED_S and link.peer in self._nudges:
            self._nudges[link.peer].set()

    def _end_swap(self, peer: str) -> None:
        if self._swapping.pop(peer, None) is not None:
            self._on_link(peer, False, "it preferred another link, which never came", False)

    def _cut(self, link: Link, why: str) -> None:
        """End it now, without a closing handshake: it is told by `_run` as soon as the loop turns."""
        link.cut = why
        link.connection.transport.abort()

    # Dialling

    async def _keep_dialling(self, peer: str) -> None:
        delay_s = REDIAL_FIRST_S
        nudge = self._nudges[peer]
        while True:
            while peer in self._links:
                link = self._links[peer]
                await link.connection.wait_closed()
                await asyncio.sleep(0)  # let `_run` take note of it
                if self._now() - link.since_s > SETTLED_S:
                    delay_s = REDIAL_FIRST_S
            try:
                address = self._peers[peer]
                connection = await open_stream(
                    address.addresses,
                    self._client_tls,
                    tls.fingerprint(address.certificate_der),
                    LINK,
                    timeout_s=OPEN_S,
                    connection=Outgoing,
                    keepalive_s=None,
                )
            except Unreachable as error:
                log.debug("%s: %s", peer, error)
            else:
                # A task of its own: when we are told to dial no more, a link that is up stays.
                began_s = self._now()
                await asyncio.wait([self._spawn(self._run(peer, connection, dialler=self._key))])
                if self._now() - began_s > SETTLED_S:
                    delay_s = REDIAL_FIRST_S
            try:
                async with asyncio.timeout(random.uniform(0.5, 1.0) * delay_s):
                    await nudge.wait()
                delay_s = REDIAL_FIRST_S
                nudge.clear()
            except TimeoutError:
                delay_s = min(delay_s * 2, REDIAL_MOST_S)

    def _stop_dialling(self, peer: str) -> None:
        task = self._dials.pop(peer, None)
        self._nudges.pop(peer, None)
        if task is not None:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _named(who: str) -> str:
    """A node by its path; a client by its key, as much of it as events show."""
    return who if who.startswith("node/") else f"client {who[:16]}"


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
