"""What an agent looks after: damaged objects and trees, lost records, a full disk, a wrong clock. Real agents, one process."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent.small import SmallCloud
from disks import disk_of
from image.memory import file_entry
from skerry.agent.daemon import Agent
from skerry.agent.ends import Overtaken
from skerry.core.effects import Fetch
from skerry.core.events import ImageReady
from skerry.core.intent import App, Release, Service, VolumeMount
from skerry.image.manifest import tree_of
from skerry.image.oci import ImageConfig, assemble
from skerry.store.disk import DiskFull

STORE = Service(volumes=(VolumeMount(volume="data", target="/data"),))
FILES = {"app": os.urandom(9000), "conf": b"text"}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[SmallCloud]:
    made = SmallCloud(tmp_path, 3)
    await made.start()
    await wait("links", lambda: all(len(agent.mesh.neighbours()) == 2 for agent in made.agents.values()))
    yield made
    await made.stop()


async def wait(what: str, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(0.02)


def bring_image(agent: Agent) -> str:
    """An image as an operator hands it over. Gives its digest."""
    for data in FILES.values():
        agent.objects.put(data)
    tree = tree_of([file_entry(path, data) for path, data in FILES.items()])
    image = assemble(tree, ImageConfig(entrypoint=("/app",)), agent.objects.read)
    for data in (image.manifest, image.config, image.tree.encode()):
        agent.objects.put(data)
    agent.images.make(image.digest)
    agent.loop.post(ImageReady(image.digest))
    return image.digest


def flip(agent: Agent, path: Path) -> None:
    """One bit, as a tired disk does: the file's time, size and name stay."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
    path.chmod(0o444)


def told(agent: Agent, kind: str) -> list[str]:
    return [entry.reason for entry in agent.events.tail(200) if entry.kind == kind]


async def deploy(cloud: SmallCloud, image: str, *, version: int = 1, via: str = "vps-1") -> None:
    door = cloud.agents[via].door
    for path, body in (
        ("release/web", Release(images={"web": image, "store": image}, fits=version)),
        (
            "app/web",
            App(
                services={"web": Service(replicas=3, working_dir=f"/{version}"), "store": STORE},
                volumes={"data": False},
            ),
        ),
    ):
        held = door.trusted.document(path)
        door.offer(cloud.sign(path, body, version, prev=held.hash if held else ""), from_client=True)
    await wait("three replicas of that version", lambda: well(cloud, version))
    # Two hosts that claimed one slot at the same time: the one that gave way may still be ending its container.
    await wait("none twice", lambda: sum(len(runtime.disk.containers) for runtime in cloud.runtimes.values()) == 4)


def well(cloud: SmallCloud, version: int) -> bool:
    """For every agent: three of web in that version and one of store, all healthy."""
    for agent in cloud.agents.values():
        rows = agent.loop.core.rows()
        if [(row.healthy, row.outdated) for row in rows] != [(True, False)] * 4:
            return False
        if {row.version.partition(".")[0] for row in rows if row.service == "web"} != {str(version)}:
            return False
    return True


async def test_wrong_bytes_of_one_peer_are_asked_of_the_next_and_the_first_mends_its_own(cloud: SmallCloud) -> None:
    first, second, third = cloud.agents.values()
    image = bring_image(first)
    await deploy(cloud, image)
    object = first.images.tree(image).objects()[0]
    flip(first, first.objects.path(object))
    running = {name: set(runtime.disk.containers) for name, runtime in cloud.runtimes.items()}
    third.images.forget(image)
    for hash in third.images.objects(image):
        third.objects.remove(hash)
    await third.fetcher.fetch(Fetch(image=image, sources=(first.me, second.me), reason="a test"))
    assert third.images.root(image) is not None and not third.images.verify(image)
    await wait("the first to be whole again", lambda: first.images.root(image) and not first.images.verify(image))
    assert (first.files.state / "objects" / "damaged" / object).exists(), "put aside to be looked at"
    assert len(told(first, "damaged")) == 1 and object[:12] in told(first, "damaged")[0]
    assert well(cloud, 1)
    assert {name: set(runtime.disk.containers) for name, runtime in cloud.runtimes.items()} == running


