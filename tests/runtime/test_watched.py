"""What a container notices of tools that look into it, by class, and nothing more: it watches itself while real ones run from
outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.real import GATEWAY, own_network
from runtime.bench import BUSYBOX, TOOLS_WITH, OciBench
from runtime.looking_in import python_tree, run, said, wait_said
from skerry.agent.looking.child import running
from skerry.core.visibility import classify
from skerry.net.veth import Veths
from skerry.observe.look.job import DATA, SUMMARY, Job
from skerry.runtime import record
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.contract import ContainerSpec, Tool, ToolSpec
from skerry.runtime.processes import processes_with_argument

pytestmark = pytest.mark.real
HOST = Path("/")  # this machine's programs, read-only, as a tools image that has them all
ESTABLISHED, TIME_WAIT = "01", "06"  # as /proc/net/tcp numbers them
GONE = re.compile(r"ls: .*'/target/proc/1/.*': No such (file or directory|process)")
PY_SPY = "/var/tmp/skerry-tools/py-spy"  # a tool sees nothing of this machine's /tmp, where a checkout may be


class Watched:
    """A container that runs the watcher."""

    def __init__(self, bench: OciBench) -> None:
        self.bench = bench

    def lines(self) -> list[dict[str, Any]]:
        texts = [
            line.split(" ", 3)[3] for path in self.bench.runtime.logs("w") for line in path.read_text().splitlines()
        ]
        return [json.loads(text) for text in texts if text.startswith("{") and text.endswith("}")]

    def noticed(self, ever: bool = False) -> set[str]:
        """What was not as at the beginning. Stalls of a busy machine are nothing that a tool did: they are asked for by name."""
        return {line["what"] for line in self.lines() if "what" in line} - (set() if ever else {"stall"})

    def pid(self) -> int:
        made = record.read(self.bench.own / "c/w", record.Made)
        assert made is not None
        return made.pid

    async def look_in(self, *argv: str, **more: Any) -> Tool:
        """A tool of this machine, at work."""
        return await self.bench.runtime.look_in("w", ToolSpec(root=HOST, argv=argv, **more))

    def beats(self) -> int:
        return max((line["beats"] for line in self.lines() if "beats" in line), default=0)

    async def wait(self, see: Callable[[], bool], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not see():  # noqa: ASYNC110  what another process writes tells nobody
                await asyncio.sleep(0.02)

    async def wait_well(self) -> None:
        """Until it has gone on for a while from here."""
        begun = self.beats()
        await self.wait(lambda: self.beats() > begun + 200)


async def watching(bench: OciBench, **network: Any) -> Watched:
    """Once it has looked at itself for a while."""
    spec = ContainerSpec(
        id="w", root=python_tree(bench.own / "python"), args=("/usr/bin/python", "-I", "/app/watcher.py"),
        user="12345:12345", environment=(("TOKEN", "of-the-target"),), memory_bytes=256 << 20, cpus=0.5, pids=64, **network,
    )  # fmt: skip
    await bench.runtime.start(spec)
    watched = Watched(bench)
    await watched.wait(lambda: {"watching": 1} in watched.lines())
    await watched.wait_well()
    return watched


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    bench = OciBench(TOOLS_WITH)
    try:
        yield await watching(bench, isolated=True)
    finally:
        await bench.finish()


@pytest.fixture
def py_spy() -> Iterator[None]:
    folder = Path(PY_SPY).parent
    folder.mkdir(exist_ok=True)
    shutil.copy(Path(sys.executable).with_name("py-spy"), folder)
    yield
    shutil.rmtree(folder)


@pytest.mark.usefixtures("py_spy")
@pytest.mark.parametrize(
    "command",
    [
        "ls -laR /target/app /target/tmp /target/proc/1",
        "cat /target/tmp/file /proc/{pid}/environ /proc/{pid}/maps /proc/{pid}/net/tcp /proc/{pid}/smaps",
        f"{PY_SPY} dump --nonblocking --pid {{pid}}",
        "ps -eLf",
        "lsof -p {pid}",
        "perf stat -p {pid} sleep 0.5",
    ],
)
async def test_who_is_looked_at_unseen_notices_nothing(watched: Watched, command: str) -> None:
    assert classify(command.split()).visibility == "unseen"
    done = await run(watched.bench, "w", command.split(), HOST)
    if command.startswith("ls ") and done.code == 1:  # what the target closes while it is listed can't be looked at
        assert done.errors and all(GONE.fullmatch(error) for error in done.errors.splitlines()), done
    else:
        assert done.code == 0, done
    if "environ" in command:
        assert "TOKEN=of-the-target" in done.out and "of the target\n" in done.out
    if "py-spy" in command:
        assert "watcher.py" in done.out
    await watched.wait_well()
    assert watched.noticed() == set()


async def test_a_process_in_its_namespaces_would_be_noticed(watched: Watched) -> None:
    """The watcher sees what there is to see: here what other products' ways do."""
    listens = (str(BUSYBOX), "nc", "-l", "-p", "4000")
    it = await asyncio.create_subprocess_exec("nsenter", f"--target={watched.pid()}", "--pid", "--net", "--", *listens)
    try:
        for tree in Cgroups().trees:
            where = tree / watched.bench.cgroup[1:] / "w/cgroup.procs"
            if where.exists():
                where.write_text(str(it.pid))
        await watched.wait(lambda: {"processes", "tcp", "pids in cgroup"} <= watched.noticed())
    finally:
        it.kill()
        await it.wait()
        for pid in processes_with_argument("4000"):
            os.kill(pid, signal.SIGKILL)


