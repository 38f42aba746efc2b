"""Looking in from outside on whole machines: an operator who is cut off, keys that may do something else, a captured host, hangs,
and what a container plants in the way of who looks.

Each single refusal and trap is tried in tests/agent, tests/attacks and tests/runtime; here is what only whole machines show.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from demo.skerry import COMMAND, Skerry

from e2e.conftest import Cloud
from e2e.test_attacks import Thief
from skerry.core.intent import Node
from skerry.mesh.dial import dial
from skerry.mesh.messages import recv_bytes, send_bytes
from skerry.trust.requests import make_request

pytestmark = pytest.mark.e2e
ANSWER_S = 5.0
AT_ONCE = ThreadPoolExecutor(4)
STRACE = ("--", "strace", "-f", "-p", "{pid}")
# What a tool leaves behind if anything: its processes, mounts, cgroups, folders.
LEFT = """
pgrep -ax strace; pgrep -ax swapper.sh
grep -l /run/skerry/tools /proc/[0-9]*/mountinfo 2>/dev/null
ls -d /run/skerry/tools/* /sys/fs/cgroup/*/skerry/tools/*/ /sys/fs/cgroup/skerry/tools/*/ 2>/dev/null
true
"""


@pytest.fixture(scope="module")
def kit(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tools image of this machine's own strace and busybox, named to the cloud."""
    file = tmp_path_factory.mktemp("kit") / "kit.tar"
    file.write_bytes(_image("strace", "busybox"))
    cloud.skerry.run("tools", "add", "kit", str(file))
    return "kit"


def _image(*programs: str) -> bytes:
    """A docker-archive with these programs and the libraries that they need."""
    paths = {f"/usr/bin/{name}": Path(str(shutil.which(name))).resolve() for name in programs}
    listed = subprocess.run(["ldd", *map(str, paths.values())], capture_output=True, text=True).stdout
    paths |= {path: Path(path).resolve() for path in re.findall(r"(/\S+\.so\S*)", listed) if not path.endswith(":")}
    layer = _tar({path[1:]: file.read_bytes() for path, file in paths.items()})
    config = {"architecture": "amd64", "os": "linux", "config": {}}
    config["rootfs"] = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    return _tar({**files, "layer.tar": layer})


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Replica:
    """Web number 0: where it runs, and its first process as its host numbers it."""

    def __init__(self, cloud: Cloud) -> None:
        row = next(row for row in cloud.ps() if row["slot"] == "guestbook.web/0")
        self.cloud, self.node, self.since = cloud, str(row["node"]), row["since"]
        (first,) = [row for row in cloud.skerry.json("procs", "web/0")["processes"] if row["pid"] == 1]
        self.pid = int(first["host_pid"])

    def left(self) -> str:
        return self.cloud.inside(self.node, "sh", "-c", LEFT).strip()

    def status(self) -> dict[str, str]:
        lines = self.cloud.inside(self.node, "cat", f"/proc/{self.pid}/status").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def ended(self, since_s: float) -> list[str]:
        """Why tools ended, as events say it."""
        return [row["reason"] for row in self.cloud.events("debug", since_s) if " ended: " in row["reason"]]

    def answers(self) -> bool:
        address = self.cloud.addresses()[self.node]
        return b"200" in subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{address}/healthz"], capture_output=True
        ).stdout  # fmt: skip


