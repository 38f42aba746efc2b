"""The overview in a real browser, over a small cloud whose containers are in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from agent.small import Aside
from skerry.client.overview import AlertNow, HostNow, Overview, SlotNow
from skerry.client.session import Session
from skerry.core.intent import Service
from ui.conftest import Opener
from ui.serving import Shown

pytestmark = pytest.mark.real


def test_hosts_and_what_runs_where_are_shown_as_they_change(opened: Opener, beside: Aside) -> None:
    page = opened()
    expect(page.locator("h1")).to_have_text("Nothing runs yet.")
    expect(page.locator(".host h3 a")).to_have_text(["vps-1", "vps-2", "vps-3"])
    assert page.url.endswith("/#/"), "the token is gone from the address"

    digest = beside.look(lambda: beside.cloud.give_image(b"shop"))
    beside.look(lambda: beside.cloud.deploy("shop", Service(replicas=3), digest))
    expect(page.locator("h1")).to_have_text("All is well.")
    expect(page.locator("main")).to_contain_text("3 of 3 replicas healthy, on 3 hosts.")
    expect(page.locator("td.name")).to_have_text("shop")
    expect(page.locator(".host .mark.ok")).to_have_count(6)


def test_what_fires_stands_at_the_top_and_leads_to_what_it_is_about(
    opened: Opener, home: Path, network: Path, tmp_path: Path
) -> None:
    over = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def firing(session: Session) -> AsyncGenerator[Overview]:
        loops.append(asyncio.get_running_loop())
        now_s = time.time()
        slots = tuple(SlotNow(f"shop.web/{n}", "shop", "web", "vps-1", "running", True) for n in range(2))
        seen = Overview("small", now_s, "vps-1", hosts=(HostNow("vps-1", "up"), HostNow("vps-2", "up")), slots=slots)
        alerts = (
            AlertNow("disk", "vps-2", now_s - 7200, "92 % full", now_s + 3600),
            AlertNow("memory", "vps-1", now_s - 240, "\u202e31 % stalled", 0.0, {"vps-2": ("ops",)}),
            AlertNow("restart-loop", "shop.web/1", now_s - 60, "started anew 7 times"),
            AlertNow("no-replica", "shop.web", now_s - 60, "slot 3"),
            AlertNow("budget", "burst", now_s - 60, "80 of 80 USD"),
            AlertNow("certificate", "app/gone", now_s - 60, "3 days"),
        )
        yield Overview(**{name: getattr(seen, name) for name in seen.__struct_fields__} | {"alerts": alerts})
        await over.wait()
        yield seen
        await asyncio.Event().wait()

    with Shown(home, tmp_path, network=network, watches=firing) as shown:
        page = opened(at=shown)
        lines = page.locator(".alerts li")
        expect(lines).to_have_count(6)
        links = lines.locator("a").evaluate_all("all => all.map((each) => each.getAttribute('href'))")
        assert links == ["#/hosts/vps-1", "#/apps/shop", "#/apps/shop", "#/machines", "#/hosts/vps-2"]
        expect(lines.first).to_contain_text("memory vps-1 \\u202e31 % stalled for 4 min; told: ops")
        expect(lines.nth(1)).to_contain_text("nobody is told yet")
        expect(lines.last).to_contain_text("disk vps-2 92 % full for 2 h; silenced")
        expect(page.locator("h1")).to_have_text("All replicas are healthy.")
        loops[0].call_soon_threadsafe(over.set)
        expect(page.locator("h1")).to_have_text("All is well.")
        expect(page.locator(".alerts")).to_have_count(0)
        page.close()
