"""Tools images on a node: they come when they are asked for here, stay while they run and for a day after, and make room first."""

from __future__ import annotations

from core.test_images import BACK, DOCUMENTS, ME, core_with, forgotten, may_go
from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import Have, Up
from skerry.core.intent import Tools
from skerry.core.node import NodeCore
from skerry.core.records import Fact
from skerry.sim import documents as docs

DAY_S = 86_400.0
BASE = docs.image_of("base")
NAMED = docs.document("tools/base", Tools(image=BASE), 1)
REMOVED = docs.document("tools/base", Tools(deleted=True), 2)


def forgotten_by(core: NodeCore, times_s: list[float]) -> list[float]:
    """When, of these times, tools were forgotten."""
    return [at_s for at_s in times_s if "base" in forgotten(core.step(ev.Timer(), at_s))]


def test_signed_tools_stay_for_a_day_after_their_last_use_and_others_for_as_long_as_anything_nobody_names() -> None:
    core, _ = core_with(*DOCUMENTS, NAMED, held={"v5": 1.0, "v4": 1.0, "base": 1.0})
    assert forgotten_by(core, [1700.0, 40_000.0]) == []
    core.step(ev.ToolsUsed(BASE, 1), 50_000.0)
    core.step(ev.ToolsUsed(BASE, 0), 60_000.0)
    left = [60_119.0, 60_121.0, 60_100.0 + DAY_S]
    assert forgotten_by(core, left) == []
    assert forgotten_by(core, [60_122.0 + DAY_S]) == [60_122.0 + DAY_S]
    core, _ = core_with(*DOCUMENTS, NAMED, held={"v5": 1.0, "v4": 1.0, "base": 1.0})
    effects = core.step(ev.RecordAccepted(record=REMOVED), 2000.0)
    assert forgotten(effects) == ["base"], "it has been unused for longer than that already"


def test_they_run_nobody_removes_them_and_else_they_make_room_before_what_apps_may_need() -> None:
    core, effects = core_with(*DOCUMENTS, NAMED, held={"v5": 5.0, "v4": 100.0, "v3": 300.0, "base": 1.0})
    assert may_go(effects) == ["base", "v3"]
    assert may_go(core.step(ev.ToolsUsed(BASE, 1), 1001.0)) == ["v3"]
    assert forgotten_by(core, [1001.0 + 10 * DAY_S]) == [], "it has run for ten days"
    core.step(ev.ToolsUsed(BASE, 0), 1002.0 + 10 * DAY_S)
    assert may_go(core.step(ev.Timer(), 1123.0 + 10 * DAY_S)) == ["base", "v3"]


def beside(core: NodeCore, now_s: float) -> list[do.Effect]:
    """Another host is up and has them."""
    core.step(ev.LinkUp(peer="node/vps-2"), now_s)
    up = Up(root=1, policy=1, heads="", uptime_s=9.0, cpus=1.0, memory_bytes=1, free_cpus=1.0, free_memory_bytes=1)
    for n, (kind, key, body) in enumerate((("up", "", up), ("object", BASE, Have()))):
        fact = Fact(node="node/vps-2", kind=kind, key=key, seq=(1, n + 1), time=now_s, body=body)  # type: ignore[arg-type]
        effects = core.step(ev.RecordAccepted(record=fact, source="node/vps-2"), now_s)
    return effects


def fetches(effects: list[do.Effect]) -> list[tuple[str, ...]]:
    return [effect.sources for effect in effects if isinstance(effect, do.Fetch) and effect.image == BASE]


def test_they_are_fetched_from_a_host_that_has_them_once_they_are_asked_for_here_and_not_before() -> None:
    core, _ = core_with(docs.node("vps-1"), docs.node("vps-2"), docs.app("shop", {}), BACK, NAMED, held={"v4": 1.0})
    assert ME and not fetches(beside(core, 1001.0)), "nobody needs them here"
    assert fetches(core.step(ev.ToolsUsed(BASE), 1002.0)) == [("node/vps-2",)]
    assert core.image_here(BASE) == (False, True, "its image is under way")
    core.step(ev.ImageReady(image=BASE), 1003.0)
    assert core.image_here(BASE) == (True, False, "")


def test_where_no_host_has_them_that_is_said_and_nobody_waits() -> None:
    core, _ = core_with(docs.node("vps-1"), docs.node("vps-2"), docs.app("shop", {}), BACK, NAMED, held={"v4": 1.0})
    assert not fetches(core.step(ev.ToolsUsed(BASE), 1002.0))
    assert core.image_here(BASE) == (False, False, "no node that is up has its image")
