"""Apps on the shared cloud, from the compose file to what a user sees of them: each word of the file takes effect in a real
container, a bad version harms nobody, and what happened can be read afterwards.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from demo.clients import Clients
from demo.skerry import COMMAND

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e

PORT = 8100


@dataclass
class Puppet:
    """An app of its own on the cloud, made of tests/e2e/puppet, which does what it is told."""

    cloud: Cloud
    folder: Path
    name: str

    def write(self, services: str, rest: str = "") -> str:
        """The compose file; `services` may draw on the anchors `puppet`. Gives its path."""
        file = self.folder / "compose.yaml"
        file.write_text(
            f"name: {self.name}\n"
            "x-puppet: &puppet\n"
            "  build: puppet\n"
            "  x-skerry: {image: {recipe: python, entrypoint: [python3, puppet.py]}}\n"
            f"services:\n{services}\n{rest}\n"
        )
        return str(file)

    def deploy(self, services: str, rest: str = "") -> dict[str, Any]:
        result: dict[str, Any] = self.cloud.skerry.json("deploy", self.write(services, rest), quiet=False)
        return result

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["slot"].removeprefix(f"{self.name}."): row for row in self.cloud.ps(self.name)}

    def ask(self, path: str = "", host: int = 0) -> Any:
        """What the published port of a host answers."""
        connection = http.client.HTTPConnection(self.cloud.machines()[host].address, PORT, timeout=5)
        try:
            connection.request("GET", f"/{path}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def clients(self) -> Clients:
        return Clients([f"{machine.address}:{PORT}" for machine in self.cloud.machines()], write=False)

    def events(self, kind: str, since_s: float) -> list[str]:
        rows = self.cloud.events(kind, since_s)
        return [row["reason"] for row in rows if row["subject"].startswith(f"{self.name}.")]


@pytest.fixture
def puppet(cloud: Cloud, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Puppet]:
    name = f"p{hashlib.sha256(request.node.name.encode()).hexdigest()[:5]}"
    shutil.copytree(Path(__file__).parent / "puppet", tmp_path / "puppet")
    made = Puppet(cloud, tmp_path, name)
    yield made
    if cloud.ps(name):
        cloud.skerry.run("rm", name)
    for volume in cloud.skerry.json("volume", "ls"):
        if volume["app"] == name:
            cloud.skerry.run("volume", "rm", volume["node"], name, volume["volume"], "--yes")


def web(environment: str, update: str = "") -> str:
    return f"""
  web:
    <<: *puppet
    ports: ["{PORT}:8000"]
    environment: {{{environment}}}
    healthcheck: {{test: curl -f http://localhost:8000/healthz || exit 1, interval: 1s, start_period: 3s}}
    deploy:
      replicas: 3
      update_config: {{order: start-first{update}}}
"""


def test_versions_are_told_apart_and_a_bad_one_is_turned_back_with_its_evidence(puppet: Puppet) -> None:
    skerry = puppet.cloud.skerry
    puppet.deploy(web("VERSION: '1'"))
    result = puppet.deploy(web("VERSION: '2'"))
    assert result["sent_bytes"] == 0
    assert [puppet.ask(host=host)["version"] for host in range(3)] == ["2", "2", "2"], "waited for, with the same image"
    assert puppet.deploy(web("VERSION: '2'"))["changed"] == []
    used = next(row["used_by"] for row in skerry.json("image", "ls") if row["digest"] == result["images"]["web"])
    assert any(use.endswith(f"/{puppet.name}.web") for use in used)
    with puppet.clients() as clients:
        code, error = skerry.refused("deploy", puppet.write(web("VERSION: '3', CRASH: '7'")))
        assert (code, error["code"]) == (1, "rollout-failed")
        assert "ended with exit code 7" in error["why"] and "the reason of the crash" in error["why"]
        # What is bad is nothing to turn back to: the version that serves is, still.
        code, error = skerry.refused("deploy", puppet.write(web("VERSION: '4', SICK: '1'", ", parallelism: 3")))
        assert (code, error["code"]) == (1, "rollout-failed")
        assert "HTTP 500" in error["why"] and "turned back" in error["why"]
        skerry.wait("the version before everywhere", lambda: not any(r["outdated"] for r in puppet.rows().values()))
        count = clients.take()
    assert count.failed == 0 and set(count.versions) == {"2"}, (count.versions, count.whys)
    assert all(row["failed"] and "HTTP 500" in row["verdict"] for row in puppet.rows().values())
    code, error = skerry.refused("deploy", puppet.write(web("VERSION: '5', CRASH: '7'", ", failure_action: pause")))
    assert (code, error["code"]) == (1, "rollout-failed") and "paused" in error["why"]
    puppet.deploy(web("VERSION: '6'"))
    skerry.run("rollback", puppet.name)
    assert puppet.ask()["version"] == "2", "the release before, and none of the bad ones between"


def test_each_word_of_a_compose_file_takes_effect_in_the_container(puppet: Puppet) -> None:
    host = puppet.cloud.names()[1]
    (puppet.folder / ".env").write_text("GIVEN=from .env\n")
    (puppet.folder / "more.env").write_text("MORE=more\n")
    puppet.deploy(
        f"""
  prepare:
    <<: *puppet
    restart: on-failure
    environment: {{DONE: "1"}}
  other:
    <<: *puppet
    environment: {{PORT: "9000"}}
    healthcheck: {{test: nc -z localhost 9000, interval: 1s}}
    deploy: {{placement: {{constraints: [node.hostname == {host}]}}}}
  web:
    <<: *puppet
    command: --first 'second word'
    user: "1234:5678"
    hostname: front
    container_name: old_name
    networks: {{default: {{aliases: [shop]}}}}
    environment: {{FROM_FILE: "${{GIVEN}}", DEFAULT: "${{MISSING:-otherwise}}", STUBBORN: "1"}}
    env_file: more.env
    cap_add: [NET_BIND_SERVICE]
    tmpfs: /scratch
    volumes: ["data:/data"]
    ports: ["{PORT}:8000"]
    stop_signal: SIGUSR1
    stop_grace_period: 1s
    healthcheck: {{test: ["CMD", "wget", "-qO-", "http://127.0.0.1:8000/healthz"], interval: 1s}}
    depends_on:
      prepare: {{condition: service_completed_successfully}}
      other: {{condition: service_healthy}}
    deploy: {{resources: {{limits: {{memory: 96M, pids: 50}}}}}}
""",
        "networks: {default: }\nvolumes: {data: }",
    )
    rows = puppet.rows()
    assert rows["prepare/0"]["state"] == "exited" and rows["prepare/0"]["finished"], "a job that is done"
    assert rows["other/0"]["node"] == host
    about = puppet.ask()
    assert about["arguments"] == ["--first", "second word"]
    assert (about["uid"], about["gid"], about["hostname"]) == (1234, 5678, "front")
    assert int(about["capabilities"], 16) == 1 << 10, "that one and no other"
    expected = {"FROM_FILE": "from .env", "DEFAULT": "otherwise", "MORE": "more"}
    assert expected.items() <= about["environment"].items()
    assert puppet.ask("resolve/old_name") == puppet.ask("resolve/shop") == puppet.ask("resolve/web")
    assert puppet.ask(f"resolve/other.{puppet.name}.internal") == [rows["other/0"]["address"]]
    assert puppet.ask("connect/other:9000") == "connected"
    assert puppet.ask("write/data/x") == puppet.ask("write/scratch/x") == 1
    assert "Read-only file system" in puppet.ask("write/app/x")
    for program in ("bin/sh", "usr/bin/bash", "bin/busybox", "usr/bin/pip", "usr/bin/apt"):
        assert "FileNotFoundError" in puppet.ask(f"execute/{program}"), f"{program} is no part of an application"
    begun_s = time.monotonic()
    puppet.cloud.skerry.run("scale", f"{puppet.name}.web", "0")
    assert time.monotonic() - begun_s > 1.0, "it was given its grace period, and did not use it"
    assert "got SIGUSR1" in puppet.cloud.skerry.run("logs", f"{puppet.name}.web", quiet=True)


def test_how_a_container_ended_is_told_and_its_logs_go_on(puppet: Puppet) -> None:
    skerry, begun_s = puppet.cloud.skerry, time.time()
    puppet.deploy(
        f"""
  web:
    <<: *puppet
    ports: ["{PORT}:8000"]
    healthcheck: {{test: curl -f localhost:8000/healthz, interval: 1s}}
    deploy:
      resources: {{limits: {{memory: 64M}}}}
      restart_policy: {{delay: 1s}}
      update_config: {{monitor: 0s}}
"""
    )
    follower = subprocess.Popen(
        [COMMAND, "logs", "-f", f"{puppet.name}.web", "--json"],
        env=skerry.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follower.stdout is not None
    try:
        assert json.loads(follower.stdout.readline())["text"] == "puppet 1 begins"
        for path, how in (("exit/9", "ended with exit code 9"), ("eat/200", "more memory than its limit")):
            puppet.ask(path)
            row = skerry.wait("the restart", lambda how=how: _again(puppet, how))  # type: ignore[misc]
            assert datetime.fromisoformat(row["since"]).timestamp() > begun_s
            assert any(how in reason for reason in puppet.events("exited", begun_s))
        said = [json.loads(follower.stdout.readline())["text"] for _ in range(3)]
    finally:
        follower.terminate()
        follower.wait(10)
    assert said == ["told to end with 9", "puppet 1 begins", "puppet 1 begins"], (
        "of three containers, one after the other"
    )
    node = puppet.rows()["web/0"]["node"]
    puppet.cloud.kill_agent(node)
    puppet.cloud.wait_well()
    lines = skerry.json("logs", f"{puppet.name}.web", "--tail", "10")
    assert [line["text"] for line in lines][:2] == ["puppet 1 begins", "told to end with 9"], "logs outlive the agent"
    assert sorted(line["time"] for line in lines) == [line["time"] for line in lines]
    assert skerry.refused("logs", "nobody")[1]["code"] == "no-such-subject"


def _again(puppet: Puppet, how: str) -> dict[str, Any] | None:
    row = puppet.rows()["web/0"]
    return row if row["healthy"] and how in row["why"] else None


def test_scaling_restarts_nothing_and_a_removed_volume_frees_its_slot(puppet: Puppet) -> None:
    skerry = puppet.cloud.skerry
    puppet.deploy(
        f"""
  web:
    <<: *puppet
    ports: ["{PORT}:8000"]
    volumes: ["data:/data"]
    healthcheck: {{test: curl -f localhost:8000/healthz, interval: 1s}}
""",
        "volumes: {data: }",
    )
    assert puppet.ask("write/data/x") == 1
    started = puppet.ask()["started"]
    skerry.run("scale", f"{puppet.name}.web", "2")
    rows = puppet.rows()
    assert len(rows) == 2 and all(row["healthy"] for row in rows.values())
    skerry.run("scale", f"{puppet.name}.web", "1")
    assert list(puppet.rows()) == ["web/0"] and puppet.ask()["started"] == started
    home = puppet.rows()["web/0"]["node"]
    code, error = skerry.refused("volume", "rm", home, puppet.name, "data", "--yes")
    assert (code, error["code"]) == (2, "in-use")
    skerry.run("scale", f"{puppet.name}.web", "0")
    assert any(v["app"] == puppet.name and v["node"] == home for v in skerry.json("volume", "ls")), "it stays"
    skerry.run("scale", f"{puppet.name}.web", "1")
    assert puppet.ask("write/data/x") == 2, "and is found again"
    skerry.run("scale", f"{puppet.name}.web", "0")
    for volume in skerry.json("volume", "ls"):
        if volume["app"] == puppet.name:
            skerry.run("volume", "rm", volume["node"], puppet.name, "data", "--yes")
    skerry.run("host", "drain", home)
    try:
        skerry.run("scale", f"{puppet.name}.web", "1")
        assert puppet.rows()["web/0"]["node"] != home, "nothing ties it to the host that had its data"
        assert puppet.ask("write/data/x") == 1
    finally:
        skerry.run("host", "undrain", home)
    skerry.run("rm", puppet.name)
    assert not puppet.rows()
    assert skerry.refused("rm", puppet.name)[1]["code"] == "no-such-app"


def test_what_no_deploy_can_mend_is_refused_before_anything_is_signed(puppet: Puppet) -> None:
    skerry = puppet.cloud.skerry
    for services, code in (
        ("  web: {<<: *puppet, ports: ['8080:8000']}", "port-taken"),
        ("  web: {<<: *puppet, deploy: {resources: {reservations: {memory: 900g}}}}", "too-big-for-hosts"),
        ("  web: {image: 'redis:7'}", "bad-compose-file"),
    ):
        exit_code, error = skerry.refused("deploy", puppet.write(services))
        assert (exit_code, error["code"]) == (2, code), error
    assert not puppet.rows()


def test_a_deploy_that_takes_longer_than_its_limit_ends_with_5_and_goes_on(puppet: Puppet) -> None:
    skerry = puppet.cloud.skerry
    slow = "  web: {<<: *puppet, environment: {SLOW: '4'}, healthcheck: {test: 'curl -f localhost:8000/healthz'}}"
    code, error = skerry.refused("deploy", puppet.write(slow), "--timeout", "1s")
    assert (code, error["code"]) == (5, "not-in-time") and f"{puppet.name}.web/0" in error["why"]
    skerry.wait("it to go on by itself", lambda: puppet.rows()["web/0"]["healthy"])
