"""Handing an image to one host: all of it, what is missing, or only what is new; cut in the middle and gone on with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.small import SmallCloud, put_image
from skerry.client.images import LocalImages
from skerry.client.push import push
from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.image.trees import Images
from skerry.mesh import carrying as c


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[SmallCloud]:
    small = SmallCloud(tmp_path / "hosts", 2)
    await small.start()
    yield small
    await small.stop()


@pytest.fixture
def session(session: Session) -> Session:
    session.preferred = "node/vps-1"
    return session


@pytest.fixture
def local(tmp_path: Path) -> LocalImages:
    return LocalImages(tmp_path / "local")


def files_of(seed: int, large: int = 0) -> dict[str, bytes]:
    chance = random.Random(seed)
    files = {f"usr/lib/app/{n:04}": chance.randbytes(chance.randrange(200, 9000)) for n in range(400)}
    files["usr/lib/app/main.py"] = b"".join(b"x%d = %d\n" % (n, n * n) for n in range(2000))
    files["usr/bin/app"] = b"program"
    if large:
        files["usr/lib/large"] = chance.randbytes(large)
    return files


def whole(cloud: SmallCloud, host: str, image: str) -> bool:
    images: Images = cloud.agents[host].images
    return images.root(image) is not None and not images.verify(image)


async def test_a_host_gets_all_once_and_then_nothing(cloud: SmallCloud, session: Session, local: LocalImages) -> None:
    files = files_of(1, large=6_300_000)
    image = put_image(local.objects, files)
    lines: list[str] = []
    sent = await push(session, [image], local, lines.append)
    assert whole(cloud, "vps-1", image)
    assert sum(map(len, files.values())) * 0.9 < sent < sum(map(len, files.values())) * 1.05
    assert any("MiB handed to vps-1" in line for line in lines)
    assert await push(session, [image], local, lines.append) < 100


async def test_an_edit_is_handed_over_as_an_edit(cloud: SmallCloud, session: Session, local: LocalImages) -> None:
    files = files_of(2)
    old = put_image(local.objects, files)
    await push(session, [old], local, print)
    new = put_image(local.objects, {**files, "usr/lib/app/main.py": files["usr/lib/app/main.py"] + b"y = 1\n"})
    sent = await push(session, [new], local, print, {new: [old]})
    print(f"{sent} bytes")
    assert whole(cloud, "vps-1", new)
    assert sent < 400


async def test_a_host_that_lost_the_old_version_gets_what_it_lacks(
    cloud: SmallCloud, session: Session, local: LocalImages
) -> None:
    files = files_of(3)
    old = put_image(local.objects, files)
    new = put_image(local.objects, {**files, "usr/lib/app/main.py": b"y = 1\n"})
    await push(session, [old], local, print)
    hosts = cloud.agents["vps-1"]
    damaged = hosts.objects.path(next(e.sha256 for e in hosts.images.tree(old).files() if e.path.endswith("main.py")))
    damaged.chmod(0o644)
    damaged.write_bytes(b"flipped")
    sent = await push(session, [new], local, print, {new: [old]})
    assert whole(cloud, "vps-1", new)
    assert sent < 60_000, "manifest and one file"


@pytest.mark.parametrize("after", range(1, 14, 2))
async def test_a_transfer_that_was_cut_goes_on_where_it_stopped(
    cloud: SmallCloud, session: Session, local: LocalImages, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent dies after so many messages, without a goodbye, and is started anew."""
    files = files_of(4, large=7_000_000)
    image = put_image(local.objects, files)
    await cloud.stop("vps-2")
    sent: list[int] = []
    enough = asyncio.Event()
    real_send = c.send

    async def counted(stream: object, message: c.AnyMessage) -> int:
        size = await real_send(stream, message)  # type: ignore[arg-type]
        sent.append(size)
        if len(sent) == after:
            enough.set()
            await asyncio.sleep(0)
        return size

    monkeypatch.setattr("skerry.client.push.c.send", counted)
    first = asyncio.create_task(push(session, [image], local, print))
    await asyncio.wait([first, asyncio.ensure_future(enough.wait())], return_when=asyncio.FIRST_COMPLETED)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    before = sum(sent)
    await cloud.stop("vps-1")
    await cloud.start("vps-1")
    await push(session, [image], local, print)
    assert whole(cloud, "vps-1", image)
    again = sum(sent) - before
    print(f"after {after}: {before} bytes, then {again}")
    total = sum(map(len, files.values()))
    assert before + again < 1.1 * total + (3 << 20), "no more than a few packs are sent twice"


@pytest.mark.parametrize(
    "message",
    [
        c.Done(),
        c.Packed((c.File(b"x" * 32, 3),), -1, b"abc"),
        c.Packed((c.File(b"x" * 32, 3),), 77, b"abc"),
        c.Bundle(b"x" * 32, b"y" * 32, b"z" * 100),
        c.About(b"x" * 32),
    ],
)
async def test_what_was_not_to_be_sent_is_refused_and_nothing_is_kept(
    cloud: SmallCloud, session: Session, local: LocalImages, message: c.AnyMessage
) -> None:
    image = put_image(local.objects, files_of(5))
    stream, _ = await session.open("/image/put", "node/vps-1")
    await c.send(stream, c.Hand(bytes.fromhex(image[7:]), ()))
    assert len((await c.recv(stream, c.Here)).lacks) == 1
    await c.send(stream, message)
    try:
        assert len((await c.recv(stream, c.Here, timeout_s=5)).lacks) == 1
    except SkerryError as error:
        assert "timeout" not in str(error)
    await stream.close()
    assert not list(cloud.agents["vps-1"].objects)
