"""Machines that the cloud rents: a droplet of the lab's provider boots, is let in, runs an app with its secret, and is given back.

By the command line alone, with the provider's token, as a person would. The droplets are whole machines; Debian's own cloud-init
runs the user data that keepers wrote.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e

COMPOSE = """\
services:
  hello:
    x-skerry:
      image: {recipe: python, context: web, entrypoint: [python3, -m, hello]}
    ports: ["8099:8000"]
    environment: {WORD: sesame}
    healthcheck: {test: curl -f http://localhost:8000/, interval: 1s, timeout: 1s}
    deploy:
      replicas: 1
      update_config: {order: start-first}
      placement: {constraints: [PLACE]}
x-skerry: {pools: [burst]}
"""
HELLO = """\
import http.server, os


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["WORD"].encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", 8000), Hello).serve_forever()
"""


@pytest.fixture
def provider(cloud: Cloud, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The lab's DigitalOcean: how to reach it, and a file with its token."""
    place = cloud.skerry.json("lab", "ocean", "--lab", cloud.lab.name, "--boot", "1")
    (tmp_path / "token").write_text(place["token"])
    yield {**place, "file": str(tmp_path / "token")}
    if any(row["pool"] == "burst" for row in cloud.skerry.json("machine", "pool", "ls")):
        cloud.skerry.run("machine", "pool", "rm", "burst", "--now", "--token-file", str(tmp_path / "token"))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app/web").mkdir(parents=True)
    (tmp_path / "app/web/hello.py").write_text(HELLO)
    return tmp_path / "app/compose.yaml"


def add(cloud: Cloud, provider: dict[str, str], *more: str) -> None:
    cloud.skerry.run(
        "machine", "pool", "add", "burst", "--provider", "digitalocean", "--endpoint", provider["endpoint"],
        "--token-file", provider["file"], "--size", "s-1vcpu-1gb", "--max", "2", *more,
    )  # fmt: skip


def on(cloud: Cloud, node: str) -> bool:
    return any(row["node"] == node and row["healthy"] and not row["outdated"] for row in cloud.ps("hello"))


def droplets(cloud: Cloud) -> list[str]:
    return [machine.name for machine in cloud.lab.status() if machine.name.startswith("sk-") and machine.state == "on"]


def test_a_droplet_joins_runs_what_was_opened_to_it_and_is_given_back(
    cloud: Cloud, provider: dict[str, str], app: Path
) -> None:
    add(cloud, provider, "--min", "1", "--keepers", "vps-1,vps-2", "--age", "1s", "--drain", "30s", "--join", "120s")
    app.write_text(COMPOSE.replace("PLACE", '"node.hostname==burst/0"'))
    cloud.skerry.run("deploy", str(app), "--name", "hello", "--detach")
    cloud.skerry.wait("the app on the rented machine", lambda: on(cloud, "burst/0"), 90)
    (machine,) = cloud.skerry.json("machine", "ls", "burst")
    assert (machine["state"], machine["keeper"]) in {("joined", "vps-1"), ("joined", "vps-2")}
    assert cloud.skerry.json("machine", "show", "burst/0")["apps_it_may_read"] == ["hello"]
    for address in [machine["address"], *(m.address for m in cloud.machines())]:
        with urllib.request.urlopen(f"http://{address}:8099/", timeout=5) as answer:
            assert answer.read() == b"sesame", address
    # User data: what anybody on the machine can read for ever. The token in it was good once.
    data = cloud.inside(droplets(cloud)[0], "cat", "/var/lib/cloud/instance/user-data.txt")
    asked = json.loads(json.loads(data.partition("ASKED = json.loads(")[2].partition(")\n")[0]))
    for secret in (Path(provider["file"]).read_text(), "sesame", "PRIVATE KEY"):
        assert secret not in data
    again = [cloud.skerry.json("events", "--tail", "200")]
    assert any(row.get("kind") == "machine" and "enrolled at" in row["reason"] for row in again[0])
    assert asked["slot"] == "burst/0" and asked["secret"] == ""
    # Nobody needs it any more: what runs there goes elsewhere first.
    app.write_text(COMPOSE.replace("PLACE", '"node.hostname!=nobody"'))
    cloud.skerry.run("deploy", str(app), "--name", "hello", "--detach")
    cloud.skerry.run("machine", "pool", "rm", "burst", "--timeout", "90s")
    assert droplets(cloud) == []
    cloud.skerry.wait("the app on a fixed host", lambda: any(on(cloud, name) for name in cloud.names()), 30)
    cloud.skerry.run("rm", "hello")


def test_without_keepers_an_operator_rents_reboots_and_returns_one(cloud: Cloud, provider: dict[str, str]) -> None:
    add(cloud, provider, "--keepers", "none", "--meeting", "vps-2")
    answer: dict[str, Any] = cloud.skerry.json(
        "machine", "up", "burst", "--token-file", provider["file"], "--timeout", "90s"
    )
    assert answer["slot"] == "burst/0" and len(droplets(cloud)) == 1
    assert cloud.skerry.json("machine", "pool", "show", "burst")["tokens"] == []  # nor does any host hold one in a box
    cloud.skerry.run("machine", "reboot", "burst/0", "--token-file", provider["file"], "--timeout", "60s")
    cloud.skerry.run("machine", "rm", "burst/0", "--token-file", provider["file"])
    assert droplets(cloud) == []
