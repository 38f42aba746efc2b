"""What operators and CI may ask of this node, by signed request. Any node answers; none is special.

Each verb is one method: arguments in, JSON-able values out (one, or a stream of them). Reading is answered from what this
node holds; the only writing verbs are `put` (records, each judged by itself) and the few that touch this host's own data.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.agent.drafts import Drafts
from skerry.core.events import ImageReady
from skerry.core.records import Document, Record, Slot
from skerry.errors import BadInput, Passing, SkerryError
from skerry.mesh.messages import recv_bytes, send_bytes
from skerry.observe.logs import LogLine, follow, tail
from skerry.trust.requests import Request

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

KEEP_TIMEOUT_S = 3.0
LOOK_S = 0.5  # how soon a new container's lines are followed


class UnknownVerb(BadInput):
    code = "unknown-verb"


class NoSuchSubject(BadInput):
    code = "no-such-subject"


class Busy(Passing):
    """The volume is in use, the host is not ready."""

    code = "in-use"


class Put(msgspec.Struct, forbid_unknown_fields=True):
    records: list[str]  # base64 envelopes, in the order in which they rest on one another


class Paths(msgspec.Struct, forbid_unknown_fields=True):
    paths: list[str] = []


class Hashes(msgspec.Struct, forbid_unknown_fields=True):
    hashes: list[str]


class Subject(msgspec.Struct, forbid_unknown_fields=True):
    subject: str = ""


class Lines(msgspec.Struct, forbid_unknown_fields=True):
    targets: list[str] = []
    follow: bool = False
    tail: int = 100
    since: str = ""  # RFC 3339, UTC: compared as text


class VolumeName(msgspec.Struct, forbid_unknown_fields=True):
    app: str
    volume: str


class ImageName(msgspec.Struct, forbid_unknown_fields=True):
    image: str


class Reach(msgspec.Struct, forbid_unknown_fields=True):
    address: str


class Server:
    """Verbs by name, over one agent."""

    def __init__(self, agent: Agent) -> None:
        self._me = agent.me
        self._core = agent.loop.core
        self._door = agent.door
        self._mesh = agent.mesh
        self._images = agent.images
        self._containers = agent.containers
        self._events = agent.events
        self._files = agent.files
        self._now_s = agent.loop.now_s
        self._health = agent.health
        self._post = agent.loop.post
        self._drafts = Drafts(agent.files.state / "drafts", agent.trusted)

    async def answer(self, request: Request) -> AsyncIterator[Any]:
        """Raises UnknownVerb, BadInput for wrong arguments, or what the verb itself refuses."""
        verb = getattr(self, "_verb_" + request.verb.replace("-", "_"), None)
        if verb is None:
            raise UnknownVerb(
                f"request {request.verb!r} was refused", "this agent doesn't know it", "upgrade: skerry host upgrade"
            )
        shape = verb.__annotations__.get("args", Paths)
        kinds = {
            "Put": Put,
            "Paths": Paths,
            "Hashes": Hashes,
            "Subject": Subject,
            "Lines": Lines,
            "VolumeName": VolumeName,
            "ImageName": ImageName,
            "Reach": Reach,
        }
        try:
            args = msgspec.convert(request.args, kinds[shape])
        except msgspec.ValidationError as error:
            raise BadInput(f"request {request.verb} was refused", str(error), "see the client's version") from None
        result = verb(args, request)
        if hasattr(result, "__aiter__"):
            async for item in result:
                yield item
        else:
            yield await result

    # -- what is held

    async def _verb_heads(self, args: Paths, request: Request) -> Any:
        return {path: list(head) for path, head in self._door.trusted.heads().items()}

    async def _verb_get(self, args: Paths, request: Request) -> Any:
        return [base64.b64encode(raw).decode() for raw in self._door.bytes_of(args.paths)]

    async def _verb_named(self, args: Hashes, request: Request) -> Any:
        """Fallbacks by the hash of their payload."""
        return [base64.b64encode(raw).decode() for raw in self._door.named(args.hashes)]

    async def _verb_put(self, args: Put, request: Request) -> Any:
        """Accept, sync, have a second node sync; only then is it called accepted (design section 6, step 6)."""
        raws = _raws(args.records)
        accepted: list[Record] = self._door.offer_step(raws)
        second = await self._second_copy(raws)
        return {
            "accepted": [record.id for record in accepted],
            "versions": {r.id: r.version for r in accepted if isinstance(r, Document)},
            "kept_by": [self._me, *second],
            "alone": not second and len(self._door.trusted.nodes) > 1,
        }

    async def _second_copy(self, raws: list[bytes]) -> list[str]:
        """A neighbour that has synced all of them; empty if none could be had."""
        for peer in self._mesh.neighbours():
            try:
                async with asyncio.timeout(KEEP_TIMEOUT_S):
                    stream = await self._mesh.open(peer, "/keep")
                    try:
                        await send_bytes(stream, msgspec.msgpack.encode(raws))
                        if await recv_bytes(stream) == b"kept":
                            return [peer]
                    finally:
                        await stream.close()
            except (SkerryError, TimeoutError, OSError):
                continue
        return []

    # -- what waits for more signatures

    async def _verb_draft(self, args: Put, request: Request) -> Any:
        """Keep what one operator has signed, until others have, too."""
        return {"draft": self._drafts.leave(_raws(args.records), request.key)}

    async def _verb_drafts(self, args: Paths, request: Request) -> Any:
        return self._drafts.waiting()

    # -- how things stand

    async def _verb_ps(self, args: Subject, request: Request) -> Any:
        return [row for row in self._core.rows() if args.subject in ("", row.app)]

    async def _verb_hosts(self, args: Subject, request: Request) -> Any:
        return self._core.hosts()

    async def _verb_explain(self, args: Subject, request: Request) -> Any:
        return [self._core.explain(slot) for slot in self._slots(args.subject)]

    def _slots(self, subject: str) -> list[Slot]:
        """The slots that a person means by `web/0`, `guestbook.web/0`, `web` or `guestbook`. Raises NoSuchSubject."""
        slots = [row.slot for row in self._core.rows() if _wants([subject], row.slot)]
        if not slots:
            raise NoSuchSubject(
                f"there is no {subject} to explain", "it is no slot, service or app here", "see skerry ps"
            )
        return [Slot.parse(slot) for slot in slots]

    async def _verb_status(self, args: Subject, request: Request) -> Any:
        return self._health()

    async def _verb_reach(self, args: Reach, request: Request) -> Any:
        """Whether host:port can be reached by TCP from here (`host add` asks the other hosts about the new one)."""
        host, _, port = args.address.rpartition(":")
        try:
            async with asyncio.timeout(2.0):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
        except (OSError, TimeoutError, ValueError) as error:
            return {"ok": False, "why": str(error) or "no answer within 2 s"}
        return {"ok": True, "why": ""}

    async def _verb_events(self, args: Lines, request: Request) -> AsyncIterator[Any]:
        if args.follow:
            async for entry in self._events.follow(args.tail):
                yield entry
        else:
            for entry in self._events.tail(args.tail):
                yield entry

    async def _verb_logs(self, args: Lines, request: Request) -> AsyncIterator[Any]:
        """Lines of this host's containers of these slots, services or apps: oldest first, then (follow) as they come."""
        past = []
        for id, slot in self._containers.with_logs():
            if _wants(args.targets, slot):
                past += [_line(slot, line) for line in tail(self._containers.logs(id), args.tail)]
        past = [line for line in past if line["time"] >= args.since]
        for line in sorted(past, key=lambda line: line["time"])[-args.tail :] if args.tail else []:
            yield line
        if args.follow:
            async for line in self._followed(args.targets):
                yield line

    async def _followed(self, targets: list[str]) -> AsyncIterator[Any]:
        """New lines of all wanted containers, also of those that start later."""
        queue: asyncio.Queue[Any] = asyncio.Queue(1000)
        known = set(self._containers.running())
        watched = {
            id: self._follow_into(queue, id, slot)
            for id, slot in self._containers.running().items()
            if _wants(targets, slot)
        }
        try:
            while True:
                for id, slot in self._containers.running().items():
                    if id not in known and _wants(targets, slot):
                        watched[id] = self._follow_into(queue, id, slot, from_start=True)
                    known.add(id)
                try:
                    async with asyncio.timeout(LOOK_S):
                        yield await queue.get()
                except TimeoutError:
                    continue
        finally:
            for task in watched.values():
                task.cancel()

    def _follow_into(
        self, queue: asyncio.Queue[Any], id: str, slot: str, *, from_start: bool = False
    ) -> asyncio.Task[None]:
        async def work() -> None:
            async for line in follow(lambda: self._containers.logs(id), n=10_000 if from_start else 0):
                await queue.put(_line(slot, line))

        return asyncio.create_task(work())

    # -- this host's own data

    async def _verb_volumes(self, args: Subject, request: Request) -> Any:
        rows = []
        for path in sorted(self._files.volumes.glob("*/*")):
            app, name = path.parent.name, path.name
            size = await asyncio.to_thread(_size_bytes, path)
            rows.append(
                {
                    "app": app,
                    "volume": name,
                    "node": self._me,
                    "size_bytes": size,
                    "used_by": self._containers.users_of(app, name),
                }
            )
        return rows

    async def _verb_volume_rm(self, args: VolumeName, request: Request) -> Any:
        """Delete a volume's data here. Refused while a container uses it."""
        if users := self._containers.users_of(args.app, args.volume):
            raise Busy(
                f"volume {args.app}/{args.volume} was not removed",
                f"{', '.join(users)} uses it",
                "stop it first: skerry rm APP",
            )
        return {"removed": await asyncio.to_thread(self._containers.remove_volume, args.app, args.volume)}

    # -- images

    async def _verb_image_missing(self, args: ImageName, request: Request) -> Any:
        """What a client still has to hand over; once it is nothing, this node has the image and says so."""
        missing = self._images.missing(args.image)
        if not missing and self._images.root(args.image) is None:
            await asyncio.to_thread(self._images.make, args.image)
            self._post(ImageReady(args.image))
        return {"missing": missing}


def _raws(texts: list[str]) -> list[bytes]:
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except ValueError as error:
        raise BadInput("nothing was accepted", f"a record is no base64: {error}", "see the client's version") from None


def _size_bytes(directory: Path) -> int:
    return sum(file.lstat().st_size for file in directory.rglob("*") if file.is_file())


def _line(slot: str, line: LogLine) -> dict[str, str]:
    return {"slot": slot, "time": line.time, "stream": line.stream, "text": line.text}


def _wants(targets: list[str], slot: str) -> bool:
    """A target is a slot (`web/0`, `app.web/0`), a service (`web`, `app.web`) or an app."""
    app, _, rest = slot.partition(".")
    service = rest.partition("/")[0]
    return not targets or any(t in (slot, rest, f"{app}.{service}", service, app) for t in targets)
