"""What a hostile container puts in the way of who looks into it: links, pipes, devices, loops, endless and odd things.

Whatever is opened is the container's own, nothing hangs, nothing outgrows its bound, and what the container could see stays as it was.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.real import RealHost, real_host, wait_for

pytestmark = pytest.mark.real
IDLE = "exec sleep 1000"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    with real_host(tmp_path_factory.mktemp("hostile")) as host:
        yield host


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the host that only root reads."""
    file = tmp_path / "secret"
    file.write_text("the host's own\n")
    file.chmod(0o600)
    return file


def ready(host: RealHost, script: str, **more: str) -> str:
    """Its slot, once the script has come to its end, where it idles."""
    slot = host.run(f"{script}\ntouch /tmp/ready; {IDLE}", **more)  # type: ignore[arg-type]
    wait_for(f"{slot} to be ready", lambda: host.file(slot, "/tmp/ready").exists())
    return slot


def test_links_lead_into_the_container_never_to_the_host(host: RealHost, secret: Path, tmp_path: Path) -> None:
    slot = ready(
        host,
        f"cd /tmp; ln -s {secret} absolute; ln -s ../../../../../../../../..{secret} up; ln -s / root; ln -s /proc/1/root magic"
        "; ln -s /proc/self/fd/0 fd; ln -s loop2 loop1; ln -s loop1 loop2; mkdir d; ln -s .. d/back",
    )
    for path in (
        "absolute",
        "up",
        f"root{secret}",
        f"magic{secret}",
        f"../..{secret}",
        "fd",
        "loop1",
        "d/back/d/back/loop1",
    ):
        seen = host.skerry("cat", f"{slot}:/tmp/{path}")
        assert (seen.code, seen.out) == (2, b""), path
        assert "host's own" not in seen.err
    assert host.skerry("ls", f"{slot}:/tmp/root/tmp/d/back/d", "--json").code == 0
    assert "d" in host.skerry("ls", f"{slot}:/tmp/root/tmp").out.decode()
    assert host.skerry("cp", f"{slot}:/tmp", str(tmp_path / "out")).code == 0
    copied = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    assert "absolute" not in copied
    assert "up" not in copied
    assert {"loop1", "d", "back", "ready"} <= set(copied)
    assert not any(path.is_symlink() and path.readlink().is_absolute() for path in (tmp_path / "out").rglob("*"))


def test_folders_swapped_for_links_while_they_are_read_lead_nowhere_else(
    host: RealHost, secret: Path, tmp_path: Path
) -> None:
    """The container swaps a folder with a link to the host's folder as fast as it can; so with the file's name."""
    here = secret.parent
    slot = ready(
        host,
        f"cd /tmp; mkdir a; echo mine >a/secret; ln -s {here} b; (while [ ! -e /tmp/stop ]; do mv a c; mv b a; mv a b; mv c a; done) &"
        f"mkdir f; (while [ ! -e /tmp/stop ]; do echo mine >f/t; mv f/t f/secret; ln -s {secret} f/t; mv f/t f/secret; done) &",
    )
    seen = set()
    for _ in range(2):
        seen |= {host.skerry("cat", f"{slot}:/tmp/a/secret").out, host.skerry("cat", f"{slot}:/tmp/f/secret").out}
        host.skerry("ls", f"{slot}:/tmp/a", "--json")
    assert seen <= {b"mine\n", b""}
    for n in range(1):
        host.skerry("cp", f"{slot}:/tmp", str(tmp_path / f"out{n}"))
        for path in (tmp_path / f"out{n}").rglob("*"):
            assert path.is_symlink() or path.is_dir() or "host's own" not in path.read_text()
    host.file(slot, "/tmp/stop").touch()


