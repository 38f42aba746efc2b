"""Images from host to host in a small cloud: bundles, portions from several hosts at once, hosts that lie, stop or are slow."""

from __future__ import annotations

import asyncio
import random
import time
import tracemalloc
from typing import Any

import pytest
import zstandard

from agent.small import Aside, SmallCloud
from skerry.agent.daemon import Agent
from skerry.agent.images import gathering
from skerry.core import messages as m
from skerry.core.effects import Fetch
from skerry.core.events import ImageFailed
from skerry.core.history import HISTORY, SHORT
from skerry.core.intent import Release, Service
from skerry.image.packs import pack
from skerry.mesh import carrying as c
from skerry.trust.envelope import parse


def some_files(seed: int, count: int = 60, large: int = 0) -> dict[str, bytes]:
    """Files that don't pack, of 1 to 60 KiB; `large`: and one of so many bytes."""
    chance = random.Random(seed)
    files = {f"usr/lib/app/{n:04}": chance.randbytes(chance.randrange(1, 60) << 10) for n in range(count)}
    files["usr/bin/app"] = b"program %d" % seed
    if large:
        files["usr/lib/large"] = chance.randbytes(large)
    return files


def fetch(small: Aside, host: str, image: str, *sources: str) -> None:
    agent = small.cloud.agents[host]
    small.run(agent.fetcher.fetch(Fetch(image=image, sources=tuple(f"node/{name}" for name in sources))))


def told(small: Aside) -> list[str]:
    """What hosts told of one another."""
    agents = small.cloud.agents.items()
    return [f"{name}: {e.subject} {e.reason}" for name, a in agents for e in a.events.tail(200) if e.kind == "refused"]


def has(small: Aside, host: str, image: str) -> bool:
    return small.cloud.agents[host].images.root(image) is not None


@pytest.fixture
def three(tmp_path):
    with Aside(SmallCloud(tmp_path, 3)) as small:
        agents = small.cloud.agents.values()
        small.wait("all see all", lambda: all(sum(h.state == "up" for h in a.loop.core.hosts()) == 3 for a in agents))
        yield small


def test_a_host_without_anything_gets_packs_and_parts(three):
    image = three.look(lambda: three.cloud.give_files(some_files(1, large=9_500_000), "vps-1"))
    fetch(three, "vps-2", image, "vps-1")
    assert has(three, "vps-2", image)
    assert not list((three.cloud.files["vps-2"].state / "parts").iterdir())


def test_six_hosts_cost_the_first_one_about_one_image(tmp_path):
    with Aside(SmallCloud(tmp_path, 6)) as small:
        cloud = small.cloud
        small.wait("links", lambda: all(len(a.mesh.neighbours()) == 5 for a in cloud.agents.values()))
        files = some_files(2, count=80, large=5_000_000)
        image = small.look(lambda: cloud.give_files(files, "vps-1"))
        others = [name for name in cloud.agents if name != "vps-1"]

        async def all_at_once() -> None:
            effects = Fetch(image=image, sources=("node/vps-1",))
            await asyncio.gather(*(cloud.agents[name].fetcher.fetch(effects) for name in others))

        failed: list[ImageFailed] = []
        for agent in cloud.agents.values():
            agent.fetcher._post = lambda event: failed.append(event) if isinstance(event, ImageFailed) else None
        small.run(all_at_once())
        assert not failed, (failed, told(small))
        assert all(has(small, name, image) for name in others)
        size = sum(map(len, files.values()))
        sent = {name: small.look(lambda n=name: sent_bytes(cloud, n, image)) for name in cloud.agents}
        print({name: round(each / size, 2) for name, each in sent.items()})
        assert sent["vps-1"] <= 1.1 * size


def sent_bytes(cloud: SmallCloud, host: str, image: str) -> int:
    stock = cloud.agents[host].stocks._stocks.get(image)
    return stock.sent_bytes if stock is not None else 0


