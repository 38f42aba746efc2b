"""Images from host to host in a small cloud: bundles, portions from several hosts at once, hosts that lie, stop or are slow."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from agent.small import Aside, SmallCloud
from skerry.agent.daemon import Agent
from skerry.core import messages as m
from skerry.core.effects import Fetch
from skerry.core.events import ImageFailed
from skerry.core.history import HISTORY, SHORT
from skerry.core.intent import Release, Service
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
        small.wait("links", lambda: all(len(a.mesh.neighbours()) == 2 for a in small.cloud.agents.values()))
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
        for name, agent in cloud.agents.items():
            real = agent.mesh.send

            def send(peer: str, data: bytes, name: str = name, real: Any = real) -> bool:
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
    three.wait("replicas", lambda: sum(len(r.disk.specs) for r in cloud.runtimes.values()) == 3)
    three.wait(
        "everybody to know of it, and who has the image", lambda: all(knows(a, old) for a in cloud.agents.values())
    )
    held = three.look(lambda: cloud.agents["vps-1"].trusted.document("release/web"))
    wire = three.look(lambda: Wire(cloud))
    new = three.look(lambda: cloud.give_files(edited, "vps-1"))
    full = tuple(f"{n:0{SHORT}x}" for n in range(HISTORY))  # as long as a history gets
    release = Release(images={"web": new}, fits=1, fallback=held.hash, earlier=full)
    raw = cloud.sign("release/web", release, 2, prev=held.hash)
    three.look(lambda: cloud.agents["vps-1"].door.offer(raw, from_client=True))
    three.wait("image everywhere", lambda: all(has(three, name, new) for name in cloud.agents))
    hops = [(b, a) for a, b, message, _ in wire.frames if isinstance(message, m.WantBundle)]
    assert sorted(taker for _, taker in hops) == ["vps-2", "vps-3"]
    for giver, taker in hops:
        print(f"{giver} to {taker}: {wire.update_bytes(giver, taker)} bytes")
        assert wire.update_bytes(giver, taker) <= 2048
    assert not any(agent.mesh._streams for agent in cloud.agents.values())