async def test_a_damaged_tree_is_found_by_reading_it_through_and_mended_in_place(cloud: SmallCloud) -> None:
    first = next(iter(cloud.agents.values()))
    image = bring_image(first)
    await deploy(cloud, image)
    root = first.images.root(image)
    assert root is not None
    flip(first, root / "app")
    await first.upkeep.read_through(image)
    await wait("the tree to be whole again", lambda: first.images.root(image) and not first.images.verify(image))
    assert first.images.root(image) == root, "in place: containers run on it"
    assert well(cloud, 1)


async def test_a_bit_flipped_in_each_object_in_turn_is_found_told_and_mended_while_containers_run(
    cloud: SmallCloud,
) -> None:
    first = next(iter(cloud.agents.values()))
    image = bring_image(first)
    await deploy(cloud, image)
    running = {name: set(runtime.disk.containers) for name, runtime in cloud.runtimes.items()}
    for number, object in enumerate(first.images.objects(image), 1):
        flip(first, first.objects.path(object))
        await first.upkeep.read_through(image)
        await wait(f"{object} to be told", lambda number=number: len(told(first, "damaged")) == number)
        await wait("all to be whole again", lambda: first.images.root(image) and not first.images.verify(image))
        assert (first.files.state / "objects" / "damaged" / object).exists()
        assert object[:12] in told(first, "damaged")[-1]
    assert well(cloud, 1)
    assert {name: set(runtime.disk.containers) for name, runtime in cloud.runtimes.items()} == running


@pytest.mark.parametrize("how", ["gone", "damaged"])
@pytest.mark.parametrize("away_s", [0, 4])
async def test_a_host_whose_records_are_lost_has_them_again_and_leaves_its_containers_alone(
    cloud: SmallCloud, how: str, away_s: int
) -> None:
    """Away for longer than an agent's restart takes, it is called down, and what is not pinned to its data moves."""
    await deploy(cloud, bring_image(cloud.agents["vps-1"]))
    rows = cloud.agents["vps-1"].loop.core.rows()
    host = next(row.node for row in rows if row.service == "store")
    agent = cloud.agents[host]
    await wait("a spare copy of the members", lambda: not agent.door.members_changed)
    before, running = agent.trusted.heads(), set(cloud.runtimes[host].disk.containers)
    await cloud.stop(host)
    database = cloud.files[host].state / "records.sqlite"
    if how == "gone":
        for path in database.parent.glob("records.sqlite*"):
            path.unlink()
    else:
        database.write_bytes(os.urandom(50_000))
    await asyncio.sleep(away_s)  # the time is the fault
    await cloud.start(host)
    agent = cloud.agents[host]
    await wait("every document to be back", lambda: agent.trusted.heads() == before)
    await wait("all replicas, each claimed once", lambda: well(cloud, 1) and once(cloud), 45)
    assert len(told(agent, "host")) == (how == "damaged"), "put aside, and told"
    assert [row.node for row in agent.loop.core.rows() if row.service == "store"] == [host], "it stays with its data"
    left = set(cloud.runtimes[host].disk.containers)
    assert {id for id in running if "store" in id} <= left, "adopted, not started anew"
    assert away_s or left == running
    await cloud.stop(host)
    await cloud.start(host)
    assert cloud.agents[host].trusted.heads() == before, "they are on its disk again, too"


def once(cloud: SmallCloud) -> bool:
    return all(len(row.claims) == 1 for agent in cloud.agents.values() for row in agent.loop.core.rows())