async def test_what_a_tool_costs_is_not_charged_to_the_container(watched: Watched) -> None:
    """Two seconds of a processor, and more memory than the container may have."""
    hungry = "dd if=/dev/zero of=/dev/null bs=700M count=1; timeout 2 sh -c 'while :; do :; done'"
    done = await run(watched.bench, "w", ["busybox", "sh", "-c", hungry], HOST)
    assert "1+0 records out" in done.errors, done
    await watched.wait_well()
    assert watched.noticed() == set()


async def test_who_writes_is_noticed_by_what_is_written_and_by_nothing_else(watched: Watched) -> None:
    write = ["busybox", "sh", "-c", "echo more >>/target/tmp/file; echo x >/target/tmp/new"]
    done = await run(watched.bench, "w", write, HOST)
    assert done.code != 0 and "Read-only file system" in done.errors
    await watched.wait_well()
    assert watched.noticed() == set()
    assert classify(write, write=True).notices.endswith("the files that you change")
    done = await run(watched.bench, "w", write, HOST, write=True)
    assert done.code == 0, done
    await watched.wait(lambda: {"tmp", "written"} <= watched.noticed())
    await watched.wait_well()
    assert watched.noticed() == {"tmp", "written"}


async def test_whose_packets_are_read_notices_no_listener_and_no_promiscuous_interface(tmp_path: Path) -> None:
    """They are read at the host's end of its wire, by the agent's own child, while somebody knocks."""
    bench = OciBench(TOOLS_WITH)
    veths = Veths(tmp_path, prefix="rch", gateway=GATEWAY, mtu=1420)
    try:
        with own_network():
            attached = await veths.attach("w", "10.77.1.9")
            watched = await watching(bench, netns=attached.netns)
            job = Job(
                what="capture", interface=veths.name("w"), packets=8, seconds=15, snap_bytes=1 << 16, limit=1 << 20
            )
            captured = b""
            async with running(job) as child:
                knocking = asyncio.ensure_future(knock("10.77.1.9"))
                async for message in child.messages():
                    captured += message[1:] if message[:1] == DATA else b""
                    if message[:1] == SUMMARY:
                        assert json.loads(message[1:])["packets"] == 8
                knocking.cancel()
            assert socket.inet_aton("10.77.1.9") in captured
            await watched.wait_well()
            assert watched.noticed() == set()
    finally:
        await bench.finish()
        await veths.purge()


async def knock(address: str) -> None:
    """At a port where nobody listens, again and again."""
    while True:
        with contextlib.suppress(OSError):
            await asyncio.open_connection(address, 4081)
        await asyncio.sleep(0.05)


async def test_a_traced_container_notices_stopped_threads_and_nothing_else(watched: Watched) -> None:
    assert classify(["strace"]).visibility == "felt"
    tool = await watched.look_in("strace", "-f", "-p", "{pid}")
    traced = asyncio.ensure_future(said(tool.errors))  # what nobody reads would hold up the tracer, and so the target
    try:
        await watched.wait(lambda: bool(watched.noticed()))
        await watched.wait_well()
    finally:
        await tool.end()
        assert "getppid" in await traced
        await tool.close()
    await watched.wait_well()
    assert watched.noticed() == {"states"}


