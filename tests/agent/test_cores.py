"""Cores of containers that asked: kept on the host when a process of theirs dies, told, fetched, removed; and of nobody else.

The kernel has one setting for all of this machine: it is ours for the seconds of these tests, one at a time, and put back.
"""

from __future__ import annotations

import fcntl
import gzip
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import skerry
from agent.real import RealHost, real_host, wait_for
from skerry.agent.debugging import cores
from skerry.runtime.cores.pattern import program
from skerry.trust.refusals import VerbNotAllowed
from skerry.trust.requests import Request

pytestmark = pytest.mark.real
SETTINGS = Path("/proc/sys/kernel")
PACKAGES = str(Path(skerry.__file__).parents[1])
NOBODY = 65534
DIES = "while [ ! -e /data/go ]; do sleep 0.05; done; rm /data/go; sh -c 'kill -SEGV $$'; "


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    before = {name: (SETTINGS / name).read_text() for name in ("core_pattern", "core_pipe_limit")}
    with (Path(tempfile.gettempdir()) / "skerry-core-pattern.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with real_host(tmp_path_factory.mktemp("cores")) as host:
                host.cloud.core_handler.write_text(program(sys.executable, PACKAGES))
                host.cloud.core_handler.chmod(0o755)
                yield host
        finally:
            for name, value in before.items():
                (SETTINGS / name).write_text(value)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "LOOK_S", 0.0)
    monkeypatch.setattr(cores, "STARTS_WITHIN_S", 0.0)


def pattern() -> str:
    return (SETTINGS / "core_pattern").read_text().strip()


def told_of(host: RealHost, slot: str) -> list[str]:
    return [e.reason for e in host.agent.events.tail(50) if e.kind == "core-kept" and e.subject == slot]


def let_die(host: RealHost, slot: str) -> None:
    """Its worker, at a sign that it can see."""
    host.file(slot, "/data/go").touch()
    wait_for("the worker to have died", lambda: not host.file(slot, "/data/go").exists())


@pytest.mark.usefixtures("soon")
def test_a_core_is_kept_where_it_was_asked_for_told_fetched_and_removed(host: RealHost, tmp_path: Path) -> None:
    assert pattern() == "core"
    quiet = host.run(DIES + "sleep 1000", volume="data")
    slot = host.run(DIES * 2 + "sleep 1000", volume="data", core_bytes=-1)
    assert pattern().startswith(f"|{host.cloud.core_handler} ")
    let_die(host, quiet)
    let_die(host, slot)
    wait_for("the core", lambda: bool(host.skerry("cores", "ls", slot, "--json").json))
    (row,) = host.skerry("cores", "ls", "--json").json  # and none of the one that did not ask
    assert (row["slot"], row["signal"], row["comm"], row["cut"], row["node"]) == (slot, 11, "sh", "", "vps-1")
    assert row["pid"] > 1 and row["exe"] == "/usr/bin/sh" and row["kept_bytes"] < row["size_bytes"]
    folder = host.agent.files.cores / slot.replace("/", "_")
    assert [oct(path.stat().st_mode & 0o777) for path in folder.glob("*.core.gz")] == ["0o600"]
    assert folder.stat().st_mode & 0o077 == 0

    wait_for("it to be told", lambda: bool(told_of(host, slot)))
    told = told_of(host, slot)
    assert len(told) == 1 and "signal 11 of sh" in told[0] and row["name"] in told[0]

    out = tmp_path / "web.core"
    got = host.skerry("cores", "get", slot, "-w", str(out), "--json")
    assert got.code == 0 and out.stat().st_size == row["size_bytes"] and out.stat().st_mode & 0o077 == 0
    said = subprocess.run(["gdb", "-batch", "-nx", "-c", str(out)], capture_output=True, text=True, check=True).stdout
    assert "Program terminated with signal SIGSEGV" in said
    assert host.skerry("cores", "get", slot, "-w", str(out)).code == 2  # it is there already
    assert any("cores get" in e.reason and e.kind == "debug" and e.subject == slot for e in host.agent.events.tail(50))

    let_die(host, slot)  # too soon after the first
    wait_for("it to be counted", lambda: host.skerry("cores", "ls", slot, "--json").json[0]["missed"] == 1)
    assert "1 more not kept" in host.skerry("cores", "ls", slot).out.decode()

    assert host.skerry("cores", "rm", slot).code == 2
    assert host.skerry("cores", "rm", f"{slot}:{row['name']}", "--json").json["names"] == [row["name"]]
    assert host.skerry("cores", "ls", "--json").json == [] and host.skerry("cores", "get", slot).code == 2
    assert list(folder.glob("*.core.gz")) == []

    assert host.skerry("rm", slot.partition(".")[0]).code == 0
    wait_for("the setting to be put back", lambda: pattern() == "core")
    assert (SETTINGS / "core_pipe_limit").read_text() == "0\n"


