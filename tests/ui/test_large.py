"""A cloud of 100 hosts and 1,000 slots, fed to the pages: how soon something is seen, and what a change of it costs."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from skerry.client.overview import HostNow, Overview, SlotNow, Warning
from skerry.client.session import Session
from ui.conftest import Opener
from ui.serving import Shown

pytestmark = pytest.mark.real
HOSTS, SLOTS, APPS = 100, 1000, 40
FIRST_PAINT_S = 1.0
GIB = 1 << 30


def large(tick: int) -> Overview:
    """One that lives: figures move, and now and then a replica is on its way."""
    chance = random.Random(tick)
    hosts = tuple(
        HostNow(
            f"vps-{n + 1}", "up", f"10.0.0.{n + 1}:7077", {}, f"zone-{n % 3 + 1}", {"cpus": 4.0, "memory_bytes": 8 * GIB},
            {"cpus": 1.5, "memory_bytes": 3 * GIB}, "0.1.0",
        )
        for n in range(HOSTS)
    )  # fmt: skip
    slots = []
    for n in range(SLOTS):
        app = f"app-{n % APPS + 1}"
        slot = f"{app}.web/{n // APPS}"
        bad = n in (17, 417)
        moving = n % 97 == tick % 97
        slots.append(
            SlotNow(slot, app, "web", f"vps-{n % HOSTS + 1}", "starting" if moving else "running", not (bad or moving),
                    version="3.7", image="sha256:" + "a" * 64, since=1.8e9, why="HTTP 500 from /health" if bad else "")
        )  # fmt: skip
    figures: dict[str, dict[str, float]] = {}
    for row in slots:
        figures[row.slot] = {"cpu_cores": chance.random(), "memory_bytes": chance.random() * GIB}
    for host in hosts:
        memory = {"memory_bytes": 6 * GIB * chance.random(), "memory_total_bytes": 8.0 * GIB}
        figures[f"node/{host.name}"] = {"cpu_cores": 4 * chance.random(), **memory}
    warnings = tuple(Warning("bad", s.slot, f"{s.state}: {s.why}") for s in slots if s.why)
    return Overview("large", time.time(), "vps-1", hosts=hosts, slots=tuple(slots), figures=figures, warnings=warnings)


async def fed(session: Session) -> AsyncGenerator[Overview]:
    tick = 0
    while True:
        yield large(tick)
        tick += 1
        await asyncio.sleep(1)


@pytest.fixture(scope="module")
def shown(home: Path, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with Shown(home, tmp_path_factory.mktemp("ui"), network=network, watches=fed) as made:
        yield made


# From the beginning of the navigation until the last of the hosts is painted.
SEEN = """(whole) => new Promise((seen) => {
  const look = () => {
    const marks = document.querySelectorAll(".host .mark").length;
    if (marks >= whole) requestAnimationFrame(() => setTimeout(() => seen({ whole_ms: performance.now(), first_ms:
      performance.getEntriesByName("first-contentful-paint")[0].startTime, shift: window.shift }), 0));
    else requestAnimationFrame(look);
  };
  look();
})"""
SHIFTS = """window.shift = 0; new PerformanceObserver((list) => { for (const each of list.getEntries())
  if (!each.hadRecentInput) window.shift += each.value; }).observe({ type: "layout-shift", buffered: true });"""
BUSY = """() => new Promise((told) => { let longest = 0, last = performance.now(), left = 120;
  const beat = (now) => { longest = Math.max(longest, now - last); last = now;
    if (left-- > 0) requestAnimationFrame(beat); else told(longest); };
  requestAnimationFrame(beat); })"""


def busy() -> float:
    """How many there are for each core of this machine: the limits are those of one that has one thing to do."""
    return max(1.0, max(os.getloadavg()[:2]) / (os.cpu_count() or 1))


def measured(page: Page) -> dict[str, Any]:
    page.add_init_script(SHIFTS)
    page.reload()
    return dict(page.evaluate(SEEN, HOSTS + SLOTS))


def test_the_whole_of_it_is_painted_within_a_second(opened: Opener, record_property: Any) -> None:
    page = opened()
    runs = [measured(page) for _ in range(3)]
    best = min(runs, key=lambda run: run["whole_ms"])
    record_property("paint", json.dumps(runs))
    print(runs)
    assert best["first_ms"] < best["whole_ms"] < FIRST_PAINT_S * 1000 * busy(), runs
    assert all(run["shift"] < 0.1 for run in runs), runs
    expect(page.locator("h1")).to_contain_text("not healthy")
    expect(page.locator(".needs li")).to_have_count(2)


def test_changes_of_it_do_not_make_the_page_stutter(opened: Opener) -> None:
    page = opened()
    expect(page.locator(".host")).to_have_count(HOSTS)
    longest_ms = page.evaluate(BUSY)
    print(longest_ms)
    assert longest_ms < 400 * busy()
    page.keyboard.press("/")
    page.keyboard.type("vps-77")
    expect(page.locator(".host h3 a")).to_have_text(["vps-77"])
