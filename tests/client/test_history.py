"""Going back: what a release within the kept history ran is on the hosts still, so nothing of it is sent again. Real agents,
real deploys, the operator's own store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.small import SmallCloud, archive
from skerry.client import apps, budget, views
from skerry.client.compose.load import load
from skerry.client.deploy import deploy
from skerry.client.images import LocalImages
from skerry.client.session import Session
from skerry.core.history import HISTORY
from skerry.core.intent import Release
from skerry.image.contract import ImageTooLarge

COMPOSE = "name: shop\nservices:\n  web:\n    image: web.tar\n    deploy: {replicas: 3}\n"


async def wait(what: str, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(0.02)


async def bring(session: Session, folder: Path, content: bytes) -> tuple[str, int]:
    """Deploy an image of this one file. Gives its digest, and the bytes that were sent."""
    archive(folder / "web.tar", content)
    (folder / "compose.yaml").write_text(COMPOSE)
    result = await deploy(
        session, load(folder / "compose.yaml", environ={}), images=LocalImages(folder / "images"), timeout_s=30
    )
    return result["images"]["web"], result["sent_bytes"]


@contextmanager
def no_object_travels(cloud: SmallCloud, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Between hosts: no stream for objects of any kind is opened meanwhile."""
    opened: list[tuple[str, str]] = []
    with patch.context() as within:
        for name, agent in cloud.agents.items():
            within.setattr(agent.mesh, "open", _told(agent.mesh.open, name, opened))
            within.setattr(agent.bundles, "fetch", _told(agent.bundles.fetch, name, opened))
        yield
    assert {path for _, path in opened} <= {"/catch-up"}, opened


def _told(open_stream, name: str, opened: list[tuple[str, str]]):  # type: ignore[no-untyped-def]
    def told(peer: str, path: str, *more):  # type: ignore[no-untyped-def]
        opened.append((name, path))
        return open_stream(peer, path, *more)

    return told


async def test_going_back_moves_no_byte_neither_one_step_nor_to_an_earlier_file(
    cloud: SmallCloud, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = [await bring(session, tmp_path, b"program, version %d" % version) for version in range(4)]
    first, last = brought[0][0], brought[-1][0]
    assert all(sent > 0 for _, sent in brought)
    everywhere = [image for image, _ in brought]
    await wait(
        "all images on all hosts", lambda: all(a.images.held() == sorted(everywhere) for a in cloud.agents.values())
    )
    with no_object_travels(cloud, monkeypatch):
        await apps.rollback(session, "shop", timeout_s=30)
        assert {row.image for row in cloud.agents["vps-1"].loop.core.rows()} == {brought[2][0]}
        again, sent = await bring(session, tmp_path, b"program, version 0")
        assert (again, sent) == (first, 0), "not even from the operator's machine"
        await apps.rollback(session, "shop", timeout_s=30)
    document = session.document("release/shop")
    assert document is not None and isinstance(document.body, Release)
    assert list(document.body.earlier) == [i[7:15] for i in (first, last, brought[1][0])]


async def test_what_left_the_history_may_go_and_goes_when_room_is_needed(
    cloud: SmallCloud, session: Session, tmp_path: Path
) -> None:
    """And what is in use stays, and a container never notices."""
    size = 40_000
    brought = [(await bring(session, tmp_path, bytes([version]) * size))[0] for version in range(4)]
    agent = cloud.agents["vps-1"]
    await wait("all images here", lambda: agent.images.held() == sorted(brought))
    running = set(cloud.runtimes["vps-1"].disk.containers)
    used_bytes = agent.budget.figures()["used_bytes"]
    await budget.set_budget(session, "vps-1", used_bytes - size)
    await wait("the oldest to go", lambda: agent.images.held() == sorted(brought[1:]))
    await budget.set_budget(session, "vps-1", size)
    await wait("all but what runs and the fallback to go", lambda: agent.images.held() == sorted(brought[2:]))
    assert set(cloud.runtimes["vps-1"].disk.containers) == running
    gone = [entry.subject for entry in agent.events.tail(200) if entry.kind == "image"]
    assert gone == [image[:19] for image in brought[:2]], "the oldest first, and told"
    assert all(hash in set(agent.objects) for image in brought[2:] for hash in agent.images.objects(image))
    await wait("nothing else to be on its disk", lambda: len(set(agent.objects)) == 8)
    assert not cloud.agents["vps-2"].budget.figures()["used_bytes"] < used_bytes, "each host has a budget of its own"
    told = (await views.status(session))["agents"]["vps-1"]["images"]
    assert (told["held"], told["budget_bytes"]) == (2, size) and told["used_bytes"] > size
    checks = {row["check"]: row for row in await views.doctor(session)}
    assert not checks["vps-1 images"]["ok"] and checks["vps-1 images"]["detail"].startswith("2 images, ")
    assert checks["vps-2 images"]["ok"]


async def test_what_does_not_fit_runs_elsewhere_and_is_told_to_whoever_brings_it(
    cloud: SmallCloud, session: Session, tmp_path: Path
) -> None:
    for name in cloud.agents:
        await budget.set_budget(session, name, 30_000)
    await wait("the budgets", lambda: all(a.budget.allowed_bytes() == 30_000 for a in cloud.agents.values()))
    with pytest.raises(
        Exception, match=r"too large for the budget: it needs 0\.1 MB more, 0\.0 MB are left"
    ) as refused:
        await bring(session, tmp_path, bytes(60_000))
    assert getattr(refused.value, "code", "") == ImageTooLarge.code
    assert not any(agent.images.held() for agent in cloud.agents.values())
    await budget.set_budget(session, "vps-3", 10_000_000)
    await wait("room", lambda: cloud.agents["vps-3"].budget.allowed_bytes() == 10_000_000)
    session.preferred = "node/vps-1"  # which has none: the client goes on to the next, and the next
    image, _ = await bring(session, tmp_path, bytes(60_000))
    rows = cloud.agents["vps-1"].loop.core.rows()
    assert {row.node for row in rows} == {"vps-3"} and all(row.healthy for row in rows)
    for name in ("vps-1", "vps-2"):
        told = [entry for entry in cloud.agents[name].events.tail(200) if entry.kind == "image-too-large"]
        assert len(told) == 1 and "too large for the budget" in told[0].reason
    await budget.set_budget(session, "vps-1", 10_000_000)
    await wait("it to come where it fits now", lambda: cloud.agents["vps-1"].images.held() == [image])


def test_the_history_is_as_long_as_documented() -> None:
    assert HISTORY == 10


async def test_the_operators_own_store_knows_what_runs_after_a_rollback_and_after_the_end(
    cloud: SmallCloud, session: Session, tmp_path: Path
) -> None:
    brought = [(await bring(session, tmp_path, b"program, version %d" % version))[0] for version in range(2)]
    images, use = LocalImages(tmp_path / "images"), f"{session.home.name}/shop.web"
    assert images.uses == {use: brought[1]}
    await apps.rollback(session, "shop", images=images, timeout_s=30)
    assert images.uses == {use: brought[0]}
    await apps.rm(session, "shop", images=images)
    assert images.uses == {}
