"""`skerry ls`, `cat`, `cp`: files of real containers from outside, and what a hostile one makes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import skerry
from agent.real import RealHost, real_host, wait_for
from skerry.errors import SkerryError
from skerry.observe.look import beginning

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


def test_a_tree_is_put_into_a_container_as_its_user_and_what_it_writes_over_is_said_first(
    host: RealHost, tmp_path: Path
) -> None:
    slot = ready(host, "mkdir -p /tmp/conf/d; echo old >/tmp/conf/d/a; echo kept >/tmp/conf/k", user="1000:1001")
    conf = tmp_path / "conf"
    (conf / "d/e/f").mkdir(parents=True)
    (conf / "d/a").write_text("new")
    (conf / "d/e/f/run").write_bytes(bytes(300_000))
    (conf / "d/e/f/run").chmod(0o4755)
    (conf / "l").symlink_to("d/a")
    (conf / "empty").touch()
    os.mkfifo(conf / "pipe")
    asked = host.skerry("cp", "--write", str(conf), f"{slot}:/tmp")
    assert asked.code == 1 and "would be written over: /tmp/conf/d/a (file, 4 B" in asked.err
    assert host.file(slot, "/tmp/conf/d/a").read_text() == "old\n" and not host.file(slot, "/tmp/conf/empty").exists()
    told = host.skerry("cp", "--write", "--yes", str(conf), f"{slot}:/tmp", "--json").json
    assert (told["to"], told["files"], told["directories"], told["links"]) == ("/tmp/conf", 3, 4, 1)
    assert [row["why"] for row in told["skipped"]] == ["a pipe"]
    assert (
        host.skerry("cat", f"{slot}:/tmp/conf/l").out == b"new"
        and host.skerry("cat", f"{slot}:/tmp/conf/k").out == b"kept\n"
    )
    for path in ("", "/d/a", "/d/e", "/d/e/f", "/d/e/f/run", "/l"):
        status = host.file(slot, f"/tmp/conf{path}").lstat()
        assert (status.st_uid, status.st_gid) == (1000, 1001), path
    assert host.file(slot, "/tmp/conf/d/e/f/run").lstat().st_mode & 0o7777 == 0o755
    assert host.skerry("cp", "--write", str(conf), f"{slot}:/run/new").code == 0  # as that, where there is none
    assert host.skerry("cat", f"{slot}:/run/new/d/a").out == b"new"
    reasons = {
        "/tmp/ready": "is no folder",
        "/tmp/none/x": "there is no",
        "/usr/x": "Read-only",
        "/proc": "kernel's own",
    }
    for to, why in reasons.items():
        refused = host.skerry("cp", "--write", "--yes", str(conf), f"{slot}:{to}")
        assert refused.code in (1, 2) and why in refused.err, (to, refused.err)
    assert host.skerry("cp", "--write", str(conf), f"{slot}:/tmp/y", "--limit", "1000").code == 2
    assert not host.file(slot, "/tmp/y").exists()
    assert not list(host.file(slot, "/tmp").rglob(".skerry-*"))


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


def test_what_it_removed_from_its_volume_since_its_start_is_told(
    host: RealHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = "mkdir -p /data/d/e; echo x >/data/d/a; echo y >/data/d/e/f; echo z >/data/gone; echo k >/data/kept; ln -s kept /data/l"
    then = "rm -r /data/d /data/l; mv /data/gone /data/new; mkdir /data/l; ln -s /data /data/d"
    slot = ready(host, f"if [ -e /data/kept ]; then {then}; else {first}; fi", volume="removed")

    def again() -> dict[str, object]:
        """Of its next start."""
        before = host.pid(slot)
        os.kill(before, 9)
        wait_for("its next start", lambda: host.pid(slot) not in (0, before) and host.file(slot, "/tmp/ready").exists())
        return dict(host.skerry("files", slot, "--json").json)

    told = again()
    removed = {row["name"]: row["kind"] for row in told["files"] if row["change"] == "removed"}  # type: ignore[attr-defined]
    assert (
        removed == {"/data/d/a": "file", "/data/d/e": "directory", "/data/gone": "file"} and not told["removed_unknown"]
    )
    assert "removed" in host.skerry("files", slot).out.decode()
    monkeypatch.setattr(beginning, "NAMES_MAX", 2)
    assert again()["removed_unknown"] is True
    assert "is not shown" in host.skerry("files", slot).err
    left = {file.name for file in host.agent.files.beginnings.iterdir()}
    assert host.id(slot) in left <= set(host.agent.containers.running())


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


def test_programs_see_the_same_as_people(host: RealHost) -> None:
    slot = ready(host, "mkdir /tmp/d; echo hello >/tmp/d/a; ln -s a /tmp/d/l; nc -l -p 8123 >/dev/null & sleep 0.1")
    with skerry.Client(home=host.home) as cloud:
        entries = {entry.name: entry for entry in cloud.looks.ls(slot, "/tmp/d")}
        assert (entries["a"].kind, entries["a"].size_bytes, entries["l"].target) == ("file", 6, "a")
        assert cloud.looks.cat(slot, "/tmp/d/l") == b"hello\n"
        first, *_ = cloud.looks.procs(slot)
        assert first.pid == 1 and first.host_pid == host.pid(slot) and first.memory_bytes > 0
        assert [socket.process for socket in cloud.looks.sockets(slot) if socket.local == "*:8123"] == ["nc"]
        changed = {each.name: each.change for each in cloud.looks.files(slot)}
        assert changed["/tmp/d/a"] == "added"
        with pytest.raises(SkerryError, match="3 are allowed"):
            cloud.looks.cat(slot, "/tmp/d/a", limit_bytes=3)
