"""`skerry doctor --host`: a machine is looked at before it joins, over real SSH, and nothing of it is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skerry.client import prospect
from skerry.client.home import KnownHost
from skerry.lab import Lab
from skerry.machines.ssh import Ssh

pytestmark = pytest.mark.real

EVERYTHING = ["find", "/etc", "/opt", "/var/lib", "/root", "/tmp", "/sys/fs/cgroup", "-printf", "%p %y\\n"]


def doctor(tmp_path: Path, *argv: str) -> tuple[int, Any]:
    skerry = Path(sys.executable).with_name("skerry")
    ran = subprocess.run(
        [skerry, "doctor", "--json", *argv],
        capture_output=True,
        text=True,
        env={"SKERRY_HOME": str(tmp_path / "home"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    return ran.returncode, json.loads(ran.stdout)


def details(rows: list[dict[str, Any]], check: str) -> list[str]:
    return [row["detail"] for row in rows if row["check"] == check]


def test_a_host_that_may_join_is_told_so_and_is_left_as_it_was(lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    before = ssh.run(EVERYTHING)
    code, rows = doctor(tmp_path, "--host", f"root@{lab.status()[0].address}", "--ssh-config", str(lab.ssh_config()))
    assert code == 0 and all(row["ok"] for row in rows)
    assert details(rows, "may join") == [f"skerry host add root@{lab.status()[0].address}"]
    assert "vps-1: Debian" in details(rows, "host")[0]
    assert "nobody listens yet" in details(rows, "7077/tcp from here")[0]
    assert ssh.run(EVERYTHING) == before


def test_what_stands_in_the_way_is_told_with_its_fix(lab: Lab, ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prospect, "REACH_LIMIT_S", 0.3)
    drop = "table inet trial { chain in { type filter hook input priority 0; tcp dport 7077 drop; }\n }\n"
    ssh.run(["nft", "-f", "-"], input=drop.encode())
    listener = ["systemd-run", "--quiet", "--unit=taken", "python3", "-m", "http.server", "7077"]
    ssh.run(listener)
    try:
        rows = prospect.look("root@vps-1", ssh_config=lab.ssh_config())
    finally:
        ssh.run(["nft", "delete", "table", "inet", "trial"])
        ssh.run(["systemctl", "stop", "taken"])
    wrong = {row["check"]: row for row in rows if not row["ok"]}
    assert set(wrong) == {"in the way", "7077/tcp from here"}
    assert "7077/tcp" in wrong["in the way"]["detail"] and all(row["fix"] for row in wrong.values())
    assert not details(rows, "may join")


def test_from_there_the_clouds_hosts_are_tried(lab: Lab) -> None:
    hosts = {"near": KnownHost(("127.0.0.1:22",), ""), "far": KnownHost(("127.0.0.1:7077",), "")}
    rows = {row["check"]: row for row in prospect.look("root@vps-1", hosts=hosts, ssh_config=lab.ssh_config())}
    assert rows["near from there"]["ok"]
    assert not rows["far from there"]["ok"] and "refused" in rows["far from there"]["detail"]


def test_a_host_that_is_not_reached_is_one_error_with_its_exit_code(lab: Lab, tmp_path: Path) -> None:
    config = str(lab.ssh_config())
    code, told = doctor(tmp_path, "--host", f"root@{lab.status()[0].address}:2", "--ssh-config", config)
    assert code == 4 and told["error"]["code"] == "ssh-unreachable"
    code, told = doctor(tmp_path, "--host", "root@vps-1", "--ssh-config", config, "--host-key", "SHA256:" + "A" * 43)
    assert code == 3 and told["error"]["code"] == "ssh-host-key-other"
    code, told = doctor(tmp_path, "--jump", "root@vps-1")
    assert code == 2
