"""The build stage for real: what a command in it can do, what it can't, and what is left when it is stopped at any moment."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from disks import disk_of
from skerry.image.building.pile import File, file_of, link_to
from skerry.image.building.sources.lock import Wants
from skerry.image.building.sources.locking import lock
from skerry.image.building.stage import sandbox, workspace
from skerry.image.building.stage.contract import (
    BASE_PACKAGES,
    UNCHANGED,
    Job,
    Limits,
    Sandbox,
    StageDiskFull,
    StageFailed,
    StageStopped,
    StageUnavailable,
)
from skerry.image.building.stage.run import run_stage
from skerry.image.building.stage.workspace import remove_tree

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "cache"
MAKEFILE = b"server: src/main.c\n\t$(CC) $(CFLAGS) -static -o $@ $<\n"
MAIN = b'#include <stdio.h>\nint main(void) { printf("%s %s %s\\n", __FILE__, __DATE__, __TIME__); }\n'


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lock")
    packages = (*BASE_PACKAGES, "gcc", "libc6-dev", "make")
    return lock(
        Wants(packages), file=folder / "skerry.lock", name="x", context=folder, cache=CACHE, progress=lambda line: None
    ).debs


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Results of its own; downloads and roots are those of all tests."""
    own = tmp_path / "cache"
    made = workspace.tempfile.mkdtemp
    monkeypatch.setattr(workspace.tempfile, "mkdtemp", lambda **where: note(made(**where)))
    (own / "stage").mkdir(parents=True)
    (CACHE / "unpacked").mkdir(exist_ok=True)
    for part in ("debs", "unpacked"):
        (own / part).symlink_to(CACHE / part)
    (CACHE / "stage" / "roots").mkdir(parents=True, exist_ok=True)
    (own / "stage" / "roots").symlink_to(CACHE / "stage" / "roots")
    yield own
    assert nothing_left(own)


RUNS: set[str] = set()  # names of all runs of these tests: others on this machine may build, too


def note(folder: str) -> str:
    RUNS.add(Path(folder).name)
    return folder


def cgroups(cache: Path) -> list[Path]:
    """Of containers of runs in this cache, and of those before."""
    for folder in (cache / "stage" / "work").glob("skerry-stage-*"):
        note(str(folder))
    return [path for path in Path("/sys/fs/cgroup").glob("*/skerry-stage-*") if path.name in RUNS]


def nothing_left(cache: Path) -> bool:
    """No folder of a run, no container, no cgroup, no mount."""
    work = cache / "stage" / "work"
    folders = [path.name for path in work.iterdir() if path.is_dir()] if work.is_dir() else []
    return not folders and not cgroups(cache) and str(work) not in Path("/proc/mounts").read_text()


def sh(locked, script: str, *outputs: str, files: tuple[File, ...] = (), **limits) -> Job:
    return Job(locked, files, (("sh", "-c", script),), outputs, limits=Limits(**limits))


def output(job: Job, cache: Path) -> str:
    """What its commands print."""
    lines: list[str] = []
    run_stage(job, cache=cache, progress=lines.append)
    return "\n".join(line for line in lines if not line.startswith("$ "))


def server(locked, **changes) -> Job:
    files = (file_of("Makefile", MAKEFILE, "project"), file_of("src/main.c", MAIN, "project"))
    return Job(locked, changes.pop("files", files), (("make",),), ("server",), **changes)


def test_a_c_program_is_compiled_once_and_again_only_when_something_changed(locked, cache):
    lines: list[str] = []
    (first,) = run_stage(server(locked), cache=cache, progress=lines.append)
    assert first.path == "server" and first.load()[:4] == b"\x7fELF" and any("main.c" in line for line in lines)
    lines.clear()
    (again,) = run_stage(server(locked), cache=cache, progress=lines.append)
    assert again.sha256 == first.sha256 and lines == [UNCHANGED]
    changed = (file_of("Makefile", MAKEFILE, "project"), file_of("src/main.c", MAIN + b"//", "project"))
    run_stage(server(locked, files=changed), cache=cache, progress=lines.append)
    assert "$ make" in lines


