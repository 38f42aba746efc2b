"""What a tool that looks in sees and may do, and what it may not: against its target, other containers, the monitor and the host."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from runtime.bench import TOOLS_WITH, OciBench
from runtime.looking_in import Done, run
from skerry.runtime import record
from skerry.runtime.contract import Mount, RuntimeBusy, RuntimeRefused, ToolSpec
from skerry.runtime.tools_spec import CAPABILITIES

pytestmark = pytest.mark.real
KINDS = ("cgroup", "ipc", "mnt", "net", "uts")
PLANTS = """
    ln -s /etc/shadow /tmp/planted; ln -s /proc/1/root/etc/shadow /tmp/planted-too; ln -s ../../../../../../etc/shadow /tmp/planted-up
    echo of-the-target > /tmp/file; echo secret > /tmp/secret; chmod 600 /tmp/secret; mkfifo /tmp/pipe
    trap 'exit 0' TERM; while :; do sleep 0.05; done
"""


def shadow() -> bytes:
    """The host's."""
    return Path("/etc/shadow").read_bytes()


@pytest.fixture
async def bench() -> AsyncIterator[OciBench]:
    bench = OciBench(TOOLS_WITH)
    volume = bench.own / "volume"
    volume.mkdir()
    spec = msgspec.structs.replace(
        bench.shell("a", PLANTS), user="app", mounts=(Mount(target="/data", source=str(volume)),), isolated=True,
        environment=(("TOKEN", "of-the-target"),), files=(("/etc/hosts", b"127.0.0.1 localhost\n"),),
    )  # fmt: skip
    await bench.runtime.start(spec)
    async with asyncio.timeout(20):
        while (await run(bench, "a", ["ls", "/target/tmp/pipe"], bench.tree)).code:
            pass
    yield bench
    await bench.finish()


def pid_of(bench: OciBench, id: str) -> int:
    made = record.read(bench.own / "c" / id, record.Made)
    assert made is not None
    return made.pid


def spaces_of(pid: int) -> list[tuple[str, Path]]:
    return [(kind, Path(f"/proc/{pid}/ns/{kind}")) for kind in KINDS]


@pytest.fixture
def sh(bench: OciBench) -> Callable[..., asyncio.Future[Done]]:
    """Run a script of the tools image's shell."""

    def start(script: str, **more: object) -> asyncio.Future[Done]:
        return asyncio.ensure_future(run(bench, "a", ["sh", "-c", script], bench.tree, **more))

    return start


Shell = Callable[..., asyncio.Future[Done]]


async def test_it_is_the_looked_at_user_and_reads_what_modes_forbid(sh: Shell) -> None:
    done = await sh("id -u; id -G; cat /target/tmp/file /target/etc/hosts; cat /proc/{pid}/environ")
    assert done.out.splitlines()[:2] == ["1000", "1000 2000"]
    assert "of-the-target\n127.0.0.1 localhost\n" in done.out and "TOKEN=of-the-target" in done.out
    rights = await sh(
        "while read n v; do case $n in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo $n $v;; esac; done < /proc/self/status"
    )
    reading = f"{1 << CAPABILITIES.index('CAP_DAC_READ_SEARCH'):016x}"
    assert rights.out.split() == ["CapEff:", reading, "CapBnd:", reading, "NoNewPrivs:", "1", "Seccomp:", "2"]


async def test_it_sees_the_containers_processes_and_no_others(bench: OciBench, sh: Shell) -> None:
    await bench.runtime.start(bench.shell("b", "trap 'exit 0' TERM; while :; do sleep 0.05; done # of-another"))
    done = await sh("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done")
    lines = [line for line in done.out.splitlines() if line]
    assert any("planted-up" in line for line in lines), "the target"
    assert not any("of-another" in line or "pytest" in line for line in lines)
    assert sum("conmon" in line for line in lines) == 1, "its monitor's name is all that is seen of it"


