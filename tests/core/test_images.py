"""Which images a node keeps: what a release within the history names, in which order the rest may go, what doesn't fit."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.history import HISTORY, earlier_of, short
from skerry.core.intent import Release, Service
from skerry.core.node import NodeCore
from skerry.core.records import Document, Slot
from skerry.sim import documents as docs

ME = "node/vps-1"
SLOT = Slot("shop", "web", 0)
WEB = Service()
digests = st.text("abcdef", min_size=1, max_size=2).map(docs.image_of)
releases = st.lists(st.dictionaries(st.sampled_from(["web", "db"]), digests, min_size=1), min_size=1, max_size=30)


@given(releases)
def test_a_release_names_the_ten_sets_of_images_before_it_each_image_once_and_none_of_its_own(
    history: list[dict[str, str]],
) -> None:
    held: Release | None = None
    for images in history:
        held = Release(images=images, fits=1, earlier=earlier_of(held, images))
    assert held is not None
    named = [name for line in held.earlier for name in line.split()]
    assert len(set(named)) == len(named) and not {short(i) for i in held.images.values()} & set(named)
    assert len(held.earlier) <= HISTORY
    before: list[str] = []  # as a person would say it: the images of the last releases, the newest first
    for images in reversed(history[:-1]):
        before += [n for n in sorted({short(i) for i in images.values()}) if n not in before]
    own = {short(i) for i in history[-1].values()}
    assert named == [name for name in before if name not in own][: len(named)]


def released(word: str, *before: str, version: int, fallback: str = "") -> Document:
    document = docs.release("shop", {"web": word}, version=version, fallback=fallback)
    body = document.body
    assert isinstance(body, Release)
    earlier = tuple(short(docs.image_of(name)) for name in before)
    return docs.document(document.path, msgspec.structs.replace(body, earlier=earlier), version)


def core_with(*records: Document, held: dict[str, float]) -> tuple[NodeCore, list[do.Effect]]:
    """`held`: word -> how long ago it was made."""
    core = NodeCore()
    core.step(ev.Booted(node=ME, boot=2, cpus=2.0, memory_bytes=1 << 30, clock=1e9), 1000.0)
    for record in records:
        core.step(ev.RecordAccepted(record=record, from_disk=True), 1000.0)
    for word, age_s in held.items():
        core.step(ev.ImageReady(image=docs.image_of(word), age_s=age_s), 1000.0)
    return core, core.step(ev.Timer(), 1000.0)


def may_go(effects: list[do.Effect]) -> list[str]:
    return [docs.word_of(image) for effect in effects if isinstance(effect, do.MayGo) for image in effect.images]


def forgotten(effects: list[do.Effect]) -> list[str]:
    return [docs.word_of(effect.image) for effect in effects if isinstance(effect, do.Forget)]


BACK = docs.release("shop", {"web": "v4"}, version=4)
DOCUMENTS = (docs.node("vps-1"), docs.app("shop", {"web": WEB}), BACK,
             released("v5", "v4", "v3", "v2", version=5, fallback=BACK.hash))  # fmt: skip
HELD = {"v5": 5.0, "v4": 100.0, "v3": 300.0, "v2": 200.0, "junk1": 8.0, "junk2": 9.0}


def test_what_nothing_names_goes_first_then_the_history_and_what_is_wanted_never() -> None:
    core, effects = core_with(*DOCUMENTS, held=HELD)
    assert may_go(effects) == ["junk2", "junk1", "v3", "v2"], "the oldest of each first; v5 runs, v4 is the fallback"
    later = [core.step(ev.Timer(), 1000.0 + s) for s in range(1, 700)]
    assert sorted(word for effects in later for word in forgotten(effects)) == ["junk1", "junk2"]
    effects = core.step(ev.RecordAccepted(record=docs.app("shop", {}, version=2, deleted=True)), 1700.0)
    assert may_go(effects)[:2] == ["v3", "v2"], "of an app that was removed nothing is kept"


def test_of_very_many_images_those_that_a_release_wants_are_told() -> None:
    """A node has a thousand facts, for its slots as well."""
    held = {f"x{number}": 1.0 for number in range(1200)} | {"v5": 1.0, "v4": 1.0}
    _, effects = core_with(*DOCUMENTS, held=held)
    told = [
        docs.word_of(effect.key) for effect in effects if isinstance(effect, do.Publish) and effect.kind == "object"
    ]
    assert len(told) == len(set(told)) == 500 and {"v4", "v5"} <= set(told)


def test_what_is_still_being_stopped_is_in_use() -> None:
    core, effects = core_with(*DOCUMENTS, held=HELD)
    start = next(effect for effect in effects if isinstance(effect, do.Start))
    core.step(ev.ContainerStarted(slot=start.slot, spec=start.spec, address="10.77.1.2", container="c1"), 1001.0)
    effects = core.step(ev.RecordAccepted(record=docs.app("shop", {}, version=2, deleted=True)), 1002.0)
    assert any(isinstance(effect, do.Stop) for effect in effects)
    assert "v4" in may_go(effects) and "v5" not in may_go(effects)
    effects = core.step(ev.ContainerStopped(slot=start.slot, spec=start.spec, container="c1"), 1003.0)
    assert "v5" in may_go(effects)


def test_an_image_that_does_not_fit_is_declined_and_tried_again_when_there_is_room() -> None:
    core, _ = core_with(*DOCUMENTS[:3], docs.node("vps-2"), held={})
    large = docs.image_of("v4")
    why = "image 763400000000 is too large for the budget: it needs 9.0 MB more"
    core.step(ev.Timer(), 1030.0)
    effects = core.step(ev.ImageFailed(image=large, why=why, passing=False, too_large=True), 1040.0)
    told = [effect.reason for effect in effects if isinstance(effect, do.Note) and effect.kind == "image-too-large"]
    assert told == [why]
    declined = [e for e in effects if isinstance(e, do.Publish) and e.kind == "decline" and e.body is not None]
    assert [effect.body.reason for effect in declined] == [why]  # type: ignore[union-attr]
    assert core.explain(SLOT).holder == "" and why in core.explain(SLOT).awaits
    assert not [e for e in core.step(ev.Timer(), 1050.0) if isinstance(e, do.Publish) and e.kind == "claim"]
    effects = core.step(ev.ImageRoom(), 1060.0)
    assert [e.body is None for e in effects if isinstance(e, do.Publish) and e.kind == "decline"] == [True]
    assert [e for e in effects if isinstance(e, do.Publish) and e.kind == "claim" and e.body is not None]


def test_a_new_version_that_does_not_fit_leaves_the_old_one_serving_until_another_host_has_the_slot() -> None:
    """Its holder declines the new version and goes on: its claim no longer keeps others from taking the slot."""
    core, effects = core_with(docs.node("vps-1"), docs.app("shop", {"web": WEB}), BACK, held={"v4": 1.0})
    start = next(effect for effect in effects if isinstance(effect, do.Start))
    core.step(ev.ContainerStarted(slot=start.slot, spec=start.spec, address="10.77.1.2", container="c1"), 1001.0)
    core.step(ev.Timer(), 1010.0)
    core.step(ev.RecordAccepted(record=DOCUMENTS[3]), 1011.0)
    effects = core.step(
        ev.ImageFailed(image=docs.image_of("v5"), why="it is too large", passing=False, too_large=True), 1012.0
    )
    assert not any(isinstance(effect, do.Stop) for effect in effects)
    declines = [e.body for e in effects if isinstance(e, do.Publish) and e.kind == "decline"]
    assert [(body.reason, body.failed) for body in declines if body is not None] == [("it is too large", False)]  # type: ignore[union-attr]
    row = core.rows()[0]
    assert row.node == "vps-1" and row.healthy and row.outdated
    assert "it is too large" in core.explain(start.slot).order[0].why