def test_two_places_two_umasks_and_two_time_zones_give_the_same_bytes(locked, cache, tmp_path, monkeypatch):
    (one,) = run_stage(server(locked), cache=cache)
    other = tmp_path / "elsewhere" / "deeper"
    (other / "stage").mkdir(parents=True)
    for part in ("debs", "unpacked"):
        (other / part).symlink_to(CACHE / part)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("CFLAGS", "-g")
    before = os.umask(0o077)
    try:
        (two,) = run_stage(server(locked), cache=other)  # its root is made anew, too
    finally:
        os.umask(before)
    assert two.sha256 == one.sha256
    assert b"src/main.c Jan  1 1980" not in one.load()  # it is formatted at run time; the parts are there
    assert b"Jan  1 1980" in one.load() and str(tmp_path).encode() not in one.load()


def test_there_is_no_network_but_its_own_loopback(locked, cache):
    said = output(sh(locked, "cat /proc/net/dev | tail -n +3; cat /proc/net/route | tail -n +2"), cache)
    assert said.split()[0] == "lo:" and len(said.splitlines()) == 1
    connects = (f"exec 3<>/dev/tcp/{address}/80" for address in ("127.0.0.1", "10.0.0.1", "192.0.2.1", "debian.org"))
    for script in connects:
        with pytest.raises(StageFailed, match=r"refused|unreachable|resolution|not known"):
            run_stage(Job(locked, (), (("bash", "-c", script),), ()), cache=cache)


