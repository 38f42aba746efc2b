"""Tools that look into a container from outside: made by the same OCI runtime, in a mount namespace that ends with them.

A thread of ours makes that namespace: the tools image's root with its mount points, and at `target` a copy of the looked-at
container's mounts (for that one system call the thread is in the container's mount namespace; it opens nothing there). What it starts
inherits it; then the thread ends. So whatever dies first, no mount is left; folder and cgroup are removed by `close`, or by the next
agent's `sweep`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import platform
import shutil
import signal
import stat
import struct
import termios
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.outside import UNREADABLE
from skerry.runtime import conmon, overlay, processes, rootfs, syscalls
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.contract import RuntimeBusy, RuntimeRefused, Tool, ToolSpec
from skerry.runtime.seccomp import default_profile
from skerry.runtime.spec import Limits
from skerry.runtime.tools_spec import (
    NAMES,
    TARGET,
    TRACING,
    Looked,
    as_root,
    parse_looked,
    rights,
    tools_config,
    tools_points,
    tools_seccomp,
)

GRACE_S = 2.0  # after SIGTERM: a debugger takes its breakpoints out, on which the target would die, and lets go
GONE_WITHIN_S = 5.0
NOT_STARTED = 127  # as a shell says it
T = TypeVar("T")


class OciTool(Tool):
    """`place`: its folder; `pid`: what the agent started, at whose end is the runtime that waits for the tool."""

    def __init__(self, tools: Tools, place: Path, pid: int, input: int, output: int, errors: int | None) -> None:
        self.input, self.output, self.errors = input, output, errors
        self._tools, self._place, self._pid = tools, place, pid
        self._watched = os.pidfd_open(pid)
        self._end: asyncio.Task[int] | None = None

    async def ended(self) -> int:
        if self._end is None:  # one for all: a descriptor tells but one who waits
            self._end = asyncio.ensure_future(self._wait_end())
        return await asyncio.shield(self._end)

    async def _wait_end(self) -> int:
        await processes.wait_readable(self._watched)
        _, status = os.waitpid(self._pid, 0)  # noqa: ASYNC222  it has ended: no wait
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code < 0 else code
        return NOT_STARTED if code and self.why() else code

    def why(self) -> str:
        if (self._place / "pid").exists():
            return ""
        with contextlib.suppress(OSError):
            for line in reversed((self._place / "log").read_text("utf-8", "replace").splitlines()):
                with contextlib.suppress(*UNREADABLE):
                    return str(msgspec.json.decode(line, type=dict[str, str]).get("msg", ""))[: conmon.WHY_MAX]
        return "the runtime gave no reason"

    def close_input(self) -> None:
        if self.input not in (self.output, -1):
            os.close(self.input)
            self.input = -1

    def resize(self, rows: int, cols: int) -> None:
        if self.errors is None:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.output, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def signal(self, number: int) -> None:
        self._tools.signal(self._place, number)

    async def end(self) -> None:
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self.ended()
        await asyncio.to_thread(self._tools.kill, self._place)
        try:
            async with asyncio.timeout(GONE_WITHIN_S):
                await self.ended()
        except TimeoutError as error:
            raise RuntimeBusy("a tool was not ended", "it hangs in the kernel", "look at this host's disks") from error

    async def close(self) -> None:
        try:
            await self.end()
        finally:
            self.close_input()
            if self._end is not None:
                self._end.cancel()
            for file in (self.output, self.errors, self._watched):
                if file is not None:
                    os.close(file)
            await asyncio.to_thread(self._tools.remove, self._place)


class Tools:
    """`directory`: one folder per tool, gone after a reboot. `cgroup_parent`: they are in `<parent>/<name>`."""

    def __init__(self, directory: Path, runtime: Path, cgroup_parent: str, cgroups: Cgroups, limits: Limits) -> None:
        self.cgroups = cgroups
        self._directory = directory
        self._runtime = runtime
        self._parent = cgroup_parent
        self._limits = limits
        self._numbers = itertools.count(1)

    def sweep(self) -> None:
        """End and remove what there is, or what an agent that died left. Blocks, if there is some."""
        places = list(self._directory.iterdir()) if self._directory.exists() else []
        for place in places:
            self.signal(place, signal.SIGTERM)
        until_s = time.monotonic() + GRACE_S
        while any(self.cgroups.pids(self.cgroup(place)) for place in places) and time.monotonic() < until_s:
            time.sleep(0.02)
        for place in places:
            with contextlib.suppress(RuntimeBusy):
                self.kill(place)
                self.remove(place)

    async def start(self, spec: ToolSpec, pid: int, monitor: int) -> OciTool:
        """Beside a living container: `pid` its first process, `monitor` the monitor, as this host numbers them. 0, 0: the whole host.

        Raises RuntimeRefused, RuntimeBusy.
        """
        place = self._directory / f"{os.getpid()}-{next(self._numbers)}"
        try:
            return await asyncio.to_thread(self._start, spec, place, pid, monitor)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(self._drop, place))
            if isinstance(error, OSError):
                raise conmon.failed("of a tool", f"{error.strerror}: {error.filename or error.filename2}") from error
            raise

    def _start(self, spec: ToolSpec, place: Path, pid: int, monitor: int) -> OciTool:
        looked = self._look(spec.process, pid, monitor) if pid else as_root()
        capabilities = rights(looked, spec)
        for name in ("root", "target", "state"):
            (place / name).mkdir(parents=True, mode=0o700)
        (place / "target").chmod(0o755)
        config = tools_config(
            spec,
            looked,
            root=place / "root",
            target=place / "target",
            cgroup=self.cgroup(place),
            seccomp=tools_seccomp(default_profile(), platform.machine(), capabilities, host=not pid),
            host=not pid,
            net=place / "net" if spec.join_net else None,
            tracing=not pid and _tracing_is_unmounted(),
            swap=self._limits.swap,
            open_files=self._limits.open_files,
        )
        (place / "config.json").write_bytes(msgspec.json.encode(config))
        lacks = rootfs.lacking(spec.root, tools_points())
        rootfs.make_skeleton(spec.root, place / "skeleton", lacks)
        if spec.join_net:
            for path in NAMES:
                rootfs.link_over(spec.root, place / "skeleton", path, TARGET + path)
        spaces: dict[str, int] = {}
        with contextlib.ExitStack() as held:
            for kind in ("mnt", "net") if pid and spec.join_net else ("mnt",) if pid else ():
                spaces[kind] = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                held.callback(os.close, spaces[kind])
            if pid and monitor not in _ancestors(pid):
                raise _gone()
            if spec.join_net:
                _check_own_network(spaces.get("net"))
            return _in_a_thread(lambda: self._in_its_namespace(spec, place, pid, monitor, spaces))

    def _in_its_namespace(self, spec: ToolSpec, place: Path, pid: int, monitor: int, spaces: dict[str, int]) -> OciTool:
        """In a thread of its own, which is left in another mount namespace than the agent."""
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        tree = _copy_of_root(pid, spaces.get("mnt"))
        try:
            add = syscalls.MOUNT_UNTOUCHED | (0 if spec.write else syscalls.MOUNT_ATTR_RDONLY)
            syscalls.set_attributes(tree, add, syscalls.MOUNT_ATTR_ATIME)
            syscalls.mount_tree(tree, str(place / "target"))
        finally:
            os.close(tree)
        overlay.mount_over(place / "skeleton", spec.root, place / "root")
        if "net" in spaces:
            (place / "net").touch()
            syscalls.mount(f"/proc/self/fd/{spaces['net']}", str(place / "net"), "", syscalls.MS_BIND)
        argv = [
            *(str(self._runtime), "--root", str(place / "state"), "--log", str(place / "log"), "--log-format", "json"),
            *("run", "--bundle", str(place), "--pid-file", str(place / "pid"), place.name),
        ]
        argv = conmon.inside(monitor, argv) if monitor else argv
        return self._spawn_at_terminal(spec, place, argv) if spec.tty else self._spawn(place, argv)

    def _spawn(self, place: Path, argv: Sequence[str]) -> OciTool:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (its_input, input), (output, its_output), (errors, its_errors) = pipes
        try:
            its = [
                (os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate((its_input, its_output, its_errors))
            ]
            pid = _spawn(argv, its)
        except BaseException:
            for file in (input, output, errors):
                os.close(file)
            raise
        finally:
            for file in (its_input, its_output, its_errors):
                os.close(file)
        for file in (input, output, errors):
            os.set_blocking(file, False)
        return OciTool(self, place, pid, input, output, errors)

    def _spawn_at_terminal(self, spec: ToolSpec, place: Path, argv: Sequence[str]) -> OciTool:
        """The runtime sits at a terminal of ours and makes one of its own inside; it carries bytes and sizes between the two."""
        ours, its = os.openpty()
        try:
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", spec.rows, spec.cols, 0, 0))
            # Opened by name after setsid: so that it is the terminal that the runtime hears of new sizes from.
            opened = (os.POSIX_SPAWN_OPEN, 0, os.ttyname(its), os.O_RDWR, 0)
            pid = _spawn(argv, [opened, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)], setsid=True)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(its)
        os.set_blocking(ours, False)
        return OciTool(self, place, pid, ours, ours, None)

    def _look(self, process: int, pid: int, monitor: int) -> Looked:
        """Who is looked at: the container's first process, or the one that is called `process` out there."""
        outer = processes.numbers(monitor)
        if len(outer) < 2:
            raise RuntimeRefused(
                "no tool was started",
                "this container was started by an earlier agent: no pid namespace above its own holds it alone",
                "restart it: the next one can be looked into",
            )
        found = self._called(process, pid, len(outer) - 1) if process else pid
        numbers = processes.numbers(found)
        try:
            return parse_looked(Path(f"/proc/{found}/status").read_text("utf-8", "replace"), numbers[len(outer) - 1])
        except (OSError, KeyError, ValueError, IndexError):
            raise _gone() from None

    def _called(self, process: int, pid: int, level: int) -> int:
        """The process of the container that is called so in the outer namespace, as this host numbers it."""
        space = Path(f"/proc/{pid}/ns/pid").readlink()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    numbers = processes.numbers(int(entry.name))
                    if numbers[level : level + 1] == (process,) and (entry / "ns/pid").readlink() == space:
                        return int(entry.name)
        raise RuntimeRefused(
            "no tool was started", f"the container has no process {process}", "see them: skerry debug SLOT -- ps"
        )

    # Ending

    def cgroup(self, place: Path) -> str:
        return f"{self._parent}/{place.name}"

    def signal(self, place: Path, number: int) -> None:
        for pid in self.cgroups.pids(self.cgroup(place)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, place: Path) -> None:
        """The tool, and the runtime that waits for it. Blocks for some milliseconds."""
        self.cgroups.kill(self.cgroup(place))
        for pid in processes.processes_with_argument(str(place)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self, place: Path) -> None:
        if not self.cgroups.remove(self.cgroup(place)):
            raise RuntimeBusy("a tool was not removed", "it hangs in the kernel", "look at this host's disks")
        shutil.rmtree(place, ignore_errors=True)

    def _drop(self, place: Path) -> None:
        self.kill(place)
        self.remove(place)


