"""DigitalOcean's client and its simulator, both held against the official description by Prism: each request, each answer."""

from __future__ import annotations

import gzip
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from machines.ocean import order
from ports import free_port
from skerry.errors import SkerryError
from skerry.lab.ocean import Fault, Pace, Simulator
from skerry.lab.ocean.serving import Server as Serving
from skerry.machines.contract import (
    NoCapacity,
    NoSuchServer,
    ProviderDenied,
    ProviderRefused,
    ProviderSilent,
    RateLimited,
    Server,
)
from skerry.machines.digitalocean import DigitalOcean

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
PRISM = ROOT / "build/prism/node_modules/.bin/prism"
DESCRIPTION = Path(__file__).parent / "prism/openapi.yaml.gz"
PACE = Pace(boot_s=0.2, lists_s=0.05, tags_s=0.1, gone_s=0.05, action_s=0.1)
START_LIMIT_S = 60.0
LIMIT_S = 20.0


class Wire(httpx.HTTPTransport):
    """Keeps what Prism found wrong, and asks its mock for the answer that a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.prefer = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.prefer:
            request.headers["prefer"] = self.prefer
        answer = super().handle_request(request)
        self.asked.append(f"{request.method} {request.url.path} {answer.status_code}")
        if found := answer.headers.get("sl-violations"):
            self.wrong.append(f"{self.asked[-1]}: {found}")
        return answer


class Prism:
    """One Prism process. Its log names what it refused."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.port = free_port()
        self.log = folder / f"prism-{self.port}.log"
        description = folder / "openapi.yaml"
        description.write_bytes(gzip.decompress(DESCRIPTION.read_bytes()))
        command, *rest = more
        argv = [str(PRISM), command, "--errors", "-h", "127.0.0.1", "-p", str(self.port), str(description), *rest]
        self.process = subprocess.Popen(argv, stdout=self.log.open("wb"), stderr=subprocess.STDOUT)

    def ready(self) -> Prism:
        end_s = time.monotonic() + START_LIMIT_S
        while "Prism is listening" not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None and time.monotonic() < end_s, self.log.read_text(errors="replace")
            time.sleep(0.05)
        return self

    def client(self) -> tuple[DigitalOcean, Wire]:
        wire = Wire()
        pause = lambda seconds: time.sleep(0.05)  # noqa: E731
        return DigitalOcean("t", f"http://127.0.0.1:{self.port}", {}, pause=pause, transport=wire), wire


@pytest.fixture(scope="module")
def prisms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prism, Prism, Simulator]]:
    """The mock, and the proxy in front of the simulator: started side by side."""
    if not PRISM.exists():
        pytest.skip("Prism is not installed: make prism")
    folder = tmp_path_factory.mktemp("prism")
    simulator = Simulator(pace=PACE, tokens={"t": None, "reader": {"droplet:read"}}, control="c")
    serving = Serving(simulator, ("127.0.0.1", 0)).start()
    started = [Prism(folder, "mock"), Prism(folder, "proxy", serving.endpoint)]
    try:
        yield started[0].ready(), started[1].ready(), simulator
    finally:
        for prism in started:
            prism.process.kill()
            prism.process.wait()
        serving.stop()


