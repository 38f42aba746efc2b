"""The overview in a real browser, over a small cloud whose containers are in memory."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from agent.small import Aside
from skerry.core.intent import Service
from ui.conftest import Opener

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
