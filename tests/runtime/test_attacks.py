"""What containers try against their host, and what hostile images try against their runtime. Real containers, by runc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from runtime.bench import OciBench
from runtime.contract import next_exit
from skerry.runtime import record
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.contract import ContainerSpec, Mount, RuntimeRefused
from skerry.runtime.probe import elf

pytestmark = pytest.mark.real


@pytest.fixture
async def bench() -> AsyncIterator[OciBench]:
    bench = OciBench("runc")
    yield bench
    await bench.finish()


async def said(bench: OciBench, spec: ContainerSpec) -> tuple[int, list[str]]:
    """Run it to its end: exit code, and the lines that it said."""
    exits = bench.runtime.exits()
    await bench.runtime.start(spec)
    exited = await next_exit(exits)
    lines = [line.split(" ", 3)[3] for path in bench.runtime.logs(spec.id) for line in path.read_text().splitlines()]
    return exited.exit_code, lines


def on_disk(folder: Path) -> int:
    """Bytes of its output's files, each counted once whatever its names; what tells of them is small."""
    sizes: dict[int, int] = {}
    for path in (path for path in folder.iterdir() if path.suffix != ".json"):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


def cgroups_of(pid: int) -> set[str]:
    paths = {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    return paths - {"/"}


async def test_nothing_outside_of_the_declared_places_can_be_written(bench: OciBench) -> None:
    volume = bench.own / "volume"
    volume.mkdir()
    mounts = (Mount(target="/data", source=str(volume)), Mount(target="/scratch"))
    script = """
        for place in / /etc /bin /dev/x /sys /proc/sys/kernel /data /scratch /tmp /run; do
            touch $place/it 2>/dev/null && echo $place
        done
        for file in /proc/sysrq-trigger /proc/sys/kernel/domainname /etc/hosts; do
            (: >> $file) 2>/dev/null && echo $file
        done
        id -u; id -G; cat /etc/hosts
    """
    spec = msgspec.structs.replace(
        bench.shell("a", script), user="app", mounts=mounts, files=(("/etc/hosts", b"127.0.0.1 localhost\n"),)
    )
    code, lines = await said(bench, spec)
    assert (code, lines) == (0, ["/data", "/scratch", "/tmp", "/run", "1000", "1000 2000", "127.0.0.1 localhost"])
    assert (volume / "it").stat().st_uid == 1000
    assert not (bench.tree / "etc/hosts").exists()
    assert not (bench.tree / "scratch").exists()


async def test_a_container_has_no_rights_but_the_declared(bench: OciBench) -> None:
    script = """
        while read name value; do case $name in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo $name $value;; esac
        done < /proc/self/status
        mount -t tmpfs x /tmp 2>/dev/null && echo mounted
        head -c 1 /proc/kcore 2>/dev/null | ls -d /proc/[0-9]* | head -n 9
    """
    spec = msgspec.structs.replace(bench.shell("a", script), capabilities=("CAP_NET_BIND_SERVICE",), user="app")
    _, lines = await said(bench, spec)
    right = "0000000000000400"
    assert lines[:4] == [f"CapEff: {right}", f"CapBnd: {right}", "NoNewPrivs: 1", "Seccomp: 2"]
    assert "mounted" not in lines
    assert len(lines[4:]) <= 4  # its own few processes, none of the host's


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attack is x86-64 machine code")
async def test_a_container_cannot_trace(bench: OciBench) -> None:
    traceme = b"\x31\xff\xb8\x65\x00\x00\x00\x0f\x05\x89\xc7\xf7\xdf\xb8\x3c\x00\x00\x00\x0f\x05"  # exit(-ptrace(0))
    (bench.tree / "attack").write_bytes(elf(62, traceme))
    (bench.tree / "attack").chmod(0o755)
    code, _ = await said(bench, ContainerSpec(id="a", root=bench.tree, args=("/attack",)))
    assert code == 1  # EPERM
    assert struct.calcsize("P") == 8


async def test_symlinks_of_an_image_lead_nowhere_on_the_host(bench: OciBench) -> None:
    outside = bench.own / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (bench.tree / "etc/passwd").unlink()
    (bench.tree / "etc/passwd").symlink_to(outside / "secret")
    (bench.tree / "conf").symlink_to(outside)
    (bench.tree / "data").symlink_to(f"../../../../../../..{outside}")
    volume = bench.own / "volume"
    volume.mkdir()
    (volume / "mine").touch()
    spec = msgspec.structs.replace(
        bench.shell("a", "cat /conf/hosts; ls /data/; cat /conf/secret"),
        user="5:5",
        files=(("/conf/hosts", b"bound\n"),),
        mounts=(Mount(target="/data/volume", source=str(volume)),),
    )
    code, lines = await said(bench, spec)
    assert lines[0] == "bound"
    assert "volume" in lines
    assert code != 0
    assert not any("secret" in line and "can't open" not in line for line in lines)
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


async def test_a_fork_bomb_stays_in_its_limit_and_ends_whole(bench: OciBench) -> None:
    # The first process has no need to fork once the bomb is off: it would end on a fork that fails.
    script = "busybox mkfifo /tmp/never; trap '' TERM; sh -c 'while :; do sleep 1000 & done'; read x < /tmp/never"
    await bench.runtime.start(msgspec.structs.replace(bench.shell("a", script), pids=20))
    cgroup = f"{bench.cgroup}/a"
    async with asyncio.timeout(5):
        while len(Cgroups().pids(cgroup)) < 19:  # noqa: ASYNC110  the kernel has no event for it
            await asyncio.sleep(0.02)
    assert len(Cgroups().pids(cgroup)) <= 20
    await bench.runtime.stop("a", signal="SIGTERM", grace_s=0.1)
    assert bench.leftovers() == []


async def test_a_memory_hog_is_told_as_such(bench: OciBench) -> None:
    spec = ContainerSpec(id="hog", root=bench.tree, args=("/bin/tail", "/dev/zero"), memory_bytes=16 << 20)
    exits = bench.runtime.exits()
    await bench.runtime.start(spec)
    exited = await next_exit(exits)
    assert (exited.exit_code, exited.oom) == (137, True)


async def test_a_child_killed_for_memory_is_not_the_containers_end(bench: OciBench) -> None:
    script = "tail /dev/zero; echo went on"
    exits = bench.runtime.exits()
    await bench.runtime.start(msgspec.structs.replace(bench.shell("a", script), memory_bytes=16 << 20))
    exited = await next_exit(exits)
    assert (exited.exit_code, exited.oom) == (0, False)


async def test_a_flood_of_output_is_bounded_on_disk(bench: OciBench) -> None:
    script = "n=0; while [ $n -lt 3000 ]; do echo line $n .....................................; n=$((n+1)); done"
    half = 32 << 10  # of what is written to, and of the part before it
    spec = msgspec.structs.replace(bench.shell("a", script), log_max_bytes=2 * half)
    _, lines = await said(bench, spec)
    assert "line 2999 ..." in "".join(lines[-2:]), lines[-2:]  # a line may come in two parts
    assert on_disk(bench.own / "logs/a") <= 4 * half  # two that are left out may wait to be counted
    async with asyncio.timeout(60):
        while on_disk(bench.own / "logs/a") > 2 * half:  # noqa: ASYNC110  it tells nobody that it is through
            await asyncio.sleep(0.02)


async def test_a_killed_monitor_takes_its_container_with_it_and_that_is_told(bench: OciBench) -> None:
    exits = bench.runtime.exits()
    await bench.runtime.start(bench.spec("a", "runs"))
    made = record.read(bench.own / "c/a", record.Made)
    assert made is not None
    os.kill(made.monitor, signal.SIGKILL)
    assert (await next_exit(exits)).exit_code == 137
    await bench.runtime.stop("a", signal="SIGTERM", grace_s=1)
    assert bench.leftovers() == []


async def test_a_monitor_killed_while_no_agent_looked(bench: OciBench) -> None:
    await bench.runtime.start(bench.spec("a", "runs"))
    made = record.read(bench.own / "c/a", record.Made)
    assert made is not None
    await bench.runtime.close()
    os.kill(made.monitor, signal.SIGKILL)
    await bench.restart()
    assert (await next_exit(bench.runtime.exits())).exit_code == 137


async def test_a_host_that_leaves_keeps_nothing(bench: OciBench) -> None:
    for id in ("a", "b"):
        await bench.runtime.start(bench.spec(id, "runs"))
    await bench.runtime.purge()
    assert bench.leftovers() == []
    assert not any((tree / bench.cgroup.strip("/")).exists() for tree in Cgroups().trees)


@pytest.mark.parametrize("id", ["", "..", "a/b", "mon", ".hidden", "a" * 128, "a\n"])
async def test_an_id_is_never_a_path(bench: OciBench, id: str) -> None:
    for call in (bench.runtime.start(bench.spec(id, "runs")), bench.runtime.stop(id, signal="SIGTERM", grace_s=0)):
        with pytest.raises(RuntimeRefused, match="is no container"):
            await call


async def test_the_monitor_is_in_a_cgroup_of_its_own_and_the_container_in_another(bench: OciBench) -> None:
    started = await bench.runtime.start(bench.spec("a", "runs"))
    made = record.read(bench.own / "c/a", record.Made)
    assert made is not None
    assert cgroups_of(made.monitor) == {f"{bench.cgroup}/mon"}
    assert cgroups_of(started.pid) == {f"{bench.cgroup}/a"}


async def test_a_cancelled_start_leaves_nothing(bench: OciBench) -> None:
    for delay_s in (0.0, 0.002, 0.01, 0.03):
        task = asyncio.create_task(bench.runtime.start(bench.spec("a", "runs")))
        await asyncio.sleep(delay_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bench.runtime.stop("a", signal="SIGKILL", grace_s=0)  # if it was quicker
        assert bench.leftovers() == []


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"skr-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "del", name], check=True)


async def test_a_low_port_is_no_privilege_in_a_network_of_ones_own(bench: OciBench, netns: str) -> None:
    script = "busybox httpd -p 80 -h /etc; busybox wget -q -O - http://127.0.0.1/motd; hostname"
    (bench.tree / "etc/motd").write_text("hi\n")
    spec = msgspec.structs.replace(bench.shell("a", script), netns=netns, user="1000:1000", hostname="web-0")
    _, lines = await said(bench, spec)
    assert lines == ["hi", "web-0"]