def tracing(cloud: Cloud, kit: str) -> subprocess.Popen[bytes]:
    """An operator who traces web/0, once the first calls are seen."""
    command = [COMMAND, "debug", "web/0", "--tools", kit, "--limit", "10m", *STRACE]
    it = subprocess.Popen(command, env=cloud.skerry.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert it.stderr is not None
    said = b""
    while b"epoll_wait" not in said:
        piece = it.stderr.read1(4096)  # type: ignore[attr-defined]
        assert piece, said
        said += piece
    return it


Somebody = Callable[..., Skerry]


@pytest.fixture
def somebody(cloud: Cloud, tmp_path: Path) -> Iterator[Somebody]:
    """somebody("debug", "--app", "other"): a person with an own machine and a key in that role."""
    names: list[str] = []

    def one(kind: str, *role: str) -> Skerry:
        name = f"eve-{len(names)}"
        names.append(name)
        home = tmp_path / name
        home.mkdir()
        key, file = str(home / "eve.key"), str(home / "cloud.json")
        person = Skerry(home / "skerry", print)
        person.run("key", "new", name, "--out", key)
        cloud.skerry.run("role", "add", kind, name, "--key", f"{key}.pub", *role)
        cloud.skerry.run("key", "export", "--public", "--out", file)
        person.run("key", "import", file, "--key", key)
        return person

    yield one
    for name in names:
        cloud.skerry.run("role", "rm", name)


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_when_the_operators_machine_is_gone_the_tracer_detaches_and_others_are_told(
    cloud: Cloud, kit: str, somebody: Somebody, how: str
) -> None:
    web = Replica(cloud)
    since_s = time.time()
    it = tracing(cloud, kit)
    assert web.status()["TracerPid"] != "0" and "strace" in web.left()
    table = "table inet reach { chain input { type filter hook input priority -300; ip saddr %s drop; }; }"
    try:
        if how == "cut off":
            own = next(iter(cloud.addresses().values())).rpartition(".")[0] + ".254"
            cloud.inside(web.node, "nft", table % own)
        it.kill()
        cloud.skerry.wait("nothing to be left", lambda: not web.left(), 20)
    finally:
        cloud.lab.exec(web.node, ["nft", "delete", "table", "inet", "reach"])
        it.kill()
        it.wait()
    status = web.status()
    assert status["TracerPid"] == "0" and status["State"][0] in "SR", status
    assert web.answers() and Replica(cloud).since == web.since, "it ran on all the while"
    cloud.skerry.wait("the event", lambda: len(web.ended(since_s)) == 1, 10)
    (told,) = web.ended(since_s)
    assert "strace -f -p '{pid}' (felt): " in told
    if how == "killed":  # whoever may see the app's events sees it, from another machine
        seen = somebody("observe", "--app", "guestbook").run("events", "web/0", "--kind", "debug")
        assert "ended: strace" in seen and "the connection ended" in seen


def test_a_captured_host_learns_nothing_of_another_and_each_try_is_named(cloud: Cloud) -> None:
    """It has its real keys, and asks as clients do."""
    web = Replica(cloud)
    victim = cloud.others(web.node)[0]
    since_s = time.time()
    thief = Thief(cloud, victim)
    slot = "guestbook.web/0"
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("/request", "logs", {"targets": [slot]}),
        ("/request", "logs", {"hosts": [web.node]}),
        ("/request", "metrics", {"subjects": [], "names": [], "since": -60.0, "until": 0.0, "step_s": 0}),
        ("/request", "events", {}),
        ("/request", "crashes", {}),
        ("/look", "look", {"slot": slot, "what": "cat", "path": "/etc/hosts"}),
        ("/look", "look", {"slot": slot, "what": "procs"}),
        ("/look", "look", {"slot": slot, "what": "put", "path": "/tmp/x", "write": True}),
        ("/debug", "debug", {"slot": slot, "tools": "base", "digest": f"sha256:{'0' * 64}", "argv": ["sh"]}),
        ("/debug", "debug", {"host": True, "tools": "base", "digest": f"sha256:{'0' * 64}", "argv": ["sh"]}),
    ]

    async def ask() -> list[dict[str, Any]]:
        return [await _refusal(thief, web.node, *each) for each in asked]

    for (_, verb, args), refused in zip(asked, asyncio.run(ask()), strict=True):
        assert (refused["code"], refused["exit_code"]) == ("unknown-key", 3), (verb, args, refused)
    told = [row for row in cloud.events("refused", since_s) if row["node"] == web.node]
    assert any("unknown-key" in row["reason"] and victim in row["subject"] for row in told), told
    assert not cloud.events("debug", since_s)


