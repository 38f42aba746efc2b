"""Looking into a container of this host with a tool: the stream `/debug`, from the signed request to the tool's end.

It greets with a nonce as `/request` does, takes one request, answers one message, and then carries the tool's streams
(mesh/terminals.py) until the tool ends, its time is over, or the operator is gone: whichever is first, nothing of it is left.
Who began what on which slot, of which class, stands in the events of this host.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from skerry.agent.debugging.carrying import Carrying
from skerry.agent.debugging.cores import Incoming
from skerry.agent.greeting import greeted, refused
from skerry.core.constraints import name_of
from skerry.core.records import Slot
from skerry.core.visibility import FELT_LIMIT_S, Class, classify
from skerry.errors import BadInput, NoSuchSubject, Passing, SkerryError, Unreachable
from skerry.mesh import terminals as t
from skerry.mesh.messages import Stream, send_bytes
from skerry.runtime.contract import Tool, ToolSpec
from skerry.trust.requests import Request, may_still

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

ASK_WITHIN_S = 10.0
SESSIONS = 8  # at once on one host
MOST_S = 8 * 3600.0  # one session
RIGHT_LOOKED_AT_S = 5.0
STUCK_S = 3.0  # a tracer whose output nobody takes holds up whom it traces
COMMAND_SHOWN = 500
CORE_SCRIPT = ("sh", "/usr/share/skerry/core")  # of the image "base", or of an own one
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


class TooManyTools(Passing):
    code = "too-many-tools"


class ToolsNotHere(Passing):
    """The image is not whole on this host: hand it over, and ask again."""

    code = "tools-not-here"


class Ask(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`slot`, or with `host` the whole host. `tools`: name of the signed image, `digest`: the version of it that is meant.
    `limit_s`: 0: what its class allows. `process`: the one that is looked at, as tools number it; 0: the container's first.
    `join`: the namespace of the container's that the tool is to be in. `keep`: what it writes is a core, and stays on this host.
    """

    argv: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=64 << 10)], ...], msgspec.Meta(min_length=1, max_length=1000)
    ]
    tools: Annotated[str, msgspec.Meta(max_length=80)]
    digest: Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
    slot: Annotated[str, msgspec.Meta(max_length=300)] = ""
    host: bool = False
    tty: bool = False
    rows: t.Side = 24
    cols: t.Side = 80
    term: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9._+-]{1,64}$")] = "dumb"
    write: bool = False
    process: Annotated[int, msgspec.Meta(ge=0, le=1 << 22)] = 0
    join: Literal["", "net"] = ""
    keep: bool = False
    limit_s: Annotated[float, msgspec.Meta(ge=0, le=MOST_S)] = 0.0


class _Session(msgspec.Struct, frozen=True):
    """One that may begin. `path`: of the app or host that the right is for; `container`: "" for the host; `traces`: or might."""

    name: str
    asked: Ask
    who: str
    key: str
    right: str
    path: str
    subject: str
    container: str
    found: Class
    traces: bool
    limit_s: float

    @property
    def command(self) -> str:
        return shlex.join(self.asked.argv)[:COMMAND_SHOWN]


