"""The core files of this host: what the handler kept and what operators had made, told, listed, given and removed; and whether the
kernel sends cores to us at all, which it does while a container here asks for its own (`ulimits: {core: …}`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.agent.files import HostFiles
from skerry.errors import NoSuchSubject, Passing
from skerry.runtime.cores.asking import asked
from skerry.runtime.cores.pattern import PROGRAM, CorePattern
from skerry.runtime.cores.shelf import Draft, NotKept, Shelf
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

LOOK_S = 10.0
STARTS_WITHIN_S = 60.0
GZIP = b"\x1f\x8b"


class CoreNotKept(Passing):
    """There is no room for it now, or so many are being written."""

    code = "core-not-kept"


def pattern_of(files: HostFiles) -> CorePattern:
    """Of this host: the handler lies beside our own Python."""
    return CorePattern(Path(sys.executable).parent / PROGRAM, files.containers, files.cores)


class Cores:
    """`running`: ids of the containers that run here; `note(kind, subject, reason)` writes an event for people.

    `asking`: of which slots' containers cores are asked for; `why`: why they are not kept all the same ("" if they are).
    """

    def __init__(
        self,
        me: str,
        files: HostFiles,
        pattern: CorePattern,
        *,
        running: Callable[[], Collection[str]],
        wall_s: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
        note: Callable[[str, str, str], Any],
    ) -> None:
        self.shelf = Shelf(str(files.cores))
        self.why = ""
        self._me, self._containers, self._pattern = me, files.containers, pattern
        self._running, self._wall_s, self._spawn, self._note = running, wall_s, spawn, note
        self._known: dict[str, str] = {}  # container -> its slot, "" where it doesn't ask
        self._ours = False
        self._seen_ns = -1
        self._looked_s = -LOOK_S
        self._begun_s = -STARTS_WITHIN_S
        files.cores.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def asking(self) -> list[str]:
        return sorted({slot for slot in self._known.values() if slot})

    @property
    def unkept(self) -> str:
        """Why none is kept of what dies, although it is asked for; "" else."""
        return self.why if self.asking else ""

    def begins(self) -> None:
        """A container that asks is about to start: whenever it dies, its core is to come to us."""
        self._begun_s = time.monotonic()
        why = self._pattern.take()
        if why and why != self.why:
            self._note("host", self._me, f"no core of a process that dies is kept here: {why}")
        if not why and not self._ours:
            self._note(
                "host", self._me, "kernel.core_pattern leads to this agent while a container here asks for its cores"
            )
        self.why, self._ours = why, not why

    def look(self) -> None:
        """To be called each second."""
        if (now_ns := _changed_ns(self.shelf.directory)) != self._seen_ns:
            self._seen_ns = now_ns
            self._spawn(self._tell())
        if time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            self._spawn(self._keep_bounds())

    async def _tell(self) -> None:
        for row in await asyncio.to_thread(self.shelf.records):
            if not row.get("told"):
                await asyncio.to_thread(self.shelf.told, row)
                self._note("core-kept", str(row["slot"]), _words(row))

    async def _keep_bounds(self) -> None:
        await asyncio.to_thread(self.shelf.sweep, self._wall_s())
        running = set(self._running())
        self._known = {id: slot for id, slot in self._known.items() if id in running}
        for id in running - set(self._known):
            if (self._containers / id / "config.json").exists():  # else it is being made
                found = await asyncio.to_thread(asked, str(self._containers), id)
                self._known[id] = found.slot if found is not None else ""
        if self.asking:
            self.begins()  # again: after a restart of ours, or if somebody has changed it meanwhile
        elif time.monotonic() - self._begun_s > STARTS_WITHIN_S and self._pattern.put_back():
            self._note(
                "host", self._me, "kernel.core_pattern is what it was: no container here asks for its cores any more"
            )
            self._ours = False

    # -- for operators

    def rows(self) -> list[dict[str, Any]]:
        return self.shelf.records()

    def find(self, slot: str, name: str) -> list[dict[str, Any]]:
        """The cores of that slot, oldest first; with a name that one. Raises NoSuchSubject."""
        rows = [row for row in self.rows() if row["slot"] == slot and name in ("", row["name"])]
        if not rows:
            raise NoSuchSubject(
                f"no such core of {slot} is here", "three are kept, for three days", "see skerry cores ls"
            )
        return rows

    def open(self, slot: str) -> int:
        """The folder in which that slot's are."""
        return os.open(self.shelf.folder(slot), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def remove(self, slot: str, name: str) -> list[str]:
        """Names of what is gone."""
        rows = self.find(slot, name)
        for row in rows:
            self.shelf.remove(row)
        return [str(row["name"]) for row in rows]

    @contextmanager
    def asked_for(self, slot: str, container: str, who: str, process: int) -> Iterator[Incoming]:
        """One that a tool is about to write, compressed. Raises CoreNotKept."""
        now_s = self._wall_s()
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now_s))}-{process or 1}"
        record = {
            "slot": slot, "container": container, "by": "request", "who": who, "time": now_s, "signal": 0,
            "pid": process, "exe": "", "comm": "", "cut": "",
        }  # fmt: skip
        try:
            with self.shelf.one_more(slot, name, at_once=True) as draft:
                yield Incoming(name, draft, record)
        except NotKept as error:
            raise CoreNotKept(
                f"no core of {slot} was kept", str(error), "see skerry cores ls; skerry cores rm"
            ) from None


class Incoming:
    """A core that comes from a tool of ours, in pieces. `name`: as it will be called."""

    def __init__(self, name: str, draft: Draft, record: dict[str, Any]) -> None:
        self.name = name
        self._draft, self._record = draft, record
        self._head, self._tail, self._whole = b"", b"", True

    async def take(self, data: bytes) -> None:
        """Raises NotKept: then it is none."""
        self._whole = False
        await asyncio.to_thread(self._draft.write, data)
        self._head = self._head or data[:2]
        self._tail = (self._tail + data)[-4:]
        self._whole = True

    def finish(self) -> bool:
        """Whether it was one."""
        if self._head != GZIP or len(self._tail) < 4 or not self._whole:
            return False
        self._draft.finish({**self._record, "size_bytes": int.from_bytes(self._tail, "little")})  # RFC 1952, ISIZE
        return True


def cores_of(agent: Agent) -> Cores:
    return Cores(
        agent.me,
        agent.files,
        agent.parts.core_pattern(agent.files),
        running=lambda: agent.containers.running(),
        wall_s=agent.clock.wall_s,
        spawn=agent.loop.spawn,
        note=agent.events.append,
    )


def _words(row: dict[str, Any]) -> str:
    of = (
        f"signal {row['signal']} of {row['comm'] or 'a process'} (pid {row['pid']})"
        if row["by"] == "crash"
        else f"by {row['who']}"
    )
    cut = f", cut short: {row['cut']}" if row["cut"] else ""
    return (
        f"{of}: {size(int(row['size_bytes']))}{cut}, kept for three days: skerry cores get {row['slot']}:{row['name']}"
    )


def _changed_ns(directory: str) -> int:
    """When a core was last begun, ended or removed here."""
    newest = 0
    with contextlib.suppress(OSError):
        newest = Path(directory).stat().st_mtime_ns
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    newest = max(newest, entry.stat().st_mtime_ns)
    return newest