async def test_a_planted_link_leads_nowhere_or_into_the_tools_image(sh: Shell, bench: OciBench) -> None:
    (bench.tree / "etc/shadow").write_text("of-the-tools-image\n")
    host = shadow()
    for link in ("/target/tmp/planted", "/proc/{pid}/root/tmp/planted", "/target/proc/1/root/tmp/planted"):
        done = await sh(f"cat {link}")
        assert done.out == "of-the-tools-image\n", "an absolute link begins at the reader's root"
    for link in ("/target/tmp/planted-too", "/target/tmp/planted-up"):
        done = await sh(f"cat {link}; echo written >> {link}", write=True)
        assert done.out in ("", "of-the-tools-image\n") and done.code != 0
    assert shadow() == host
    assert (bench.tree / "etc/shadow").read_text() == "of-the-tools-image\n"


async def test_files_are_changed_with_write_alone_and_only_where_the_container_may(sh: Shell, bench: OciBench) -> None:
    script = """
        for place in /target/tmp /target/data /target /target/etc /target/bin / /etc /proc/sys/kernel; do
            touch $place/it 2>/dev/null && echo $place
        done
        (: > /target/tmp/secret) 2>/dev/null && echo emptied
    """
    assert (await sh(script)).out == ""
    assert (await sh(script, write=True)).out.split() == ["/target/tmp", "/target/data", "emptied"]
    assert (bench.own / "volume/it").exists() and not (bench.tree / "it").exists()
    assert (await sh("cp /bin/busybox /target/tmp/busybox && /target/tmp/busybox true", write=True)).code == 126


async def test_the_monitor_and_the_host_are_out_of_reach(sh: Shell) -> None:
    script = """
        for path in /proc/1/root/etc/passwd /proc/1/cwd/pid /proc/1/fd/0 /proc/1/environ /proc/1/mem /proc/1/maps /proc/kcore; do
            head -c 1 $path >/dev/null 2>&1 && echo $path
        done
        kill -9 1; mount -t tmpfs x /tmp 2>/dev/null && echo mounted
        (echo 1 > /proc/sysrq-trigger) 2>/dev/null && echo sysrq
        ls /proc/1/root /proc/1/cwd /sys/* /run/* 2>/dev/null; tail -n +3 /proc/net/dev | head -c 7
    """
    for write in (False, True):
        done = await sh(script, write=write)
        assert done.out.split() == ["lo:"], "a network of its own, with nothing in it"


async def test_the_monitor_is_out_of_reach_beside_a_container_that_may_trace(bench: OciBench) -> None:
    """As root with CAP_SYS_PTRACE, which in the container reaches its own processes: out here it would reach the host's root."""
    spec = msgspec.structs.replace(bench.shell("t", PLANTS), user="0:0", capabilities=("CAP_SYS_PTRACE",))
    await bench.runtime.start(spec)
    script = """
        for path in /proc/1/root/etc/passwd /proc/1/environ /proc/1/mem /proc/1/maps; do
            head -c 1 $path >/dev/null 2>&1 && echo $path
        done
        timeout 2 strace -p 1 -o /tmp/trace 2>&1
    """
    done = await run(bench, "t", ["sh", "-c", script], Path("/"), write=True)
    assert "Operation not permitted" in done.out and "/proc/1/" not in done.out, done


async def test_in_its_network_it_is_in_nothing_else_of_its_and_overhears_and_changes_nothing(bench: OciBench) -> None:
    rights = ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE")
    spec = msgspec.structs.replace(
        bench.shell("n", PLANTS), user="0:0", capabilities=rights, isolated=True,
        files=(("/etc/resolv.conf", b"nameserver 192.0.2.1\n"), ("/etc/hosts", b"192.0.2.2 db\n")),
    )  # fmt: skip
    await bench.runtime.start(spec)
    theirs = {kind: str(path.readlink()) for kind, path in spaces_of(pid_of(bench, "n"))}
    script = f"""
        for kind in {" ".join(KINDS)}; do readlink /proc/self/ns/$kind; done
        cat /etc/resolv.conf /etc/hosts; while read n v; do case $n in CapBnd:|CapEff:) echo $v;; esac; done < /proc/self/status
        (echo 9 > /proc/sys/net/ipv4/ip_default_ttl) 2>/dev/null && echo changed
        ip link set lo promisc on 2>/dev/null && echo promiscuous
        timeout 1 tcpdump -i lo -c 1 2>/dev/null; ip link add name more type dummy 2>/dev/null && echo made
    """
    for join_net in (True, False):
        done = await run(bench, "n", ["sh", "-c", script], Path("/"), join_net=join_net)
        found = done.out.splitlines()
        same = {kind for kind, line in zip(KINDS, found, strict=False) if line == theirs[kind]}
        assert same == ({"net"} if join_net else set()), done
        if join_net:
            assert found[len(KINDS) : -2] == ["nameserver 192.0.2.1", "192.0.2.2 db"]
            held = sum(1 << CAPABILITIES.index(name) for name in ("CAP_DAC_READ_SEARCH", "CAP_NET_BIND_SERVICE"))
            assert found[-2:] == [f"{held:016x}"] * 2
    assert "PROMISC" not in (await run(bench, "n", ["ip", "link"], Path("/"), join_net=True)).out


