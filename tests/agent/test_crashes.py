"""What is kept of a container that crashed: its last files, its log, how it ended; within bounds, while the next one starts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.real import RealHost, real_host, wait_for
from skerry.agent.looking import crashes

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    with real_host(tmp_path_factory.mktemp("crashes")) as host:
        yield host


def crash(host: RealHost, script: str, **more: str) -> str:
    """A slot that does this once and crashes, and then runs on; its crash is kept."""
    slot = host.run(
        f"[ -e /data/again ] && exec sleep 1000; touch /data/again; {script}; exit 3",
        volume="again",
        **more,  # type: ignore[arg-type]
    )
    wait_for("the crash to be kept", lambda: host.agent.crashes.of(slot) is not None)
    return slot


def test_its_last_files_its_log_and_how_it_ended_are_there_while_the_next_one_runs(
    host: RealHost, tmp_path: Path
) -> None:
    slot = crash(
        host, "cd /tmp; mkdir d; echo state >d/state; ln -s d/state l; mkfifo p; echo pid >/run/pid; echo bad luck"
    )
    wait_for("the next one", lambda: host.pid(slot) > 0)
    (row,) = host.skerry("crashes", slot, "--json").json
    assert (row["exit_code"], row["oom"], row["node"]) == (3, False, "vps-1")
    assert "bad luck" in row["log"]
    assert "bad luck" in host.skerry("crashes", slot).out.decode()
    assert "crashed: ended with exit code 3 on vps-1" in host.skerry("explain", slot).out.decode()
    wait_for("its restart to be told", lambda: host.skerry("ps", "--json").json[0]["restarts"] == 1)
    (shown,) = [each for each in host.skerry("ps", "--json").json if each["slot"] == slot]
    assert shown["crashed"].startswith("ended with exit code 3 on vps-1, ")
    assert f"{slot} crashed: ended with exit code 3 on vps-1" in host.skerry("ps").out.decode()
    assert [each["path"] for each in row["skipped"]] == ["/tmp/p"]
    assert host.skerry("cat", f"{slot}:/tmp/l", "--crashed").out == b"state\n"
    assert host.skerry("cat", f"{slot}:/run/pid", "--crashed").out == b"pid\n"
    names = {each["name"] for each in host.skerry("files", slot, "--crashed", "--json").json["files"]}
    assert names == {"/tmp/d", "/tmp/d/state", "/tmp/l", "/run/pid"}
    assert host.skerry("cp", f"{slot}:/tmp", str(tmp_path / "o"), "--crashed").code == 0
    assert (tmp_path / "o/d/state").read_text() == "state\n"
    assert host.skerry("cat", f"{slot}:/tmp/l").code == 2  # of the one that runs
    assert any(
        e.kind == "crash-kept" and slot == e.subject and "4 files" in e.reason for e in host.agent.events.tail(50)
    )


def test_what_is_too_large_is_left_out_and_told(host: RealHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "HOST_BYTES", 4 << 20)
    slot = crash(host, "head -c 3000000 /dev/zero >/tmp/large; echo x >/tmp/small")
    kept = host.agent.crashes.of(slot)
    assert (kept.files, kept.size_bytes, kept.skipped_count) == (1, 2, 1)
    assert "1 left out" in host.skerry("crashes", slot).out.decode()


def test_an_old_one_goes_and_so_do_all_when_the_disk_is_short(host: RealHost, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = crash(host, "echo x >/tmp/x")
    folder = host.agent.crashes.files_of(slot)
    assert folder.exists()
    monkeypatch.setattr(crashes, "LOOK_S", 0.0)
    disk = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=1))
    wait_for("it to go", lambda: host.agent.crashes.of(slot) is None and not folder.exists())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    slot = crash(host, "echo y >/tmp/y")
    monkeypatch.setattr(host.agent.crashes, "_wall_s", lambda: time.time() + crashes.KEPT_S + 1)
    wait_for("it to go", lambda: host.agent.crashes.of(slot) is None)


def test_of_one_that_crashes_again_and_again_the_first_is_kept_and_the_others_counted(host: RealHost) -> None:
    slot = host.run("echo first >/tmp/$$; exit 4", stays=False)
    wait_for("two more", lambda: (kept := host.agent.crashes.of(slot)) is not None and kept.again >= 2)
    assert host.skerry("crashes", slot, "--json").json[0]["again"] >= 2


def test_what_an_earlier_agent_kept_is_there_and_what_it_had_begun_is_not(host: RealHost, tmp_path: Path) -> None:
    slot = crash(host, "echo x >/tmp/x")
    directory = tmp_path / "crashes"
    shutil.copytree(host.agent.crashes.files_of(slot).parent.parent, directory, symlinks=True)
    (directory / ".new-half").mkdir()
    (directory / ".scratch-old").mkdir()
    later = crashes.Crashes(directory, wall_s=time.time, spawn=lambda work: None, note=lambda *_: None)
    assert slot in [kept.slot for kept in later.all()]
    assert not list(directory.glob(".*"))
