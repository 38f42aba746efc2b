"""Looking into replicas of the shared cloud as a person does: files, processes, sockets, packets, from another machine than theirs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from demo.clients import Clients

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e


def test_a_replica_is_looked_into_from_the_operators_machine(cloud: Cloud, tmp_path: Path) -> None:
    rows = {row["name"] for row in cloud.skerry.json("ls", "web/0:/")["entries"]}
    assert {"etc", "tmp", "usr"} <= rows
    assert "127.0.0.1 localhost" in cloud.skerry.run("cat", "web/0:/etc/hosts")
    first = cloud.skerry.json("procs", "web/0")["processes"][0]
    assert first["pid"] == 1 and "python" in first["command"][0] and first["memory_bytes"] > 1 << 20
    listening = cloud.skerry.json("sockets", "web/0", "--listening")["sockets"]
    assert any(row["kind"].startswith("tcp") and row["process"] == first["name"] for row in listening)
    cloud.skerry.run("cp", "web/0:/etc", str(tmp_path / "etc"))
    assert "localhost" in (tmp_path / "etc/hosts").read_text()
    cloud.skerry.run("cp", "--write", str(tmp_path / "etc/hosts"), "web/0:/tmp/given")
    assert "/tmp/given" in [row["name"] for row in cloud.skerry.json("files", "web/0")["files"]]
    (event,) = [row for row in cloud.events("debug") if row["reason"].startswith("put /tmp/given by ")]
    assert event["subject"] == "guestbook.web/0"


def test_packets_of_a_replica_are_seen_at_its_host(cloud: Cloud, tmp_path: Path) -> None:
    with Clients(list(cloud.addresses().values())):
        cloud.skerry.run("capture", "web/0", "-w", str(tmp_path / "o.pcap"), "--filter", "tcp", "--packets", "30")
        shown = [
            json.loads(line) for line in cloud.skerry.run("capture", "web/0", "--packets", "10", "--json").splitlines()
        ]
    assert (tmp_path / "o.pcap").stat().st_size > 24 + 30 * 60
    assert len(shown) == 10 and any(packet["protocol"] == "tcp" for packet in shown)


def test_one_that_was_killed_leaves_its_files_for_a_day(cloud: Cloud) -> None:
    row = next(row for row in cloud.ps() if row["slot"] == "guestbook.web/1")
    (cloud.app / "note").write_text("last words")
    cloud.skerry.run("cp", "--write", str(cloud.app / "note"), "web/1:/tmp/note")
    (first,) = [one for one in cloud.skerry.json("procs", "web/1")["processes"] if one["pid"] == 1]
    cloud.inside(row["node"], "kill", f"-{signal.SIGKILL.value}", str(first["host_pid"]))
    cloud.skerry.wait("its crash to be kept", lambda: bool(cloud.skerry.json("crashes", "web/1")), 20)
    assert cloud.skerry.run("cat", "web/1:/tmp/note", "--crashed") == "last words"
    assert "signal 9" in cloud.skerry.run("crashes", "web/1")
    assert "guestbook.web/1 crashed: ended by signal 9" in cloud.skerry.run("ps")