@pytest.mark.parametrize("known_by", ["its own disk", "its neighbours"])
async def test_a_start_count_that_was_lost_is_learnt_anew(cloud: SmallCloud, known_by: str) -> None:
    await deploy(cloud, bring_image(cloud.agents["vps-1"]))
    for _ in range(2):
        await cloud.stop("vps-1")
        await cloud.start("vps-1")
    await wait("three replicas", lambda: well(cloud, 1))
    await cloud.stop("vps-1")
    state = cloud.files["vps-1"].state
    (state / "boot").write_text("garbage")
    if known_by == "its own disk":
        with pytest.raises(Overtaken):  # systemd starts it again
            await cloud.start("vps-1")
    else:
        for path in state.glob("records.sqlite*"):
            path.unlink()
        await cloud.start("vps-1")
        broken = cloud.agents["vps-1"].loop.broken
        await wait("the word of a neighbour", broken.done)
        assert isinstance(broken.exception(), Overtaken)
    await cloud.stop("vps-1")
    await cloud.start("vps-1")
    assert cloud.agents["vps-1"].boot == 4
    await wait("three replicas", lambda: well(cloud, 1))


@pytest.mark.parametrize("offset_s", [3600, -3600])
async def test_a_clock_that_is_wrong_by_an_hour_is_told_and_changes_nothing(
    cloud: SmallCloud, monkeypatch: pytest.MonkeyPatch, offset_s: int
) -> None:
    monkeypatch.setattr("skerry.agent.upkeep.CLOCK_S", 0.2)
    image = bring_image(cloud.agents["vps-2"])
    await deploy(cloud, image, via="vps-2")
    await cloud.stop("vps-1")
    (cloud.files["vps-1"].state / "clock-offset").write_text(f"{offset_s}")
    await cloud.start("vps-1")
    first = cloud.agents["vps-1"]
    await wait("the event", lambda: told(first, "clock"))
    assert f"{offset_s:+} s" in told(first, "clock")[0]
    await deploy(cloud, image, version=2, via="vps-1")
    await deploy(cloud, image, version=3, via="vps-3")
    assert len(told(first, "clock")) == 1
    assert not any(told(cloud.agents[name], "clock") for name in ("vps-2", "vps-3")), "two right ones are not outvoted"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of(tmp_path / "vps-1" / "state", "24m") as disk:
        yield disk


@pytest.mark.real
async def test_a_full_disk_is_told_refuses_new_intent_keeps_what_runs_and_recovers(
    small_disk: Path, tmp_path: Path
) -> None:
    cloud = SmallCloud(tmp_path, 3)
    await cloud.start()
    try:
        first = cloud.agents["vps-1"]
        image = bring_image(cloud.agents["vps-2"])
        await deploy(cloud, image, via="vps-2")
        await wait("room to be set aside", (small_disk / "reserve").exists)
        with pytest.raises(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        await wait("the event", lambda: told(first, "disk-full"))
        with pytest.raises(DiskFull):
            await deploy(cloud, image, version=2, via="vps-1")
        await cloud.stop("vps-1")
        await cloud.start("vps-1")
        first = cloud.agents["vps-1"]
        assert first.records.damaged is None
        await wait("three replicas", lambda: well(cloud, 1))
        (small_disk / "filler").unlink()
        await wait("the word that it is over", lambda: "the disk has room again" in told(first, "host"))
        await deploy(cloud, image, version=2, via="vps-1")
        await wait("room to be set aside again", (small_disk / "reserve").exists)
    finally:
        await cloud.stop()


@pytest.mark.real
async def test_an_image_that_a_full_disk_has_no_room_for_runs_elsewhere_and_comes_once_there_is_some(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, "data", os.urandom(3 << 20))
    cloud = SmallCloud(tmp_path, 3)
    await cloud.start()
    try:
        first = cloud.agents["vps-1"]
        await wait("room to be set aside", (small_disk / "reserve").exists)
        with (small_disk / "filler").open("wb", buffering=0) as filler:
            filler.write(bytes(shutil.disk_usage(small_disk).free - (2 << 20)))
        image = bring_image(cloud.agents["vps-2"])
        await deploy(cloud, image, via="vps-2")
        await wait("the event", lambda: told(first, "image-too-large"))
        assert "3.2 MB more" in told(first, "image-too-large")[0] and first.images.held() == []
        assert not told(first, "disk-full"), "it was refused before the disk was full"
        assert {row.node for row in first.loop.core.rows()} == {"vps-2", "vps-3"}
        (small_disk / "filler").unlink()
        await wait("it to come", lambda: first.images.held() == [image])
        assert not first.images.verify(image)
    finally:
        await cloud.stop()
