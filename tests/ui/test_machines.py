"""Machines rented and given back from the page: real keepers, a simulated provider, and droplets that join by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import expect

from agent.rented import RentingCloud, Sea
from agent.small import Aside
from api.serving import finished
from client.test_pools import bundle_at
from skerry.core.intent import App, Release, Service, Update
from skerry.machines.digitalocean import DigitalOcean
from ui.conftest import Opener
from ui.serving import Shown
from ui.test_looks import AXE, REWRITE, found, give, picture

pytestmark = pytest.mark.real
TOKEN = "dop_v1_least"


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    with Aside(RentingCloud(tmp_path_factory.mktemp("hosts"), 3)) as aside:
        yield aside


@pytest.fixture(scope="module")
def home(beside: Aside, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    beside.cloud.home(folder)
    return folder


@pytest.fixture(scope="module")
def sea(beside: Aside, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sea]:
    """The pool `burst` is signed, through the page's own API; nothing is rented."""
    folder = tmp_path_factory.mktemp("sea")
    made = Sea(beside, folder / "droplets", {TOKEN: set(DigitalOcean.least_scopes)})
    pool = {
        "provider": "digitalocean", "endpoint": made.endpoint, "size": "s-1vcpu-1gb", "max": 1, "keepers": ["vps-1", "vps-2"],
        "token": TOKEN, "age_s": 1, "drain_s": 20, "spend_usd_month": 20,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, Shown(home, folder) as near, closing(near.entered()) as mine:
        patch.setenv("SKERRY_BUNDLE", str(bundle_at(folder)))
        done = finished(mine, mine.put("/v1/pools/burst", json=pool))
        assert done["state"] == "done", done
    yield made
    made.end()


def test_one_is_rented_looked_at_and_given_back(opened: Opener, beside: Aside, sea: Sea) -> None:
    page = opened("#/machines")
    page.evaluate(AXE)
    expect(page.locator("h1")).to_have_text("No machine is rented now.")
    page.get_by_role("button", name="Rent one").click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("One more costs 0.0074 USD an hour, 5.00 USD a month: s-1vcpu-1gb of digitalocean.")
    assert found(page) == [] and sea.there() == []
    if REWRITE:
        picture(page, "rent")
    dialog.get_by_role("button", name="Rent one more").click()
    expect(dialog).to_contain_text("Done.")
    dialog.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("td .word")).to_have_text("joined", timeout=30_000)
    expect(page.locator("h1")).to_have_text("1 machine, 0.0074 USD an hour.")
    expect(page.locator("td[data-is='so far']")).to_contain_text("USD")
    expect(page.locator("dl.facts", has_text="This month")).to_contain_text("of 20.00 USD at most")
    assert len(sea.there()) == 1

    image = beside.look(lambda: beside.cloud.give_image(b"web"))
    give(beside, "release/web", Release(images={"web": image}, fits=1))

    def runs(where: str) -> None:
        service = Service(constraints=(where,), update=Update(order="start-first"))
        give(beside, "app/web", App(services={"web": service}, pools=("burst",)))

    runs("node==burst/0")
    beside.wait("it to run on the machine", lambda: bool(beside.cloud.runtimes["burst/0"].disk.specs))
    assert found(page) == []
    if REWRITE:
        picture(page, "machines")
    page.get_by_role("link", name="burst/0").click()
    expect(page.locator("h1")).to_have_text("burst/0")
    expect(page.locator("tbody")).to_contain_text("web.web/0")
    expect(page.get_by_role("button", name="Drain")).to_have_count(0)  # it is given back, and drained by that
    page.get_by_role("link", name="Its pool").click()
    page.get_by_role("button", name="Give back: burst/0").click()
    expect(dialog).to_contain_text(
        "1 replica moves to other hosts first, each started there before it stops here: web.web/"
    )
    expect(dialog).to_contain_text("One is wanted: its keepers rent another one in its place.")
    expect(dialog).to_contain_text("Its disk is deleted at the provider")
    assert found(page) == []
    dialog.get_by_role("button", name="Leave it").click()

    runs("node!=vps-1")
    page.get_by_role("button", name="Bounds").click()
    dialog.get_by_label("At least").fill("2")
    expect(dialog.get_by_role("button", name="Sign this")).to_be_disabled()
    dialog.get_by_label("At least").fill("0")
    dialog.get_by_role("button", name="Sign this").click()
    expect(dialog).to_contain_text("Done.")
    dialog.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Give back: burst/0").click()
    expect(dialog).not_to_contain_text("rent another one")
    dialog.get_by_role("button", name="Give back").click()
    expect(dialog).to_contain_text("burst/0 is out of the cloud", timeout=30_000)
    expect(dialog).to_contain_text("Done.", timeout=30_000)
    dialog.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("h1")).to_have_text("No machine is rented now.", timeout=30_000)
    assert sea.there() == [] and list(sea.droplets.ended.values()) == [[]], "what ran there had left before"