def an_app(seed: int = 3, count: int = 400) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Its files, and the same with an edit in one line."""
    text = b"".join(b"def f%d(x):\n    return x + %d\n" % (n, n * n) for n in range(900))
    files = {**some_files(seed, count=count), "usr/lib/app/main.py": text}
    return files, {**files, "usr/lib/app/main.py": text.replace(b"x + 160000\n", b"x + 160001  # seen\n")}


class Wire:
    """All that hosts send over their links from now on: sizes by (from, to), of what isn't their beat."""

    def __init__(self, cloud: SmallCloud) -> None:
        self.frames: list[tuple[str, str, m.AnyMessage, int]] = []
        self.last_s = time.monotonic()
        for name, agent in cloud.agents.items():
            real = agent.mesh.send

            def send(peer: str, data: bytes, name: str = name, real: Any = real) -> bool:
                self.last_s = time.monotonic()
                self.frames.append((name, peer.removeprefix("node/"), m.decode(data), len(data)))
                return bool(real(peer, data))

            agent.mesh.send = send  # type: ignore[method-assign]

    def update_bytes(self, giver: str, taker: str) -> int:
        """Of the release, of the giver's word that it has the image, of the question and the bundle; each with its signature, and
        with what TLS and frames add to it.
        """
        total = 0
        for sender, to, message, size in self.frames:
            if (sender, to) == (giver, taker) and isinstance(message, m.Push):
                for raw in message.records:
                    payload = parse(raw).payload
                    if b'"release/' in payload or (b'"object"' in payload and f'"node/{giver}"'.encode() in payload):
                        total += len(raw) + 32
            elif {sender, to} == {giver, taker} and isinstance(message, m.WantBundle | m.Bundle):
                total += size + 32
        return total


def knows(agent: Agent, image: str) -> bool:
    """The release has come, and every host's word that it has the image: nothing of them crosses later."""
    held = {id for id in agent.trusted.fact_heads() if id.endswith(f"|object|{image}")}
    return agent.trusted.document("release/web") is not None and len(held) == 3


def test_an_edit_of_a_line_crosses_to_each_host_in_less_than_2_kib(three):
    """Over the link that is there anyway: no connection is opened for it."""
    cloud = three.cloud
    files, edited = an_app()
    old = three.look(lambda: cloud.give_files(files))
    three.look(lambda: cloud.deploy("web", Service(replicas=3), old))
    three.wait("a replica each", lambda: all(len(r.disk.specs) == 1 for r in cloud.runtimes.values()))
    three.wait(
        "everybody to know of it, and who has the image", lambda: all(knows(a, old) for a in cloud.agents.values())
    )
    held = three.look(lambda: cloud.agents["vps-1"].trusted.document("release/web"))
    wire = three.look(lambda: Wire(cloud))
    three.wait("all healthy", lambda: all(r.healthy for a in cloud.agents.values() for r in a.loop.core.rows()))
    three.wait("quiet", lambda: time.monotonic() - wire.last_s > 0.3)
    three.look(wire.frames.clear)
    new = three.look(lambda: cloud.give_files(edited, "vps-1"))
    full = tuple(f"{n:0{SHORT}x}" for n in range(HISTORY))  # as long as a history gets
    release = Release(images={"web": new}, fits=1, fallback=held.hash, earlier=full)
    raw = cloud.sign("release/web", release, 2, prev=held.hash)
    begun_s = time.monotonic()
    three.look(lambda: cloud.agents["vps-1"].door.offer(raw, from_client=True))
    three.wait("image everywhere", lambda: all(has(three, name, new) for name in cloud.agents))
    print(f"everywhere after {time.monotonic() - begun_s:.2f} s")
    hops = [(b, a) for a, b, message, _ in wire.frames if isinstance(message, m.WantBundle)]
    assert sorted(taker for _, taker in hops) == ["vps-2", "vps-3"]
    for giver, taker in hops:
        print(f"{giver} to {taker}: {wire.update_bytes(giver, taker)} bytes")
        assert wire.update_bytes(giver, taker) <= 2048
    assert not any(agent.mesh._streams for agent in cloud.agents.values())


# Hosts that do wrong. Each is vps-1 or vps-2 with another handler; vps-3 fetches.


def swap(small: Aside, host: str, handler: Any) -> None:
    small.cloud.agents[host].mesh._handlers["/image"] = handler