async def _refusal(thief: Thief, host: str, path: str, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    enrolment = thief.trusted.nodes[f"node/{host}"].body
    assert isinstance(enrolment, Node)
    pinned = base64.b64decode(enrolment.certificate)
    stream = await dial(enrolment.addresses, pinned, thief.identity, path, ANSWER_S)
    try:
        hello = msgspec.json.decode(await recv_bytes(stream, timeout_s=ANSWER_S))
        raw = make_request(thief.signer, thief.trusted.cloud, f"node/{host}", verb, args, hello["nonce"], time.time())
        await send_bytes(stream, raw)
        answer = await recv_bytes(stream, timeout_s=ANSWER_S)
        told = msgspec.json.decode(answer[1:] if path == "/look" else answer)
        return dict(told.get("error", told))
    finally:
        await stream.close()


def test_a_key_that_may_do_something_else_looks_into_nothing(
    cloud: Cloud, kit: str, somebody: Somebody, tmp_path: Path
) -> None:
    eve, until_s = somebody("debug", "--app", "guestbook", "--until", "15s"), time.time() + 15
    assert "localhost" in eve.run("cat", "web/0:/etc/hosts")
    words: list[tuple[str, ...]] = [
        ("debug", "web/0", "--tools", kit, "--", "busybox", "true"), ("cat", "web/0:/etc/hosts"), ("procs", "web/0"),
        ("cp", "web/0:/etc", str(tmp_path)),
    ]  # fmt: skip
    since_s = time.time()
    deploys = somebody("ci", "--app", "guestbook")
    other = somebody("debug", "--app", "other")
    tries = [(deploys, each) for each in [*words, ("logs", "web")]] + [(other, each) for each in words[:2]]
    for done in AT_ONCE.map(lambda each: _try(*each), tries):
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (3, "verb-not-allowed"), (done.args, error)
        assert "eve-" in error["why"], error
    assert not cloud.events("debug", since_s)
    time.sleep(max(0.0, until_s + 0.5 - time.time()))
    code, error = eve.refused("cat", "web/0:/etc/hosts")
    assert (code, error["code"]) == (3, "unknown-key") and "is over" in error["why"], error


def _try(person: Skerry, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, words[0], "--json", *words[1:]]
    return subprocess.run(command, env=person.environment, capture_output=True, text=True, timeout=60)


def test_one_that_hangs_is_looked_into_by_all_means(cloud: Cloud, kit: str) -> None:
    web = Replica(cloud)
    cloud.inside(web.node, "kill", f"-{signal.SIGSTOP.value}", str(web.pid))
    try:
        (first,) = [row for row in cloud.skerry.json("procs", "web/0")["processes"] if row["pid"] == 1]
        assert first["state"] == "stopped"
        assert "localhost" in cloud.skerry.run("cat", "web/0:/etc/hosts")
        done = cloud.skerry.run(
            "debug", "web/0", "--tools", kit, "--", "busybox", "grep", "State", "/proc/{pid}/status"
        )
        assert "T (stopped)" in done
        done = cloud.skerry.run("debug", "web/0", "--tools", kit, "--limit", "1s", *STRACE, ok=False)
    finally:
        cloud.inside(web.node, "kill", f"-{signal.SIGCONT.value}", str(web.pid))
    assert not web.left() and web.status()["TracerPid"] == "0"


def test_what_a_container_plants_and_swaps_never_leads_to_the_hosts_files(
    cloud: Cloud, kit: str, tmp_path: Path
) -> None:
    """The planting is done by a tool that may write there, as the container's own user, as fast as it can."""
    web = Replica(cloud)
    cloud.inside(
        web.node, "sh", "-c", "mkdir -p /root/own && echo of-the-host >/root/own/secret && chmod 700 /root/own"
    )
    script = """
        cd /target/tmp; ln -s /root/own/secret planted; ln -s /root/own folder; mkdir a; echo mine >a/secret; ln -s /root/own b
        echo ready; while :; do mv a c; mv b a; mv a b; mv c a; done
    """
    command = [
        COMMAND,
        "debug",
        "web/0",
        "--tools",
        kit,
        "--write",
        "--limit",
        "1m",
        "--",
        "busybox",
        "sh",
        "-c",
        script,
    ]
    hostile = subprocess.Popen(command, env=cloud.skerry.environment, stdout=subprocess.PIPE)
    try:
        assert hostile.stdout is not None and hostile.stdout.readline() == b"ready\n"
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree/secret").write_text("of-the-operator\n")
        ways: list[tuple[str, ...]] = [
            ("cat", f"web/0:/tmp/{path}") for path in ("planted", "folder/secret", "a/secret")
        ]
        ways.append(
            ("debug", "web/0", "--tools", kit, "--", "busybox", "cat", "/target/tmp/planted", "/target/tmp/a/secret")
        )
        for to in ("planted", "folder/secret", "a"):
            ways.append(("cp", "--write", "--yes", str(tmp_path / "tree/secret"), f"web/0:/tmp/{to}"))
        ways.append(("cp", "--write", "--yes", str(tmp_path / "tree"), "web/0:/tmp/a"))
        ways.append(("cp", "web/0:/tmp", str(tmp_path / "out")))
        for said in AT_ONCE.map(lambda each: cloud.skerry.run(*each, ok=False), ways):
            assert "of-the-host" not in said
        for file in (tmp_path / "out").rglob("*"):
            assert file.is_symlink() or file.is_dir() or b"of-the-host" not in file.read_bytes()
    finally:
        hostile.send_signal(signal.SIGINT)
        hostile.wait(20)
        cloud.skerry.run(
            "debug", "web/0", "--tools", kit, "--write", "--", "busybox", "sh", "-c", "rm -r /target/tmp/*"
        )
    assert cloud.inside(web.node, "sh", "-c", "cat /root/own/secret; ls -A /root/own") == "of-the-host\nsecret\n"
    assert not web.left()
