"""The stream `/look`: what this node shows of its containers by itself, without a tool: files, processes, sockets, packets.

Greeted with a nonce, asked by one signed request (verb `look`), answered by messages: one byte of channel and a payload, as the
child frames them (observe/look/job.py). The child reads; here is who may ask, of which container, and that nothing waits
for ever or outgrows its bounds. A reader that is slow holds the child up; one that is gone ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from skerry.agent.greeting import greeted, refused
from skerry.agent.looking.child import SILENCE_S, Child, running
from skerry.core.constraints import name_of
from skerry.core.records import Slot
from skerry.errors import BadInput, Passing, SkerryError
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.observe.look.errors import NothingToSee
from skerry.observe.look.job import ERROR, FRAME_BYTES, Job, Path
from skerry.runtime import processes
from skerry.runtime.cores.shelf import CORE
from skerry.trust.refusals import VerbNotAllowed
from skerry.trust.requests import Request

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

ASKED_WITHIN_S = 60.0
AT_ONCE = 8
PIDS_MAX = 4096
OF_PROCESSES = ("procs", "sockets", "files", "put", "samples")
OF_KEPT = ("ls", "cat", "tree", "files")
TOLD = (
    "cat",
    "tree",
    "put",
    "capture",
    "core",
    "samples",
)  # what shows or changes what the application holds is an event

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]

Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Step = tuple[
    Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)], Byte, Byte, Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
]


class Look(msgspec.Struct, forbid_unknown_fields=True):
    """`limit`: rows, or bytes of content; of what is put there, its very size. `write`: said by who means to change something.
    `crashed`: in what is kept of the last one that crashed. A `core` is what is kept of its slot under that name, as `path` /NAME.
    `process`: samples of this one and its children alone, as tools number it.
    """

    slot: Annotated[str, msgspec.Meta(max_length=200)]
    what: Literal["ls", "cat", "tree", "would", "put", "procs", "sockets", "files", "capture", "core", "samples"]
    path: Path = "/"
    limit: Count = 1000
    write: bool = False
    crashed: bool = False
    filter: Annotated[list[Step], msgspec.Meta(max_length=1024)] = []
    snap_bytes: Annotated[int, msgspec.Meta(ge=64, le=1 << 18)] = 1 << 18
    packets: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    rate: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    process: Annotated[int, msgspec.Meta(ge=0, le=1 << 22)] = 0


class TooManyLooks(Passing):
    """So many are looking into this host's containers already."""

    code = "too-many-looks"


