"""What is kept of containers that crashed: how it ended, the end of its log, and what it had written where it would be gone.

The last crash of each slot, for a day, within bounds of bytes for one and for the host; when the disk is short, the oldest go first.
Nothing waits for it: the view of its file system outlives the container, so it is copied while the next one starts. Of a slot that
crashes again and again, one in half a minute is kept, and how many came after it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.agent.looking.child import running
from skerry.core.records import Slot
from skerry.core.restarts import told
from skerry.errors import SkerryError
from skerry.observe.logs import tail
from skerry.observe.look.job import SUMMARY, Job
from skerry.outside import UNREADABLE
from skerry.runtime.contract import Exited
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

log = logging.getLogger(__name__)
KEPT_S = 24 * 3600.0
HOST_BYTES = 256 << 20
HOST_SHARE = 0.02  # of the whole disk, if that is less
EACH_SHARE = 0.25  # of what the host has for them
LEFT_FREE = 0.05  # of the whole disk: below that all of it is given back
AGAIN_S = 30.0
LOOK_S = 10.0
LOG_LINES, LOG_BYTES = 500, 64 << 10
_RECORD, _FILES, _NEW, _SCRATCH = "crash.json", "fs", ".new-", ".scratch-"


class Crash(msgspec.Struct, kw_only=True):
    """`time`: unix seconds. `again`: how often it has crashed since then without being kept. `places`: what of it is here, as it saw
    them; `skipped`: what isn't, and why. `log`: the end of its own.
    """

    slot: str
    container: str
    image: str
    time: float
    exit_code: int
    oom: bool
    log: str
    again: int = 0
    places: list[str] = []
    files: int = 0
    size_bytes: int = 0
    skipped: list[dict[str, str]] = []
    skipped_count: int = 0
    unkept: str = ""  # why no files are here

    @property
    def why(self) -> str:
        return told(self.exit_code, self.oom)


class Crashes:
    """`directory`: one folder per slot. `spawn` runs tasks; `note(kind, subject, reason)` writes an event for people."""

    def __init__(
        self,
        directory: Path,
        *,
        wall_s: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
        note: Callable[[str, str, str], Any],
    ) -> None:
        self._directory = directory
        self._wall_s, self._spawn, self._note = wall_s, spawn, note
        self._held: dict[str, Crash] = {}
        self._last_s: dict[str, float] = {}  # when one was last kept, monotonic
        self._looked_s = -LOOK_S
        self._load()

    def all(self) -> list[Crash]:
        return sorted(self._held.values(), key=lambda crash: crash.time)

    def of(self, slot: str) -> Crash | None:
        return self._held.get(slot)

    def files_of(self, slot: str) -> Path:
        return self._folder(slot) / _FILES

    def take(
        self,
        gone: Exited,
        slot: str,
        image: str,
        log_end: str,
        view: int | None,
        passing: Mapping[str, str],
        scratch: Path,
    ) -> None:
        """Its container has ended by itself, and is removed the next moment. Owns `view`. `scratch`: its folder on this disk, which
        goes with it: it is taken over. Returns at once.
        """
        crash = Crash(
            slot=slot, container=gone.id, image=image, time=self._wall_s(), exit_code=gone.exit_code, oom=gone.oom,
            log=log_end[-LOG_BYTES:],
        )  # fmt: skip
        before, now_s = self._held.get(slot), time.monotonic()
        if before is not None and now_s - self._last_s.get(slot, -AGAIN_S) < AGAIN_S:
            before.again += 1
            with contextlib.suppress(OSError):
                self._write(before)
            _close(view)
            return
        self._last_s[slot] = now_s
        kept_scratch = self._directory / f"{_SCRATCH}{gone.id}"
        with contextlib.suppress(OSError):
            scratch.rename(kept_scratch)
        crash.places = [path for path, source in passing.items() if not source or source.startswith(f"{scratch}/")]
        self._spawn(self._keep(crash, view, kept_scratch))

    async def _keep(self, crash: Crash, view: int | None, scratch: Path) -> None:
        new = self._directory / f"{_NEW}{crash.container}"
        try:
            await self._tidy()
            await asyncio.to_thread((new / _FILES).mkdir, parents=True)
            await self._copy(crash, view, new / _FILES)
            (new / _RECORD).write_bytes(msgspec.json.encode(crash))
            await asyncio.to_thread(self._put_in_place, crash.slot, new)
            self._held[crash.slot] = crash
            self._note("crash-kept", crash.slot, f"{crash.why}; {_kept(crash)}: skerry crashes {crash.slot}")
        except OSError as error:
            log.warning("nothing is kept of the crash of %s: %s", crash.slot, error)
        finally:
            _close(view)
            await asyncio.to_thread(shutil.rmtree, new, ignore_errors=True)
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def _copy(self, crash: Crash, view: int | None, to: Path) -> None:
        if view is None or self._short() or not crash.places:
            crash.unkept = "the disk is short" if self._short() else "nobody held on to them" if view is None else ""
            crash.places = []
            return
        room_bytes = int(self._allowed_bytes() * EACH_SHARE)
        folder = os.open(to, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            job = Job(what="keep", root=view, untouched=True, to=folder, limit=room_bytes, places=tuple(crash.places))
            async with running(job) as child:
                async for message in child.messages():
                    if message[:1] == SUMMARY:
                        for name, value in msgspec.json.decode(message[1:]).items():
                            setattr(crash, name, value)
                        return
                    crash.unkept = str(msgspec.json.decode(message[1:]).get("why", ""))
        except SkerryError as error:
            crash.unkept = str(error)
        finally:
            os.close(folder)
        await asyncio.to_thread(shutil.rmtree, to, ignore_errors=True)

    def _put_in_place(self, slot: str, new: Path) -> None:
        folder = self._folder(slot)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)

    # -- bounds

    def look(self) -> None:
        """To be called each second."""
        if self._held and time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            self._spawn(self._tidy())

    async def _tidy(self) -> None:
        """What is too old goes, then the oldest while there is no room for one more, or the disk is short."""
        for crash in self.all():
            used = sum(crash.size_bytes for crash in self._held.values())
            too_much = used > self._allowed_bytes() * (1 - EACH_SHARE)
            if self._wall_s() - crash.time > KEPT_S or too_much or self._short():
                self._held.pop(crash.slot, None)
                await asyncio.to_thread(shutil.rmtree, self._folder(crash.slot), ignore_errors=True)

    def _allowed_bytes(self) -> int:
        return min(HOST_BYTES, int(shutil.disk_usage(self._directory).total * HOST_SHARE))

    def _short(self) -> bool:
        disk = shutil.disk_usage(self._directory)
        return disk.free < disk.total * LEFT_FREE

    # -- the disk

    def _load(self) -> None:
        """What an earlier agent kept; what it had begun goes."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in self._directory.iterdir():
            try:
                crash = msgspec.json.decode((folder / _RECORD).read_bytes(), type=Crash)
            except (OSError, *UNREADABLE):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if folder == self._folder(crash.slot):
                self._held[crash.slot] = crash
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _write(self, crash: Crash) -> None:
        path = self._folder(crash.slot) / _RECORD
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(crash))
        new.replace(path)

    def _folder(self, slot: str) -> Path:
        return self._directory / slot.replace("/", "_")


def crashes_of(agent: Agent) -> Crashes:
    place = agent.files.state / "crashes"
    return Crashes(place, wall_s=agent.clock.wall_s, spawn=agent.loop.spawn, note=agent.events.append)


def taking(agent: Agent) -> Callable[[Exited, Slot, str], None]:
    """What is to be called of each container of that agent that crashed."""

    def take(gone: Exited, slot: Slot, image: str) -> None:
        runtime = agent.runtime
        end = "\n".join(line.text for line in tail(runtime.logs(gone.id), LOG_LINES))
        scratch = agent.files.scratch / gone.id
        agent.crashes.take(gone, str(slot), image, end, runtime.view(gone.id), runtime.passing(gone.id), scratch)

    return take


def _kept(crash: Crash) -> str:
    if crash.unkept:
        return f"its log is kept, its files are not ({crash.unkept})"
    left_out = f", {crash.skipped_count} left out" if crash.skipped_count else ""
    return f"its log and {crash.files} files ({size(crash.size_bytes)}{left_out}) are kept for a day"


def _close(view: int | None) -> None:
    if view is not None:
        os.close(view)
