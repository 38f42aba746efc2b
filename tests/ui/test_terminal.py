"""The debug terminal: a real tool beside a real container, typed at in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from agent.beside import SLOT, CloudBeside
from agent.small import Aside
from ui.conftest import Opener
from ui.serving import Shown
from ui.test_looks import REWRITE, ROOT, small

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    cloud = CloudBeside(tmp_path_factory.mktemp("hosts"))
    with Aside(cloud) as aside:
        aside.wait("the container", lambda: cloud.running() == [SLOT])
        yield aside
        assert cloud.tools_left() == []


@pytest.fixture(scope="module")
def home(beside: Aside, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    beside.cloud.home(folder)
    return folder


def left(beside: Aside) -> list[str]:
    assert isinstance(beside.cloud, CloudBeside)
    return beside.cloud.tools_left()


def test_a_shell_outside_is_typed_at_and_goes_with_the_page(opened: Opener, beside: Aside) -> None:
    page = opened("#/apps/quiet")
    page.get_by_role("link", name=f"Look in: {SLOT}").click()
    page.get_by_role("link", name="Terminal").click()
    page.get_by_label("Command").fill("strace -p 1")
    expect(page.locator(".visible")).to_contain_text("felt")
    page.get_by_label("Command").fill("busybox sh")
    expect(page.locator(".visible")).to_contain_text("unseen")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".xterm-rows")).to_contain_text("/tmp #")
    page.locator(".xterm-helper-textarea").press_sequentially("ls -l /target/usr/bin; ps; echo $((6*7)) is it\n")
    rows = page.locator(".xterm-rows")
    expect(rows).to_contain_text("app")
    expect(rows).to_contain_text("42 is it")
    wide = page.locator(".xterm-rows > div").first.bounding_box()
    assert wide is not None and 10 < wide["height"] < 30, (
        "its styles are there, although the page may have none of its own"
    )
    if REWRITE:
        (ROOT / "docs" / "ui" / "terminal.png").write_bytes(small(page.screenshot()))
    assert beside.look(lambda: left(beside))
    page.evaluate("location.hash = '#/'")
    beside.wait("the tool to go", lambda: not left(beside))


def test_a_tool_that_ends_says_how_and_one_that_is_not_there_why(opened: Opener, beside: Aside) -> None:
    page = opened(f"#/slots/{SLOT.replace('/', '%2F')}/terminal")
    page.get_by_label("Command").fill("busybox sh -c 'exit 7'")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("main")).to_contain_text("It ended with 7")
    page.get_by_label("Command").fill("no-such-program")
    page.get_by_role("button", name="Start anew").click()
    expect(page.locator("main")).to_contain_text("no-such-program")
    beside.wait("the tools to go", lambda: not left(beside))


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
