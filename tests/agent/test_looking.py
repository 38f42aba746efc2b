"""`skerry ls`, `cat`, `cp`: files of real containers from outside, and what a hostile one makes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.real import RealHost, real_host, wait_for

pytestmark = pytest.mark.real
IDLE = "while :; do sleep 1; done"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    with real_host(tmp_path_factory.mktemp("looking")) as host:
        yield host


def ready(host: RealHost, script: str, **more: str) -> str:
    """Its slot, once the script has come to its end, where it idles."""
    slot = host.run(f"{script}\ntouch /tmp/ready; {IDLE}", **more)  # type: ignore[arg-type]
    wait_for(f"{slot} to be ready", lambda: host.file(slot, "/tmp/ready").exists())
    return slot


def test_a_folder_is_listed_a_file_shown_and_a_tree_copied(host: RealHost, tmp_path: Path) -> None:
    slot = ready(host, "cd /tmp; mkdir d; echo hello >d/a; ln -s a d/l; head -c 300000 /dev/zero >d/big")
    rows = {row["name"]: row for row in host.skerry("ls", f"{slot}:/tmp/d", "--json").json["entries"]}
    assert set(rows) == {"a", "l", "big"}
    assert (rows["a"]["kind"], rows["a"]["size_bytes"], rows["l"]["target"]) == ("file", 6, "a")
    assert host.skerry("cat", f"{slot}:/tmp/d/l").out == b"hello\n"
    assert host.skerry("cp", f"{slot}:/tmp/d", str(tmp_path)).code == 0
    assert (tmp_path / "d/a").read_text() == "hello\n"
    assert (tmp_path / "d/l").readlink() == Path("a")
    assert (tmp_path / "d/big").stat().st_size == 300000


def test_processes_and_sockets_are_shown_with_their_owners(host: RealHost) -> None:
    slot = ready(host, "nc -l -p 8123 >/dev/null & nc -lU /tmp/s >/dev/null 2>&1 & sleep 1000 &")
    rows = host.skerry("procs", slot, "--json").json["processes"]
    assert rows[0]["pid"] == 1
    assert ["sleep", "1000"] in [row["command"] for row in rows]
    assert all(row["state"] == "sleeping" and row["memory_bytes"] > 0 for row in rows if row["command"][0] == "nc")
    (listening,) = [row for row in host.skerry("sockets", slot, "--json").json["sockets"] if row["local"] == "*:8123"]
    assert (listening["state"], listening["process"]) == ("listening", "nc")


def test_what_it_added_and_changed_since_its_start_is_told(host: RealHost) -> None:
    slot = ready(host, "mkdir -p /tmp/d; echo x >/tmp/d/new; echo y >/data/kept; echo z >/run/pid", volume="files")
    told = host.skerry("files", slot, "--json").json
    changes = {row["name"]: row["change"] for row in told["files"]}
    assert changes == dict.fromkeys(("/tmp/d", "/tmp/d/new", "/tmp/ready", "/data/kept", "/run/pid"), "added")
    assert {place["path"]: place["kind"] for place in told["places"]}["/data"] == "disk"
    before = host.pid(slot)
    os.kill(before, 9)
    wait_for("its next start", lambda: host.pid(slot) not in (0, before) and host.file(slot, "/tmp/ready").exists())
    changes = {row["name"]: row["change"] for row in host.skerry("files", slot, "--json").json["files"]}
    assert changes["/data/kept"] == "changed"


def test_the_child_that_reads_keeps_no_right_that_it_does_not_need() -> None:
    script = (
        "import sys; from skerry.observe.look.confine import confine; confine(sys.argv[1]);"
        "print(open('/proc/self/status').read())"
    )
    kept = {"cat": {2, 3}, "procs": {2, 19}, "capture": {13}, "put": {0, 1, 3}}
    for what, expected in kept.items():
        done = subprocess.run([sys.executable, "-c", script, what], capture_output=True, text=True, check=True)
        status = dict(line.split(":\t") for line in done.stdout.splitlines() if ":\t" in line)
        for field in ("CapEff", "CapPrm"):
            bits = int(status[field], 16)
            assert {number for number in range(64) if bits >> number & 1} == expected, (what, field)
        assert status["NoNewPrivs"] == "1"