async def test_a_network_that_is_the_hosts_is_none_to_join(bench: OciBench) -> None:
    await bench.runtime.start(bench.shell("h", PLANTS))
    for id in ("h", ""):
        with pytest.raises(RuntimeRefused, match="no network of its own to join") as refused:
            await run(bench, id, ["true"], bench.tree, join_net=True)
        assert refused.value.fix.startswith("leave --join out")


async def test_what_would_make_more_of_its_rights_is_refused_by_the_filter(bench: OciBench) -> None:
    """As root: then there is no other wall than the filter and the missing capabilities."""
    spec = msgspec.structs.replace(
        bench.shell("r", PLANTS), user="0:0", capabilities=("CAP_SYS_ADMIN", "CAP_SYS_MODULE")
    )
    await bench.runtime.start(spec)
    program = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, (number, *words) in {CALLS!r}.items():\n"
        "    answer = libc.syscall(number, *words)\n"
        "    print(name + ':', 'done' if answer >= 0 else os.strerror(ctypes.get_errno()))\n"
    )
    done = await run(bench, "r", ["/usr/bin/python3", "-I", "-c", program], Path("/"), write=True)
    refused = {"Operation not permitted", "Function not implemented"}
    answers = dict(line.split(": ") for line in done.out.splitlines())
    assert answers.keys() == CALLS.keys() and set(answers.values()) <= refused, done


async def test_another_of_its_processes_is_looked_at_by_its_number_out_there_and_no_stranger(
    bench: OciBench, sh: Shell
) -> None:
    await bench.runtime.start(bench.shell("c", "sleep 1000 & wait"))
    numbers = (
        "for p in /proc/[0-9]*; do read x < $p/cmdline; case $x in sleep*) echo ${p#/proc/};; esac; done 2>/dev/null"
    )
    found = await run(bench, "c", ["sh", "-c", numbers], bench.tree)
    child = int(found.out.split()[0])
    done = await run(bench, "c", ["sh", "-c", "echo {pid}"], bench.tree, process=child)
    assert done.out == f"{child}\n"
    for stranger in (1, 4_000_000):
        with pytest.raises(RuntimeRefused, match=f"no process {stranger}"):
            await run(bench, "c", ["true"], bench.tree, process=stranger)


async def test_a_container_of_an_earlier_agent_is_refused_with_what_to_do(bench: OciBench) -> None:
    """It has no pid namespace above its own: its monitor is in the host's, as we are here."""
    tools = bench.runtime._tools
    with pytest.raises(RuntimeRefused, match="earlier agent") as refused:
        await tools.start(ToolSpec(root=bench.tree, argv=("true",)), pid_of(bench, "a"), os.getpid())
    assert refused.value.fix.startswith("restart it")


async def test_a_stopped_container_and_one_that_never_was_are_not_looked_into(bench: OciBench) -> None:
    await bench.runtime.stop("a", signal="SIGKILL", grace_s=0)
    for id in ("a", "never-was"):
        with pytest.raises(RuntimeBusy, match="does not run"):
            await run(bench, id, ["true"], bench.tree)


CALLS: dict[str, tuple[int, ...]] = {
    "mount": (165, 0, 0, 0, 0, 0),
    "unshare": (272, 0x20000),
    "setns": (308, 0, 0),
    "open_by_handle_at": (304, -100, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf of all": (298, 0, -1, 0, -1, 0),
    "keyctl": (250, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "open_tree": (428, -100, 0, 1),
    "move_mount": (429, -100, 0, -100, 0, 0),
    "pivot_root": (155, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
}