class Looking:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._at_once = 0

    async def serve(self, stream: Stream, who: str) -> None:
        judge = await greeted(self._agent, stream, within_s=ASKED_WITHIN_S)
        try:
            request = judge()
            await self._answer(stream, request, _args(request))
        except SkerryError as error:
            await send_bytes(stream, ERROR + msgspec.json.encode(refused(self._agent, error, who)))

    async def _answer(self, stream: Stream, request: Request, args: Look) -> None:
        if (slot := Slot.read(args.slot)) is None:
            raise BadInput(f"{args.slot!r} is no slot", "", "such as guestbook.web/0; see skerry ps")
        request.must("debug", f"app/{slot.app}")
        if args.what == "put" and not args.write:
            raise BadInput(f"{slot} was not changed", "the request does not say that it writes", "say --write")
        if self._at_once >= AT_ONCE:
            raise TooManyLooks(
                f"{slot} was not looked into",
                f"{AT_ONCE} looks are under way on {name_of(self._agent.me)}",
                "try again",
            )
        self._at_once += 1
        files = contextlib.ExitStack()
        try:
            with files:
                job = self._job(slot, args, files)
                if args.what in TOLD:
                    self._agent.events.append(
                        "debug", str(slot), f"{_words(args)} by {request.name or request.role}: unseen"
                    )
                await self._run(stream, job)
        finally:
            self._at_once -= 1

    def _job(self, slot: Slot, args: Look, files: contextlib.ExitStack) -> Job:
        if args.what == "core":
            return self._core(slot, args, files)
        if args.crashed:
            return self._kept(slot, args, files)
        id = next((id for id, of in self._agent.containers.running().items() if of == str(slot)), None)
        if id is None:
            raise NothingToSee(
                f"{slot} can't be looked into", f"it does not run on {name_of(self._agent.me)}", "see skerry ps"
            )
        if args.what == "capture":
            return Job(
                what="capture",
                interface=self._agent.network.interface(id),
                limit=args.limit,
                filter=tuple(args.filter),
                snap_bytes=args.snap_bytes,
                packets=args.packets,
                seconds=args.seconds,
            )
        if args.what == "samples":
            return self._samples(id, args)
        root = self._agent.runtime.view(id) if args.what not in ("would", "put") else None
        untouched = root is not None
        if root is None:
            root = self._own_root(slot, id)
        files.callback(os.close, root)
        return Job(
            what=args.what,
            path=args.path,
            limit=args.limit,
            root=root,
            untouched=untouched,
            pids=self._pids(id) if args.what in OF_PROCESSES else (),
            began=self._began(id, files) if args.what == "files" else -1,
        )

    def _samples(self, id: str, args: Look) -> Job:
        pids = self._pids(id)
        above = len(processes.numbers(pids[0])) - 2 if pids else 0  # where tools see it
        process = next((pid for pid in pids if processes.numbers(pid)[above : above + 1] == (args.process,)), 0)
        if args.process and not process:
            raise NothingToSee(
                "nothing was sampled", f"the container has no process {args.process}", "see skerry debug SLOT -- ps"
            )
        return Job(what="samples", pids=pids, limit=args.limit, seconds=args.seconds, rate=args.rate, process=process)

    def _kept(self, slot: Slot, args: Look, files: contextlib.ExitStack) -> Job:
        crash = self._agent.crashes.of(str(slot))
        if crash is None or args.what == "core" or args.what not in OF_KEPT:
            raise NothingToSee(
                f"{slot} can't be looked into",
                f"no crash of it is kept on {name_of(self._agent.me)}"
                if crash is None
                else "what is kept has files only",
                "see skerry crashes",
            )
        try:
            root = os.open(self._agent.crashes.files_of(str(slot)), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NothingToSee(
                f"of {slot} no files are kept", crash.unkept, f"its log is: skerry crashes {slot}"
            ) from None
        files.callback(os.close, root)
        places = tuple(crash.places)
        return Job(what=args.what, path=args.path, limit=args.limit, root=root, untouched=True, places=places)

    def _core(self, slot: Slot, args: Look, files: contextlib.ExitStack) -> Job:
        cores = self._agent.cores
        (row,) = cores.find(str(slot), args.path.removeprefix("/") or "/")
        root = cores.open(str(slot))
        files.callback(os.close, root)
        return Job(what="cat", path=f"/{row['name']}{CORE}", limit=args.limit, root=root, untouched=True)

    def _began(self, id: str, files: contextlib.ExitStack) -> int:
        """-1: it has no volumes, or nothing was noted."""
        try:
            file = os.open(self._agent.beginnings.of(id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        files.callback(os.close, file)
        return file

    def _pids(self, id: str) -> tuple[int, ...]:
        """Of its processes, the first one first."""
        pids = sorted(self._agent.runtime.pids(id))[:PIDS_MAX]
        return tuple(sorted(pids, key=lambda pid: processes.numbers(pid)[-1:] != (1,)))

    def _own_root(self, slot: Slot, id: str) -> int:
        """The root of its first process, in which it can be written."""
        pid = next(iter(self._pids(id)), 0)
        with contextlib.suppress(OSError):
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC) if pid else -1
            if root >= 0 and pid in self._agent.runtime.pids(id):  # once more: the number may be somebody else's by now
                return root
            if root >= 0:
                os.close(root)
        raise NothingToSee(f"{slot} can't be looked into", "its first process is gone", "see skerry events")

    async def _run(self, stream: Stream, job: Job) -> None:
        """The child's answer, message by message. When the stream is gone we are cancelled, and the child ends."""
        async with running(job) as child:
            feeding = asyncio.ensure_future(_feed(stream, child))
            try:
                async for message in child.messages():
                    await send_bytes(stream, message)
            finally:
                feeding.cancel()


async def _feed(stream: Stream, child: Child) -> None:
    """What the client sends into the child's standard input, piece by piece, to the empty one. A slow child holds it up."""
    if child.input is None:
        return
    with contextlib.suppress(ConnectionError, SkerryError):  # the child has ended, and says why; or the client is gone
        while piece := await recv_bytes(stream, timeout_s=SILENCE_S, most_bytes=FRAME_BYTES):
            child.input.write(piece)
            await child.input.drain()
    child.input.close()


def _words(args: Look) -> str:
    if args.what == "capture":
        return f"capture for {args.seconds:g} s"
    if args.what == "core":
        return f"cores get {args.path.removeprefix('/')}"
    if args.what == "samples":
        return f"samples for {args.seconds:g} s, {args.rate} in each"
    return f"{'cp' if args.what == 'tree' else args.what} {args.path}"


def _args(request: Request) -> Look:
    if request.verb != "look":
        raise VerbNotAllowed(f"request {request.verb!r} was refused", "this stream is for looking", "ask on /request")
    try:
        return msgspec.convert(request.args, Look)
    except msgspec.ValidationError as error:
        raise BadInput("request look was refused", str(error), "see the client's version") from None