def test_what_is_kept_of_a_crash_names_its_core(host: RealHost) -> None:
    slot = host.run("sh -c 'kill -SEGV $$'; exit 3", core_bytes=-1, stays=False)

    def named() -> list[str]:
        return [name for row in host.skerry("crashes", slot, "--json").json for name in row["cores"]]

    wait_for("both to be kept", lambda: bool(named()))
    (row,) = host.skerry("cores", "ls", slot, "--json").json
    assert (
        named() == [row["name"]]
        and f"skerry cores get {slot}:{row['name']}" in host.skerry("crashes", slot).out.decode()
    )
    assert host.skerry("rm", slot.partition(".")[0]).code == 0
    assert host.skerry("cores", "rm", slot, "--all").code == 0  # of an app that is gone


def test_what_is_no_container_of_ours_leaves_its_core_as_ever(host: RealHost) -> None:
    host.run("sleep 1000", core_bytes=-1)
    assert pattern().startswith("|")
    unlimited = resource.RLIM_INFINITY
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        for limit, left in ((0, {}), (unlimited, {"core": NOBODY})):
            subprocess.run(
                ["/usr/bin/python3", "-S", "-c", "import os; os.abort()"],
                cwd=folder,
                user=NOBODY,
                preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_CORE, (limit, unlimited)),  # type: ignore[misc]
            )
            assert {path.name: path.stat().st_uid for path in Path(folder).iterdir()} == left
        made = Path(folder, "core")
        assert made.read_bytes()[:4] == b"\x7fELF" and made.stat().st_mode & 0o777 == 0o600
    assert host.skerry("cores", "ls", "--json").json == []


def test_what_a_captured_host_sends_becomes_no_file_and_no_escape(
    host: RealHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = "shop.web/0"
    good = {
        "slot": slot, "name": "20260307T101500-1", "container": "c", "by": "crash", "time": 1.0, "signal": 11, "pid": 7,
        "comm": "\x1b[2J", "exe": "/x", "size_bytes": 1 << 40, "kept_bytes": 9, "cut": "",
    }  # fmt: skip
    for change in ({"name": "../../../root/.profile"}, {"slot": "../x/0"}, {"kept_bytes": "\x1b[2J"}, {"by": "nobody"}):
        monkeypatch.setattr(host.agent.cores, "rows", lambda change=change: [good | change])
        shown = host.skerry("cores", "ls")
        assert shown.code == 2 or shown.out == b"(none)\n", shown
        assert host.skerry("cores", "get", slot).code == 2 and b"\x1b" not in shown.out

    monkeypatch.setattr(host.agent.cores, "rows", lambda: [good])
    shown = host.skerry("cores", "ls")
    assert shown.code == 0 and b"\x1b" not in shown.out
    folder = Path(host.agent.cores.shelf.folder(slot))
    folder.mkdir()
    bomb = gzip.compress(b"\x7fELF" + bytes(64 << 20))
    monkeypatch.setattr("skerry.client.cores.CORE_BYTES", 32 << 20)
    for content in (b"no core", gzip.compress(b"no core"), gzip.compress(b"\x7fELF" * 999)[:-9], bomb):
        (folder / f"{good['name']}.core.gz").write_bytes(content)
        assert host.skerry("cores", "get", slot, "-w", str(tmp_path / "out")).code == 2
        assert list(tmp_path.iterdir()) == []


def test_each_host_answers_for_the_apps_alone_that_a_key_may_look_into(host: RealHost) -> None:
    ci = Request("core-rm", {"slot": "shop.web/0"}, "k", "eve", rights=(("debug", ("app/other",)),))

    async def ask(verb: str) -> list[object]:
        request = msgspec.structs.replace(ci, verb=verb, args=ci.args if verb == "core-rm" else {})
        return [item async for item in host.agent.server.answer(request)]

    with pytest.raises(VerbNotAllowed):
        host.aside.run(ask("core-rm"))
    (answer,) = host.aside.run(ask("cores"))
    assert answer == {"cores": [], "asking": [], "why": ""}
