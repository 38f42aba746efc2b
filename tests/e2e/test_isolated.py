"""Two apps on whole machines: what a container of one reaches of the other and of the hosts, asked from inside of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from checkout import ROOT
from e2e.conftest import PORT as GUESTBOOK
from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e
PORT = 8141
COMPOSE = f"""\
name: prober
services:
  web:
    x-skerry: {{image: {{recipe: python, context: app, entrypoint: [python3, -m, prober, "8000"]}}}}
    ports: ["{PORT}:8000"]
    healthcheck: {{test: curl -f http://localhost:8000/, interval: 1s}}
    deploy: {{replicas: 3}}
"""
METADATA = "169.254.169.254"


class Prober:
    """A replica on each host; whoever asks a host's port asks its own one."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.hosts = {machine.name: machine.address for machine in cloud.machines()}

    def ask(self, host: str, *what: object) -> str:
        url = f"http://{self.hosts[host]}:{PORT}/{'/'.join(map(str, what))}"
        return httpx.get(url, timeout=20, trust_env=False).text

    def address(self, app: str, service: str) -> dict[str, str]:
        """Host -> address of its replica's container."""
        look = "nsenter --net=$p ip -o -4 addr show eth0"
        script = f"for p in /run/skerry/netns/{app}-{service}-*; do test -e $p && {look}; done"
        found = {host: self.cloud.inside(host, "sh", "-c", f"{script}; true").split() for host in self.hosts}
        return {host: words[3].partition("/")[0] for host, words in found.items() if words}

    def spread(self) -> bool:
        rows = self.cloud.ps("prober")
        return len(rows) == 3 == len({row["node"] for row in rows}) and all(row["healthy"] for row in rows)


@pytest.fixture(scope="module")
def prober(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prober]:
    folder = tmp_path_factory.mktemp("prober")
    (folder / "app").mkdir()
    (folder / "app" / "requirements.txt").write_text("")
    shutil.copy(ROOT / "tests" / "e2e" / "prober.py", folder / "app")
    (folder / "compose.yaml").write_text(COMPOSE)
    cloud.skerry.run("deploy", str(folder / "compose.yaml"))
    made = Prober(cloud)
    cloud.skerry.wait("a prober on each host", made.spread)
    yield made
    cloud.skerry.run("rm", "prober")


def test_of_another_app_only_what_it_publishes_is_reached(cloud: Cloud, prober: Prober) -> None:
    web, store = prober.address("guestbook", "web"), prober.address("guestbook", "store")
    own = prober.address("prober", "web")
    assert len(web) == len(own) == 3 and len(store) == 1
    for host in prober.hosts:
        for address in own.values():
            assert prober.ask(host, "tcp", address, 8000) == "open"
        for address in web.values():
            assert prober.ask(host, "tcp", address, 8000) == "ConnectionRefusedError 111", (host, address)
        for address in store.values():
            assert prober.ask(host, "tcp", address, 6379) == "ConnectionRefusedError 111"
            assert prober.ask(host, "udp", address, 6379) == "OSError 113"
        for address in prober.hosts.values():
            assert prober.ask(host, "tcp", address, GUESTBOOK) == "open"
        for name in ("store.guestbook.internal", "web.guestbook.internal", "0.web.guestbook.internal"):
            assert prober.ask(host, "name", name) == "no such name"
        assert prober.ask(host, "name", "web").split() == sorted(own.values())


def test_of_the_hosts_nothing_is_reached_but_published_ports_and_names(cloud: Cloud, prober: Prober) -> None:
    gateways = [f"{address.rpartition('.')[0]}.1" for address in prober.address("prober", "web").values()]
    for host in prober.hosts:
        for address in prober.hosts.values():
            for port in (22, 7077, 7078):
                assert prober.ask(host, "tcp", address, port) == "ConnectionRefusedError 111", (host, address, port)
            assert prober.ask(host, "udp", address, 7077) in ("OSError 113", "ConnectionRefusedError 111")
        for gateway in gateways:
            assert prober.ask(host, "tcp", gateway, 7077) == "ConnectionRefusedError 111"
            assert prober.ask(host, "tcp", gateway, 53) == "open"
        assert prober.ask(host, "tcp", gateways[0], 22) == "TimeoutError None"
        cloud.inside(host, "ip", "addr", "add", f"{METADATA}/32", "dev", "lo")
        cloud.inside(host, "bash", "-c", f"</dev/tcp/{METADATA}/22")  # to the host it answers
        assert prober.ask(host, "tcp", METADATA, 22) == "ConnectionRefusedError 111"
        cloud.inside(host, "ip", "addr", "delete", f"{METADATA}/32", "dev", "lo")
        assert prober.ask(host, "tcp", "127.0.0.1", 22) == "ConnectionRefusedError 111", "a loopback of its own"
        assert prober.ask(host, "tcp", "fd00:ec2::254", 80).startswith("OSError")


def test_a_service_lets_another_app_in_and_shuts_it_out_without_a_restart(cloud: Cloud, prober: Prober) -> None:
    file = Path(cloud.compose)
    before, pids = file.read_text(), {host: cloud.containers(host) for host in prober.hosts}
    ((at, address),) = prober.address("guestbook", "store").items()
    far = next(host for host in prober.hosts if host != at)
    try:
        file.write_text(
            before.replace("  store:\n    x-skerry:\n", "  store:\n    x-skerry:\n      allow: [prober.web]\n")
        )
        cloud.skerry.run("deploy", cloud.compose)
        for host in (at, far):
            opened = lambda host=host: prober.ask(host, "tcp", address, 6379) == "open"  # noqa: E731
            cloud.skerry.wait(f"{host} to let it through", opened, 10)
            assert prober.ask(host, "name", "store.guestbook.internal") == address
            assert prober.ask(host, "name", "web.guestbook.internal") == "no such name"
            assert prober.ask(host, "keep", address, 6379) == "+PONG"
    finally:
        file.write_text(before)
        cloud.skerry.run("deploy", cloud.compose)
    for host in (at, far):
        closed = lambda host=host: prober.ask(host, "tcp", address, 6379) != "open"  # noqa: E731
        cloud.skerry.wait(f"{host} to keep it out", closed, 10)
        assert "+PONG" not in prober.ask(host, "say", address), "what was open is cut"
        assert prober.ask(host, "name", "store.guestbook.internal") == "no such name"
    assert {host: cloud.containers(host) for host in prober.hosts} == pids