def _tracing_is_unmounted() -> bool:
    """Where systemd runs it is mounted, if the kernel has it."""
    with contextlib.suppress(OSError):
        return "\ttracefs\n" in Path("/proc/filesystems").read_text() and not any(Path(TRACING).iterdir())
    return False


def _check_own_network(net: int | None) -> None:
    """`net`: the namespace that is to be joined. Not this host's: from there a tool could reach what listens for the host alone."""
    if net is None or os.fstat(net).st_ino == Path("/proc/self/ns/net").stat().st_ino:
        raise RuntimeRefused(
            "no tool was started",
            "there is no network of its own to join: it is in this host's",
            "leave --join out; a whole host: skerry debug --host NAME",
        )


def _copy_of_root(pid: int, mounts: int | None) -> int:
    """The root of that process with all that is mounted there; without one, ours."""
    if mounts is None:
        return syscalls.clone_tree("/")
    expected = Path(f"/proc/{pid}/root").stat()
    ours = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(mounts, syscalls.CLONE_NEWNS)
        try:
            tree = syscalls.clone_tree("/")
        finally:
            syscalls.setns(ours, syscalls.CLONE_NEWNS)
    finally:
        os.close(ours)
    found = os.fstat(tree)
    if not stat.S_ISDIR(found.st_mode) or (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
        os.close(tree)
        raise RuntimeRefused("no tool was started", "the container's root is not where its mounts begin", "restart it")
    return tree


def _spawn(argv: Sequence[str], actions: Sequence[tuple[object, ...]], *, setsid: bool = False) -> int:
    """As this very thread: what is started is in its mount namespace."""
    return os.posix_spawn(
        argv[0],
        list(argv),
        dict(processes.ENVIRONMENT),
        file_actions=list(actions),
        setsid=setsid,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these; what it starts must not inherit that
    )


def _in_a_thread(work: Callable[[], T]) -> T:
    """In a new one that ends with it: what it did to its own namespaces ends, too."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="tools")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _ancestors(pid: int) -> set[int]:
    """Its parents, up to the first."""
    found: set[int] = set()
    with contextlib.suppress(OSError, ValueError, IndexError):
        while pid > 1 and pid not in found:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            found.add(pid)
    return found


def _gone() -> RuntimeBusy:
    return RuntimeBusy("no tool was started", "the container has ended meanwhile", "see skerry ps")
