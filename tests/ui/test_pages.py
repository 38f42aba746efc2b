"""Each page in a real browser, over a small cloud: what it shows, and what it does to the cloud.

The tests go on where the one before ended: an app is deployed, looked at, changed and removed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from agent.small import Aside
from skerry.client.images import LocalImages
from ui.conftest import drop
from ui.serving import Shown
from ui.talking import Talking

pytestmark = pytest.mark.real
At = Callable[[str], Page]
COMPOSE = """
name: shop
services:
  web:
    image: hello:1
    deploy:
      replicas: 3
      update_config: {parallelism: 4, monitor: 200ms}
  worker:
    image: hello:2
    deploy: {update_config: {monitor: 200ms}}
"""


def test_a_dropped_compose_file_is_shown_as_a_difference_before_anything_is_done(at: At, shown: Shown) -> None:
    page = at("#/deploy")
    drop(page, COMPOSE.replace("hello:1", "nowhere:9"))
    expect(page.locator(".note.bad")).to_contain_text("'nowhere:9' is not in the store")
    expect(page.locator(".note.bad")).to_contain_text("line 5")
    drop(page, COMPOSE)
    expect(page.locator("h2", has_text="shop is new")).to_be_visible()
    page.locator("tr", has_text="services.web").get_by_text("new: 3 replicas").click()
    expect(page.locator("dl.facts", has_text="update.parallelism").first).to_be_visible()
    beside_it = page.context.new_page()  # another tab has the same session
    beside_it.goto(shown.url)
    expect(beside_it.locator("h1")).to_have_text("Nothing runs yet.")
    beside_it.close()
    page.get_by_role("button", name="Deploy shop").click()
    expect(page.locator("h1")).to_have_text("shop runs.", timeout=20_000)
    page.get_by_role("link", name="Look at shop").click()
    expect(page.locator("tbody tr")).to_have_count(4)
    page = at("#/deploy")
    drop(page, COMPOSE)
    expect(page.locator(".note.ok")).to_contain_text("It would change nothing")


def test_an_app_is_scaled_and_its_new_replica_comes_by_itself(at: At) -> None:
    page = at("#/apps/shop")
    page.get_by_role("button", name="Scale").click()
    page.get_by_label("Replicas").fill("4")
    page.locator("dialog").get_by_role("button", name="Scale", exact=True).click()
    expect(page.locator("dialog")).to_contain_text("Done.", timeout=20_000)
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("tbody tr", has_text="shop.web/3")).to_contain_text("healthy")


def test_a_new_version_is_told_of_while_it_comes_and_can_be_rolled_back(at: At) -> None:
    page = at("#/deploy/shop")
    slowly = COMPOSE.replace(
        "{parallelism: 4,", "{parallelism: 2, delay: 3s,"
    )  # it is under way when the page is there
    drop(page, slowly.replace("image: hello:1", "image: hello:2").replace("replicas: 3", "replicas: 4"))
    page.get_by_role("button", name="Deploy shop").click()
    page.get_by_role("link", name="Look at shop").click()
    expect(page.locator(".note[role=status]")).to_contain_text("is coming")
    expect(page.locator(".under")).to_contain_text("5 healthy", timeout=20_000)
    now = page.locator("td[data-is=version]").first.inner_text()
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("dialog")).to_contain_text("data that the newer release changed stays changed")
    page.locator("dialog").get_by_role("button", name="Roll back").click()
    expect(page.locator("dialog")).to_contain_text("Done.", timeout=20_000)
    assert page.locator("td[data-is=version]").first.inner_text() != now
    page.get_by_role("button", name="Close", exact=True).click()


def test_log_lines_come_live_are_filtered_and_can_do_nothing(at: At, beside: Aside) -> None:
    """Markup, terminal escapes and letters that turn a line around are text, and seen."""
    page = at("#/apps/shop/logs")
    talking = beside.cloud.runtimes["vps-1"]
    assert isinstance(talking, Talking)
    for text in (
        "one",
        '<img src=x onerror="document.title=1">',
        "\x1b[31mred\x1b[0m \x1b]0;title\x07end",
        "a\u202etxt.exe",
        "three",
    ):
        talking.say("shop.web/0", text)
    talking.say(
        "shop.web/0",
        '{"level":"error","message":"no disk","free":0,"path":"</script><script>alert(1)</script>"}',
        "stderr",
    )
    lines = page.locator(".lines .text")
    expect(lines).to_have_text(
        ["one", '<img src=x onerror="document.title=1">', "red end", "a\\u202etxt.exe", "three",
         "error  no disk  free=0  path=</script><script>alert(1)</script>"]
    )  # fmt: skip
    assert page.locator(".lines img, .lines script").count() == 0
    page.keyboard.press("/")
    page.keyboard.type("three")
    expect(lines).to_have_text(["three"])
    page.get_by_label("Filter lines").fill("")
    page.get_by_role("button", name="stderr").click()
    expect(lines).to_have_count(1)


def test_events_and_reasons_of_an_app(at: At) -> None:
    page = at("#/apps/shop/events")
    expect(page.locator(".events .kind", has_text="healthy").first).to_be_visible()
    expect(page.locator(".events li").first).to_contain_text("vps-")
    page.locator(".tabs a", has_text="Explain").click()
    page.locator("summary").first.click()
    expect(page.locator("details[open] td", has_text="claims").first).to_be_visible()
    expect(page.locator("details[open]", has_text="There because").first).to_be_visible()


def test_a_host_is_drained_and_taken_back(at: At) -> None:
    page = at("#/hosts/vps-3")
    expect(page.locator("tbody tr").first).to_contain_text("shop.")
    page.get_by_role("button", name="Drain").click()
    expect(page.locator("dialog")).to_contain_text("Nothing is lost")
    page.locator("dialog").get_by_role("button", name="Drain").click()
    expect(page.locator("dialog")).to_contain_text("Done.", timeout=30_000)
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator(".empty strong")).to_have_text("Nothing runs here.")
    page.get_by_role("button", name="Take replicas again").click()
    expect(page.locator(".under")).to_contain_text("up")


def test_an_image_its_files_and_what_differs_from_another(at: At, home: Path) -> None:
    page = at("#/images")
    page.get_by_role("link", name="hello:2").click()
    expect(page.locator("h1")).to_have_text("hello:2")
    expect(page.locator(".under")).to_contain_text("no shell in it")
    page.locator(".tabs a", has_text="Files").click()
    expect(page.locator("td", has_text="/usr/bin/app")).to_be_visible()
    page.locator(".tabs a", has_text="Compare").click()
    page.get_by_label("With the image before it:").select_option(LocalImages(home / "images").names["hello:1"])
    expect(page.locator("td", has_text="/usr/bin/app")).to_be_visible()
    expect(page.locator(".word.work")).to_have_text("changed")
    page.locator(".tabs a", has_text="Packages").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the SBOM").click()
    assert '"bomFormat": "CycloneDX"' in Path(saved.value.path()).read_text()
    missing = at("#/images/sha256:" + "0" * 64)
    expect(missing.locator(".note.bad")).to_contain_text("the image is not on this machine")


def test_pools_are_told_of_even_where_there_is_none(at: At) -> None:
    page = at("#/machines")
    expect(page.locator(".empty strong")).to_have_text("There is no pool.")


def test_removing_names_what_is_lost_and_wants_the_name(at: At) -> None:
    page = at("#/apps/shop")
    page.get_by_role("button", name="Remove").click()
    expect(page.locator("dialog")).to_contain_text("5 replicas of 2 services stop")
    remove = page.locator("dialog").get_by_role("button", name="Remove")
    expect(remove).to_be_disabled()
    page.get_by_label("To confirm, write shop").fill("shop")
    remove.click()
    expect(page.locator("dialog")).to_contain_text("Done.", timeout=20_000)


def test_the_keyboard_leads_everywhere(at: At) -> None:
    page = at("#/")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("Keyboard")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page.locator("h1")).to_have_text("Images")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    page.wait_for_selector(".state:has-text('live')")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark", "kept"


def test_without_a_session_the_page_says_what_to_do(at: At, shown: Shown) -> None:
    page = at("#/")
    shown.again()
    page.reload()
    expect(page.locator("h1")).to_have_text("This session is over.")
