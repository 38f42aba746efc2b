"""A real shell on its way to whole machines: refused at the deploy, refused by every host, and run once operators allow it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.static_server import COMPOSE, archive

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e
PORT = 8120
APP = "shells"
WHY = "bin/httpd contains BusyBox"  # it is called httpd, and still a shell
# A client that asks no lint: what hosts refuse must not hang on the honesty of whoever signs.
THIEF = """import sys
from skerry.client.images import LocalImages
LocalImages.vet = lambda *args: None
from skerry.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def write(folder: Path, *, allow: bool) -> str:
    text = COMPOSE.format(app=APP, image="page.tar", port=PORT, replicas=2)
    lines = [line for line in text.splitlines(True) if allow or "allow:" not in line]
    path = folder / f"compose-{allow}.yaml"
    path.write_text("".join(lines))
    (folder / "page.tar").write_bytes(archive(1))
    return str(path)


@pytest.fixture
def shells(cloud: Cloud, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    if cloud.ps(APP):
        cloud.skerry.run("rm", APP)


def deploy_as_thief(cloud: Cloud, path: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", THIEF, "deploy", path, "--json", "--timeout", "60s"],
        env=cloud.skerry.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)["error"]


def test_a_shell_runs_nowhere_until_operators_allow_it(cloud: Cloud, shells: Path) -> None:
    refused, allowed = write(shells, allow=False), write(shells, allow=True)
    code, error = cloud.skerry.refused("deploy", refused)
    assert (code, error["code"]) == (1, "image-refused") and WHY in error["why"] and not cloud.ps(APP)

    code, error = deploy_as_thief(cloud, refused)
    assert (code, error["code"]) == (1, "rollout-failed") and WHY in error["why"]
    say = f"for p in /run/skerry/containers/{APP}-*; do test -e $p && echo $p; done; true"
    assert [cloud.inside(host, "sh", "-c", say) for host in cloud.names()] == ["", "", ""], "no host ever started one"
    assert all(WHY in row["verdict"] for row in cloud.ps(APP))
    assert any(WHY in row["reason"] for row in cloud.events("verdict") if row["subject"].startswith(APP))

    cloud.skerry.run("deploy", allowed)
    rows = cloud.ps(APP)
    assert all(row["healthy"] and list(row["allows"]) == ["shell"] for row in rows) and len(rows) == 2
    assert "allows shell: busybox is the smallest" in cloud.skerry.run("ps", APP)
    address = cloud.machines()[0].address
    with urllib.request.urlopen(f"http://{address}:{PORT}/", timeout=10) as answer:
        assert answer.read() == b"page 1\n"
