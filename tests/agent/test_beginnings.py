"""What a host knows at first, how it catches up, and what it does with two that were signed as one. Real agents over TLS."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec
import pytest

from agent.small import Aside, SmallCloud
from skerry.agent import upkeep
from skerry.core.intent import App, Release, Service
from skerry.core.records import Slot
from skerry.errors import SkerryError, TrustRefusal
from skerry.trust.documents import sign_document
from skerry.trust.drafts import rehearse
from skerry.trust.identity import Signer
from trust.world import read

WEB = Service(replicas=3, command=("/app",))


def kinds(small: Aside, name: str) -> list[str]:
    return [f"{e.kind} {e.reason}" for e in small.look(lambda: small.cloud.agents[name].events.tail(200))]


def test_a_new_host_compares_with_the_others_before_its_first_claim(tmp_path: Path) -> None:
    cloud = SmallCloud(tmp_path, 3, new=["vps-3"])
    with Aside(cloud) as small:
        small.wait("compared", lambda: any("compared with vps-1, vps-2" in line for line in _lines(cloud, "vps-3")))
        image = small.look(lambda: cloud.give_image(b"an app"))
        small.look(lambda: cloud.deploy("web", WEB, image))
        small.wait("a share of it", lambda: len(cloud.runtimes["vps-3"].disk.specs) > 0, 30)
        small.run(cloud.stop("vps-3"))
        small.run(cloud.start("vps-3"))
        assert not any("compared" in line for line in kinds(small, "vps-3")[-2:]), "once in its life"


def test_a_new_host_that_nobody_answers_claims_nothing_and_does_once_somebody_is_there(tmp_path: Path) -> None:
    """Handed an old beginning and cut off, it would else run what was long taken away."""
    cloud = SmallCloud(tmp_path, 2, new=["vps-2"])
    small = Aside(cloud, start=False)
    with small:
        small.run(cloud.start("vps-1"))
        image = small.look(lambda: cloud.give_image(b"an app"))
        small.look(lambda: cloud.deploy("web", WEB, image))
        small.wait("runs alone", lambda: len(cloud.runtimes["vps-1"].disk.specs) == 3, 30)
        newest = small.look(lambda: cloud.agents["vps-1"].trusted.heads())
        tombstone = small.look(lambda: cloud.agents["vps-1"].records.get("app/web"))
        assert tombstone is not None
        small.run(cloud.stop("vps-1"))

        small.run(cloud.start("vps-2"))
        two = cloud.agents["vps-2"]
        small.look(lambda: cloud.give_image(b"an app", "vps-2"))
        for raw in (cloud.sign("release/api", _release(image), 1), cloud.sign("app/api", _app("api"), 1)):
            small.look(lambda raw=raw: two.door.offer(raw, from_client=True))
        until_s = time.monotonic() + two.loop.core._s.timing.resume_alone_s + 2
        while time.monotonic() < until_s:  # a host that has compared would claim within this time
            assert not small.look(lambda: cloud.runtimes["vps-2"].disk.specs)
            time.sleep(0.1)
        assert small.look(lambda: two.loop.core.explain(Slot("api", "api", 0)))

        small.run(cloud.start("vps-1"))
        small.wait("it has what is newer", lambda: newest.items() <= two.trusted.heads().items())
        small.wait("and now claims", lambda: any("claimed" in line for line in _lines(cloud, "vps-2")), 30)
        lines = kinds(small, "vps-2")
        assert _first(lines, "compared with vps-1") < _first(lines, "claimed")


def test_roots_that_came_meanwhile_are_handed_over_one_by_one(tmp_path: Path) -> None:
    cloud = SmallCloud(tmp_path, 2)
    with Aside(cloud) as small:
        one = cloud.agents["vps-1"]

        def next_root() -> None:
            held = one.trusted.root
            assert held is not None
            body = msgspec.structs.replace(held.body, policy_epoch=0)
            raw = sign_document(
                [Signer(cloud.root_seed)], cloud.cloud, "root", body, version=held.version + 1, prev=held.hash,
                issued=time.time(), expires=time.time() + 86400,
            )  # fmt: skip
            one.door.offer(raw, from_client=True)

        for _ in range(3):
            small.look(next_root)
        raws = small.look(lambda: one.door.newer_than({"root": (0, 1), "policy": (0, 1)}))
        versions = [small.look(lambda raw=raw: _read(raw)) for raw in raws]
        assert versions[:3] == [("root", 2), ("root", 3), ("root", 4)]
        small.wait("the other has all", lambda: cloud.agents["vps-2"].trusted.root.version == 4)


def test_two_that_were_signed_as_one_end_alike_everywhere_and_are_kept_and_told(tmp_path: Path) -> None:
    """Two hosts take different ones at once, as if two operators had been too quick, or one key were in two hands."""
    cloud = SmallCloud(tmp_path, 2)
    with Aside(cloud) as small:
        one, two = cloud.agents["vps-1"], cloud.agents["vps-2"]
        now_s = time.time()
        first = cloud.sign("app/web", _app("web"), 1, now_s=now_s)
        second = cloud.sign("app/web", _app("web", replicas=7), 1, now_s=now_s + 0.5)
        small.look(lambda: (one.door.offer(first, from_client=True), two.door.offer(second, from_client=True)))
        small.wait("one of them everywhere", lambda: one.records.get("app/web") == two.records.get("app/web") == second)
        small.wait(
            "the other is kept",
            lambda: first in (one.records.evidence_of("app/web"), two.records.evidence_of("app/web")),
        )
        told = kinds(small, "vps-1") + kinds(small, "vps-2")
        assert any(line.startswith("same-number version 0.1 was signed twice") for line in told)


def test_a_step_that_is_refused_at_its_end_has_changed_nothing_at_its_beginning(tmp_path: Path) -> None:
    cloud = SmallCloud(tmp_path, 2)
    with Aside(cloud) as small:
        one = cloud.agents["vps-1"]
        good = cloud.sign("app/web", _app("web"), 1)
        bad = cloud.sign("release/web", _release("sha256:" + "0" * 64), 5)
        before = small.look(one.trusted.heads)
        try:
            small.look(lambda: one.door.offer_step([good, bad]))
        except TrustRefusal as refusal:
            assert refusal.code == "prev-mismatch"
        else:
            raise AssertionError("it was taken")
        assert small.look(one.trusted.heads) == before
        assert small.look(lambda: rehearse(one.trusted, [good], now_s=time.time())).heads() != before


def test_a_host_whose_disk_was_restored_from_a_copy_goes_on_above_what_others_heard_of_it(tmp_path: Path) -> None:
    cloud = SmallCloud(tmp_path, 2)
    with Aside(cloud) as small:
        small.run(cloud.stop("vps-2"))
        copy = tmp_path / "copy"
        shutil.copytree(cloud.files["vps-2"].state, copy)
        for _ in range(3):  # three lives that the copy knows nothing of
            small.run(cloud.start("vps-2"))
            small.wait("it is heard", lambda: _heard(cloud) == (cloud.agents["vps-2"].boot))
            small.run(cloud.stop("vps-2"))
        last = small.look(lambda: _heard(cloud))
        shutil.rmtree(cloud.files["vps-2"].state)
        shutil.copytree(copy, cloud.files["vps-2"].state)
        small.run(cloud.start("vps-2"))
        restored = cloud.agents["vps-2"]
        assert restored.boot < last
        small.wait("it sees that it is behind", lambda: restored.loop.broken.done())
        why = small.look(lambda: restored.loop.broken.exception())
        assert isinstance(why, SkerryError) and why.code == "overtaken"
        small.run(cloud.stop("vps-2"))
        small.run(cloud.start("vps-2"))  # as systemd does
        small.wait("it is heard again", lambda: _heard(cloud) == cloud.agents["vps-2"].boot == last + 1)
        assert not cloud.agents["vps-2"].loop.broken.done()


def _heard(cloud: SmallCloud) -> int:
    """The newest life of vps-2 that vps-1 has heard of."""
    head = cloud.agents["vps-1"].trusted.fact_heads().get("node/vps-2|up|")
    return head[0] if head else 0


def test_a_clock_that_differs_is_told_and_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "CLOCK_S", 0.5)
    cloud = SmallCloud(tmp_path, 3)
    (cloud.files["vps-3"].state / "clock-offset").write_text("3600")
    with Aside(cloud) as small:
        small.wait("told", lambda: any("clock is +3600 s off" in line for line in _lines(cloud, "vps-3")), 30)
        assert not any(line.startswith("clock") for line in kinds(small, "vps-1"))
        three = cloud.agents["vps-3"]
        early = cloud.sign("app/web", _app("web"), 1, now_s=time.time() + 1800)
        try:
            small.look(lambda: three.door.offer(early, from_client=True))
        except TrustRefusal as refusal:
            assert refusal.code == "from-the-future", "its own clock is outvoted"
        else:
            raise AssertionError("it was taken")


def _lines(cloud: SmallCloud, name: str) -> list[str]:
    return [f"{entry.kind} {entry.reason}" for entry in cloud.agents[name].events.tail(200)]


def _first(lines: list[str], word: str) -> int:
    return next(n for n, line in enumerate(lines) if word in line)


def _app(name: str, replicas: int = 3) -> App:
    return App(services={name: msgspec.structs.replace(WEB, replicas=replicas)})


def _release(image: str) -> Release:
    return Release(images={"api": image}, fits=1)


def _read(raw: bytes) -> tuple[str, int]:
    record = read(raw)
    return record.id, record.version  # type: ignore[union-attr]
