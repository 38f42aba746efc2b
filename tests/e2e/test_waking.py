"""To zero and back on whole machines: nobody comes and nothing runs; one connection, through any host, and it is there."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bench.static_server import archive

from e2e.conftest import Cloud
from late import Late

pytestmark = pytest.mark.e2e
PORT = 8130
APP = "sleeper"
COMPOSE = """\
name: {app}
services:
  web:
    image: page-{version}.tar
    ports: ["{port}:80"]
    healthcheck: {{test: curl -f http://localhost:{probe}/, interval: 1s, retries: 1, start_period: 2s}}
    x-skerry:
      allow: [guestbook, {{shell: it is busybox}}]
      scale: {{min: 0, max: 2, target: {{connections: 100}}, step: 1s, down: 1s, idle: 1s}}
"""


class Sleeper:
    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud, self.folder = cloud, folder

    def deploy(self, version: int, *, app: str = APP, port: int = PORT, probe: int = 80) -> list[str]:
        (self.folder / f"page-{version}.tar").write_bytes(archive(version))
        file = self.folder / f"{app}.yaml"
        file.write_text(COMPOSE.format(app=app, version=version, port=port, probe=probe))
        return ["deploy", str(file)]

    def is_asleep(self) -> bool:
        rows = self.cloud.ps(APP)
        running = "for p in /run/skerry/containers/sleeper-web-*/pid; do test -e $p && cat $p && echo; done; true"
        return [row["state"] for row in rows] == ["asleep"] and not any(
            self.cloud.inside(machine.name, "sh", "-c", running).split()
            for machine in self.cloud.machines()
            if machine.state != "off"
        )

    def wait_asleep(self) -> None:
        self.cloud.skerry.wait("it to fall asleep", self.is_asleep, 40)

    def address(self, host: str) -> str:
        return next(machine.address for machine in self.cloud.machines() if machine.name == host)


@pytest.fixture(scope="module")
def sleeper(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sleeper]:
    made = Sleeper(cloud, tmp_path_factory.mktemp("sleeper"))
    cloud.skerry.run(*made.deploy(1))
    yield made
    for app in {row["app"] for row in cloud.skerry.json("ps")} & {APP, "broken"}:
        cloud.skerry.run("rm", app)


def get(address: str, port: int = PORT, timeout_s: float = 20.0) -> str:
    """The page; all that came, if it was no answer."""
    with socket.create_connection((address, port), timeout_s) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return rest_of(connection)


def rest_of(connection: socket.socket) -> str:
    heard = b""
    while data := connection.recv(4096):
        heard += data
    return heard.rpartition(b"\r\n\r\n")[2].decode().strip()


def test_each_host_wakes_it_and_nothing_else_does(sleeper: Sleeper) -> None:
    cloud = sleeper.cloud
    for name in cloud.names():
        sleeper.wait_asleep()
        begun_s = time.time()
        assert get(sleeper.address(name)) == "page 1"
        (told,) = [row for row in cloud.events("knocked", begun_s) if row["subject"] == "sleeper.web"]
        assert told["node"] == name
    sleeper.wait_asleep()
    begun_s = time.time()
    time.sleep(2)  # probes, figures and gossip go on: none of them is a connection to it
    assert not cloud.events("claimed", begun_s) and sleeper.is_asleep()


def test_fifty_first_requests_at_once_are_all_answered(sleeper: Sleeper) -> None:
    sleeper.wait_asleep()
    addresses = [sleeper.address(name) for name in sleeper.cloud.names()]
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda n: get(addresses[n % 3]), range(50)))
    assert answers == ["page 1"] * 50


def test_a_container_wakes_it_by_its_name(sleeper: Sleeper) -> None:
    sleeper.wait_asleep()
    row = next(row for row in sleeper.cloud.ps() if row["service"] == "web" and row["healthy"])
    asked = (
        "set -e; id=$(ls /run/skerry/netns | grep guestbook-web | head -1); "
        "gateway=$(ip -4 -o addr show dev lo scope host | awk '$4 !~ /^127/ {print $4}' | cut -d/ -f1); "
        'echo "nameserver $gateway" >/run/resolv; '
        "nsenter --net=/run/skerry/netns/$id unshare -m sh -c "
        "'mount --bind /run/resolv /etc/resolv.conf; exec curl -s -m 15 http://web.sleeper.internal/'"
    )
    assert sleeper.cloud.inside(row["node"], "sh", "-c", asked).strip() == "page 1"


def test_a_version_deployed_while_it_sleeps_answers_the_next_request(sleeper: Sleeper) -> None:
    sleeper.wait_asleep()
    begun_s = time.time()
    told: dict[str, Any] = sleeper.cloud.skerry.json(*sleeper.deploy(2))
    assert told and sleeper.is_asleep(), "there was nothing to roll out"
    assert not [row for row in sleeper.cloud.events("claimed", begun_s) if row["subject"] == "sleeper.web/0"]
    assert get(sleeper.address(sleeper.cloud.names()[0])) == "page 2"


def test_agents_that_start_anew_cut_neither_who_waits_nor_who_passes(sleeper: Sleeper) -> None:
    """A request that was held and answered only in part; then every agent is killed, then restarted as an upgrade does."""
    cloud = sleeper.cloud
    sleeper.wait_asleep()
    page = b"GET / HTTP/1.0\r\n"
    passing = [socket.create_connection((sleeper.address(name), PORT), 20) for name in cloud.names()]
    for connection in passing:
        connection.sendall(page)
    cloud.skerry.wait("it to be healthy", lambda: any(row["healthy"] for row in cloud.ps(APP)))
    for name in cloud.names():
        cloud.inside(name, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", "skerry")
    cloud.wait_well()
    for name in cloud.names():
        cloud.inside(name, "systemctl", "restart", "skerry")
    cloud.wait_well()
    assert cloud.ps(APP)[0]["state"] == "running", "they count as connections"
    for connection in passing:
        with connection:
            connection.sendall(b"\r\n")
            assert rest_of(connection).startswith("page")


def test_it_wakes_while_the_first_host_of_its_order_is_dead(sleeper: Sleeper) -> None:
    cloud = sleeper.cloud
    sleeper.wait_asleep()
    told = cloud.skerry.json("explain", "sleeper.web/0")["sleeper.web/0"]
    first = next((answer["node"] for answer in told["order"] if answer["rank"] == 0), "")
    assert first, told
    cloud.lab.kill(first)
    cloud.skerry.wait("it to be called down", lambda: first not in cloud.up())
    begun_s, late = time.monotonic(), Late()
    assert get(sleeper.address(cloud.others(first)[0])).startswith("page")
    assert time.monotonic() - begun_s < 5 + 10 * late.most_s


def test_one_that_never_gets_well_closes_the_connection_and_says_why(sleeper: Sleeper) -> None:
    cloud, port = sleeper.cloud, PORT + 1
    code, error = cloud.skerry.refused(*sleeper.deploy(3, app="broken", port=port, probe=81))
    assert (code, error["code"]) == (1, "rollout-failed")
    begun_s, late = time.time(), Late()
    with pytest.raises(ConnectionResetError):
        raise AssertionError(get(sleeper.address(cloud.names()[0]), port))
    assert 1.5 < time.time() - begun_s < 10 + 10 * late.most_s
    told = cloud.skerry.wait("the event", lambda: cloud.events("not-woken", begun_s))
    assert "waited for 2 s and got no answer" in told[0]["reason"] and "not healthy" in told[0]["reason"], told
