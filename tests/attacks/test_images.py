"""Design section 7, rules 1 and 3: images from a captured host, over its own real links, with its own keys.

Whatever it answers when it is asked for a new version, and whatever it sends unasked, nothing of it is kept but the bytes that the
signed digest names; it is told, and the image comes from the next host.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import zstandard
from websockets.exceptions import ConnectionClosed

from agent.small import put_image
from attacks.captured import Link
from attacks.conftest import Scene
from skerry.core import messages as m
from skerry.core.effects import Fetch
from skerry.errors import SkerryError
from skerry.image.bundle import make_bundle, version_of
from skerry.mesh import carrying as c

VICTIM, OTHER = "vps-1", "vps-2"
CHANCE = random.Random(7)
OLD = {"usr/bin/app": b"an app", **{f"usr/lib/app/{n}": CHANCE.randbytes(2000) for n in range(20)}}
NEW = {**OLD, "usr/lib/app/3": b"x = 1\n" * 200, "usr/lib/app/more": b"more"}
THIRD = {**OLD, "usr/lib/app/4": b"y = 1\n" * 200}

Answer = Callable[[m.WantBundle], list[m.AnyMessage]]


class Versions:
    """`old` is whole on the victim, `new` and `third` on the other honest host; a good bundle to each."""

    def __init__(self, scene: Scene) -> None:
        cloud = scene.cloud
        self.old = scene.aside.look(lambda: cloud.give_files(OLD, VICTIM, OTHER))
        self.new = scene.aside.look(lambda: cloud.give_files(NEW, OTHER))
        self.third = scene.aside.look(lambda: cloud.give_files(THIRD, OTHER))
        read = cloud.agents[OTHER].objects.read
        self.good = make_bundle(version_of(self.old, read), version_of(self.new, read), read)
        self.to_third = make_bundle(version_of(self.old, read), version_of(self.third, read), read)


@pytest.fixture(scope="module")
def versions(cloud_with_a_thief: Scene) -> Versions:
    return Versions(cloud_with_a_thief)


@contextmanager
def answering(scene: Scene, answer: Answer) -> Iterator[list[m.WantBundle]]:
    """The thief's link to the victim, over which it answers whatever it is asked. Gives the questions."""
    asked: list[m.WantBundle] = []

    async def serve(link: Link) -> None:
        with_beats = asyncio.create_task(beat(link))
        try:
            while True:
                message = m.decode(await link.stream.recv(decode=False))
                if isinstance(message, m.WantBundle):
                    asked.append(message)
                    for each in answer(message):
                        await link.stream.send(m.encode(each))
        except ConnectionClosed:
            pass
        finally:
            with_beats.cancel()

    async def beat(link: Link) -> None:
        while True:
            await asyncio.sleep(0.5)
            await link.send(scene.thief.up())

    async def begin() -> tuple[Link, asyncio.Task[None]]:
        link = await scene.thief.link(VICTIM)
        return link, asyncio.create_task(serve(link))

    async def end(link: Link, serving: asyncio.Task[None]) -> None:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await link.close()

    link, serving = scene.aside.run(begin())
    try:
        mesh = scene.cloud.agents[VICTIM].mesh
        scene.aside.wait("the thief's link", lambda: scene.thief.path in mesh.neighbours())
        yield asked
    finally:
        scene.aside.run(end(link, serving))


def bundle(of: m.WantBundle, data: bytes, **changed: Any) -> m.Bundle:
    return msgspec.structs.replace(m.Bundle(of.image, of.bases[0], data), **changed)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def objects_of(scene: Scene, host: str = VICTIM) -> set[str]:
    return scene.aside.look(lambda: set(scene.cloud.agents[host].objects))


