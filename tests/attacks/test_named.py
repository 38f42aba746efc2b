"""What a captured host sends that is no record, no address of its own, or one number twice: refused, without harm, and named."""

from __future__ import annotations

import asyncio
import time

import pytest
from websockets.exceptions import ConnectionClosed

from attacks.captured import Link
from attacks.conftest import HONEST, Scene
from skerry.agent import complaints
from skerry.core import messages as m
from skerry.core.facts import Claim, Decline, SlotState
from skerry.errors import SkerryError
from skerry.mesh.messages import send_bytes
from skerry.trust.refusals import RateExceeded

DEEP = 200_000


def forget(scene: Scene) -> None:
    """What was told of anybody in the minute before."""
    for name in HONEST:
        of = scene.cloud.agents[name].links.complaints
        scene.aside.look(of._doers.clear)
        scene.aside.look(of._strangers.clear)
    scene.since_s = time.time()


def named(scene: Scene, deed: str, host: str = "vps-1", who: str = "node/vps-3") -> None:
    """Wait until that host says who did this."""
    events = scene.cloud.agents[host].events

    def told() -> bool:
        entries = [entry for entry in events.tail(500) if entry.kind == "misdeed" and entry.time >= scene.since_s]
        return any(entry.subject == who and int(entry.more.get(deed, 0)) > 0 for entry in entries)

    scene.aside.wait(f"{host} to say of {who}: {deed}", told, 15)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x91" * DEEP,  # arrays in arrays
        b"\x92\xa4push" + b"\x91" * DEEP,
        b"\x81\xa1a" * DEEP,  # maps in maps
        b"",
        b"\xc1",
    ],
    ids=["arrays", "in a message", "maps", "nothing", "no format"],
)
def test_a_message_a_thousand_deep_costs_its_sender_the_link_and_nobody_else_anything(
    scene: Scene, frame: bytes
) -> None:
    forget(scene)
    before = scene.world.look()

    async def send() -> bool:
        link = await scene.thief.link("vps-1")
        try:
            await link.stream.send(frame)
            async with asyncio.timeout(10):
                while True:
                    await link.stream.recv()
        except ConnectionClosed:
            return True
        finally:
            await link.close()

    assert scene.aside.run(send())
    named(scene, complaints.NO_FRAME)
    agent = scene.cloud.agents["vps-1"]
    assert not agent.loop.broken.done()
    log = [entry.reason for entry in agent.events.tail(100) if entry.kind == "down" and entry.time >= scene.since_s]
    assert not any("could not be handled" in reason for reason in log), "that is a bug of ours, not its misdeed"
    scene.calm()
    assert scene.world.look() == before


