"""The stream `/look`: what this node shows of its containers by itself, without a tool: files, processes, sockets, packets.

Greeted with a nonce, asked by one signed request (verb `look`), answered by messages: one byte of channel and a payload, as the
child frames them (observe/look/job.py). The child reads; here is who may ask, of which container, and that nothing waits
for ever or outgrows its bounds. A reader that is slow holds the child up; one that is gone ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from skerry.core.constraints import name_of
from skerry.core.records import Slot
from skerry.errors import BadFormat, BadInput, Passing, SkerryError, TrustRefusal
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.observe.look.errors import NothingToSee
from skerry.observe.look.job import ERROR, FRAME_BYTES, HEAD, SUMMARY, Job, Path
from skerry.runtime import processes
from skerry.trust.refusals import VerbNotAllowed
from skerry.trust.requests import REQUEST_BYTES, Request, judge_request

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

ASKED_WITHIN_S = 60.0
SILENCE_S = 30.0  # of a child: what it reads hangs
ENDED_WITHIN_S = 2.0
AT_ONCE = 8
PIDS_MAX = 4096
WORDS_MAX = 300
TOLD = ("cat", "tree", "put", "capture")  # what shows or changes what the application holds is an event

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]

Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Step = tuple[
    Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)], Byte, Byte, Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
]


class Look(msgspec.Struct, forbid_unknown_fields=True):
    """`limit`: rows, or bytes of content. `write`: said by who means to change something."""

    slot: Annotated[str, msgspec.Meta(max_length=200)]
    what: Literal["ls", "cat", "tree", "procs", "sockets", "files", "capture"]
    path: Path = "/"
    limit: Count = 1000
    write: bool = False
    filter: Annotated[list[Step], msgspec.Meta(max_length=1024)] = []
    snap_bytes: Annotated[int, msgspec.Meta(ge=64, le=1 << 18)] = 1 << 18
    packets: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0


class TooManyLooks(Passing):
    """So many are looking into this host's containers already."""

    code = "too-many-looks"


class Looking:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._at_once = 0

    async def serve(self, stream: Stream, who: str) -> None:
        agent = self._agent
        nonce = os.urandom(16).hex()
        await send_bytes(stream, msgspec.json.encode({"node": agent.me, "nonce": nonce}))
        raw = await recv_bytes(stream, timeout_s=ASKED_WITHIN_S, most_bytes=REQUEST_BYTES)
        try:
            request = judge_request(raw, agent.trusted, node=agent.me, nonce=nonce, now_s=agent.clock.wall_s())
            await self._answer(stream, request, _args(request))
        except SkerryError as error:
            if isinstance(error, TrustRefusal | BadFormat):
                agent.links.tell(error, who if who.startswith("node/") else f"client {who[:16]}")
            told = error.as_dict() | {"exit_code": error.exit_code}
            await send_bytes(stream, ERROR + msgspec.json.encode(told))

    async def _answer(self, stream: Stream, request: Request, args: Look) -> None:
        if (slot := Slot.read(args.slot)) is None:
            raise BadInput(f"{args.slot!r} is no slot", "", "such as guestbook.web/0; see skerry ps")
        request.must("debug", f"app/{slot.app}")
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
        runtime = self._agent.runtime
        root = runtime.view(id)
        untouched = root is not None
        if root is None:
            root = self._own_root(slot, id)
        files.callback(os.close, root)
        pids = sorted(runtime.pids(id))[:PIDS_MAX] if args.what in ("procs", "sockets", "files") else ()
        return Job(what=args.what, path=args.path, limit=args.limit, root=root, untouched=untouched, pids=tuple(pids))

    def _own_root(self, slot: Slot, id: str) -> int:
        """The root of its first process, in which it can be written."""
        runtime = self._agent.runtime
        pid = next((pid for pid in runtime.pids(id) if processes.numbers(pid)[-1:] == (1,)), 0)
        with contextlib.suppress(OSError):
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC) if pid else -1
            if root >= 0 and pid in runtime.pids(id):  # looked at again: the number may have become somebody else's
                return root
            if root >= 0:
                os.close(root)
        raise NothingToSee(f"{slot} can't be looked into", "its first process is gone", "see skerry events")

    async def _run(self, stream: Stream, job: Job) -> None:
        """The child's answer, message by message. Raises NothingToSee if it hangs or breaks."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "skerry.observe.look.child", msgspec.json.encode(job).decode(),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            pass_fds=[file for file in (job.root, job.to) if file >= 0], limit=FRAME_BYTES,
        )  # fmt: skip
        try:
            await self._relay(stream, child, job)
        finally:  # told all, or the stream is gone and we are cancelled
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            with contextlib.suppress(TimeoutError):  # one that hangs in the kernel ends when that lets it
                await asyncio.wait_for(child.wait(), ENDED_WITHIN_S)

    async def _relay(self, stream: Stream, child: asyncio.subprocess.Process, job: Job) -> None:
        assert child.stdout is not None
        assert child.stderr is not None
        channel = b""
        while channel not in (SUMMARY, ERROR):
            try:
                async with asyncio.timeout(SILENCE_S):
                    (length,) = HEAD.unpack(await child.stdout.readexactly(HEAD.size))
                    message = await child.stdout.readexactly(length)
            except TimeoutError:
                why = f"reading it gave nothing for {SILENCE_S:g} s: its disk may hang"
                raise NothingToSee(f"{job.path} can't be read", why, "try again") from None
            except asyncio.IncompleteReadError:
                words = (await child.stderr.read()).decode("utf-8", "replace").strip()[-WORDS_MAX:]
                raise NothingToSee(f"{job.path} can't be read", f"the reader ended: {words}", "try again") from None
            channel = message[:1]
            await send_bytes(stream, message)


def _words(args: Look) -> str:
    if args.what == "capture":
        return f"capture for {args.seconds:g} s"
    return f"{'cp' if args.what == 'tree' else args.what} {args.path}"


def _args(request: Request) -> Look:
    if request.verb != "look":
        raise VerbNotAllowed(f"request {request.verb!r} was refused", "this stream is for looking", "ask on /request")
    try:
        return msgspec.convert(request.args, Look)
    except msgspec.ValidationError as error:
        raise BadInput("request look was refused", str(error), "see the client's version") from None
