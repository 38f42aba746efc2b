"""One agent put together: which room is handed to which. Read this to see what knows what on a host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import skerry
from skerry.core import effects as do
from skerry.core.events import Booted, ImageReady, ProbeAnswered
from skerry.core.gossip import Gossip
from skerry.core.node import NodeCore
from skerry.core.records import Slot
from skerry.errors import BadFormat, SkerryError, TrustRefusal
from skerry.image.trees import Images
from skerry.mesh.links import Mesh, PeerAddress
from skerry.mesh.streams import Stream, receive_objects, recv_bytes, send_bytes, serve_objects
from skerry.net.network import Network, TunnelPeer
from skerry.observe.events import EventLog
from skerry.observe.host import read_room
from skerry.observe.probes import Prober
from skerry.runtime.oci import OciRuntime
from skerry.store.objects import ObjectStore
from skerry.store.records import RecordStore
from skerry.trust import seal
from skerry.trust.accept import Trusted
from skerry.trust.documents import sign_fact
from skerry.trust.identity import Signer
from skerry.trust.requests import judge_request

from .containers import Containers
from .door import Door
from .fetch import Fetcher
from .files import HostFiles, NotJoined
from .links import Links
from .loop import Author, Loop, Routes
from .serve import Server

log = logging.getLogger(__name__)
PORT = 7077
EVENTS_MAX_BYTES = 8 << 20


class Clock:
    """Wall time, with the offset that tests put into `clock-offset` (`date -s` in a lab host would move the whole machine)."""

    def __init__(self, state: Path) -> None:
        self.offset_s = 0.0
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.offset_s = float((state / "clock-offset").read_text())

    def wall_s(self) -> float:
        return time.time() + self.offset_s


class Agent:
    """All rooms of one host, joined. Made by `open_agent`, run by `run`."""

    def __init__(self, files: HostFiles) -> None:
        membership = files.membership()
        if membership is None:
            raise NotJoined(
                "the agent can't run", f"{files.state} belongs to no cloud", "join the host: skerry host add"
            )
        self.me = membership.node
        self.files = files
        self.clock = Clock(files.state)
        self.events = EventLog(files.state / "events", EVENTS_MAX_BYTES)
        self.records = RecordStore(files.state)
        self.objects = ObjectStore(files.state)
        self.images = Images(self.objects, files.images)
        self.boot = self.records.next_boot()
        self.trusted = Trusted(membership.cloud)
        self.gossip = Gossip(self.me)
        self.loop = Loop(NodeCore())
        self.door = Door(
            self.trusted,
            self.records,
            self.gossip,
            wall_s=self.clock.wall_s,
            now_s=self.loop.now_s,
            post=self.loop.post,
        )
        self.signer = Signer(files.seed("signing"))
        self.author = Author(self._sign, self.boot, self.clock.wall_s, self.door.offer)
        self.mesh = Mesh(
            self.me,
            files.certificate,
            files.private_pem(),
            files.run,
            on_link=lambda *change: self.links.changed(*change),
            on_frame=lambda peer, data: self.links.heard(peer, data),
            handlers={
                "/request": self._on_request,
                "/objects": self._on_objects,
                "/objects/put": self._on_upload,
                "/keep": self._on_keep,
            },
        )
        self.links = Links(
            self.mesh,
            self.gossip,
            self.door,
            now_s=self.loop.now_s,
            post=self.loop.post,
            note=self.note,
            spawn=self.loop.spawn,
        )
        self.fetcher = Fetcher(self.images, self.objects, self.mesh, self.loop.post)
        self.prober: Prober[Slot] = Prober(lambda *answer: self.loop.post(ProbeAnswered(*answer)))
        self.runtime = OciRuntime(files.containers, files.run, files.logs)
        self.network: Network  # its subnet stands in the enrolment: known once the disk is read
        self.containers: Containers
        self.server: Server

    async def start(self) -> None:
        self.loop.broken = asyncio.get_running_loop().create_future()
        room = read_room()
        self.loop.post(Booted(self.me, self.boot, room.cpus, room.memory_bytes, skerry.__version__))
        self.door.load()
        enrolment = self.trusted.nodes.get(self.me)
        if enrolment is None:
            raise NotJoined(
                "the agent can't run", f"no enrolment of {self.me} is on its disk", "run skerry host add again"
            )
        self.network = Network(
            self.files.net,
            self.files.run,
            subnet=enrolment.body.subnet,
            wireguard_private_key=self.files.seed("wireguard").hex(),
            port=PORT,
        )
        for line in await self.network.start():
            self.note("host", self.me, line)
        self.routes = Routes(lambda effect: self.network.route(effect.ports, dict(effect.names)))
        self.containers = Containers(
            self.runtime,
            self.network,
            self.images,
            self.files.volumes,
            boot=self.boot,
            post=self.loop.post,
            environment=self._environment,
            routed=self.routes.settled,
        )
        self.server = Server(
            me=self.me,
            core=self.loop.core,
            door=self.door,
            mesh=self.mesh,
            images=self.images,
            containers=self.containers,
            events=self.events,
            files=self.files,
            now_s=self.loop.now_s,
            health=self._health,
        )
        self.loop.carriers = self._carriers()
        for image in self.images.held():
            self.loop.post(ImageReady(image))
        await self.containers.adopt()
        self.loop.spawn(self.containers.watch_exits())
        self.loop.spawn(self.routes.run())
        self.loop.spawn(self.links.tick())
        self.loop.spawn(self._flush())
        await self.mesh.serve("0.0.0.0", PORT)
        self.loop.live()
        self.note("agent", self.me, f"started, {skerry.__version__}, start {self.boot}")

    async def close(self) -> None:
        """Containers, rules and tunnel run on."""
        await self.loop.close()
        await self.prober.close()
        await self.mesh.close()
        if hasattr(self, "network"):
            await self.network.close()
        await self.runtime.close()
        self.records.close()

    def note(self, kind: str, subject: str, reason: str) -> None:
        self.events.append(kind, subject, reason, time_s=self.clock.wall_s())

    def _carriers(self) -> dict[type[do.Effect], Any]:
        return {
            do.Publish: self.author.publish,
            do.Fetch: self.fetcher.fetch,
            do.Forget: lambda effect: self.images.forget(effect.image),
            do.Start: self.containers.start,
            do.Stop: self.containers.stop,
            do.Watch: lambda e: self.prober.watch(e.slot, e.node, e.spec, e.address, e.probe, e.own),
            do.Unwatch: lambda e: self.prober.unwatch(e.slot, e.node, e.spec),
            do.Route: self.routes.carry,
            do.Peers: self._peers,
            do.ProbePeer: lambda e: self.links.ask_reach(e.peer, e.via),
            do.Note: lambda e: self.note(e.kind, e.subject, e.reason),
        }

    async def _peers(self, effect: do.Peers) -> None:
        import base64

        self.mesh.set_peers(
            {
                p.node: PeerAddress(base64.b64decode(p.certificate), p.addresses, p.node in effect.dial)
                for p in effect.peers
            }
        )
        self.mesh.set_clients(self.trusted.client_certificates())
        await self.network.set_peers(
            TunnelPeer(public_key=p.wireguard, endpoints=p.addresses, subnet=p.subnet) for p in effect.peers
        )

    def _sign(self, kind: str, key: str, seq: tuple[int, int], time_s: float, body: Any) -> bytes:
        return sign_fact(self.signer, self.trusted.cloud, self.me, kind, key, seq, time_s, body)

    def _environment(self, app: str, sealed: dict[str, str]) -> dict[str, str]:
        if not sealed:
            return {}
        document = self.trusted.document(f"secret/{app}")
        return seal.open_environment(self.files.seed("sealing"), self.me, document, sealed)

    def _health(self) -> dict[str, Any]:
        return {
            "version": skerry.__version__,
            "start": self.boot,
            "neighbours": self.mesh.neighbours(),
            "containers": self.containers.count(),
            "clock_offset_s": self.clock.offset_s,
        }

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            self.records.flush()

    # -- streams

    async def _on_objects(self, stream: Stream, who: str) -> None:
        await serve_objects(stream, self.objects)

    async def _on_upload(self, stream: Stream, who: str) -> None:
        await receive_objects(stream, self.objects)

    async def _on_keep(self, stream: Stream, who: str) -> None:
        await self.server.keep(stream, who)

    async def _on_request(self, stream: Stream, who: str) -> None:
        """One signed request: greeted with a nonce, answered by frames, ended by `{"end": true}`."""
        import msgspec

        nonce = os.urandom(16).hex()
        await send_bytes(stream, msgspec.json.encode({"node": self.me, "nonce": nonce}))
        raw = await recv_bytes(stream)
        try:
            request = judge_request(raw, self.trusted, node=self.me, nonce=nonce, now_s=self.clock.wall_s())
            async for item in self.server.answer(request):
                await send_bytes(stream, msgspec.json.encode({"item": item}))
            await send_bytes(stream, msgspec.json.encode({"end": True}))
        except SkerryError as error:
            if isinstance(error, (TrustRefusal, BadFormat)):
                self.note("refused", who, str(error))
            await send_bytes(stream, msgspec.json.encode({"error": error.as_dict() | {"exit_code": error.exit_code}}))


async def run(files: HostFiles) -> None:
    """Until SIGTERM or SIGINT. A bug in any task ends it with a traceback; systemd starts it anew, containers run on."""
    files.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    agent = Agent(files)
    stop = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: stop.done() or stop.set_result(None))
    try:
        await agent.start()
        assert agent.loop.broken is not None
        notify("READY=1")
        await asyncio.wait({stop, agent.loop.broken}, return_when=asyncio.FIRST_COMPLETED)
        if agent.loop.broken.done():
            agent.loop.broken.result()
    finally:
        await agent.close()


async def purge(files: HostFiles) -> None:
    """End all containers and take our network away; the state directory is the caller's to remove."""
    runtime = OciRuntime(files.containers, files.run, files.logs)
    for container in await runtime.list_containers():
        await runtime.stop(container.id, signal="SIGTERM", grace_s=5.0)
    await runtime.close()
    await Network(files.net, files.run, subnet="10.77.0.0/24", wireguard_private_key="0" * 64, port=PORT).purge()


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where it isn't listening."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send(state.encode())


__all__ = ["Agent", "Coroutine", "notify", "purge", "run"]