def test_it_is_nobody_and_sees_nothing_of_this_machine(locked, cache, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    script = f"""
        grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs)' /proc/self/status; ls -d /home/* /root/* {tmp_path} {Path.home()}/.ssh;
        for place in / /etc /usr/bin /home /root /var; do touch $place/x && echo wrote $place; done;
        mount -t tmpfs x /mnt && echo mounted; env | grep -i SKERRY_TEST; cat /proc/1/environ | tr '\\0' '\\n' | grep SKERRY_TEST;
        ls /sys; true"""
    os.environ["SKERRY_TEST"] = "secret"
    try:
        said = output(sh(locked, script), cache)
    finally:
        del os.environ["SKERRY_TEST"]
    assert "Uid:\t64321\t64321\t64321\t64321" in said and "NoNewPrivs:\t1" in said
    assert "CapEff:\t0000000000000000" in said and "CapBnd:\t0000000000000000" in said
    for word in ("wrote", "mounted", "secret", "SKERRY_TEST=", "key", "kernel"):
        assert f"\n{word}" not in said and f"={word}" not in said
    assert said.count("Read-only file system") == 6


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", "sub/../../x"])
def test_an_output_that_leads_out_of_the_folder_is_refused(locked, cache, target):
    with pytest.raises(StageFailed, match="link out of the folder"):
        run_stage(sh(locked, f"ln -s {target} out", "out"), cache=cache)


def test_no_link_is_followed_when_outputs_are_taken(locked, cache):
    """`out` leads to a folder of this machine; its files don't count as being in it."""
    with pytest.raises(StageFailed, match="left no 'out/passwd'"):
        run_stage(sh(locked, "ln -s /etc out", "out/passwd"), cache=cache)
    with pytest.raises(StageFailed, match="neither a file"):
        run_stage(sh(locked, "mkfifo pipe", "pipe"), cache=cache)


def test_outputs_are_files_globs_and_whole_folders_and_the_rest_is_thrown_away(locked, cache):
    script = """mkdir -p dist/a/b other; echo 1 > dist/a/b/1.js; echo 2 > dist/2.js; ln -s 2.js dist/l; echo x > other/x
        echo 3 > other/3.so; chmod 000 dist/2.js; mkdir closed; chmod 000 closed"""
    found = run_stage(sh(locked, script, "dist", "other/*.so"), cache=cache)
    assert [(f.path, f.kind, f.link or f.load()) for f in found] == [
        ("dist/2.js", "f", b"2\n"),
        ("dist/a/b/1.js", "f", b"1\n"),
        ("dist/l", "l", "2.js"),
        ("other/3.so", "f", b"3\n"),
    ]
    with pytest.raises(StageFailed, match=r"left no 'dist/\*\.css'") as error:
        run_stage(sh(locked, script, "dist", "dist/*.css"), cache=cache)
    assert "closed, dist, other" in error.value.why


def test_sources_keep_their_links_and_scripts_can_be_run(locked, cache):
    files = (
        file_of("go.sh", b"#!/bin/sh\ncat link\n", "p"),
        link_to("link", "data/x", "p"),
        file_of("data/x", b"hi", "p"),
    )
    assert output(Job(locked, files, (("./go.sh",),), ()), cache) == "hi"


def test_a_failure_tells_the_exit_code_and_the_last_lines(locked, cache):
    with pytest.raises(StageFailed) as error:
        run_stage(sh(locked, "for n in $(seq 100); do echo line $n; done; echo broken >&2; exit 7"), cache=cache)
    assert error.value.what.endswith("failed with exit code 7")
    assert "line 99" in error.value.why and "broken" in error.value.why and "line 80" not in error.value.why
    with pytest.raises(StageFailed, match="no such program") as error:
        run_stage(Job(locked, (), (("cargo", "build"),), ()), cache=cache)
    assert "packages" in error.value.fix
    with pytest.raises(StageFailed, match="exit code 2"):
        run_stage(server(locked, files=(file_of("Makefile", MAKEFILE, "p"),)), cache=cache)


def test_the_first_command_that_fails_ends_it(locked, cache):
    job = Job(locked, (), (("sh", "-c", "echo one"), ("false",), ("sh", "-c", "echo three")), ())
    lines: list[str] = []
    with pytest.raises(StageFailed):
        run_stage(job, cache=cache, progress=lines.append)
    assert "one" in lines and "three" not in lines


def test_time_has_a_limit_even_for_who_ignores_signals(locked, cache):
    started_s = time.monotonic()
    with pytest.raises(StageStopped, match="not done in 1 s"):
        run_stage(sh(locked, "trap '' TERM INT HUP; while :; do :; done", time_s=1), cache=cache)
    assert time.monotonic() - started_s < 60


def test_memory_has_a_limit_and_the_message_says_so(locked, cache):
    script = "perl -e '$x = \"a\" x (400 << 20); print length $x'"
    with pytest.raises(StageFailed) as error:
        run_stage(sh(locked, script, memory_bytes=64 << 20), cache=cache)
    assert "it may have 64 MiB" in error.value.fix


def test_processes_have_a_limit(locked, cache):
    with pytest.raises(StageFailed) as error:
        run_stage(sh(locked, "for n in $(seq 80); do sleep 60 & done; wait", processes=50), cache=cache)
    assert "fork" in error.value.why
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 1; echo alive"
    with contextlib.suppress(StageFailed, StageStopped):
        run_stage(sh(locked, bomb, processes=50, time_s=5), cache=cache)
    assert not cgroups(cache)  # a cgroup with a process in it can't be removed


def test_a_disk_that_fills_up_stops_it(locked, cache):
    free = os.statvfs(cache)
    limit = free.f_bavail * free.f_frsize - (64 << 20)
    with pytest.raises(StageStopped, match="nearly full"):
        run_stage(
            sh(locked, "dd if=/dev/zero of=big bs=1M count=4000; sleep 5", disk_left_bytes=limit, time_s=30),
            cache=cache,
        )


def test_a_full_disk_is_told(locked, tmp_path):
    with disk_of(tmp_path / "small", "16m") as small:
        for part in ("debs", "unpacked"):
            (small / part).symlink_to(CACHE / part)
        with pytest.raises(StageDiskFull, match="is full"):
            run_stage(server(locked), cache=small)
        assert not [path for path in (small / "stage" / "work").iterdir() if path.is_dir()]
        (small / "stage" / "roots").rmdir()
        (small / "stage" / "roots").symlink_to(CACHE / "stage" / "roots")
        with pytest.raises(StageStopped, match=r"the disk is full|nearly full"):
            run_stage(sh(locked, "dd if=/dev/zero of=big bs=1M count=100", disk_left_bytes=0), cache=small)


DRIVER = """
import sys
from pathlib import Path
import msgspec
from skerry.image.building.sources.lock import Deb
from skerry.image.building.stage.contract import Job
from skerry.image.building.stage.run import run_stage
debs = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=tuple[Deb, ...])
commands = (("sh", "-c", "trap '' TERM; echo begun; while :; do sleep 1000; done"),)
run_stage(Job(debs, (), commands, ()), cache=Path(sys.argv[1]), progress=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_build_ends_what_it_runs(locked, cache, tmp_path, how):
    import msgspec

    (tmp_path / "debs.json").write_bytes(msgspec.json.encode(locked))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(cache), str(tmp_path / "debs.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout
    while process.stdout.readline() != b"begun\n":
        assert process.poll() is None
    assert cgroups(cache)
    process.send_signal(how)
    process.wait(20)
    until_s = time.monotonic() + 15
    while cgroups(cache):
        assert time.monotonic() < until_s, "the container outlived its build"
        time.sleep(0.05)
    if how == signal.SIGKILL:
        assert not nothing_left(cache)  # its folder
        assert output(sh(locked, "echo next"), cache) == "next"
    assert nothing_left(cache)


def test_the_next_run_ends_what_a_killed_runtime_left_running(locked, cache, tmp_path):
    """Both this program and the runtime beside it are killed: nobody is left to hand a signal on."""
    import msgspec

    (tmp_path / "debs.json").write_bytes(msgspec.json.encode(locked))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(cache), str(tmp_path / "debs.json")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout
    while process.stdout.readline() != b"begun\n":
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGSTOP)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait(20)
    assert cgroups(cache)
    assert output(sh(locked, "echo next"), cache) == "next"


def test_two_builds_at_once_do_not_touch_each_other(locked, cache):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda n: output(sh(locked, f"echo {n}; sleep 0.3; ls"), cache), range(3)))
    assert said == ["0", "1", "2"]


def test_without_a_runtime_or_linux_it_says_what_to_do(locked, cache, monkeypatch):
    job = server(locked)
    with pytest.raises(StageUnavailable, match="none of no-such-runtime") as error:
        run_stage(job, cache=cache, sandbox=Sandbox(runtimes=("no-such-runtime",)))
    assert "apt install runc" in error.value.fix
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(StageUnavailable, match="needs Linux"):
        run_stage(job, cache=cache)


def test_without_root_rights_the_same_bytes_come_out(locked, cache, tmp_path):
    """As a user of this machine who may make user namespaces; the tree of the project may not be open to him, so it is copied."""
    import msgspec

    open_to_all = Path("/tmp") / f"skerry-stage-test-{os.getpid()}"
    python = "/usr/bin/python3.11"
    if not Path(python).exists():
        pytest.skip("no Python that every user may run")
    try:
        own = open_to_all / "cache"
        (own / "stage").mkdir(parents=True)
        for part in ("debs", "unpacked"):
            (own / part).symlink_to(CACHE / part)
        (open_to_all / "debs.json").write_bytes(msgspec.json.encode(locked))
        (open_to_all / "sources").mkdir()
        (open_to_all / "main.c").write_bytes(MAIN)
        (open_to_all / "Makefile").write_bytes(MAKEFILE)
        script = f"""
import sys
sys.path[:0] = {[str(ROOT / "src"), *[p for p in sys.path if p.endswith("site-packages")]]!r}
from pathlib import Path
import msgspec
from skerry.image.building.pile import file_of
from skerry.image.building.sources.lock import Deb
from skerry.image.building.stage.contract import Job
from skerry.image.building.stage.run import run_stage
here = Path({str(open_to_all)!r})
debs = msgspec.json.decode((here / "debs.json").read_bytes(), type=tuple[Deb, ...])
files = (file_of("Makefile", (here / "Makefile").read_bytes(), "p"), file_of("src/main.c", (here / "main.c").read_bytes(), "p"))
(found,) = run_stage(Job(debs, files, (("make",),), ("server",)), cache=here / "cache")
print(found.sha256)
"""
        subprocess.run(["chown", "-R", "12345:12345", open_to_all], check=True)
        setpriv = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
        ran = subprocess.run(
            [*setpriv, python, "-c", script], capture_output=True, text=True, timeout=120, cwd="/", env={"HOME": "/tmp"}
        )
        if "Permission denied" in ran.stderr and "site-packages" in ran.stderr:
            pytest.skip("the tests' Python is not open to other users")
        assert ran.returncode == 0, ran.stderr[-2000:]
        (rooted,) = run_stage(server(locked), cache=cache)
        assert ran.stdout.split() == [rooted.sha256]
    finally:
        remove_tree(open_to_all)