async def test_a_debugger_stops_it_and_nothing_else_is_noticed(watched: Watched) -> None:
    done = await run(watched.bench, "w", ["gdb", "-p", "{pid}", "-batch", "-ex", "shell sleep 1", "-ex", "bt"], HOST)
    assert done.code == 0 and "detached" in done.out, done
    await watched.wait(lambda: "stall" in watched.noticed(ever=True))
    await watched.wait_well()
    assert watched.noticed() <= {"states"}


async def test_who_joins_its_network_is_seen_by_its_sockets_and_by_nothing_else(watched: Watched) -> None:
    curl = ["curl", "-sS", "--max-time", "10", "http://127.0.0.1:4080/"]
    done = await run(watched.bench, "w", curl, HOST)
    assert (done.code, done.out) == (7, ""), "a tool is in an empty network else"
    done = await run(watched.bench, "w", ["sleep", "0.5"], HOST, join_net=True)
    assert done.code == 0, done
    assert classify(curl).visibility == "unseen" and classify(curl, joined=["net"]).visibility == "joined"
    await watched.wait_well()
    assert watched.noticed() == set()
    done = await run(watched.bench, "w", curl, HOST, join_net=True)
    assert (done.code, done.out) == (0, "of the target\n"), done
    await watched.wait_well()
    assert "tcp" in watched.noticed() <= {"tcp", "unix"}, "curl wakes itself by a pair of sockets"
    assert {ESTABLISHED} in states(watched.lines()), "while it waited for the answer"
    before = len(watched.lines())
    await watched.wait_well()
    after = watched.lines()[before:]
    assert {line["what"] for line in after if "what" in line} <= {"tcp", "stall"}
    assert set().union(*states(after)) <= {TIME_WAIT}, "what the kernel keeps of a closed connection for a minute"


def states(lines: list[dict[str, Any]]) -> list[set[str]]:
    """In which states the connections were that came since the beginning: for each look at them."""
    seen = [set(line["is"]) - set(line["was"]) for line in lines if line.get("what") == "tcp"]
    return [{connection.rpartition(" ")[2] for connection in new} for new in seen]


@pytest.mark.usefixtures("py_spy")
async def test_a_sampler_is_not_noticed_even_where_it_stops_it(watched: Watched) -> None:
    done = await run(
        watched.bench, "w", [PY_SPY, "record", "--pid", "{pid}", "-d", "1", "-f", "raw", "-o", "/dev/stdout"], HOST
    )
    assert done.code == 0 and "work" in done.out, done
    await watched.wait_well()
    assert watched.noticed() <= {"states"}


async def test_who_is_sampled_by_the_node_itself_notices_nothing(watched: Watched) -> None:
    job = Job(what="samples", pids=(watched.pid(),), seconds=1.0, rate=500, limit=1 << 20)
    async with running(job) as child:
        *_, last = [message async for message in child.messages()]
    assert json.loads(last[1:])["samples"] > 0, last
    await watched.wait_well()
    assert watched.noticed() == set()


@pytest.mark.parametrize("tracer", ["strace", "gdb"])
@pytest.mark.parametrize("how", ["close", "end", "agent dies"])
async def test_when_the_tool_is_ended_the_target_runs_on(watched: Watched, tracer: str, how: str) -> None:
    """A debugger stands at a breakpoint then: it takes it out, as otherwise the next thread that comes by would be killed by it."""
    if tracer == "strace":
        tool = await watched.look_in("strace", "-f", "-p", "{pid}")
        await wait_said(tool, "getppid", tool.errors)
    else:
        at = ("-iex", "set sysroot /target", "-p", "{pid}", "-ex", "break getppid", "-ex", "continue")
        tool = await watched.look_in("gdb", "-q", *at)
        await wait_said(tool, "hit Breakpoint 1")
    if how == "end":
        await tool.end()
    if how == "agent dies":
        await watched.bench.restart()  # the next agent's first act
        await watched.bench.runtime.list_containers()
    await tool.close()
    await watched.wait_well()
    (held,) = await watched.bench.runtime.list_containers()
    assert held.running and watched.bench.leftovers_of_tools() == []
