"""A real container looked into from a page: files, processes, sockets, changes, a crash, and by a real tool that is typed at; and
what a hostile one makes of its names and contents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from agent.real import RealHost, real_host, wait_for
from runtime.bench import BUSYBOX
from skerry.core.intent import Tools
from ui.conftest import Opener
from ui.serving import Shown
from ui.test_looks import AXE, REWRITE, found, picture

pytestmark = pytest.mark.real
EVIL = "<img src=x onerror=alert(1)>\u202etxt"
LIVES = f"""
mkdir -p /tmp/d/deep /tmp/evil; echo 'hello from inside' >/tmp/d/a.txt; seq 1 60000 >/tmp/d/numbers; truncate -s 70000000 /tmp/d/vast
printf '\\000\\001\\377ELF' >/tmp/d/program; printf '<script>document.title="taken"</script>\\033]0;t\\007' >'/tmp/evil/{EVIL}'
ln -s /etc/shadow /tmp/d/planted; nc -l -p 8123 >/dev/null & touch /tmp/ready; while :; do sleep 1; done
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    with real_host(tmp_path_factory.mktemp("looking")) as host:
        kit = host.aside.look(lambda: host.cloud.give_files({"usr/bin/busybox": BUSYBOX.read_bytes()}))
        raw = host.cloud.sign("tools/base", Tools(image=kit), 1)
        host.aside.look(lambda: host.agent.door.offer(raw, from_client=True))
        yield host


@pytest.fixture(scope="module")
def home(host: RealHost) -> Path:
    return host.home


@pytest.fixture(scope="module")
def shown(host: RealHost, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with Shown(host.home, tmp_path_factory.mktemp("ui"), network=network) as made:
        yield made


@pytest.fixture(scope="module")
def slot(host: RealHost) -> str:
    slot = host.run(LIVES, app="shop")
    wait_for(f"{slot} to be ready", lambda: host.file(slot, "/tmp/ready").exists())
    return slot


@pytest.fixture(scope="module")
def page(opened_module: Opener, slot: str) -> Page:
    page = opened_module()
    page.evaluate(AXE)
    page.on("dialog", lambda dialog: pytest.fail("what a container wrote ran"))
    return page


def go(page: Page, slot: str, *more: str) -> None:
    where = "/".join(quote(part, safe="") for part in (slot, *more))
    page.evaluate("where => { location.hash = where }", f"#/slots/{where}")


def test_its_files_are_listed_shown_and_saved(page: Page, slot: str) -> None:
    page.evaluate("location.hash = '#/apps/shop'")
    page.get_by_role("link", name=f"Look in: {slot}").click()
    page.get_by_role("link", name="tmp/").click()
    page.get_by_role("link", name="d/", exact=True).click()
    row = page.locator("tbody tr", has_text="a.txt")
    expect(row).to_contain_text("18 B")
    expect(page.locator("tbody tr", has_text="planted")).to_contain_text("→ /etc/shadow")
    assert found(page) == []
    if REWRITE:
        picture(page, "files")
    page.get_by_role("link", name="a.txt").click()
    expect(page.locator("pre")).to_have_text("hello from inside\n")
    with page.expect_download() as told:
        page.get_by_role("button", name="Save it").click()
    assert (told.value.suggested_filename, Path(told.value.path()).read_text()) == ("a.txt", "hello from inside\n")
    page.get_by_role("navigation", name="Path").get_by_role("link", name="d", exact=True).click()
    page.get_by_role("link", name="program").click()
    expect(page.locator("pre")).to_contain_text("00 01 ff 45 4c 46")
    go(page, slot, "files", "/tmp/d/vast")
    expect(page.locator(".empty")).to_contain_text("--limit 67m")
    expect(page.get_by_role("button", name="Save it")).to_have_count(0)
    go(page, slot, "files", "/tmp/d/planted")
    expect(page.locator(".note.bad")).to_contain_text("/tmp/d/planted")  # there is no such file in its image


def test_names_and_contents_of_a_hostile_one_are_text(page: Page, slot: str) -> None:
    go(page, slot, "files", "/tmp/evil")
    name = page.locator("td.name a", has_text="onerror")
    expect(name).to_have_text("<img src=x onerror=alert(1)>\\u202etxt")
    name.click()
    expect(page.locator("pre")).to_have_text('<script>document.title="taken"</script>\\u001b]0;t\\u0007')
    expect(page.locator(".path")).to_contain_text("\\u202e")
    with page.expect_download() as told:
        page.get_by_role("button", name="Save it").click()
    assert told.value.suggested_filename == "-img-src-x-onerror-alert-1-txt"
    assert page.locator("#page img:not([src='/static/icon.svg']), #page script").count() == 0
    assert page.title() != "taken"


def test_processes_sockets_and_changes(page: Page, slot: str) -> None:
    go(page, slot, "processes")
    expect(page.locator("tbody tr").first).to_contain_text("/usr/bin/sh -c")
    expect(page.locator("td.mono", has_text=re.compile("^nc -l -p 8123"))).to_have_count(1)
    assert found(page) == []
    go(page, slot, "sockets")
    expect(page.locator("tbody tr", has_text="*:8123")).to_contain_text("listening")
    go(page, slot, "changed")
    expect(page.locator("tbody tr", has_text="/tmp/d/a.txt")).to_contain_text("added")
    expect(page.locator("tbody").last).to_contain_text("in memory, gone at its end")
    assert found(page) == []
    go(page, slot, "crash")
    expect(page.locator(".empty")).to_contain_text("No crash of it is kept.")


def test_the_last_crash_with_its_log_and_files(page: Page, host: RealHost) -> None:
    once = "[ -e /data/once ] && while :; do sleep 1; done; touch /data/once; echo broken >/tmp/state; echo '<b>no disk</b>'; exit 3"
    crashed = host.run(once, app="reports", volume="data", stays=False)
    wait_for("what is kept", lambda: any(each.files for each in host.aside.look(host.agent.crashes.all)))
    go(page, crashed, "crash")
    expect(page.locator(".note.bad")).to_contain_text("It ended with exit code 3")
    expect(page.locator("pre")).to_contain_text("<b>no disk</b>")
    page.get_by_role("link", name="Its files as they were").click()
    page.get_by_role("link", name="tmp/").click()
    page.get_by_role("link", name="state").click()
    expect(page.locator("pre")).to_have_text("broken\n")
    assert found(page) == []


def test_a_tool_in_its_network_says_first_that_it_is_seen_there(page: Page, slot: str) -> None:
    go(page, slot, "terminal")
    page.get_by_label("Command").fill("busybox ip -o address")
    expect(page.locator(".visible")).to_contain_text("unseen")
    page.get_by_label("in the container's network").check()
    expect(page.locator(".visible")).to_contain_text("joined")
    expect(page.locator(".visible")).to_contain_text("sockets of the tool in its network namespace")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".xterm-rows")).to_contain_text("10.77.1.")
    page.get_by_label("in the container's network").uncheck()
    page.get_by_role("button", name="Start anew").click()
    expect(page.locator("main")).to_contain_text("It ended with 0")
    expect(page.locator(".xterm-rows")).not_to_contain_text("10.77.1.")