def test_writing_goes_into_the_container_however_its_folders_are_swapped(host: RealHost, tmp_path: Path) -> None:
    """Nobody but --write writes; what is written belongs to the application's user."""
    victim, mine = tmp_path / "victim", tmp_path / "mine"
    victim.mkdir()
    mine.write_text("fixed\n")
    slot = ready(
        host,
        f"cd /tmp; mkdir a; ln -s {victim} b; ln -s {victim}/x x;"
        "(while [ ! -e /tmp/stop ]; do mv a c; mv b a; mv a b; mv c a; done) & mkdir t t/d;"
        f"(cd t; while [ ! -e /tmp/stop ]; do mv d c; ln -s {victim} d; rm d; mv c d; done) &",
        user="1000:1000",
    )
    (tmp_path / "tree/d/e").mkdir(parents=True)
    (tmp_path / "tree/d/e/x").write_text("deep")
    (tmp_path / "tree/d/y").write_text("less deep")
    assert host.skerry("cp", str(mine), f"{slot}:/tmp/new").code == 2
    assert not host.file(slot, "/tmp/new").exists()
    for n in range(2):
        host.skerry("cp", "--write", str(mine), f"{slot}:/tmp/a/{n}")
        host.skerry("cp", "--write", "--yes", str(tmp_path / "tree/d"), f"{slot}:/tmp/t")
    asked = host.skerry("cp", "--write", str(mine), f"{slot}:/tmp/x")
    assert asked.code == 1 and "would be written over: /tmp/x (link" in asked.err
    assert (
        host.skerry("cp", "--write", "--yes", str(mine), f"{slot}:/tmp/x").code == 0
    )  # replaces the link, isn't led by it
    assert host.skerry("cp", "--write", str(mine), f"{slot}:/tmp/").code == 0
    assert list(victim.iterdir()) == []
    host.file(slot, "/tmp/stop").touch()
    status = host.file(slot, "/tmp/mine").stat()
    assert (status.st_uid, status.st_gid, host.file(slot, "/tmp/mine").read_text()) == (1000, 1000, "fixed\n")
    for path in ("/usr/bin/x", "/proc/x", "/sys/x", "/etc/hosts", "/nowhere/x"):
        seen = host.skerry("cp", "--write", str(mine), f"{slot}:{path}")
        assert seen.code in (1, 2), path
        assert "was not written" in seen.err or "there is no" in seen.err, seen.err


def test_pipes_devices_and_sockets_are_shown_and_never_opened(host: RealHost, tmp_path: Path) -> None:
    slot = ready(
        host, "cd /tmp; mkfifo pipe; nc -lU sock >/dev/null 2>&1 & ln -s /dev/zero /tmp/zero; echo x >/tmp/plain"
    )
    rows = {row["name"]: row["kind"] for row in host.skerry("ls", f"{slot}:/tmp", "--json").json["entries"]}
    assert rows["pipe"] == "pipe"
    for path in ("/tmp/pipe", "/tmp/zero", "/dev/random", "/proc/kmsg", "/proc/1/mem", "/sys/kernel/uevent_seqnum"):
        seen = host.skerry("cat", f"{slot}:{path}")
        assert (seen.code, seen.out) == (2, b""), path
    assert host.skerry("cp", f"{slot}:/tmp", str(tmp_path / "out")).code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plain", "ready"]


def test_huge_and_sparse_files_are_refused_before_a_byte_is_sent(host: RealHost, tmp_path: Path) -> None:
    slot = ready(host, "truncate -s 1000000000000 /tmp/sparse; head -c 3000000 /dev/zero >/tmp/three")
    began_s = time.monotonic()
    for verb, more in (("cat", []), ("cp", [str(tmp_path / "o")])):
        seen = host.skerry(verb, f"{slot}:/tmp/sparse", *more)
        assert (seen.code, seen.out) == (2, b"")
        assert "1000000000000 bytes (0 on disk)" in seen.err
    assert time.monotonic() - began_s < 10
    assert host.skerry("cp", f"{slot}:/tmp/three", str(tmp_path / "o"), "--limit", "2m").code == 2
    assert list(tmp_path.iterdir()) == []
    assert len(host.skerry("cat", f"{slot}:/tmp/three").out) == 3_000_000


def test_a_file_that_grows_for_ever_ends_at_the_limit(host: RealHost) -> None:
    slot = ready(host, "(while [ ! -e /tmp/stop ]; do head -c 100000 /dev/zero >>/tmp/log; done) &")
    seen = host.skerry("cat", f"{slot}:/tmp/log", "--limit", "20m")
    host.file(slot, "/tmp/stop").touch()
    assert len(seen.out) <= 20 << 20
    if seen.code:
        assert "are allowed" in seen.err