class Debugging:
    """All sessions of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, stream: Stream, who: str) -> None:
        """One stream of `/debug`: until nothing of the tool is left, even if whoever waits for it is cancelled."""
        task = asyncio.get_running_loop().create_task(self._serve(stream, who))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        """End all: their streams are closed by now."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, stream: Stream, who: str) -> None:
        with contextlib.suppress(Unreachable):
            judge = await greeted(self._agent, stream, within_s=ASK_WITHIN_S)
            try:
                await self._run(self._admit(judge()), stream)
            except Unreachable:
                raise
            except SkerryError as error:
                await send_bytes(stream, msgspec.json.encode({"error": refused(self._agent, error, who)}))

    # -- whether it may begin

    def _admit(self, request: Request) -> _Session:
        """Rights first: who has none learns nothing of what runs here. Raises what the request is refused for."""
        if request.verb != "debug":
            raise BadInput(f"request {request.verb!r} was refused", "this stream takes debug alone", "ask on /request")
        try:
            asked = msgspec.convert(request.args, Ask)
        except msgspec.ValidationError as error:
            raise BadInput("request debug was refused", str(error), "see the client's version") from None
        me = self._agent.me
        if asked.host:
            if asked.join:
                raise BadInput("no tool was started", "a tool for a whole host is in its network", "leave --join out")
            right, path, subject, container = "debug-host", me, name_of(me), ""
            request.must(right, path)
        else:
            slot = Slot.read(asked.slot)
            if slot is None:
                raise BadInput(f"{asked.slot!r} is no slot", "", "such as guestbook.web/0: see skerry ps")
            right, path, subject = "debug", f"app/{slot.app}", str(slot)
            request.must(right, path)
            container = self._container(subject)
        if asked.keep and (asked.tty or asked.host or asked.argv[:2] != CORE_SCRIPT):
            raise BadInput("no tool was started", "only a core of a container is kept", "leave keep out")
        self._agent.kits.permitted(asked.tools, asked.digest)
        if self._agent.images.root(asked.digest) is None:
            raise ToolsNotHere(
                f"no tool was started on {name_of(me)}",
                f"image {asked.digest[7:19]} is not whole there",
                "hand it over",
            )
        if len(self._running) > SESSIONS:
            raise TooManyTools(
                f"no tool was started on {name_of(me)}", f"{SESSIONS} are at work there", "wait for one of them to end"
            )
        found = classify(asked.argv, joined=(asked.join,), write=asked.write)
        traces = classify(asked.argv).visibility == "felt"
        return _Session(
            name=secrets.token_hex(4),
            asked=asked,
            who=request.name or f"{request.role} ({request.key[:16]})",
            key=request.key,
            right=right,
            path=path,
            subject=subject,
            container=container,
            found=found,
            traces=traces,
            limit_s=asked.limit_s or (FELT_LIMIT_S if traces and not asked.tty else MOST_S),
        )

    def _container(self, slot: str) -> str:
        """The one of this slot that runs here; of two (an update) the newer."""
        found = [id for id, of in self._agent.containers.running().items() if of == slot]
        if not found:
            raise NoSuchSubject(
                f"{slot} does not run on {name_of(self._agent.me)}", "it may have moved", "see skerry ps, and ask again"
            )
        return found[-1]

    # -- from its beginning to its end

    async def _run(self, session: _Session, stream: Stream) -> None:
        asked = session.asked
        root = self._agent.images.root(asked.digest)
        assert root is not None
        spec = ToolSpec(
            root=root,
            argv=asked.argv,
            term=asked.term,
            tty=asked.tty,
            rows=asked.rows,
            cols=asked.cols,
            write=asked.write,
            process=asked.process,
            join_net=asked.join == "net",
        )
        with self._agent.kits.running(asked.digest), contextlib.ExitStack() as held:
            core = held.enter_context(self._a_core(session)) if asked.keep else None
            end = await self._carry(session, await self._agent.runtime.look_in(session.container, spec), stream, core)
        with contextlib.suppress(Unreachable):
            await t.send_end(stream, end)

    def _a_core(self, session: _Session) -> contextlib.AbstractContextManager[Incoming]:
        return self._agent.cores.asked_for(session.subject, session.container, session.who, session.asked.process)

    async def _carry(self, session: _Session, tool: Tool, stream: Stream, core: Incoming | None) -> t.End:
        """Until nothing is left of the tool."""
        self._tell(session, "began", {"limit_s": f"{session.limit_s:g}"})
        end = t.End(0, "the agent ended")
        try:
            notices = [f"{session.subject} may notice: {session.found.notices}"]
            notices += _forbidden(session.asked, session.traces)
            if session.limit_s < MOST_S:
                notices.append(f"it is ended after {session.limit_s:g} s")
            item: dict[str, Any] = {
                "session": session.name,
                "visibility": session.found.visibility,
                "notices": notices,
                **({"core": core.name} if core else {}),
            }
            await send_bytes(stream, msgspec.json.encode({"item": item}))
            stuck_s = STUCK_S if session.traces else None
            carrying = Carrying(stream, tool, stuck_s, core.take if core else None)
            end = await carrying.run(session.limit_s, self._right_is_gone(session))
            if core is not None and not end.code and not core.finish():
                end = t.End(1, "what the tool wrote is no core")
        except Unreachable:
            end = t.End(128 + signal.SIGTERM, "the connection ended")
        finally:
            await _to_its_end(tool.close())
            self._tell(session, "ended", {"code": str(end.code), "why": end.why})
        return end

    async def _right_is_gone(self, session: _Session) -> None:
        """Until its key may no longer do this: its role is over, or was taken away."""
        agent = self._agent
        while may_still(agent.trusted, session.key, agent.clock.wall_s(), session.right, session.path):  # noqa: ASYNC110  time ends it
            await asyncio.sleep(RIGHT_LOOKED_AT_S)

    def _tell(self, session: _Session, what: str, more: dict[str, str]) -> None:
        how = f"{session.found.visibility}{', writing' if session.asked.write else ''}"
        why = f": {more['why']}" if more.get("why") else ""
        self._agent.events.append(
            "debug",
            session.subject,
            f"{session.who} {what}: {session.command} ({how}){why}",
            {"session": session.name, "who": session.who, "tools": session.asked.tools, **more},
        )


def _forbidden(asked: Ask, traces: bool) -> list[str]:
    """What this host's kernel will refuse the command, and how it is opened.

    Sources: Linux, Documentation/admin-guide/LSM/Yama.rst; Debian's kernel for perf_event_paranoid above 2 (decision 26).
    """
    words = {word.rpartition("/")[2] for argument in asked.argv for word in argument.split()}
    if asked.host:  # as root with what it takes
        return []
    told = []
    if (scope := _number_in(YAMA)) > 0 and (traces or "py-spy" in words):
        told.append(
            "this host's kernel forbids tracing: strace, gdb and py-spy will fail; "
            f"opened there by: sysctl kernel.yama.ptrace_scope=0 (it is {scope})"
        )
    if (paranoid := _number_in(PARANOID)) > 2 and "perf" in words:
        told.append(
            "this host's kernel keeps perf events for root: use skerry profile; "
            f"opened there by: sysctl kernel.perf_event_paranoid=2 (it is {paranoid})"
        )
    return told


def _number_in(path: Path) -> int:
    """0 where this kernel has none."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Even if we are cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()
