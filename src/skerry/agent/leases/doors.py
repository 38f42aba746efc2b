"""The sockets at which containers ask for leases: one for each container whose service asks for it, lines of JSON, strictly read.

A container can say what it likes here: each has its own bounds, and who floods waits by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from hashlib import blake2s
from pathlib import Path
from typing import Annotated

import msgspec

from skerry.agent.leases.desk import LOOK_S, Had, LeaseDesk, Refused
from skerry.outside import UNREADABLE

INSIDE = "/run/skerry"  # in the container; the variable SKERRY_LEASES names the socket in it
SOCKET = "leases.sock"
VARIABLE = "SKERRY_LEASES"
CONNECTIONS = 16  # of one container
LINE_BYTES = 1024
REQUESTS_BURST, REQUESTS_S = 200.0, 200.0  # of one container; more wait
WAIT_MAX_S = 60.0
IDLE_S = 300.0

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Wait = Annotated[float, msgspec.Meta(ge=0.0, le=WAIT_MAX_S)]


class Acquire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="acquire"):
    lease: Name
    wait_s: Wait = 0.0


class Renew(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="renew"):
    lease: Name
    number: Number


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="release"):
    lease: Name
    number: Number


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="watch"):
    """Answered when the lease stands otherwise than `number` and `held` say; without them at once."""

    lease: Name
    number: Number = 0
    held: bool = False
    wait_s: Wait = 0.0


Request = Acquire | Renew | Release | Watch
_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


class _Door:
    def __init__(self, app: str, container: str, folder: Path, server: asyncio.Server) -> None:
        self.app, self.container, self.folder, self.server = app, container, folder, server
        self.tasks: set[asyncio.Task[None]] = set()
        self.left, self.at_s = REQUESTS_BURST, 0.0


class LeaseDoors:
    """`folder`: where each container has a folder of its own with its socket, which is mounted into it."""

    def __init__(self, folder: Path, desk: LeaseDesk) -> None:
        self._folder, self._desk = folder, desk
        self._doors: dict[str, _Door] = {}

    def place(self, container: str) -> Path:
        """What to mount at INSIDE. By a hash of its id: paths of sockets are short."""
        return self._folder / blake2s(container.encode(), digest_size=6).hexdigest()

    async def open(self, app: str, container: str) -> None:
        """Before the container begins; and for one that outlived the agent before this one."""
        folder = self.place(container)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # whoever the container runs as; others don't get through the folder above
        path = folder / SOCKET
        path.unlink(missing_ok=True)
        door: _Door

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(door, reader, writer)

        server = await asyncio.start_unix_server(serve, str(path), limit=LINE_BYTES)
        path.chmod(0o666)
        door = self._doors[container] = _Door(app, container, folder, server)
        self._desk.open(app, container)

    async def adopt(self, app: str, container: str) -> None:
        """If it has a door."""
        if self.place(container).exists():
            await self.open(app, container)

    async def close(self, container: str) -> None:
        """The container is gone."""
        if (door := self._doors.pop(container, None)) is not None:
            self._shut(door)
            self._desk.close(door.app, container)
        with contextlib.suppress(OSError):
            shutil.rmtree(self.place(container))

    def shut(self) -> None:
        """The agent ends: what is held runs out, unless the next agent's host gets it again."""
        for door in self._doors.values():
            self._shut(door)

    def _shut(self, door: _Door) -> None:
        door.server.close()
        for task in door.tasks:
            task.cancel()

    async def _serve(self, door: _Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(door.tasks) >= CONNECTIONS:
            writer.write(_refusal("busy", f"at most {CONNECTIONS} connections of a container"))
            writer.close()
            return
        door.tasks.add(task)
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readuntil(b"\n")
                await self._pace(door)
                writer.write(await self._answer_unless_gone(door, line, reader))
                async with asyncio.timeout(IDLE_S):
                    await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_refusal("not-understood", f"a request is one line of at most {LINE_BYTES} bytes"))
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            return
        finally:
            door.tasks.discard(task)
            writer.close()

    async def _pace(self, door: _Door) -> None:
        now_s = asyncio.get_running_loop().time()
        door.left = min(REQUESTS_BURST, door.left + (now_s - door.at_s) * REQUESTS_S)
        door.at_s = now_s
        door.left -= 1.0
        if door.left < 0.0:
            await asyncio.sleep(-door.left / REQUESTS_S)

    async def _answer_unless_gone(self, door: _Door, line: bytes, reader: asyncio.StreamReader) -> bytes:
        """Who has hung up waits for nothing any more, and is given nothing."""
        answer = asyncio.ensure_future(self._answer(door, line))
        try:
            while not (await asyncio.wait([answer], timeout=LOOK_S))[0]:
                if reader.at_eof():
                    raise EOFError
            return answer.result()
        finally:
            answer.cancel()

    async def _answer(self, door: _Door, line: bytes) -> bytes:
        try:
            request = _decoder.decode(line)
        except UNREADABLE as error:
            return _refusal("not-understood", str(error)[:200])
        try:
            return await self._done(door, request)
        except Refused as refused:
            return _refusal(refused.code, refused.why)

    async def _done(self, door: _Door, asked: Request) -> bytes:
        desk, of = self._desk, (door.app, door.container)
        if isinstance(asked, Acquire):
            return _had(await desk.acquire(*of, asked.lease, asked.wait_s))
        if isinstance(asked, Renew):
            return _had(desk.renew(*of, asked.lease, asked.number))
        if isinstance(asked, Release):
            desk.release(*of, asked.lease, asked.number)
            return _line({"ok": True})
        number, held, node, ours = await desk.watch(*of, asked.lease, (asked.number, asked.held), asked.wait_s)
        return _line({"ok": True, "number": number, "held": held, "host": node.removeprefix("node/"), "yours": ours})


def _had(had: Had) -> bytes:
    return _line({"ok": True, "number": had.number, "for_s": round(had.for_s, 3)})


def _refusal(code: str, why: str) -> bytes:
    return _line({"ok": False, "error": code, "why": why})


def _line(answer: dict[str, object]) -> bytes:
    return msgspec.json.encode(answer) + b"\n"
