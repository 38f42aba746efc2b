"""Images from host to host in a small cloud: bundles, portions from several hosts at once, hosts that lie, stop or are slow."""

from __future__ import annotations

import random

import pytest

from agent.small import Aside, SmallCloud
from skerry.core.effects import Fetch


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
