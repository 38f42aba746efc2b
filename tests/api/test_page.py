"""docs/api.md and docs/folder.md do what they say: their Python and curl examples run against `skerry api` as people start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import skerry
from agent.small import Aside
from api.serving import WITHIN_S
from ports import free_port
from skerry.client.folder.read import read_folder
from skerry.client.identity import read_public, write_key_pair

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text()
SKERRY = Path(sys.executable).with_name("skerry")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def environment(beside: Aside, home: Path) -> dict[str, str]:
    return {**os.environ, "SKERRY_HOME": str(home), "SKERRY_PASSPHRASE": "", "NO_COLOR": "1"}


class Command:
    """`skerry api …` in a process of its own."""

    def __init__(self, environment: dict[str, str], *more: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [SKERRY, "api", "--listen", self.url.removeprefix("http://"), *more]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        end_s = time.monotonic() + WITHIN_S
        while True:
            try:
                assert httpx.get(f"{self.url}/v1/openapi.json", trust_env=False).status_code == 200
                return
            except httpx.TransportError:
                assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
                assert time.monotonic() < end_s
                time.sleep(0.05)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return self.process.wait(WITHIN_S)


@pytest.fixture(scope="module")
def command(environment: dict[str, str]) -> Iterator[Command]:
    made = Command(environment)
    yield made
    assert made.end() == 0


def test_the_python_example_runs(home: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^vps-1 up \d+$", done.stdout, re.MULTILINE)


def test_the_curl_examples_run(command: Command, environment: dict[str, str], tmp_path: Path) -> None:
    add = [SKERRY, "api", "token", "add", "page", "--role", "operator"]
    token = subprocess.run(add, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    shell = {**environment, "API": f"{command.url}/v1", "TOKEN": token, "no_proxy": "*"}
    said = []
    for block in [block for block in blocks("sh") if "curl" in block]:
        done = subprocess.run(
            ["bash", "-ec", block], env=shell, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert '"name":"vps-2"' in said[0]
    assert "event: done" in said[1]
    with skerry.Client(home=environment["SKERRY_HOME"]) as cloud:
        cloud.apps.rm("hello")
    subprocess.run([SKERRY, "api", "token", "rm", "page"], env=environment, check=True, capture_output=True)
    gone = httpx.get(f"{command.url}/v1/hosts", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert gone.status_code == 401


def test_it_is_served_from_an_environment_alone_as_in_a_container(
    environment: dict[str, str], home: Path, tmp_path: Path
) -> None:
    """With a CI key: it reads, and changes nothing but releases."""
    write_key_pair(tmp_path / "api.key", tmp_path / "api.key.pub", "api", "")
    with skerry.Client(home=home) as cloud:
        cloud.roles.add_ci("api", read_public(tmp_path / "api.key.pub"), ["hello"])
    subprocess.run(
        [SKERRY, "key", "export", "--public", "--out", tmp_path / "cloud.json"],
        env=environment,
        check=True,
        capture_output=True,
    )
    at = [SKERRY, "api", "token", "add", "boss", "--role", "operator", "--token-file", tmp_path / "tokens.json"]
    token = subprocess.run(at, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    alone = {name: value for name, value in environment.items() if name != "SKERRY_HOME"} | {"HOME": str(tmp_path)}
    files = {"CLOUD": "cloud.json", "KEY": "api.key", "TOKENS": "tokens.json"}
    alone |= {f"SKERRY_API_{name}": (tmp_path / file).read_text() for name, file in files.items()}
    served = Command(alone, "--from-environment")
    with httpx.Client(
        base_url=served.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=20
    ) as boss:
        assert len(boss.get("/v1/hosts").json()["items"]) == 3
        assert boss.get("/v1/events").status_code == 403
        assert boss.post("/v1/hosts/vps-1/undrain").status_code in (200, 403)
    assert served.end() == 0
    lacking = subprocess.run(
        [SKERRY, "api", "--from-environment"], env={**alone, "SKERRY_API_KEY": ""}, capture_output=True
    )
    assert (lacking.returncode, b"$SKERRY_API_KEY is not set" in lacking.stderr) == (2, True)


def test_the_folder_of_the_page_is_good(tmp_path: Path) -> None:
    write_key_pair(tmp_path / "k", tmp_path / "github.pub", "github", "")
    for name, text in re.findall(r"```yaml\n# (\w+\.yaml)\n(.*?)```", (DOCS / "folder.md").read_text(), re.DOTALL):
        (tmp_path / name).write_text(text)
    (tmp_path / "tools" / "mine").mkdir(parents=True)
    (tmp_path / "tools" / "mine" / "image.toml").touch()
    folder = read_folder(tmp_path, dict.fromkeys(("OPS_WEBHOOK", "OPS_SECRET", "MAIL_SECRET"), "https://example.com/x"))
    assert folder.hosts and folder.pools and folder.roles