def test_no_bundle_of_a_captured_host_gets_anything_in_that_was_not_signed(scene: Scene, versions: Versions) -> None:
    good, third = versions.good, versions.to_third
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
    lies: list[bytes] = [
        b"\0", CHANCE.randbytes(900), good[: len(good) // 2], good + b"more", third, bomb[: m.BUNDLE_BYTES],
        *(flipped(good, at) for at in range(0, len(good), max(1, len(good) // 40))),
    ]  # fmt: skip
    current: list[bytes] = []
    agent = scene.cloud.agents[VICTIM]
    before, world = objects_of(scene), scene.world.look()
    with answering(scene, lambda ask: [bundle(ask, current[0])]) as asked:
        for lie in lies:
            current[:] = [lie]
            with pytest.raises(SkerryError) as refused:
                scene.aside.run(agent.bundles.fetch(scene.thief.path, versions.new, [versions.old]))
            assert refused.value.code in ("bad-bundle", "bad-image"), repr(refused.value)
            assert objects_of(scene) == before
        assert len(asked) == len(lies)
        current[:] = [good]
        scene.aside.run(agent.bundles.fetch(scene.thief.path, versions.new, [versions.old]))
        assert len(objects_of(scene) - before) == 5, (
            "two files, manifest, config, tree: these were signed, whoever brings them"
        )
    scene.aside.look(lambda: [agent.objects.remove(hash) for hash in set(agent.objects) - before])
    assert scene.world.look() == world


@pytest.mark.parametrize(
    "lie", ["another image", "another base", "a stream that is not there", "silence", "other bytes"]
)
def test_the_image_comes_from_the_next_host_and_the_captured_one_is_told(
    scene: Scene, versions: Versions, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.agent.images.bundles.LINK_S", 1.0)
    third = bytes.fromhex(versions.third[7:])
    answers: dict[str, Answer] = {
        "another image": lambda ask: [bundle(ask, versions.to_third, image=third), bundle(ask, versions.to_third)],
        "another base": lambda ask: [bundle(ask, versions.good, base=third)],
        "a stream that is not there": lambda ask: [bundle(ask, b"", large=True)],
        "silence": lambda ask: [],
        "other bytes": lambda ask: [bundle(ask, CHANCE.randbytes(500))],
    }
    agent = scene.cloud.agents[VICTIM]
    before, world = objects_of(scene), scene.world.look()
    bases = agent.fetcher._bases
    scene.aside.look(lambda: setattr(agent.fetcher, "_bases", lambda image: [versions.old]))
    try:
        with answering(scene, answers[lie]) as asked:
            sources = (scene.thief.path, f"node/{OTHER}")
            scene.aside.run(agent.fetcher.fetch(Fetch(image=versions.new, sources=sources)))
            assert asked, "the captured one was asked first"
        assert scene.aside.look(lambda: agent.images.verify(versions.new)) == []
        if lie in ("another image", "another base", "other bytes"):
            assert scene.world.told(VICTIM, ""), "who it was"
        assert bytes.hex(third) not in objects_of(scene)
    finally:
        scene.aside.look(lambda: setattr(agent.fetcher, "_bases", bases))
        scene.aside.look(lambda: agent.images.forget(versions.new))
        scene.aside.look(lambda: [agent.objects.remove(hash) for hash in set(agent.objects) - before])
    assert scene.world.look() == world


def test_what_is_sent_unasked_and_asked_without_end_changes_nothing(scene: Scene, versions: Versions) -> None:
    """Bundles nobody wanted, and a flood of questions: of these two at once are answered."""
    image, base = bytes.fromhex(versions.new[7:]), bytes.fromhex(versions.old[7:])
    before, world = objects_of(scene), scene.world.look()

    async def attack() -> None:
        link = await scene.thief.link(VICTIM)
        try:
            for _ in range(200):
                await link.stream.send(m.encode(m.Bundle(image, base, versions.good)))
                await link.stream.send(m.encode(m.WantBundle(image, (base, CHANCE.randbytes(32)))))
            assert await link.settle()
        finally:
            await link.close()

    scene.aside.run(attack())
    assert objects_of(scene) == before
    assert scene.world.look() == world


@pytest.mark.parametrize(
    "words",
    [
        [c.Hand(bytes(32), ())],
        [c.Packed((c.File(b"x" * 32, 3),), 77, b"abc")],
    ],
)
def test_a_captured_host_hands_no_image_over_as_operators_do(scene: Scene, words: list[c.AnyMessage]) -> None:
    """A host's certificate opens the door for hosts, and what it brings unasked has no place to go."""
    before, world = objects_of(scene), scene.world.look()

    async def attack() -> str:
        try:
            stream = await scene.thief.open(VICTIM, "/image/put")
            for word in words:
                await c.send(stream, word)
            answer = await c.recv(stream, c.Here, timeout_s=5)
            return f"taken: {answer}"
        except (SkerryError, ConnectionClosed, OSError) as error:
            return f"refused: {error}"

    assert "hosts fetch from one another" in scene.aside.run(attack())
    assert objects_of(scene) == before
    assert scene.world.look() == world


def test_questions_that_make_no_sense_over_a_stream_cost_the_asker_its_stream_and_nobody_else(
    scene: Scene, versions: Versions
) -> None:
    world = scene.world.look()

    async def ask(*words: c.AnyMessage | bytes) -> None:
        try:
            stream = await scene.thief.open(VICTIM, "/image")
            for word in words:
                await (stream.send(word) if isinstance(word, bytes) else c.send(stream, word))
            await c.recv(stream, c.Here, timeout_s=0.5)
        except (SkerryError, ConnectionClosed, OSError, TimeoutError):
            pass

    about = c.About(bytes.fromhex(versions.old[7:]))
    wishes = tuple(c.Wish(number) for number in range(c.CANDIDATES))
    for words in (
        [b"\xff" * 1000],
        [about, b"\0" * 1000],
        [about, c.Ask((c.Wish(c.PORTIONS - 1),), True)],
        [about, c.Ask((c.Wish(0, b"\xff" * 8000),), True)],
        [about, *[c.Ask(wishes, True)] * 50],
        [c.About(CHANCE.randbytes(32)), c.Ask((c.Wish(-1),), True)],
        [c.Has(True, b"\xff" * 100)],
    ):
        scene.aside.run(ask(*words))
    assert scene.world.look() == world
    put_image(scene.cloud.agents[OTHER].objects, OLD)
    agent = scene.cloud.agents[VICTIM]
    scene.aside.run(agent.fetcher.fetch(Fetch(image=versions.third, sources=(f"node/{OTHER}",))))
    assert scene.aside.look(lambda: agent.images.root(versions.third)) is not None, "it goes on giving and getting"
