"""How pages look: nothing that axe-core finds serious, on a phone by night and on a screen by day; and the pictures of the docs.

REWRITE=1 looks at all four, and takes the pictures anew (docs/ui/*.png): look at each before it is committed.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from agent.small import Aside, put_image
from agent.test_metrics import Counted
from skerry.client.images import LocalImages
from skerry.core.intent import App, Needs, Pool, Port, Release, Restart, Service
from skerry.runtime.contract import ContainerSpec
from ui.conftest import DESKTOP, PHONE, Opener
from ui.talking import Talking

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
REWRITE = bool(os.environ.get("REWRITE"))
MIB = 1 << 20


def fails(spec: ContainerSpec) -> int | None:
    """The reports never start; all else runs."""
    return 3 if spec.labels["slot"].startswith("reports.") else None


class Busy(Counted):
    """Its containers use some CPU and memory, as their cgroups tell."""

    def load(self, over: threading.Event) -> None:
        used: dict[Path, int] = {}
        chance = random.Random(7)
        while not over.wait(0.5):
            for n, group in enumerate(sorted(self.directory.glob("*/cgroup/*/cpu.stat"))):
                used[group] = used.get(group, 1_000_000) + int(40_000 * (1 + n % 4) * (0.6 + chance.random()))
                group.write_text(f"usage_usec {used[group]}\n")
                memory = (40 + 11 * (n % 5)) * MIB + int(6 * MIB * chance.random())
                (group.parent / "memory.current").write_text(f"{memory}\n")


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    cloud = Busy(tmp_path_factory.mktemp("hosts"), 3)
    for name in cloud.files:
        cloud.runtimes[name] = Talking(cloud.directory / "said", fails)
    with Aside(cloud) as aside:
        over = threading.Event()
        load = threading.Thread(target=cloud.load, args=(over,))
        load.start()
        yield aside
        over.set()
        load.join()


@pytest.fixture(scope="module")
def home(beside: Aside, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's folder, and a cloud that is lived in."""
    folder = tmp_path_factory.mktemp("home")
    beside.cloud.home(folder)
    images = LocalImages(folder / "images")
    digests = {}
    for name, files in FILES.items():
        contents = {path: random.Random(f"{path} {size}").randbytes(size) for path, size in files.items()}
        digests[name] = put_image(images.objects, contents)
        images.tag(name, digests[name])
        beside.look(lambda c=contents: beside.cloud.give_files(c))  # type: ignore[misc]
    shop = {
        "web": Service(
            replicas=3,
            needs=Needs(reserve_cpus=0.2, reserve_memory_bytes=96 * MIB),
            ports=(Port(published=8080, target=80),),
        ),
        "api": Service(replicas=4, needs=Needs(reserve_cpus=0.2, reserve_memory_bytes=64 * MIB)),
        "worker": Service(replicas=2, needs=Needs(reserve_cpus=0.1, reserve_memory_bytes=128 * MIB)),
    }
    put(beside, "shop", shop, dict.fromkeys(shop, digests["shop:2.4"]))
    put(
        beside,
        "blog",
        {"web": Service(replicas=2, needs=Needs(reserve_memory_bytes=48 * MIB))},
        {"web": digests["blog:7"]},
    )
    put(beside, "reports", {"nightly": Service(restart=Restart())}, {"nightly": digests["blog:7"]})
    pool = Pool(
        provider="digitalocean",
        max=6,
        min=0,
        network="10.90.0.0/21",
        size="s-2vcpu-4gb",
        spend_usd_month=80.0,
        regions=("fra1", "ams3"),
    )
    give(beside, "pool/burst", pool)
    return folder


FILES = {
    "shop:2.3": {"usr/bin/app": 412_000, "usr/lib/shop/prices.db": 88_000, "usr/lib/shop/pages.bin": 60_000},
    "shop:2.4": {"usr/bin/app": 431_000, "usr/lib/shop/prices.db": 88_000, "usr/share/shop/logo.svg": 9_000},
    "blog:7": {"usr/bin/app": 120_000, "srv/posts.tar": 240_000},
}


def give(beside: Aside, path: str, body: Any) -> None:
    """Signed as what follows what is held."""

    def offer() -> None:
        first = beside.cloud.agents["vps-1"]
        held = first.trusted.document(path)
        version, prev = (held.version + 1, held.hash) if held is not None else (1, "")
        first.door.offer(beside.cloud.sign(path, body, version, prev=prev), from_client=True)

    beside.look(offer)


def put(beside: Aside, name: str, services: dict[str, Service], images: dict[str, str]) -> None:
    give(beside, f"release/{name}", Release(images=images, fits=1))
    give(beside, f"app/{name}", App(services=services))


def say(beside: Aside) -> None:
    """What a shop says of itself."""
    talking = beside.cloud.runtimes["vps-1"]
    assert isinstance(talking, Talking)
    for n in range(14):
        talking.say(
            f"shop.web/{n % 3}",
            f'{{"level":"info","message":"GET /products/{n * 37}","status":200,"ms":{3 + n * 7 % 19}}}',
        )
        talking.say(f"shop.api/{n % 4}", f"order {8100 + n}: {n % 5 + 1} items reserved")
    talking.say("shop.web/1", '{"level":"error","message":"payment timed out","order":8113,"after_ms":3000}', "stderr")