def wait(what: str, condition: Callable[[], Server | bool]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {LIMIT_S:.0f} s"
        time.sleep(0.02)


def test_all_that_is_asked_and_answered_is_as_the_description_says(prisms: tuple[Prism, Prism, Simulator]) -> None:
    _, proxy, simulator = prisms
    provider, wire = proxy.client()
    name = order().name
    assert [size.name for size in provider.sizes()]
    for _ in range(2):
        provider.ensure_firewall("skerry:c0ffee")
    simulator.firewalls.rows()[0]["tags"].clear()
    provider.ensure_firewall("skerry:c0ffee")
    assert [provider.remove_firewall("skerry:c0ffee") for _ in range(2)] == ["skerry-skerry-c0ffee", ""]
    made = provider.create(order())
    wait("it to be active", lambda: provider.get(made.id).state == "active")
    wait("it in both lists", lambda: bool(provider.list(name=name) and provider.list(tag="skerry:c0ffee")))
    (found,) = provider.list()
    provider.reboot(found)
    provider.resize(found, "s-1vcpu-2gb")
    anew = provider.rebuild(found, order())
    wait("one of that name", lambda: [server.id for server in provider.list(name=name)] == [anew.id])
    wait("its tags", lambda: bool(provider.get(anew.id).tags))
    provider.destroy(provider.get(anew.id))
    wait("none", lambda: provider.list(name=name) == [])
    with pytest.raises(NoSuchServer):
        provider.get(made.id)
    for changes, error in (({"size": "none"}, ProviderRefused), ({"size": "s-8vcpu-32gb"}, NoCapacity)):
        with pytest.raises(error):
            provider.create(order(**changes))
    assert wire.wrong == []
    assert "warning" not in proxy.log.read_text() and "violation" not in proxy.log.read_text().lower()
    simulator.keys["1"] = {"id": 512189, "fingerprint": "3b:16:bf:e4", "public_key": "ssh-rsa A", "name": "me"}
    keyed = DigitalOcean("t", f"http://127.0.0.1:{proxy.port}", {"ssh_keys": "512189", "vpc": "v"}, transport=wire)
    assert all("lacks" not in line and "no SSH key" not in line for line in keyed.check())
    asked = {line.rpartition(" ")[0].replace(made.id, "ID").replace(anew.id, "ID") for line in wire.asked}
    wanted = {
        "GET /v2/account", "GET /v2/account/keys", "GET /v2/droplets", "POST /v2/droplets", "GET /v2/droplets/ID",
        "DELETE /v2/droplets/ID", "POST /v2/droplets/ID/actions", "GET /v2/sizes", "GET /v2/regions", "GET /v2/images",
        "GET /v2/vpcs", "GET /v2/tags", "POST /v2/tags", "GET /v2/firewalls", "POST /v2/firewalls",
    }  # fmt: skip
    assert wanted <= asked and "DELETE /v2/droplets" not in asked


def test_what_the_description_does_not_say_is_noticed(prisms: tuple[Prism, Prism, Simulator]) -> None:
    _, proxy, simulator = prisms
    provider, wire = proxy.client()
    simulator.faults.append(Fault(kind="garbage", body='{"sizes": 1, "links": {}, "meta": {"total": 1}}'))
    with pytest.raises(SkerryError):
        provider.sizes()
    with pytest.raises(SkerryError):
        provider.create(order(size=1))
    assert wire.asked[:2] == ["GET /v2/sizes 500", "POST /v2/droplets 422"]


def test_the_descriptions_own_examples_are_read(prisms: tuple[Prism, Prism, Simulator]) -> None:
    mock = prisms[0]
    provider, wire = mock.client()
    server = provider.get("3164444")
    assert (server.id, server.name, server.state, server.region) == ("3164444", "example.com", "active", "nyc3")
    assert server.addresses[0] == "192.241.165.154" and server.tags == ("web", "env:prod")
    assert (server.price_usd_hour, server.created_s) == (pytest.approx(0.00744), 1595356664.0)
    assert [found.name for found in provider.list()][:2] == ["example.com", "assets.example.com"]
    made = provider.create(order())
    assert (made.state, made.addresses, made.tags) == ("new", (), ("web", "env:prod"))
    with pytest.raises(ProviderSilent):  # it always shows the same page of several, which can't be all of them
        provider.sizes()
    provider.ensure_firewall("skerry:c0ffee")
    assert wire.wrong == []


@pytest.mark.parametrize(
    ("code", "expected"), [(401, ProviderDenied), (404, NoSuchServer), (429, RateLimited), (500, ProviderSilent)]
)
def test_the_descriptions_own_errors_are_understood(
    prisms: tuple[Prism, Prism, Simulator], code: int, expected: type[SkerryError]
) -> None:
    provider, wire = prisms[0].client()
    wire.prefer = f"code={code}"
    with pytest.raises(expected):
        provider.get("3164444")
    assert wire.asked == [f"GET /v2/droplets/3164444 {code}"]
