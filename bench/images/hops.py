"""An update on its way: an operator's deploy to one of two agents, and from there to the other; each hop's bytes counted.

Real agents, real TLS connections on loopback, in one process; containers in memory. Two counts that must agree: what goes
through a counting proxy before each agent (all that TCP carries), and what each connection gives to and takes from its TLS
(messages). The difference is TLS: its handshake, and 22 bytes for each record.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.agent.small import Aside, SmallCloud
from tests.ports import free_port
from websockets.protocol import State

from bench.images.apps import WORK, Version
from bench.images.wire import Wire
from skerry.client.compose import load
from skerry.client.deploy import deploy
from skerry.client.images import LocalImages
from skerry.client.session import Session
from skerry.core import messages as m
from skerry.mesh.connections import Incoming
from skerry.mesh.links import LINK, Mesh

APP = """services:
  web:
    image: {digest}
    deploy: {{replicas: 2}}
"""
REQUEST = "/request"
IMAGES = m.WantBundle | m.Bundle
COPIES = m.HoldsAsk | m.HoldsAnswer  # whether the other end has synced the release
FRAME_HEAD_BYTES = 8  # of a frame of 126 to 65,535 bytes, as the dialling side sends it: 4, and a mask of 4
TLS_RECORD_BYTES = 22


@dataclass
class Talk:
    """One connection. `seen`: the port that it came from; `opening`: the HTTP request and answer; `messages`: the rest."""

    connection: Incoming
    seen: int
    opening: int = 0
    messages: int = 0
    wrote: bool = False

    @property
    def path(self) -> str:
        return self.connection.request.path if self.connection.request else ""

    @property
    def opener(self) -> str:
        return self.connection.who


@dataclass
class Hop:
    """What one update cost between two of them.

    `transfer`: what asks for the image and brings it, over streams of its own or the link. `record`: the signed release, as
    often as it went over the link or in a request, and whether the other end has synced it. `talk`: all else that a deploy
    asks and is told: what is newest, what runs, whether there is room, how it goes.
    """

    transfer: int = 0
    record: int = 0
    talk: int = 0
    with_tls: int = 0
    connections: int = 0
    paths: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return self.transfer + self.record


class Meter:
    """Counts what every connection of the agents in this process carries above TLS, from `with` to its end."""

    def __init__(self) -> None:
        self.talks: list[Talk] = []
        self.frames: list[bytes] = []  # on links

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        made, received, sent = Incoming.connection_made, Incoming.data_received, Mesh.send
        meter = self

        def connection_made(self: Incoming, transport: Any) -> None:
            talk = Talk(self, transport.get_extra_info("peername")[1])
            meter.talks.append(talk)
            write = transport.write

            def counted(data: bytes) -> None:
                if talk.wrote:
                    talk.messages += len(data)
                else:
                    talk.opening, talk.wrote = talk.opening + len(data), True
                write(data)

            transport.write = counted
            made(self, transport)

        def data_received(self: Incoming, data: bytes) -> None:
            talk = next(talk for talk in meter.talks if talk.connection is self)
            if self.protocol.state is State.CONNECTING:
                talk.opening += len(data)
            else:
                talk.messages += len(data)
            received(self, data)

        def send(self: Mesh, peer: str, data: bytes) -> bool:
            meter.frames.append(data)
            return sent(self, peer, data)

        Incoming.connection_made, Incoming.data_received, Mesh.send = connection_made, data_received, send  # type: ignore[method-assign]
        try:
            yield
        finally:
            Incoming.connection_made, Incoming.data_received, Mesh.send = made, received, sent  # type: ignore[method-assign]


class Road(SmallCloud):
    """Two agents, each behind a proxy that its enrolment names."""

    def __init__(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        super().__init__(directory, 2)
        self.wires = {name: Wire(free_port(), port) for name, port in self.ports.items()}
        self.ports = {name: wire.target for name, wire in self.wires.items()}


def travel(versions: Sequence[Version], images: LocalImages) -> list[tuple[Hop, Hop]]:
    """Deploy these versions of one app one after the other: of each (operator to host, host to host)."""
    directory = WORK / "hops"
    cloud, meter = Road(directory), Meter()
    hops = []
    with contextlib.ExitStack() as stack:
        for wire in cloud.wires.values():
            stack.enter_context(wire)
        stack.enter_context(meter.counting())
        aside = stack.enter_context(Aside(cloud))
        aside.wait("the link", lambda: all(agent.mesh.neighbours() for agent in cloud.agents.values()))
        home = cloud.home(directory / "home")
        compose = directory / "compose.yaml"

        async def go() -> None:
            async with Session(home, lambda what: "") as session:
                await deploy(session, load(compose, environ=os.environ, name="app"), images=images)

        for version in versions:
            compose.write_text(APP.format(digest=version.digest))
            known, meter.frames = len(meter.talks), []
            before = {name: wire.of.copy() for name, wire in cloud.wires.items()}
            aside.run(go())
            aside.wait("both to have it", lambda: all(version.digest in a.images.held() for a in cloud.agents.values()))  # noqa: B023
            raw = aside.look(lambda: dict(cloud.agents["vps-1"].records.all())["release/app"])
            streams = [talk for talk in meter.talks[known:] if talk.path != LINK]
            aside.wait("the streams to close", lambda: all(t.connection.state is State.CLOSED for t in streams))  # noqa: B023
            hops.append(_hops(meter, known, cloud, before, raw))
    return hops


def _hops(meter: Meter, known: int, cloud: Road, before: dict[str, Any], release: bytes) -> tuple[Hop, Hop]:
    up, across = Hop(), Hop()
    for talk in meter.talks[known:]:
        hop = across if talk.opener.startswith("node/") else up
        if talk.path == LINK:
            raise RuntimeError("the link broke meanwhile: what was said on it was not counted")
        hop.paths[talk.path] = hop.paths.get(talk.path, 0) + talk.messages
        if talk.path == REQUEST:
            hop.talk += talk.messages
        else:
            hop.transfer += talk.messages
            hop.connections += 1
            hop.with_tls += sum(wire.of[talk.seen] - before[name][talk.seen] for name, wire in cloud.wires.items())
    for frame in meter.frames:
        pushed, carries = release in frame, m.decode(frame)
        size = len(release) if pushed else len(frame) if isinstance(carries, IMAGES | COPIES) else 0
        if size:
            if isinstance(carries, IMAGES):
                across.transfer += size + FRAME_HEAD_BYTES
            else:
                across.record += size + FRAME_HEAD_BYTES
            across.with_tls += size + FRAME_HEAD_BYTES + TLS_RECORD_BYTES
            across.paths[LINK] = across.paths.get(LINK, 0) + size + FRAME_HEAD_BYTES
    up.record = len(release)  # within the request to take it
    up.talk -= up.record
    up.with_tls += up.record
    return up, across