Ready = Callable[[Page], None]


def sees(selector: str, text: str = "") -> Ready:
    return lambda page: expect(page.locator(selector).first).to_contain_text(text)


# name -> (where, what is there once it is whole)
PAGES: dict[str, tuple[str, Ready]] = {
    "overview": ("#/", sees(".needs", "reports")),
    "app": ("#/apps/shop", sees("tbody tr", "healthy")),
    "logs": ("#/apps/shop/logs", sees(".lines .stderr", "payment timed out")),
    "app-events": ("#/apps/shop/events", sees(".events .kind")),
    "explain": ("#/apps/shop/explain", sees("summary", "held by")),
    "failing": ("#/apps/reports", sees(".note")),
    "host": ("#/hosts/vps-1", sees("tbody tr", "healthy")),
    "host-charts": ("#/hosts/vps-1/charts", sees(".note, .chart, .empty")),
    "terminal": ("#/slots/shop.web%2F0/terminal", sees("main", "There are no tools yet.")),
    "events": ("#/events", sees(".events .kind")),
    "images": ("#/images", sees("tbody", "shop")),
    "image": ("#/images/{shop:2.4}", sees("tbody tr", "usr/bin/app")),
    "compare": ("#/images/{shop:2.4}/compare/{shop:2.3}", sees(".word.bad", "removed")),
    "machines": ("#/machines", sees("dl.facts", "Machines")),
    "deploy": ("#/deploy/shop", sees("h1", "Deploy shop")),
    "charts": ("#/apps/shop/charts", sees(".chart .keys", "shop.")),
}
PICTURES = {"overview", "app", "charts", "logs", "compare", "deploy", "host"}
SERIOUS = ("serious", "critical")


def found(page: Page) -> list[str]:
    """What axe-core finds serious, as lines."""
    told = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {node['html'][:200]} {[c.get('message') for c in node['any']]}"
        for each in told["violations"] if each["impact"] in SERIOUS for node in each["nodes"]
    ]  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_nothing_serious_is_found_and_nothing_sticks_out(page: Page, beside: Aside, home: Path, name: str) -> None:
    where, ready = PAGES[name]
    names = LocalImages(home / "images").names
    for key in FILES:
        where = where.replace(f"{{{key}}}", names[key])
    page.evaluate("where => { location.hash = where }", where)
    if name == "logs":
        expect(page.locator(".lines")).to_be_visible()
        say(beside)
    ready(page)
    if name == "deploy":
        page.get_by_label("Compose file").last.fill(COMPOSE)
        page.get_by_role("button", name="Show what it would change").click()
        expect(page.locator(".is").first).to_be_visible()
    if REWRITE:
        page.wait_for_timeout(300)  # a theme that was just turned is drawn by charts in the next frame
    if REWRITE and name == "charts":
        page.wait_for_timeout(60_000)  # a picture wants a past
    wrong: dict[str, list[str]] = {}
    for size, view, lights in (("phone", PHONE, ("light", "dark")), ("desktop", DESKTOP, ("dark", "light"))):
        page.set_viewport_size(view)
        for light in lights if REWRITE else lights[1:]:  # colours are the same at every width
            page.emulate_media(color_scheme=light, reduced_motion="reduce")  # type: ignore[arg-type]
            wrong[f"{size} {light}"] = found(page)
            if REWRITE and name in PICTURES:
                picture(page, name, size, light)
        wide = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1], f"{name} can be pushed aside on a {size}"
    assert not {key: value for key, value in wrong.items() if value}


COMPOSE = """\
name: shop
services:
  web:
    image: shop:2.4
    ports: ["8080:80"]
    deploy: {replicas: 5, resources: {reservations: {cpus: "0.2", memory: 96m}}}
  api:
    image: shop:2.3
    deploy: {replicas: 4, resources: {reservations: {cpus: "0.2", memory: 64m}}}
  cache:
    image: blog:7
"""


@pytest.fixture(scope="module")
def page(opened_module: Opener) -> Page:
    page = opened_module()
    page.evaluate(AXE)
    return page


def picture(page: Page, name: str, size: str = "desktop", light: str = "light") -> None:
    """docs/ui/NAME.png, of those that the docs show."""
    if (size, light, name) not in (("desktop", light, name), ("phone", "light", "app")) or (
        light == "dark" and name not in ("overview", "logs")
    ):
        return
    path = ROOT / f"docs/ui/{name}{'-phone' if size == 'phone' else ''}{'-dark' if light == 'dark' else ''}.png"
    path.write_bytes(small(page.screenshot(type="png")))


def small(png: bytes) -> bytes:
    """With 256 colours."""
    import io

    from PIL import Image

    made = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(made, "png", optimize=True)
    return made.getvalue()
