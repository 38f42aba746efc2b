"""One Chromium for each file of tests, a small cloud with an app that runs, and pages over it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from agent.small import Aside, SmallCloud
from agent.unsynced import unsynced
from sdk.conftest import home
from ui.serving import Shown
from ui.talking import Talking

__all__ = ["home", "unsynced"]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Opener = Callable[..., Page]
PATIENT_MS = 20_000  # beside all other tests a page waits for its turn
expect.set_options(timeout=PATIENT_MS)
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 375, "height": 760}


@pytest.fixture(scope="session")
def network() -> Iterator[Path]:
    """A network namespace with nothing but loopback. Chromium gives requests up whenever an interface of its namespace comes or
    goes (ERR_NETWORK_CHANGED), and other tests make and take away interfaces all the time."""
    name = f"ui-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield Path("/run/netns") / name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture(scope="module")
def browser(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Not for the session: Playwright holds this thread's event loop for as long as it is there, and other tests want it."""
    there = tmp_path_factory.mktemp("chromium") / "chromium"
    there.write_text(f'#!/bin/sh\nexec nsenter --net={network} {CHROMIUM} "$@"\n')
    there.chmod(0o755)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=there, args=QUIET)
        yield made
        made.close()


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    cloud = SmallCloud(tmp_path_factory.mktemp("hosts"), 3)
    for name in cloud.files:
        cloud.runtimes[name] = Talking(cloud.directory / "said")
    with Aside(cloud) as aside:
        yield aside


@pytest.fixture(scope="module")
def shown(beside: Aside, home: Path, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with Shown(home, tmp_path_factory.mktemp("ui"), network=network) as made:
        yield made


def drop(page: Page, text: str, name: str = "compose.yaml") -> None:
    """Let a file fall onto the page, as from a folder."""
    data = page.evaluate_handle(
        "([text, name]) => { const data = new DataTransfer(); data.items.add(new File([text], name)); return data; }",
        [text, name],
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": data})


def refused(text: str) -> bool:
    """What the browser writes down of an answer that pages show themselves."""
    return text.startswith(("Failed to load resource: the server responded", "WebSocket connection to"))


def _opened(browser: Browser, shown: Shown) -> Iterator[Opener]:
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open(where: str = "#/", *, at: Shown = shown) -> Page:
        context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENT_MS)
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" and not refused(said.text) else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(at.again())
        page.wait_for_selector(".state:has-text('live')")
        if where != "#/":
            go(page, where)
        return page

    yield open
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def opened(browser: Browser, shown: Shown) -> Iterator[Opener]:
    """`opened("#/hosts/vps-1")`: a browser with a session. What its console complains of fails the test."""
    yield from _opened(browser, shown)


def go(page: Page, where: str) -> None:
    page.evaluate("where => { location.hash = where }", where)


@pytest.fixture(scope="module")
def at(opened_module: Opener) -> Callable[[str], Page]:
    """`at("#/hosts/vps-1")`: the one browser of this module, there now. A new one takes half a second."""
    page = opened_module()

    def at(where: str) -> Page:
        go(page, where)
        return page

    return at


@pytest.fixture(scope="module")
def opened_module(browser: Browser, shown: Shown) -> Iterator[Opener]:
    """For tests that look at one browser in turn."""
    yield from _opened(browser, shown)
