"""The API as an app of the cloud itself: an image without a shell, a CI key sealed among its secrets, asked from outside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench.static_server import COMPOSE, archive, write_compose
from demo.skerry import Skerry

from api.serving import finished
from checkout import ROOT
from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e
APP, PORT = "hello", 8130
WITHIN_S = 60.0


@dataclass
class Served:
    """`tokens`: name -> what a program bears."""

    url: str
    tokens: dict[str, str]

    def as_(self, name: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=WITHIN_S, trust_env=False)


@pytest.fixture
def served(cloud: Cloud, tmp_path: Path) -> Iterator[Served]:
    """As docs/api.md says: Skerry beside the requirements, a key, a role, tokens, a deploy."""
    run = cloud.skerry.run
    run("deploy", str(write_compose(tmp_path, 1, replicas=2, app=APP, port=PORT)))
    folder = tmp_path / "api"
    shutil.copytree(ROOT / "examples" / "api", folder, ignore=shutil.ignore_patterns("skerry*"))
    kept = shutil.ignore_patterns("*.tar.gz", "__pycache__")
    shutil.copytree(ROOT / "src" / "skerry", folder / "app" / "skerry", ignore=kept)
    run("key", "new", "api", "--out", str(tmp_path / "api.key"))
    run("role", "add", "ci", "api", "--key", str(tmp_path / "api.key.pub"), "--app", APP)
    run("key", "export", "--public", "--out", str(tmp_path / "cloud.json"))
    file = ("--token-file", str(tmp_path / "tokens.json"))
    roles = {"reader": "read", "deployer": f"deploy:{APP}", "boss": "operator"}
    tokens = {name: run("api", "token", "add", name, "--role", role, *file).strip() for name, role in roles.items()}
    files = {"CLOUD": "cloud.json", "KEY": "api.key", "TOKENS": "tokens.json"}
    sealing = Skerry(cloud.skerry.home, print)
    sealing.environment |= {f"SKERRY_API_{name}": (tmp_path / named).read_text() for name, named in files.items()}
    sealing.run("deploy", str(folder))
    try:
        yield Served(f"http://{cloud.machines()[0].address}:7080", tokens)
    finally:
        for app in ("api", APP):
            run("rm", app)
        run("role", "rm", "api")
        for volume in cloud.skerry.json("volume", "ls"):
            if volume["app"] == "api":
                run("volume", "rm", volume["node"], "api", volume["volume"], "--yes")


def test_it_reads_and_releases_within_its_role_and_is_refused_beyond(cloud: Cloud, served: Served) -> None:
    for machine in cloud.machines():
        with served.as_("reader") as anywhere:
            told = anywhere.get(f"http://{machine.address}:7080/v1/status").json()
            own = next(row["node"] for row in cloud.ps("api"))
            assert told["up"] == 3 and set(told["silent"]) == {own}, "a container reaches all agents but its own host's"
    page = f"http://{cloud.machines()[-1].address}:{PORT}/"
    with served.as_("deployer") as deployer:
        tar = {"Content-Type": "application/x-tar"}
        brought = deployer.put("/v1/images", params={"name": f"{APP}:2"}, content=archive(2), headers=tar)
        assert brought.status_code == 200, brought.text
        body = {"compose": COMPOSE.format(app=APP, image=f"{APP}:2", port=PORT, replicas=2)}
        done = finished(deployer, deployer.put(f"/v1/apps/{APP}", json=body, headers={"Idempotency-Key": "two"}))
        assert (done["state"], done["result"]["changed"]) == ("done", [f"release/{APP}"]), done
        assert httpx.get(page, trust_env=False).text == "page 2\n"
        again = deployer.put(f"/v1/apps/{APP}", json=body, headers={"Idempotency-Key": "two"})
        assert again.headers["idempotency-replayed"] == "true"
        refused(deployer.get("/v1/status"), 403, "not-allowed")
        refused(deployer.put("/v1/apps/guestbook", json=body), 403, "not-allowed")
    with served.as_("boss") as boss:  # a token of every role: the key has one alone
        beyond = finished(boss, boss.patch(f"/v1/apps/{APP}/services/web", json={"replicas": 3}))
        assert (beyond["state"], beyond["error"]["status"]) == ("failed", 403), beyond
        refused(boss.get("/v1/events"), 403)
    refused(httpx.get(f"{served.url}/v1/status", trust_env=False), 401, "no-token")
    assert len(cloud.ps(APP)) == 2


def refused(answer: httpx.Response, status: int, code: str = "") -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told: dict[str, Any] = json.loads(answer.content)
    assert code in ("", told["code"])
    return told
