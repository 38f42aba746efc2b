"""An app's volumes and how it follows its load; and a host that is ended: what pages show of it and of what ran there, and that what
nobody knows is never a number.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from agent.small import Aside
from agent.test_metrics import Counted
from skerry.core.intent import App, Release, Scale, Schedule, Service, VolumeMount
from ui.conftest import Opener, go
from ui.test_looks import AXE, REWRITE, found, give, picture

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    with Aside(Counted(tmp_path_factory.mktemp("hosts"), 3)) as aside:
        yield aside


@pytest.fixture(scope="module")
def page(opened_module: Opener, beside: Aside) -> Page:
    image = beside.look(lambda: beside.cloud.give_image(b"shop"))
    mount = (VolumeMount(volume="data", target="/data"),)
    services = {"web": Service(replicas=3), "db": Service(constraints=("node==vps-3",), volumes=mount)}
    give(beside, "release/shop", Release(images=dict.fromkeys(services, image), fits=1))
    give(beside, "app/shop", App(services=services, volumes={"data": False}))
    page = opened_module()
    page.evaluate(AXE)
    expect(page.locator("h1")).to_have_text("All is well.", timeout=20_000)
    return page


def test_how_a_service_follows_its_load_and_a_volume_that_nothing_uses_goes_by_its_name(
    page: Page, beside: Aside
) -> None:
    image = beside.look(lambda: beside.cloud.give_image(b"blog"))
    always = Schedule(days=(0, 1, 2, 3, 4, 5, 6), from_minute=0, to_minute=1440, max=6)
    scale = Scale(min=1, max=4, cpu=0.6, schedules=(always,))
    web, db = Service(scale=scale), Service(volumes=(VolumeMount(volume="posts", target="/posts"),))
    give(beside, "release/blog", Release(images={"web": image, "db": image}, fits=1))
    give(beside, "app/blog", App(services={"web": web, "db": db}, volumes={"posts": False}))
    go(page, "#/apps/blog")
    expect(page.locator(".under")).to_contain_text("2 healthy")
    expect(page.locator(".head", has_text="web")).to_contain_text(
        "1 wanted (1 to 4, by 60% of its CPU of each; daily 0-24: max 6; now 1 to 6)"
    )
    page.get_by_role("button", name="Scale").click()
    dialog = page.locator("dialog")
    dialog.get_by_label("Service").select_option("web")
    dialog.get_by_label("At most").fill("5")
    dialog.get_by_label("Schedules, one a line").fill("weekdays 8-20: max 4\nweekends 0-24: max 3\n")
    assert found(page) == []
    dialog.get_by_role("button", name="Scale", exact=True).click()
    expect(dialog).to_contain_text("Done.", timeout=20_000)
    dialog.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator(".head", has_text="web")).to_contain_text("weekdays 8-20: max 4; weekends 0-24: max 3")
    page.get_by_role("link", name="Volumes").click()
    expect(page.locator("tbody tr")).to_contain_text("blog.db/0")
    give(beside, "app/blog", App(services={"web": Service()}))
    again = page.get_by_role("button", name="Look again")
    expect(page.locator(".under")).to_contain_text("version 3.1")
    expect(page.locator(".under")).to_contain_text("1 healthy")
    expect(again).to_be_visible()
    beside.wait(
        "nobody to use it", lambda: all("posts" not in str(each.disk.specs) for each in beside.cloud.runtimes.values())
    )
    again.click()
    page.get_by_role("button", name="Delete: posts").click()
    expect(dialog).to_contain_text("There is no way back.")
    expect(dialog.get_by_role("button", name="Delete")).to_be_disabled()
    assert found(page) == []
    dialog.get_by_label("To confirm, write posts").fill("posts")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator(".empty strong")).to_have_text("It has no volume.")
    beside.wait(
        "it to be gone", lambda: not any("blog" in str(each.volumes.all()) for each in beside.cloud.agents.values())
    )
    give(beside, "app/blog", App(services={}, deleted=True))
    go(page, "#/")
    expect(page.locator("td.name")).to_have_text(["shop"])


def test_what_it_held_moves_and_what_it_knows_is_unknown(page: Page, beside: Aside) -> None:
    card = page.locator(".host", has_text="vps-3")
    expect(card.locator(".room")).to_contain_text("2.0 of 2")
    go(page, "#/apps/shop/volumes")
    expect(page.locator("tbody tr")).to_contain_text("shop.db/0")
    expect(page.locator("tbody tr")).to_contain_text("vps-3")
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    go(page, "#/")
    beside.run(beside.cloud.stop("vps-3"))
    expect(card.locator(".room")).to_contain_text("What it uses is not known")
    expect(page.locator("h1")).not_to_have_text("All is well.")
    expect(card.locator("h3")).to_contain_text("down", timeout=20_000)
    expect(card).to_contain_text("what runs there isn't known", timeout=20_000)
    expect(page.locator(".needs")).to_contain_text("shop.db/0 waiting: its data is on vps-3")
    expect(page.locator("main")).to_contain_text("3 of 4 replicas healthy, on 2 of 3 hosts.", timeout=20_000)
    assert found(page) == []
    if REWRITE:
        picture(page, "silent")


def test_its_own_page_says_what_is_not_known(page: Page) -> None:
    go(page, "#/hosts/vps-3")
    expect(page.locator(".note.bad")).to_contain_text("It is down.")
    expect(page.locator(".note.bad")).to_contain_text("nothing listens there")
    expect(page.locator("dl.facts", has_text="Memory")).to_contain_text("1.0 GiB, reserved: not known")
    expect(page.locator(".empty")).to_contain_text("These wait for it, as their data is here: shop.db/0.")
    assert found(page) == []
    go(page, "#/hosts/vps-3/charts")
    expect(page.locator(".empty")).to_contain_text("Nothing is known of it now.")
    go(page, "#/hosts/vps-3/events")
    expect(page.locator(".events li").first).to_contain_text("did not answer, so its own events are missing")
    expect(page.locator(".events .kind", has_text="down").first).to_be_visible()  # as the others tell
    go(page, "#/hosts/vps-3/terminal")
    expect(page.locator("main")).to_contain_text("A tool on the whole host")


def test_what_ran_there_names_who_did_not_answer(page: Page) -> None:
    go(page, "#/apps/shop")
    expect(page.locator(".note.wait")).to_contain_text("1 replica waits for a host.")
    go(page, "#/apps/shop/volumes")
    expect(page.locator("section .note.wait")).to_contain_text("vps-3 did not answer, and what it has is not shown")
    expect(page.locator(".empty")).to_contain_text("No host that answered has a volume of it.")
    go(page, "#/apps/shop/charts")
    expect(page.locator("section .note.wait")).to_contain_text("vps-3 did not answer, so what it kept is missing here")
    go(page, "#/slots/shop.db%2F0")
    expect(page.locator(".empty")).to_contain_text("It runs nowhere now.")
    assert found(page) == []
