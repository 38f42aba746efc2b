"""Containers by crun or runc with conmon, without a daemon. Here is the order of the steps; how, in the files beside.

A container's folder is its life line: it is made before, and removed after, everything else of the container. So at
whatever moment the agent dies, the next one finds the folder and knows what to look for. What is told as ended is
what the monitor wrote; a monitor that was killed takes its container with it: nobody would read its output any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import msgspec

from skerry.errors import SkerryError
from skerry.runtime import conmon, overlay, processes, record
from skerry.runtime.bundle import host_limits, prepare, writable
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.contract import (
    ClosedLog,
    Container,
    ContainerSpec,
    Exited,
    Runtime,
    RuntimeBusy,
    RuntimeRefused,
    Tool,
    ToolSpec,
)
from skerry.runtime.logfiles import LogFiles
from skerry.runtime.signals import signal_number, would_notice
from skerry.runtime.tools import Tools
from skerry.runtime.views import open_view

COMMAND_WITHIN_S = 20.0
KILLED_WITHIN_S = 5.0
LOGS_LOOKED_AT_EVERY_S = 2.0
REMOVED_AGAIN_EVERY_S = 5.0
CGROUPS, MONITORS, TOOLS = "/skerry", "mon", "tools"
KILLED = 128 + signal.SIGKILL
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,126}")


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of the programs. `runtime`: which of the two makes new containers (see probe.find_runtime)."""

    conmon: Path
    crun: Path
    runc: Path
    runtime: str = "crun"

    def path(self, runtime: str) -> Path:
        return self.runc if runtime == "runc" else self.crun


class _Life(msgspec.Struct):
    """A container whose end is awaited: its monitor's pidfd, and who waits."""

    monitor: int
    ended: asyncio.Event


