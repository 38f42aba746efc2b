"""Images in a small cloud when two deploys meet, and when a manifest lies about sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.small import Aside, SmallCloud, put_image
from skerry.core.effects import Fetch
from skerry.core.events import Event, ImageFailed
from skerry.core.intent import Service
from skerry.image.oci import parse_manifest

LARGE = b"program" * 900


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Aside]:
    with Aside(SmallCloud(tmp_path, 3)) as small:
        agents = small.cloud.agents.values()
        small.wait("all see all", lambda: all(sum(h.state == "up" for h in a.loop.core.hosts()) == 3 for a in agents))
        yield small


def test_two_deploys_at_once_of_different_images_both_arrive(three: Aside) -> None:
    """Handed to two hosts, with files in common; each app gets its own, and every host both."""
    cloud = three.cloud
    common = {f"usr/lib/{n}": bytes([n]) * 5000 for n in range(40)}
    first = three.look(lambda: cloud.give_files({**common, "usr/bin/app": b"first"}, "vps-1"))
    second = three.look(lambda: cloud.give_files({**common, "usr/bin/app": b"second"}, "vps-2"))

    def both() -> None:
        cloud.deploy("web", Service(replicas=3), first, "vps-1")
        cloud.deploy("store", Service(replicas=3), second, "vps-2")

    three.look(both)
    three.wait("both everywhere", lambda: all(len(r.disk.specs) == 2 for r in cloud.runtimes.values()), 60)
    for agent in cloud.agents.values():
        for image, content in ((first, b"first"), (second, b"second")):
            root = three.look(lambda agent=agent, image=image: agent.images.root(image))  # type: ignore[misc]
            assert root is not None and (root / "usr/bin/app").read_bytes() == content
            assert three.look(lambda agent=agent, image=image: agent.images.verify(image)) == []  # type: ignore[misc]


@pytest.mark.parametrize("size", [6299, 6301, -1, 1 << 63])
def test_a_tree_that_lies_about_a_size_is_given_up_and_said(three: Aside, size: int) -> None:
    """Signed by whoever: no host makes it, none asks for ever, and none has made room for what will not come."""
    cloud = three.cloud

    def lie() -> str:
        objects = cloud.agents["vps-1"].objects
        digest = put_image(objects, {"usr/bin/app": LARGE, "etc/conf": b"text"})
        manifest = json.loads(objects.read(digest[7:]))
        tree = objects.read(parse_manifest(objects.read(digest[7:])).tree).replace(b"\t6300\n", b"\t%d\n" % size)
        manifest["annotations"] = {"dev.skerry.tree": objects.put(tree)}
        return "sha256:" + objects.put(json.dumps(manifest).encode())

    image = three.look(lie)
    agent = cloud.agents["vps-3"]
    failed: list[ImageFailed] = []

    def hear(event: Event) -> None:
        if isinstance(event, ImageFailed):
            failed.append(event)

    agent.fetcher._post = hear
    three.run(agent.fetcher.fetch(Fetch(image=image, sources=("node/vps-1",))))
    assert failed and failed[-1].why, failed
    assert three.look(lambda: agent.images.root(image)) is None
    assert not list((cloud.files["vps-3"].state / "objects" / "incoming").iterdir())
    good = three.look(lambda: cloud.give_files({"usr/bin/app": b"good"}, "vps-1"))
    three.run(agent.fetcher.fetch(Fetch(image=good, sources=("node/vps-1",))))
    assert three.look(lambda: agent.images.root(good)) is not None, "and others come as before"
