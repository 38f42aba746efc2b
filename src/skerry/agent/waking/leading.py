"""The agent's side of the activator: starts it, tells it who is where, and takes in for whom connections wait.

The process outlives this one (see activator.py beside this): a new agent finds it again by the socket to which it comes back. One of
another version is told to retire once ours listens; what it passes lives on in it.

An agent that has just started knows of no service yet. Until core has said who is where (`tell`), what an earlier one told the process
stands: else whoever waits there would be refused. Until the process has said what it passes nothing is counted (`passing`): else the
service would fall asleep under those who use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skerry.agent.waking import activator
from skerry.core.effects import Dormant
from skerry.core.events import Event, Knocked
from skerry.core.records import Slot
from skerry.net.ports import Asleep

log = logging.getLogger(__name__)

SOCKET, PIDS = "activator.sock", "activator.pids"  # in /run/skerry
BACK_S = 0.5  # one that runs comes back within it
BEGIN_S = 10.0
LOOK_S = 0.05
AGAIN_S = 30.0  # after one that could not begin
HEARD_S = 5.0  # one that runs and has said nothing by then passes nothing that could be counted
LINGER_S = 1.0  # so long at least every host can hear of a knock
LINE_BYTES = 1 << 20


class Activators:
    """`listen`: address:port to which the rules lead. `why`: what a slot waits for, in words."""

    def __init__(
        self,
        run: Path,
        listen: str,
        version: str,
        *,
        post: Callable[[Event], None],
        note: Callable[[str, str, str], object],
        why: Callable[[Slot], str],
        linger_s: float = LINGER_S,
    ) -> None:
        self._linger_s = linger_s
        self._run, self._listen, self._version = run, listen, version
        self._post, self._note, self._why = post, note, why
        self._server: asyncio.Server | None = None
        self._table: dict[str, dict[str, Any]] | None = None  # None: not known yet
        self._all: dict[asyncio.StreamWriter, tuple[str, int]] = {}  # (version, pid)
        self._retired: set[asyncio.StreamWriter] = set()  # they listen no more, and pass on what they have
        self._unheard: set[int] = set()  # of an earlier agent's: those that have not said yet what they pass
        self._unheard_until_s = 0.0
        self._own: asyncio.StreamWriter | None = None  # the one that listens for us
        self._waiting: dict[asyncio.StreamWriter, dict[str, int]] = {}
        self._told: dict[str, float] = {}  # since when core knows that somebody waits for it
        self._flows: dict[asyncio.StreamWriter, dict[str, tuple[int, int]]] = {}
        self._counted: dict[str, int] = {}
        self._came = asyncio.Event()
        self._begins = asyncio.Lock()
        self._again_s = 0.0  # not before
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Of a host on which nothing may sleep there is nothing to hear."""
        self._unheard = set(_pids(self._run))
        if self._unheard:
            self._unheard_until_s = asyncio.get_running_loop().time() + HEARD_S
            await self._hear_them()

    async def _hear_them(self) -> None:
        self._run.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._run / SOCKET
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=LINE_BYTES)

    async def close(self) -> None:
        """The process stays: who waits there goes on waiting."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for writer in self._all:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, dormant: Sequence[Dormant], address_of: Callable[[str], str]) -> None:
        """Who is where now. `address_of`: what stands in for a service's name while nobody is there."""
        table = {}
        for of in dormant:
            table[of.name] = {
                "ports": {str(port.published): port.target for port in of.ports},
                "address": address_of(of.name),
                "targets": of.targets,
                "rising": of.rising,
                "limit_s": of.limit_s,
            }
        if table != self._table:
            self._table = table
            for writer in self._all:
                _say(writer, {"services": table})
            self._divide()

    def known(self) -> None:
        """Core has looked at all that this host's disk holds: a service of which it has said nothing is not there."""
        if self._table is None:
            self.tell((), str)

    async def ready(self) -> None:
        """Wait until one listens, if there is anything to hold; the rules may lead to it then."""
        loop = asyncio.get_running_loop()
        if not self._table or self._own is not None or loop.time() < self._again_s:
            return  # after one that could not begin the rules don't wait for the next
        async with self._begins:
            if self._server is None:
                await self._hear_them()
            if self._own is None and (_pids(self._run) or self._all):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BACK_S):
                        await self._one_of_ours()
            if self._own is not None or loop.time() < self._again_s:
                return
            process, end_s = await asyncio.to_thread(self._begin), loop.time() + BEGIN_S
            while self._own is None and process.poll() is None and loop.time() < end_s:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._one_of_ours()
            if self._own is None:
                self._again_s = loop.time() + AGAIN_S
                how = f"ended with {process.returncode}" if process.returncode is not None else "says nothing"
                self._note(
                    "activator", "", f"what holds connections on {self._listen} {how}: services at zero sleep on"
                )
                loop.call_later(AGAIN_S, self._again)

    async def _one_of_ours(self) -> None:
        while self._own is None:
            self._came.clear()
            await self._came.wait()

    def _begin(self) -> subprocess.Popen[bytes]:
        """As a program of its own: an import of ours would bring the whole agent with it."""
        command = [sys.executable, "-I", "-m", activator.__name__, "--listen", self._listen]
        return subprocess.Popen(
            [*command, "--control", str(self._run / SOCKET), "--version", self._version],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                self._hear(writer, json.loads(line))
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the activator's line ended: %s", error)
        finally:
            self._tasks.discard(task)
            self._all.pop(writer, None)
            self._waiting.pop(writer, None)
            self._flows.pop(writer, None)
            self._retired.discard(writer)
            if self._server is not None and self._server.is_serving():  # else it is we who end: the next finds it
                self._save_pids()
                self._count()
                if self._own is writer:
                    log.warning("the activator ended; starting another")
                    self._own = None
                    self._again()
            writer.close()

    def _again(self) -> None:
        """It was killed: those who knock shall not meet a closed door for long."""
        if self._table and self._own is None:
            task = asyncio.get_running_loop().create_task(self.ready())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _hear(self, writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
        if "hello" in said:
            self._all[writer] = (said["hello"], said["pid"])
            if said.get("retired"):
                self._retired.add(writer)
            self._save_pids()
            if self._table is not None:
                _say(writer, {"services": self._table})
                self._divide()
        if "held" in said:
            self._waiting.setdefault(writer, {}).update(said["held"])
            self._count()
        if "flows" in said:
            if writer not in self._flows:  # what it passed before we heard of it is no load of now
                for name, (_, ever) in said["flows"].items():
                    self._counted[name] = self._counted.get(name, 0) + ever
            self._flows[writer] = {name: tuple(counts) for name, counts in said["flows"].items()}
            self._unheard.discard(self._all[writer][1] if writer in self._all else 0)
        for name, counts in said.get("closed", {}).items():
            self._tell_closed(name, counts)

    def _divide(self) -> None:
        """One of our version listens for us. Once it does, or when there is nothing to listen for, the others are to retire."""
        if not self._table:
            self._own = None
        elif self._own is None:
            ours = (w for w, (version, _) in self._all.items() if version == self._version and w not in self._retired)
            self._own = next(ours, None)
            if self._own is None:
                return
            self._came.set()
        for writer in self._all.keys() - self._retired - {self._own}:
            _say(writer, {"retire": True})
            self._retired.add(writer)

    def _count(self) -> None:
        """Core is told when the first waits, and when none does any more; who leaves at once has knocked all the same."""
        waits: dict[str, int] = {}
        for held in self._waiting.values():
            for name, n in held.items():
                waits[name] = waits.get(name, 0) + n
        loop = asyncio.get_running_loop()
        for name in {*waits, *self._told}:
            n, (app, _, service) = waits.get(name, 0), name.partition(".")
            if n and name not in self._told:
                self._told[name] = loop.time()
                self._post(Knocked(app, service, n))
            elif not n and name in self._told:
                rest_s = self._told[name] + self._linger_s - loop.time()
                if rest_s > 0:
                    loop.call_later(rest_s, self._count)
                else:
                    del self._told[name]
                    self._post(Knocked(app, service, 0))

    def passing(self, app: str, service: str) -> int | None:
        """How many of its connections go through an activator, or did since this was last asked. None: that is not known yet."""
        if self._unheard:
            self._unheard &= set(_pids(self._run))
            if self._unheard and asyncio.get_running_loop().time() < self._unheard_until_s:
                return None
            self._unheard.clear()
        name = f"{app}.{service}"
        counts = [flows[name] for flows in self._flows.values() if name in flows]
        now, ever = sum(n for n, _ in counts), sum(n for _, n in counts)
        before, self._counted[name] = self._counted.get(name, 0), ever
        return max(now, ever - before)

    def _tell_closed(self, name: str, counts: dict[str, int]) -> None:
        app, _, service = name.partition(".")
        if late := counts.get("late"):
            limit_s = (self._table or {}).get(name, {}).get("limit_s", 0.0)
            why = self._why(Slot(app, service, 0)) or "nothing of it became healthy"
            told = f"{late} connection{'s' if late > 1 else ''} waited for {limit_s:g} s and got no answer: {why}"
            self._note("not-woken", name, told)
        if full := counts.get("full"):
            most = f"at most {activator.HELD_MAX} wait here, {activator.HELD_PER_CLIENT} of one address"
            self._note("not-woken", name, f"{full} connection{'s' if full > 1 else ''} refused: {most}")

    def _save_pids(self) -> None:
        pids = sorted({pid for _, pid in self._all.values()} | self._unheard)
        with contextlib.suppress(OSError):
            (self._run / PIDS).write_text("".join(f"{pid}\n" for pid in pids))


def led(
    names: dict[str, tuple[str, ...]], dormant: Sequence[Dormant], stand_in: Callable[[str], str]
) -> tuple[dict[str, tuple[str, ...]], Asleep]:
    """The names, and what the rules lead to where connections are held, while some of these sleep."""
    asleep = [of for of in dormant if not of.targets]
    for of in asleep:
        if address := stand_in(of.name):
            names |= {name: (address,) for name in of.names if not names[name]}
    published = tuple(port.published for of in asleep for port in of.ports)
    return names, Asleep(published, tuple(address for of in dormant if (address := stand_in(of.name))))


def _say(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")


def _pids(run: Path) -> list[int]:
    """Of activators that still run."""
    try:
        told = [int(line) for line in (run / PIDS).read_text().split()]
    except (OSError, ValueError):
        return []
    found = []
    for pid in told:
        with contextlib.suppress(OSError):
            if activator.__name__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def purge(run: Path) -> None:
    """End them, and with them what they pass."""
    for pid in _pids(run):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for name in (SOCKET, PIDS):
        (run / name).unlink(missing_ok=True)
