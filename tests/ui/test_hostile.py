"""Hostile hosts and pages, in a real browser: what hosts tell is text wherever it is shown; other pages can't frame or use ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from agent.small import Aside
from skerry.agent.looking.answering import Look, Looking
from skerry.client.overview import AlertNow, HostNow, MachineNow, Overview, PoolNow, SlotNow, Warning
from skerry.client.session import Session
from skerry.core.intent import Pool, Service
from skerry.lab.kernel import enter_net
from skerry.mesh.messages import Stream, send_bytes
from skerry.observe.look.job import ROWS, SUMMARY
from ui.conftest import Opener, drop
from ui.serving import Shown
from ui.test_looks import give

pytestmark = pytest.mark.real
BAD = '"><img src=x onerror=alert(1)><script>document.title="taken"</script>\u202e'
APP, HOST = "a<b>shop</b>", "h<i>1</i>"


async def hostile(session: Session) -> AsyncGenerator[Overview]:
    """A captured host tells whatever it likes, in every field."""
    slot = f"{APP}.{BAD}/0"
    yield Overview(
        BAD, 0.0, HOST,
        hosts=(HostNow(HOST, "up", BAD, {BAD: BAD}, BAD, {"cpus": 1e308, "memory_bytes": -1.0}, {"cpus": -1.0}, BAD, BAD, BAD),),
        slots=(SlotNow(slot, APP, BAD, HOST, BAD, False, BAD, f"sha256:{BAD}", -1e18, BAD, BAD, 10**15, True, BAD, True, BAD),),
        figures={slot: {"cpu_cores": 1e300}, f"node/{HOST}": {"cpu_cores": -1.0, "memory_bytes": 0.0}},
        machines=(MachineNow("burst/0", BAD, BAD, BAD, BAD, BAD, -1e300, 1e300, False, BAD, BAD, BAD, 1.0),),
        pools=(PoolNow("burst", BAD, -1, 10**15, -5, 3, 1e300, -1.0, (BAD,), BAD),),
        warnings=(Warning("bad", BAD, BAD), Warning("watch", "javascript:alert(1)", BAD)),
        unknown={HOST: BAD},
        alerts=(AlertNow(BAD, BAD, 1e18, BAD, 0.0, {BAD: (BAD,)}), AlertNow("__proto__", "javascript:alert(1)", -1e18)),
    )  # fmt: skip
    await asyncio.Event().wait()


@pytest.fixture(scope="module")
def shown(home: Path, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with Shown(home, tmp_path_factory.mktemp("ui"), network=network, watches=hostile) as made:
        yield made


def is_only_text(page: Page) -> None:
    assert (
        page.locator(
            "#page img:not([src='/static/icon.svg']), #page script, #page b, #page i:not([class]):empty b"
        ).count()
        == 0
    )
    assert page.title() != "taken"
    assert page.evaluate(
        "[...document.querySelectorAll('#page a')].every((each) => /^#(\\/|main$)/.test(each.getAttribute('href')))"
    )


def test_what_hosts_tell_is_text_on_every_page(opened: Opener) -> None:
    page = opened()
    page.on("dialog", lambda dialog: pytest.fail("a script of a host ran"))
    for banner in (".needs.alerts", ".needs:not(.alerts)"):
        expect(page.locator(banner)).to_contain_text("<script>document.title")
    is_only_text(page)
    assert "\u202e" not in page.locator("body").inner_text(), "what turns a line around is shown as what it is"
    for where, what in ((f"#/apps/{quote(APP, safe='')}", "h1"), (f"#/hosts/{quote(HOST, safe='')}", "dl.facts")):
        page.evaluate("where => { location.hash = where }", where)
        expect(page.locator(what).first).to_contain_text("<")
        is_only_text(page)
    page.evaluate("where => { location.hash = where }", f"#/{quote(BAD, safe='')}/{quote(BAD, safe='')}")
    expect(page.locator(".empty strong")).to_have_text("There is no such page.")
    page.evaluate("location.hash = '#/deploy'")
    drop(page, "services: {}\n", f"{BAD}.yaml")
    expect(page.locator(".drop strong")).to_contain_text("<script>")
    is_only_text(page)


async def captured(self: Looking, stream: Stream, request: object, asked: Look) -> None:
    """What a captured node tells of a look into its container: of every kind at once, and of no size that there is; of sockets
    what no page can draw."""
    words = (
        "name",
        "kind",
        "mode",
        "target",
        "change",
        "state",
        "user",
        "waits_in",
        "local",
        "remote",
        "process",
        "path",
    )
    row = dict.fromkeys(words, BAD) | {
        "command": [BAD],
        "uid": BAD,
        "gid": -1,
        "pid": 1e300,
        "cpu_cores": -1.0,
        "threads": BAD,
    }
    row |= dict.fromkeys(("size_bytes", "memory_bytes", "modified", "started", "waiting_in", "waiting_out"), -1e308)
    places = [{"path": BAD, "kind": BAD, "used_bytes": 1e308, "limit_bytes": 1e-308}]
    await send_bytes(
        stream,
        ROWS
        + msgspec.json.encode(
            [row if asked.what != "sockets" else {"kind": {"type": "img"}, "local": [BAD], "pid": {}}, row]
        ),
    )
    await send_bytes(stream, SUMMARY + msgspec.json.encode({"more": True, "places": places}))


def test_what_a_captured_node_tells_of_a_look_is_text(
    opened: Opener, beside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Looking, "_answer", captured)
    image = beside.look(lambda: beside.cloud.give_image(b"web"))
    beside.look(lambda: beside.cloud.deploy("web", Service(), image))
    give(beside, "pool/burst", Pool(provider="digitalocean", max=2, network="10.90.0.0/21", size="s-1"))
    beside.wait("it to run", lambda: any(runtime.disk.specs for runtime in beside.cloud.runtimes.values()))
    page = opened()
    page.on("dialog", lambda dialog: pytest.fail("a script of a host ran"))
    for tab, what in (("", "<script>"), ("processes", "<script>"), ("sockets", ""), ("changed", "<script>")):
        page.evaluate("where => { location.hash = where }", f"#/slots/web.web%2F0/{tab}")
        expect(page.locator("tbody").first).to_contain_text(what)
        is_only_text(page)
    page.evaluate("location.hash = '#/machines'")
    expect(page.locator("tbody")).to_contain_text("<script>")
    is_only_text(page)
    page.get_by_role("button", name="Give back").click()
    expect(page.locator("dialog")).to_contain_text("Its disk is deleted")
    is_only_text(page)


class Elsewhere(BaseHTTPRequestHandler):
    """Another page of this machine, on another port: cookies of ours go there, too."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def elsewhere(network: Path) -> Iterator[str]:
    servers: list[HTTPServer] = []

    def make() -> None:
        enter_net(network)
        servers.append(HTTPServer(("127.0.0.1", 0), Elsewhere))

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    serving = threading.Thread(target=servers[0].serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{servers[0].server_port}"
    servers[0].shutdown()
    serving.join()
    servers[0].server_close()


TRIES = """async ([url, ws]) => {
  const tried = {};
  const frame = document.createElement("iframe");
  frame.src = url;
  const loaded = new Promise((done) => { frame.onload = done; });
  document.body.append(frame);
  await loaded;
  try { tried.frame = frame.contentDocument === null ? "closed" : "open"; } catch { tried.frame = "closed"; }
  const ask = (path, options) => fetch(url + path, { credentials: "include", ...options })
    .then((answer) => `${answer.status}`, () => "refused");
  tried.read = await ask("/v1/apps", {});
  tried.simple = await ask("/v1/apps/shop/rollback", { method: "POST", mode: "no-cors" });
  tried.change = await ask("/v1/apps/shop", { method: "DELETE", headers: { "x-skerry-key": "guess" } });
  tried.socket = await new Promise((told) => {
    Object.assign(new WebSocket(ws), { onopen: () => told("open"), onerror: () => told("refused") });
  });
  return tried;
}"""
BEGUN = """() => fetch("/v1/operations", { headers: { "x-skerry-key": localStorage.getItem("skerry.key") } })
  .then((answer) => answer.json())"""


def test_a_page_elsewhere_on_this_machine_can_do_nothing_with_the_browsers_cookie(
    browser: Browser, shown: Shown, elsewhere: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(shown.again())
    page.wait_for_selector(".state:has-text('live')")
    other = context.new_page()
    other.goto(elsewhere)
    tried = other.evaluate(TRIES, [shown.url, shown.wire("/live")])
    assert (tried["frame"], tried["read"], tried["change"], tried["socket"]) == (
        "closed",
        "refused",
        "refused",
        "refused",
    )
    assert page.evaluate(BEGUN)["items"] == [], "nothing was begun"
    context.close()