@pytest.mark.parametrize("path", ["/image", "/request", "/catch-up", "/look", "/debug"])
def test_a_stream_of_a_thousand_brackets_ends_in_words(scene: Scene, path: str) -> None:
    """Whatever the message was to be: refused like any other that is none."""
    before = scene.world.look()

    async def send(data: bytes) -> str:
        stream = await scene.thief.open("vps-1", path)
        try:
            await send_bytes(stream, data)
            async with asyncio.timeout(10):
                while True:
                    await stream.recv()
        except ConnectionClosed:
            return f"{stream.close_code} {stream.close_reason}"
        except TimeoutError:
            return "answered"  # requests are refused in an answer
        finally:
            await stream.close()

    for data in (b"\x91" * DEEP, b"[" * DEEP, b'{"payload":' * (DEEP // 10)):
        ended = scene.aside.run(send(data))
        assert not ended.startswith("1011"), "a handler failed: that is a bug of ours"
    scene.calm()
    assert scene.world.look() == before


def test_who_signs_one_number_twice_is_named_whoever_brings_it(scene: Scene) -> None:
    forget(scene)
    thief = scene.thief
    number = (thief.boot, 500_000 + int(time.time()) % 100_000)
    two = [thief.fact("decline", "twice.web/0", Decline(spec="0" * 16, reason=word), seq=number) for word in ("a", "b")]

    async def tell() -> None:
        for name in HONEST:  # each hears them in another order
            link = await thief.link(name)
            await link.send(*(two if name == "vps-1" else two[::-1]))
            await link.settle()
            await link.close()

    scene.aside.run(tell())
    scene.aside.wait(
        "the same one everywhere",
        lambda: (
            len({scene.cloud.agents[n].trusted.fact_heads()["node/vps-3|decline|twice.web/0"] for n in HONEST}) == 1
        ),
    )
    scene.aside.wait(
        "a word of it",
        lambda: any(
            entry.kind == "misdeed" and entry.subject == "node/vps-3" and complaints.TWICE in entry.more
            for name in HONEST
            for entry in scene.cloud.agents[name].events.tail(200)
            if entry.time >= scene.since_s
        ),
        15,
    )
    scene.calm()


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.77.2.9", "198.51.100.7", "::1", "10.77.4.1/24", "x"]
)
def test_an_address_that_is_not_its_own_is_probed_by_nobody_and_led_to_by_no_route(scene: Scene, address: str) -> None:
    before = scene.world.look()
    agents = [scene.cloud.agents[name] for name in HONEST]
    (spec,) = {row.version for row in scene.aside.look(agents[0].loop.core.rows)}
    slot = "web.web/0"
    probed: list[str] = []
    real = [agent.prober.watch for agent in agents]
    for agent, watch in zip(agents, real, strict=True):

        def noted(slot: object, node: str, spec: str, where: str, *more: object, watch: object = watch) -> None:
            probed.append(where)
            watch(slot, node, spec, where, *more)  # type: ignore[operator]

        agent.prober.watch = noted  # type: ignore[assignment,method-assign]

    async def tell() -> None:
        for name in HONEST:
            link = await scene.thief.link(name)
            claim = Claim(spec=spec, image=scene.image, rank=0, reason="mine")
            state = SlotState(spec=spec, image=scene.image, state="running", address=address, healthy=True)
            await link.send(scene.thief.fact("claim", slot, claim), scene.thief.fact("slot", slot, state))
            assert await link.settle()
            await asyncio.sleep(0.3)
            await link.send(scene.thief.fact("claim", slot, None))
            await link.settle()
            await link.close()

    try:
        scene.aside.run(tell())
    finally:
        for agent, watch in zip(agents, real, strict=True):
            agent.prober.watch = watch  # type: ignore[method-assign]
    assert address not in probed
    for agent in agents:
        targets = scene.aside.look(lambda agent=agent: [t.address for _, some in agent.network.ports for t in some])
        assert address not in targets
        assert address not in scene.aside.look(
            lambda agent=agent: [a for some in agent.network.names.values() for a in some]
        )
        refused = [entry.reason for entry in agent.events.tail(300) if entry.kind == "refused"]
        assert any("must be in the node's own subnet" in reason for reason in refused)
    scene.calm()
    assert scene.world.look()["vps-1"]["documents"] == before["vps-1"]["documents"]


def test_frames_that_are_records_of_nothing_are_told_at_once(scene: Scene) -> None:
    """One of them is enough: no honest host sends any."""
    forget(scene)

    async def send() -> None:
        link = await scene.thief.link("vps-2")
        await link.stream.send(m.encode(m.Push(())) + b"more")
        await link.stream.wait_closed()

    scene.aside.run(send())
    named(scene, complaints.NO_FRAME, "vps-2")
    scene.calm()


async def catch_up(scene: Scene, heads: bytes, *, read: bool = True) -> tuple[str, bytes]:
    """How such a stream ended, and what came over it."""
    stream = await scene.thief.open("vps-1", "/catch-up")
    if not read:
        stream.transport.pause_reading()
    await send_bytes(stream, heads)
    if not read:
        return "", b""
    came = b""
    try:
        async with asyncio.timeout(10):
            while True:
                came += await stream.recv(decode=False)
    except ConnectionClosed:
        return str(stream.close_reason), came


def test_a_question_of_millions_of_nothings_is_refused_before_it_is_held(scene: Scene) -> None:
    many = 500_000
    heads = b"\xdf" + many.to_bytes(4, "big") + b"".join(b"\xa3%03x\x92\x00\x01" % (n % 4096) for n in range(many))
    why, came = scene.aside.run(catch_up(scene, heads))
    assert "length <=" in why and not came


def test_of_answers_that_nobody_reads_one_is_held_for_each_host(scene: Scene) -> None:
    agent = scene.cloud.agents["vps-1"]
    real = agent.door.newer_than
    scene.aside.look(lambda: setattr(agent.door, "newer_than", lambda theirs: [bytes(60_000)] * 300))
    try:
        scene.aside.run(catch_up(scene, b"\x80", read=False))
        why, came = scene.aside.run(catch_up(scene, b"\x80"))
        assert "still on its way" in why and not came
    finally:
        scene.aside.look(lambda: setattr(agent.door, "newer_than", real))
        scene.aside.look(lambda: [s.transport.abort() for s in agent.mesh._streams])
    scene.aside.wait("the end of it", lambda: not agent.streams._catching_up)
    why, came = scene.aside.run(catch_up(scene, b"\x80"))
    assert len(came) > 1000, "it may ask again"
    scene.calm()


async def seek(scene: Scene) -> Link:
    """Documents that are there, as many as one message may name, again and again."""
    hashes = [head[2] for head in scene.cloud.agents["vps-2"].trusted.heads().values()]
    hashes = (hashes * m.PUSH_RECORDS)[: m.PUSH_RECORDS]
    link = await scene.thief.link("vps-1")
    for n in range(60):
        await link.stream.send(m.encode(m.HoldsAsk(n, tuple(hashes))))
    return link


def test_who_has_much_sought_on_the_disk_waits_as_if_it_had_brought_as_many_records(scene: Scene) -> None:
    links = scene.cloud.agents["vps-1"].links
    tell, waits = links.tell, []

    def told(refusal: SkerryError, peer: str) -> None:
        waits.append(isinstance(refusal, RateExceeded) and refusal.of_link and peer == "node/vps-3")
        tell(refusal, peer)

    scene.aside.look(lambda: setattr(links, "tell", told))
    try:
        link = scene.aside.run(seek(scene))
        scene.aside.wait("it is made to wait", lambda: any(waits))
        scene.aside.look(link.stream.transport.abort)
    finally:
        scene.aside.look(lambda: setattr(links, "tell", tell))
    scene.calm()
