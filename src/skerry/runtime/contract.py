"""What every container runtime keeps: `oci` today, `docker`, `chroot` and `microvm` later.

Its suite: tests/runtime/contract.py.

A runtime makes and ends containers and tells how they ended. It decides nothing: no restarts, no health, no names.
Containers outlive the agent; `list_containers` after a restart finds them again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from skerry.errors import Passing, Refusal


class RuntimeRefused(Refusal):
    """This container can't be made on this host, ever: no such program in the image, a missing kernel feature."""

    code = "runtime-refused"


class RuntimeBusy(Passing):
    """It failed for a reason that may pass: no space, a clean-up still under way."""

    code = "runtime-busy"


class Mount(msgspec.Struct, frozen=True):
    """A directory of the host at `target`. `source` "" is a tmpfs of at most `size_bytes`."""

    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int = 64 << 20


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that a container is made of. Memory in bytes, cpus in cores; 0: no limit.

    `labels` come back from `list_containers` unchanged: the agent keeps slot, spec, image and address there.
    `netns`: path of a prepared network namespace, "" for none of its own (tests). `isolated`: an empty one instead, in
    which nothing can be reached.
    """

    id: str
    root: Path  # the image's tree; shared, never written
    args: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    user: str = "0:0"  # numbers, or names of the image's /etc/passwd
    working_dir: str = "/"
    hostname: str = ""
    netns: str = ""
    isolated: bool = False
    mounts: tuple[Mount, ...] = ()
    capabilities: tuple[str, ...] = ()
    memory_bytes: int = 0
    cpus: float = 0.0
    pids: int = 512
    core_bytes: int = 0  # the most that a process of it may leave as a core when it dies; -1: no limit
    files: tuple[tuple[str, bytes], ...] = ()  # path -> content, bound read-only: /etc/hosts, /etc/resolv.conf
    log_max_bytes: int = (
        16 << 20
    )  # of what is written to and the part before it; beyond, the older goes unless it was taken
    labels: dict[str, str] = {}


class Container(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    running: bool
    pid: int = 0
    exit_code: int | None = None
    oom: bool = False
    labels: dict[str, str] = {}


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A command that looks in from outside. `root`: the tools image's tree; in `argv` {pid} stands for the looked-at process;
    `process`: that one's pid as tools see it, 0: the container's first. `join_net`: in its network namespace, not in an empty one.
    """

    root: Path
    argv: tuple[str, ...]
    term: str = "dumb"
    tty: bool = False
    rows: int = 24
    cols: int = 80
    write: bool = False
    process: int = 0
    join_net: bool = False


class Tool(Protocol):
    """A tool at work. Its streams are descriptors that don't block; with a terminal `output` is also `input`, and `errors` is None."""

    input: int
    output: int
    errors: int | None

    async def ended(self) -> int:
        """Its exit code; 128 + n for signal n, 127 if it could not be started (`why` says why)."""
        ...

    def why(self) -> str:
        """Why it was not started; "" if it was."""
        ...

    def close_input(self) -> None:
        """The end of its standard input. With a terminal that is a character that people type."""
        ...

    def resize(self, rows: int, cols: int) -> None: ...

    def signal(self, number: int) -> None: ...

    async def end(self) -> None:
        """Ask it to end, and kill what is left after a short grace. Its output can be read meanwhile."""
        ...

    async def close(self) -> None:
        """Kill what is left and remove all that was made for it. Raises RuntimeBusy."""
        ...


class Exited(msgspec.Struct, frozen=True, kw_only=True):
    """`exit_code`: 128 + n for signal n. `oom`: the kernel ended it for memory."""

    id: str
    exit_code: int
    oom: bool


class ClosedLog(NamedTuple):
    """A log file to which nothing is added any more, and how many lines are missing before it."""

    id: str
    labels: dict[str, str]
    path: Path
    dropped: int


class Runtime(Protocol):
    """Any call may be repeated after an interruption; ids are never used twice by the caller.

    Raises RuntimeBusy (worth a retry) or RuntimeRefused (is not); anything else is our bug.
    """

    async def start(self, spec: ContainerSpec) -> Container:
        """Make and start it. On error nothing of it is left."""
        ...

    async def stop(self, id: str, *, signal: str, grace_s: float) -> None:
        """Signal, wait at most `grace_s`, kill, remove all that `start` made (not the logs). Already gone is stopped.

        A program that neither handles nor blocks the signal is killed at once: as first process of its namespace it
        would never see it.
        """
        ...

    async def list_containers(self) -> list[Container]:
        """All of ours, running or not, also those that an earlier agent started."""
        ...

    def exits(self) -> AsyncIterator[Exited]:
        """Each container that ended by itself, once; those that ended while nobody looked come first."""
        ...

    async def look_in(self, id: str, spec: ToolSpec) -> Tool:
        """Start a tool beside a running container ("": on the whole host). Nothing of it can be reached from inside; `Tool.close`
        takes it away, and so does the next agent.
        """
        ...

    def logs(self, id: str) -> list[Path]:
        """Its log files, oldest first (CRI format: time, stream, F or P, text)."""
        ...

    def view(self, id: str) -> int | None:
        """Its file system as it sees it, read-only and untouched by reading (views.py), until it is removed: a descriptor that
        the caller closes, and that shows it even after that. None: it isn't here, or this kernel can't.
        """
        ...

    def passing(self, id: str) -> dict[str, str]:
        """Where it could write: the path in it -> the host's, "" for a file system in memory, which goes with it."""
        ...

    def pids(self, id: str) -> set[int]:
        """Its processes, as this host numbers them."""
        ...

    def ended(self) -> dict[str, dict[str, str]]:
        """Labels of those that are gone and whose logs are still here, by id, oldest first."""
        ...

    def missing_lines(self, id: str) -> int:
        """How many are missing before the first line of `logs(id)`."""
        ...

    def closed_logs(self) -> list[ClosedLog]:
        """What can be kept elsewhere, oldest first for each container. Like the four below, any thread may call it."""
        ...

    def take_log(self, closed: ClosedLog) -> bool:
        """Hold it until it is taken or left. False: it is gone."""
        ...

    def log_taken(self, closed: ClosedLog) -> None:
        """It is kept elsewhere: it goes here."""
        ...

    def log_left(self, closed: ClosedLog) -> None:
        """It could not be kept."""
        ...

    async def close(self) -> None:
        """Let go of everything but the containers."""
        ...