def given_by(small: Aside, host: str, change: Any) -> None:
    """This host gives what `change(number, frame)` makes of it."""
    stocks = small.cloud.agents[host].stocks
    real = stocks.read
    stocks.read = lambda stock, number, files=None: change(number, real(stock, number, files))  # type: ignore[method-assign]


def inverted(frame: bytes) -> bytes:
    data = zstandard.ZstdDecompressor().decompress(frame)
    return pack([bytes(byte ^ 255 for byte in data)])


BOMB = pack([bytes(300 << 20)])


@pytest.mark.parametrize(
    "change",
    [
        lambda n, frame: inverted(frame) if n >= 0 else frame,
        lambda n, frame: frame[:-3],
        lambda n, frame: BOMB if n >= 0 else frame,
        lambda n, frame: BOMB if n < 0 else frame,
        lambda n, frame: pack([b"other documents"]) if n < 0 else frame,
        lambda n, frame: b"" if n >= 0 else frame,
    ],
    ids=["other bytes", "cut short", "a bomb", "a bomb of documents", "other documents", "nothing"],
)
def test_a_host_that_gives_something_else_is_told_and_left_for_the_next(three, change):
    image = three.look(lambda: three.cloud.give_files(some_files(5), "vps-1", "vps-2"))
    three.look(lambda: given_by(three, "vps-1", change))
    tracemalloc.start()
    fetch(three, "vps-3", image, "vps-1")
    most_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("vps-1" in line for line in told(three)), told(three)
    assert not has(three, "vps-3", image)
    fetch(three, "vps-3", image, "vps-1", "vps-2")
    assert has(three, "vps-3", image)
    assert most_bytes < 120 << 20


def test_the_host_that_gave_a_false_part_of_a_large_file_is_found_out(three):
    """Each of both gives parts; which of them is false shows only once the file is made of them."""
    files = some_files(6, count=3, large=12_000_000)
    image = three.look(lambda: three.cloud.give_files(files, "vps-1", "vps-2"))
    three.look(lambda: given_by(three, "vps-1", lambda n, frame: inverted(frame) if len(frame) > 900_000 else frame))
    for host in ("vps-1", "vps-2"):  # neither is quick enough to give all of it
        slow(three, host, 0.05)
    fetch(three, "vps-3", image, "vps-1", "vps-2")
    assert has(three, "vps-3", image)
    lines = [line for line in told(three) if line.startswith("vps-3")]
    assert any("vps-1" in line for line in lines) and not any("node/vps-2" in line for line in lines), lines


def slow(small: Aside, host: str, pause_s: float) -> None:
    stocks = small.cloud.agents[host].stocks
    real = stocks.read

    def read(*args: Any) -> bytes:
        time.sleep(pause_s)  # in a thread, as a slow disk would
        return real(*args)

    stocks.read = read  # type: ignore[method-assign]


def test_hosts_that_all_lie_give_nothing_and_nothing_is_kept(three):
    image = three.look(lambda: three.cloud.give_files(some_files(7, count=10), "vps-1", "vps-2"))
    for host in ("vps-1", "vps-2"):
        three.look(lambda host=host: given_by(three, host, lambda n, frame: inverted(frame) if n >= 0 else frame))
    fetch(three, "vps-3", image, "vps-1", "vps-2")
    agent = three.cloud.agents["vps-3"]
    assert not has(three, "vps-3", image)
    assert len(list(agent.objects)) == 3, "manifest, config, tree"
    assert {line.split(" ")[1] for line in told(three) if line.startswith("vps-3")} == {"node/vps-1", "node/vps-2"}


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_host_that_stops_in_the_middle_is_left_for_the_next(three, after, monkeypatch):
    """It goes on answering pings, as a process with a hung disk does."""
    monkeypatch.setattr(gathering, "SILENT_S", 1.0)
    monkeypatch.setattr(gathering, "SLOW_S", 0.5)
    image = three.look(lambda: three.cloud.give_files(some_files(8, large=5_000_000), "vps-1", "vps-2"))
    giving = three.cloud.agents["vps-1"].giving
    real, count = giving.give, 0

    async def give(*args: Any) -> None:
        nonlocal count
        count += 1
        if count > after:
            await asyncio.sleep(60)
        await real(*args)

    giving.give = give  # type: ignore[method-assign]
    monkeypatch.setattr("skerry.agent.images.giving.SOON_S", 100.0)
    fetch(three, "vps-3", image, "vps-1", "vps-2")
    assert has(three, "vps-3", image)