class OciRuntime(Runtime):
    """`Runtime` by crun or runc with conmon.

    `directory`: one folder per container (bundle, record); best on a tmpfs, as the dozen small files of a start cost
    8 ms on a disk, and nothing in it is worth more than the container. `run_dir`: the runtimes' state and exit codes, to
    be gone after a reboot. `logs`: one folder per container; the newest of ended ones are kept. `cgroup_parent`:
    containers are in `<parent>/<id>`, monitors in `<parent>/mon`, tools below `<parent>/tools`. One process at a time may own these
    places.
    """

    def __init__(
        self, directory: Path, run_dir: Path, logs: Path, binaries: Binaries, cgroup_parent: str = CGROUPS
    ) -> None:
        self._directory = directory
        self._exits_dir = run_dir / "exits"
        self._state_dir = run_dir / "oci"
        self._logs = LogFiles(logs)
        self._binaries = binaries
        self._parent = cgroup_parent
        self._cgroups = Cgroups()
        self._limits = host_limits(swap=self._cgroups.can_limit_swap())
        self._tools = Tools(
            run_dir / TOOLS, binaries.path(binaries.runtime), f"{cgroup_parent}/{TOOLS}", self._cgroups, self._limits
        )
        self._boot = record.boot_id()
        self._lives: dict[str, _Life] = {}
        self._views: dict[str, int] = {}
        self._stopping: set[str] = set()
        self._told: asyncio.Queue[Exited] = asyncio.Queue()
        self._locks: dict[str, asyncio.Lock] = {}
        self._adoption: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, spec: ContainerSpec) -> Container:
        _check_id(spec.id)
        await self._adopted()
        async with self._lock(spec.id):
            held = self._look(spec.id)
            if held is not None:
                return held
            try:
                return await self._make(spec)
            except BaseException:
                # Cancelled, too: nothing of it may be left, and nobody else knows of it yet.
                await asyncio.shield(self._remove_sometime(spec.id))
                raise

    async def stop(self, id: str, *, signal: str, grace_s: float) -> None:
        _check_id(id)
        number = signal_number(signal)
        await self._adopted()
        self._stopping.add(id)
        try:
            async with self._lock(id):
                if self._folder(id).exists():
                    await self._end(id, number, grace_s)
                    await asyncio.shield(self._remove(id))
        finally:
            self._stopping.discard(id)
            self._locks.pop(id, None)

    async def list_containers(self) -> list[Container]:
        await self._adopted()
        return [container for id in self._ids() if (container := self._look(id)) is not None]

    async def exits(self) -> AsyncIterator[Exited]:
        await self._adopted()
        while True:
            exited = await self._told.get()
            if self._folder(exited.id).exists():  # else it was removed meanwhile, on request
                yield exited

    async def look_in(self, id: str, spec: ToolSpec) -> Tool:
        await self._adopted()
        if not id:
            return await self._tools.start(spec, 0, 0)
        _check_id(id)
        made, held = record.read(self._folder(id), record.Made), self._look(id)
        if made is None or held is None or not held.running:
            raise RuntimeBusy("no tool was started", f"container {id} does not run", "see skerry ps")
        return await self._tools.start(spec, made.pid, made.monitor)

    def logs(self, id: str) -> list[Path]:
        _check_id(id)
        return self._logs.paths(id)

    def view(self, id: str) -> int | None:
        return os.dup(self._views[id]) if id in self._views else None

    def passing(self, id: str) -> dict[str, str]:
        return writable(self._folder(id))

    def pids(self, id: str) -> set[int]:
        return self._cgroups.pids(f"{self._parent}/{id}") if id in self._lives else set()

    def ended(self) -> dict[str, dict[str, str]]:
        return {id: labels for id, labels in self._logs.kept().items() if not self._folder(id).exists()}

    def missing_lines(self, id: str) -> int:
        return self._logs.missing(id)

    def closed_logs(self) -> list[ClosedLog]:
        return self._logs.closed()

    def take_log(self, closed: ClosedLog) -> bool:
        return self._logs.take(closed)

    def log_taken(self, closed: ClosedLog) -> None:
        self._logs.taken(closed)

    def log_left(self, closed: ClosedLog) -> None:
        self._logs.left(closed)

    async def purge(self) -> None:
        """Stop and remove all containers, and the cgroups that hold them; for a host that leaves. Logs stay."""
        for container in await self.list_containers():
            await self.stop(container.id, signal="SIGTERM", grace_s=1.0)
        if not await asyncio.to_thread(self._cgroups.remove, self._parent):
            raise RuntimeBusy(f"{self._parent} was not removed", "a process in it can't be killed", "reboot this host")

    async def close(self) -> None:
        pending = [*self._tasks, *([self._adoption] if self._adoption else [])]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for id in list(self._lives):
            self._let_go(id)
        await asyncio.to_thread(self._tools.sweep)
        for id in list(self._views):
            self._close_view(id)
        self._logs.close()

    # Making one

    async def _make(self, spec: ContainerSpec) -> Container:
        runtime = self._binaries.runtime
        places = self._places(spec.id, runtime)
        held = record.Record(id=spec.id, runtime=runtime, boot=self._boot, labels=spec.labels)
        log_bytes = max(spec.log_max_bytes // 2, 4096)
        self._logs.make(spec.id, spec.labels, log_bytes)
        await asyncio.to_thread(prepare, spec, places, held, f"{self._parent}/{spec.id}", self._limits)
        outer_pid = await conmon.create(self._binaries.conmon, self._binaries.path(runtime), places, log_bytes)
        monitor = conmon.read_pid(places.monitor_pid)
        pid = self._first_process(spec.id, outer_pid)
        if monitor <= 0 or pid <= 0:  # 0 would mean ourselves
            raise RuntimeBusy(f"container {spec.id} was not made", "its monitor, or its process, can't be found", "")
        self._logs.watch(spec.id, monitor)
        await self._open_view(spec.id, pid)  # before its first instruction: however soon it ends, what it left is seen
        # The monitor leaves the agent's cgroup while the runtime starts the program: neither waits for the other.
        moved = asyncio.to_thread(self._cgroups.move, monitor, f"{self._parent}/{MONITORS}")
        started = self._command(runtime, "start", spec.id, monitor=monitor)
        (ended, _) = await asyncio.gather(started, moved)
        # One that has ended by now took its namespace along, and in it the very command that started it.
        if ended.code != 0 and not (ended.code == KILLED and conmon.read_exit(places) is not None):
            raise conmon.failed(spec.id, ended.words)
        record.write(places.bundle, record.Made(pid=pid, monitor=monitor))
        self._await_end(spec.id, monitor)
        return Container(id=spec.id, running=True, pid=pid, labels=dict(spec.labels))

    # Ending one

    async def _end(self, id: str, number: int, grace_s: float) -> None:
        """Until its process is gone. Raises RuntimeBusy if even SIGKILL doesn't end it."""
        life = self._lives.get(id)
        if life is None:
            return
        if number != signal.SIGKILL and grace_s > 0 and self._send(id, number):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await life.ended.wait()
        if not life.ended.is_set():
            await asyncio.to_thread(self._cgroups.kill, f"{self._parent}/{id}")
            try:
                async with asyncio.timeout(KILLED_WITHIN_S):
                    await life.ended.wait()
            except TimeoutError as error:
                why = f"it lives {KILLED_WITHIN_S:g} s after SIGKILL: it hangs in the kernel"
                raise RuntimeBusy(f"container {id} was not stopped", why, "look at this host's disks") from error

    def _send(self, id: str, number: int) -> bool:
        """Whether the first process was sent it and would notice. By pidfd: a pid alone may be somebody else's by now."""
        made = record.read(self._folder(id), record.Made)
        file = processes.open_process(made.pid) if made is not None else None
        if made is None or file is None:
            return False
        try:
            if made.pid not in self._cgroups.pids(f"{self._parent}/{id}"):
                return False
            if not would_notice(number, Path(f"/proc/{made.pid}/status").read_text()):
                return False
            signal.pidfd_send_signal(file, number)
        except (ProcessLookupError, FileNotFoundError):
            return False
        finally:
            os.close(file)
        return True

    async def _remove(self, id: str) -> None:
        """Take away all that was made, in any state it may be in; the folder last. Safe to repeat."""
        self._let_go(id)
        self._close_view(id)
        folder = self._folder(id)
        held = record.read(folder, record.Record)
        runtime = held.runtime if held is not None else self._binaries.runtime
        places = self._places(id, runtime)
        # From here on it is half-made again: if we die on the way, the next agent goes on and tells nobody of an end.
        record.erase(folder, record.Made)
        await asyncio.to_thread(_kill_makers, places)
        if (places.state / id).exists():
            ended = await self._command(runtime, "delete", "--force", id)
            if ended.code != 0 and (places.state / id / "state.json").exists():
                raise conmon.failed(id, ended.words)
        await asyncio.to_thread(self._sweep, places)

    async def _remove_sometime(self, id: str) -> None:
        """Remove what nobody will ask to be removed again: at once, or else in the background until it succeeds."""
        try:
            await self._remove(id)
        except SkerryError:
            self._keep(self._remove_later(id))

    async def _remove_later(self, id: str) -> None:
        while True:
            await asyncio.sleep(REMOVED_AGAIN_EVERY_S)
            with contextlib.suppress(SkerryError):
                return await self._remove(id)

    def _sweep(self, places: conmon.Places) -> None:
        if not self._cgroups.remove(f"{self._parent}/{places.id}"):
            why = "a process of it can't be killed: it hangs in the kernel"
            raise RuntimeBusy(f"container {places.id} was not removed", why, "look at this host's disks")
        overlay.unmount_below(places.bundle)
        shutil.rmtree(places.state / places.id, ignore_errors=True)
        places.exit.unlink(missing_ok=True)
        # The record goes last: what is found without it next time would be nobody's.
        for path in places.bundle.iterdir() if places.bundle.exists() else ():
            if path.name != "record.json":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.rmtree(places.bundle, ignore_errors=True)
        self._logs.ended(places.id)

    # Knowing what there is

    async def _adopted(self) -> None:
        """Once per life, before anything else: what runs is watched, what ended told, what is half-made removed."""
        if self._adoption is None:
            self._adoption = asyncio.get_running_loop().create_task(self._adopt())
        await asyncio.shield(self._adoption)

    async def _adopt(self) -> None:
        self._keep(self._follow_rotations())
        await asyncio.to_thread(self._tools.sweep)
        for id in self._ids():
            made = record.read(self._folder(id), record.Made)
            held = self._look(id)
            if made is None or held is None:
                await self._remove_sometime(id)
            elif held.running:
                self._logs.watch(id, made.monitor)
                await asyncio.to_thread(self._cgroups.move, made.monitor, f"{self._parent}/{MONITORS}")
                await self._open_view(id, made.pid)
                self._await_end(id, made.monitor)
            else:
                await asyncio.to_thread(self._cgroups.kill, f"{self._parent}/{id}")  # if its monitor was killed
                self._told.put_nowait(Exited(id=id, exit_code=held.exit_code or 0, oom=held.oom))

    def _look(self, id: str) -> Container | None:
        """What its folder and the kernel say; None if it isn't there or is half-made."""
        folder = self._folder(id)
        held, made = record.read(folder, record.Record), record.read(folder, record.Made)
        if held is None or made is None:
            return None
        exit_code = conmon.read_exit(self._places(id, held.runtime))
        if exit_code is None and held.boot == self._boot and self._is_monitor(id, made.monitor):
            return Container(id=id, running=True, pid=made.pid, labels=held.labels)
        # Without an exit code the machine was switched off, or the monitor was killed: so was the container.
        exit_code = KILLED if exit_code is None else exit_code
        # The kernel may also have killed a child only, and the program gone on: then it did not end for memory. Asked here, since the
        # monitor looks for its cgroup by a pid that means somebody else in the /proc that it sees.
        oom = exit_code == KILLED and self._cgroups.killed_for_memory(f"{self._parent}/{id}")
        return Container(id=id, running=False, exit_code=exit_code, oom=oom, labels=held.labels)

    def _is_monitor(self, id: str, pid: int) -> bool:
        bundle = b"\0" + os.fsencode(self._folder(id)) + b"\0"
        try:
            return bundle in Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
        except OSError:
            return False

    # Being told

    def _await_end(self, id: str, monitor: int) -> None:
        file = processes.open_process(monitor)
        life = _Life(-1 if file is None else file, asyncio.Event())
        self._lives[id] = life
        loop = asyncio.get_running_loop()
        if file is None or not self._is_monitor(id, monitor):
            loop.call_soon(self._monitor_ended, id)
        else:
            loop.add_reader(file, self._monitor_ended, id)

    def _monitor_ended(self, id: str) -> None:
        self._keep(self._tell(id))
        life = self._lives.get(id)
        if life is not None and life.monitor >= 0:
            asyncio.get_running_loop().remove_reader(life.monitor)

    async def _tell(self, id: str) -> None:
        life = self._lives.pop(id, None)
        if life is None:
            return
        if life.monitor >= 0:
            os.close(life.monitor)
        held = self._look(id)
        await asyncio.to_thread(self._cgroups.kill, f"{self._parent}/{id}")  # if it was the monitor that was killed
        life.ended.set()
        if held is not None and id not in self._stopping:
            self._told.put_nowait(Exited(id=id, exit_code=held.exit_code or 0, oom=held.oom))

    def _let_go(self, id: str) -> None:
        life = self._lives.pop(id, None)
        if life is not None and life.monitor >= 0:
            asyncio.get_running_loop().remove_reader(life.monitor)
            os.close(life.monitor)

    async def _follow_rotations(self) -> None:
        while True:
            await asyncio.sleep(LOGS_LOOKED_AT_EVERY_S)
            self._logs.look()

    # Small words

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_view(self, id: str, pid: int) -> None:
        if (view := await asyncio.to_thread(open_view, pid)) is not None:
            self._views[id] = view

    def _close_view(self, id: str) -> None:
        if (view := self._views.pop(id, None)) is not None:
            os.close(view)

    def _first_process(self, id: str, outer_pid: int) -> int:
        """The container's first process as this host numbers it; 0 if it has ended already."""
        for pid in self._cgroups.pids(f"{self._parent}/{id}"):
            if processes.numbers(pid)[-2:] == (outer_pid, 1):
                return pid
        return 0

    async def _command(self, runtime: str, *words: str, monitor: int = 0) -> processes.Ended:
        """`monitor`: of a container that lives; without it the runtime finds that none does."""
        argv = [str(self._binaries.path(runtime)), "--root", str(self._state_dir / runtime), *words]
        argv = conmon.inside(monitor, argv) if monitor else argv
        try:
            return await processes.run(argv, timeout_s=COMMAND_WITHIN_S)
        except TimeoutError as error:
            raise RuntimeBusy(f"{runtime} {words[0]} was ended", f"no end in {COMMAND_WITHIN_S:g} s") from error

    def _folder(self, id: str) -> Path:
        return self._directory / id

    def _places(self, id: str, runtime: str) -> conmon.Places:
        return conmon.Places(
            id=id,
            bundle=self._folder(id),
            state=self._state_dir / runtime,
            exits=self._exits_dir,
            log=self._logs.current(id),
        )

    def _ids(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in self._directory.iterdir() if _ID.fullmatch(path.name))
        return []

    def _lock(self, id: str) -> asyncio.Lock:
        return self._locks.setdefault(id, asyncio.Lock())


def _check_id(id: str) -> None:
    if not _ID.fullmatch(id) or id in (MONITORS, TOOLS):
        why = f"an id has letters, digits, _ . and -, at most 127, and is not {MONITORS!r} or {TOOLS!r}"
        raise RuntimeRefused(f"{id[:80]!r} is no container", why, "give another id")


def _kill_makers(places: conmon.Places) -> None:
    """End a monitor or runtime that an agent which died left at work on this container."""
    unseen = 0
    for _ in range(100):
        makers = processes.processes_with_argument(str(places.bundle))
        for pid in makers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Twice: the first look misses a child whose parent was listed, made it and ended before it was looked at.
        unseen = 0 if makers else unseen + 1
        if unseen == 2:
            return