def left(host: RealHost) -> list[Path]:
    """Tools that are at work."""
    return host.aside.look(lambda: list((host.cloud.own / "run/tools").glob("*")))


def test_a_shell_outside_is_typed_at_and_goes_with_the_page(page: Page, host: RealHost, slot: str) -> None:
    go(page, slot, "terminal")
    page.get_by_label("Command").fill("strace -p 1")
    expect(page.locator(".visible")).to_contain_text("felt")
    page.get_by_label("Command").fill("busybox sh")
    expect(page.locator(".visible")).to_contain_text("unseen")
    page.get_by_role("button", name="Start").click()
    rows = page.locator(".xterm-rows")
    expect(rows).to_contain_text("/tmp #")
    page.locator(".xterm-helper-textarea").press_sequentially(
        "cat /target/tmp/d/a.txt; ls /target/usr/bin; echo $((6*7)) is it\n"
    )
    expect(rows).to_contain_text("hello from inside")
    expect(rows).to_contain_text("42 is it")
    wide = page.locator(".xterm-rows > div").first.bounding_box()
    assert wide is not None and 10 < wide["height"] < 30, (
        "its styles are there, although the page may have none of its own"
    )
    if REWRITE:
        picture(page, "terminal")
    assert left(host)
    page.evaluate("location.hash = '#/'")
    wait_for("the tool to go", lambda: not left(host))


def test_a_tool_that_ends_says_how_and_one_that_is_not_there_why(page: Page, host: RealHost, slot: str) -> None:
    go(page, slot, "terminal")
    page.get_by_label("Command").fill("busybox sh -c 'exit 7'")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("main")).to_contain_text("It ended with 7")
    page.get_by_label("Command").fill("no-such-program")
    page.get_by_role("button", name="Start anew").click()
    expect(page.locator("main")).to_contain_text("no-such-program")
    wait_for("the tools to go", lambda: not left(host))


def test_a_whole_host_is_for_who_was_given_it(page: Page, host: RealHost, tmp_path: Path) -> None:
    page.evaluate("location.hash = '#/hosts/vps-1/terminal'")
    page.get_by_label("Command").fill("busybox sh -c 'ls -d /target/etc/debian_version; id -u'")
    expect(page.locator(".visible")).to_contain_text("the host may notice: nothing")
    expect(page.get_by_label("in the container's network")).to_have_count(0)
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".note.bad")).to_contain_text("ann has no right to debug-host node/vps-1")
    assert found(page) == []
    key = tmp_path / "ann.pub"
    key.write_bytes(msgspec.json.encode(host.cloud.person))
    words = ("role", "add", "debug-host", "ann-hosts", "--key", str(key), "--host", "vps-1", "--until", "1h")
    with ThreadPoolExecutor(1) as beside:  # this thread's event loop is Playwright's
        given = beside.submit(host.skerry, *words).result()
    assert given.code == 0, given.err
    page.get_by_role("button", name="Start anew").click()
    expect(page.locator(".xterm-rows")).to_contain_text("/target/etc/debian_version")


def test_a_terminal_needs_our_origin_the_cookie_and_the_key(shown: Shown, home: Path, tmp_path: Path) -> None:
    with Shown(home, tmp_path) as near, closing(near.entered()) as mine:
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in mine.cookies.items())}
        for headers, origin in ((cookie, "http://evil.example"), ({}, near.url), (cookie, None)):
            with (
                pytest.raises(InvalidStatus),
                connect(near.wire("/terminal"), origin=origin, additional_headers=headers, proxy=None),
            ):  # type: ignore[arg-type]
                pass
        with connect(near.wire("/terminal"), origin=near.url, additional_headers=cookie, proxy=None) as wire:  # type: ignore[arg-type]
            wire.send('{"key": "wrong"}')
            assert json.loads(wire.recv(timeout=5))["error"]["code"] == "ui-no-session"