def test_names_may_be_anything_and_come_cleaned(host: RealHost, tmp_path: Path) -> None:
    escapes = tmp_path / "escapes"
    escapes.write_bytes(b"\x1b]0;owned\x07\tx\n")
    odd = r"a\nb", r"e\033[31m", r"x\377y", "-rf", "ü b"
    slot = ready(host, "mkdir /tmp/d; cd /tmp/d; " + "; ".join(f'touch -- "$(printf -- "{name}")"' for name in odd))
    text = host.skerry("ls", f"{slot}:/tmp/d").out.decode()
    assert "\x1b" not in text
    assert len(text.splitlines()) == 6
    host.skerry("cp", "--write", str(escapes), f"{slot}:/tmp/escapes")
    assert host.skerry("cat", f"{slot}:/tmp/escapes").out == b"\x1b]0;owned\x07\tx\n"
    assert host.skerry("cat", f"{slot}:/tmp/escapes", at_terminal=True).out == rb"\x1b]0;owned\x07    x" + b"\n"
    names = {row["name"] for row in host.skerry("ls", f"{slot}:/tmp/d", "--json").json["entries"]}
    assert names == {"a\nb", "e\x1b[31m", r"x\xffy", "-rf", "ü b"}
    assert host.skerry("cp", f"{slot}:/tmp/d", str(tmp_path / "o")).code == 0
    assert {os.fsencode(path.name) for path in (tmp_path / "o").iterdir()} >= {b"a\nb", b"x\xffy", "ü b".encode()}


def test_a_folder_of_very_many_is_bounded_and_said(host: RealHost) -> None:
    slot = ready(host, "mkdir /tmp/d; cd /tmp/d; seq 1 3000 >/tmp/n; while read n; do : >$n; done </tmp/n")
    told = host.skerry("ls", f"{slot}:/tmp/d", "--json")
    assert (len(told.json["entries"]), told.json["more"]) == (1000, True)
    assert "there are more than these 1000" in told.err
    whole = host.skerry("ls", f"{slot}:/tmp/d", "--limit", "100000", "--json").json
    assert (len(whole["entries"]), whole["more"]) == (3000, False)
    assert host.skerry("files", slot, "--limit", "500", "--json").json["more"] is True


def test_one_that_is_stopped_and_full_is_looked_into_and_nothing_of_it_is_seen_from_inside(
    host: RealHost, tmp_path: Path
) -> None:
    """Access times, processes, descriptors, mounts and sockets are, after every kind of look, what they were."""
    slot = ready(
        host,
        "cd /tmp; mkdir d; echo x >d/a; ln -s d/a l; nc -l -p 80 >/dev/null & dd if=/dev/zero of=/run/all 2>/dev/null",
    )

    def look() -> dict[str, object]:
        pid = host.pid(slot)
        times = {p: os.lstat(host.file(slot, p)).st_atime_ns for p in ("/tmp", "/tmp/d", "/tmp/d/a", "/tmp/l")}
        return times | {
            "processes": sorted(host.agent.runtime.pids(host.id(slot))),
            "files": sorted(path.name for path in Path(f"/proc/{pid}/fd").iterdir()),
            **{
                name: Path(f"/proc/{pid}/{name}").read_text()
                for name in ("mountinfo", "net/packet", "net/netlink", "net/unix")
            },
            "flags": Path(f"/proc/{pid}/net/dev_mcast").read_text(),
        }

    os.kill(host.pid(slot), signal.SIGSTOP)  # so that it is not its own sleeping and waking that changes it
    before = look()
    for args in (
        ("ls", f"{slot}:/tmp/d"), ("ls", f"{slot}:/tmp"), ("cat", f"{slot}:/tmp/l"), ("cp", f"{slot}:/tmp", str(tmp_path / "o")),
        ("procs", slot), ("sockets", slot), ("files", slot), ("capture", slot, "--seconds", "200ms"),
    ):  # fmt: skip
        assert host.skerry(*args).code == 0, args
    states = {row["pid"]: row["state"] for row in host.skerry("procs", slot, "--json").json["processes"]}
    full = {row["path"]: row for row in host.skerry("files", slot, "--json").json["places"]}["/run"]
    assert (states[1], full["used_bytes"]) == ("stopped", full["limit_bytes"])
    (tmp_path / "more").write_text("x")
    refused = host.skerry("cp", "--write", str(tmp_path / "more"), f"{slot}:/run/more")
    assert refused.code == 1
    assert "0 bytes are free there" in refused.err
    assert look() == before
    os.kill(host.pid(slot), signal.SIGCONT)