def test_a_host_that_trickles_is_left_and_told(three, monkeypatch):
    monkeypatch.setattr(gathering, "LEAST_S", 1.0)
    monkeypatch.setattr(gathering, "SLOW_S", 30.0)  # nobody else is asked meanwhile
    image = three.look(lambda: three.cloud.give_files(some_files(9), "vps-1", "vps-2"))

    async def trickles(stream: Any, who: str) -> None:
        stock = await three.cloud.agents["vps-1"].stocks.of(image)
        await c.recv(stream, c.About)
        await c.send(stream, c.Has(True, c.bits(stock.have, len(stock.portions))))
        while True:
            ask = await c.recv(stream, c.Ask)
            await c.send(stream, c.Will(ask.wishes[0].number))
            for _ in range(1000):
                await stream.send(b"\x01" + bytes(100))  # more of the message follows
                await asyncio.sleep(0.1)

    three.look(lambda: swap(three, "vps-1", trickles))
    fetch(three, "vps-3", image, "vps-1")
    assert any("vps-1" in line and "bytes in" in line for line in told(three)), told(three)
    fetch(three, "vps-3", image, "vps-1", "vps-2")
    assert has(three, "vps-3", image)


@pytest.mark.parametrize(
    "answers",
    [
        [c.Will(0)],
        [c.Has(True, b"\xff" * 9), c.Portion(0, b"unasked")],
        [c.Has(True, b"\xff" * 9), c.Will(99)],
        [c.Has(True, b"\xff" * 9), c.Elsewhere(("node/vps-2",))],
        [c.About(b"x" * 32)],
        [c.Others(tuple(f"node/x{n}" for n in range(16)))] * 20,
    ],
)
def test_a_host_whose_words_make_no_sense_is_left_for_the_next(three, answers, monkeypatch):
    monkeypatch.setattr(gathering, "SILENT_S", 1.0)
    image = three.look(lambda: three.cloud.give_files(some_files(10), "vps-1", "vps-2"))

    async def babbles(stream: Any, who: str) -> None:
        for answer in answers:
            await c.send(stream, answer)
        await stream.wait_closed()

    three.look(lambda: swap(three, "vps-1", babbles))
    fetch(three, "vps-3", image, "vps-1", "vps-2")
    assert has(three, "vps-3", image)


@pytest.mark.parametrize("after", [0, 1, 2, 4, 6])
def test_what_came_before_the_agent_died_does_not_come_again(three, after):
    """It dies in the middle, and nothing is put in order: what it had in hand is lost, what it had put down is not."""
    files = some_files(11, count=20, large=9_000_000)
    image = three.look(lambda: three.cloud.give_files(files, "vps-1"))
    cloud, agent = three.cloud, three.cloud.agents["vps-3"]
    real, count = agent.stocks.parts.put, 0

    def put(*args: Any) -> None:
        nonlocal count
        count += 1
        if count > after:
            agent.objects.sync_all = lambda: None  # type: ignore[method-assign]
            raise RuntimeError("dead")
        real(*args)

    agent.stocks.parts.put = put  # type: ignore[method-assign]
    fetch(three, "vps-3", image, "vps-1")
    assert not has(three, "vps-3", image)
    three.run(cloud.stop("vps-3"))
    before = three.look(lambda: sent_bytes(cloud, "vps-1", image))
    three.run(cloud.start("vps-3"))
    fetch(three, "vps-3", image, "vps-1")
    assert has(three, "vps-3", image)
    again = three.look(lambda: sent_bytes(cloud, "vps-1", image)) - before
    assert again <= (len(files["usr/lib/large"]) - after * (1 << 20)) + (2 << 20), (
        "parts that are here, and small files"
    )
