"""What operators and CI may ask of this node, by signed request. Any node answers; none is special.

Each verb is one method: arguments in, JSON-able values out (one, or a stream of them). Reading is answered from what this
node holds; the only writing verbs are `put` (records, each judged by itself) and the few that touch this host's own data.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from skerry.core import view
from skerry.core.node import NodeCore
from skerry.core.records import Document, Record
from skerry.errors import BadInput, Passing, SkerryError
from skerry.image.trees import Images
from skerry.mesh.links import Mesh
from skerry.mesh.streams import Stream, recv_bytes, send_bytes
from skerry.net.network import Network
from skerry.observe.events import EventLog
from skerry.observe.logs import follow, tail
from skerry.trust.requests import Request

from .containers import Containers
from .door import Door
from .files import HostFiles

KEEP_TIMEOUT_S = 3.0


class UnknownVerb(BadInput):
    code = "unknown-verb"


class Busy(Passing):
    """The volume is in use, the host is not ready."""

    code = "in-use"


class Put(msgspec.Struct, forbid_unknown_fields=True):
    records: list[str]  # base64 envelopes, in the order in which they rest on one another


class Paths(msgspec.Struct, forbid_unknown_fields=True):
    paths: list[str] = []


class Subject(msgspec.Struct, forbid_unknown_fields=True):
    subject: str = ""


class Lines(msgspec.Struct, forbid_unknown_fields=True):
    targets: list[str] = []
    follow: bool = False
    tail: int = 100
    since: float = 0.0


class VolumeName(msgspec.Struct, forbid_unknown_fields=True):
    app: str
    volume: str


class ImageName(msgspec.Struct, forbid_unknown_fields=True):
    image: str


class Reach(msgspec.Struct, forbid_unknown_fields=True):
    address: str


class Server:
    """Verbs by name. `core` and the rest are this node's own."""

    def __init__(
        self,
        *,
        me: str,
        core: NodeCore,
        door: Door,
        mesh: Mesh,
        images: Images,
        containers: Containers,
        network: Network,
        events: EventLog,
        files: HostFiles,
        now_s: Callable[[], float],
        health: Callable[[], dict[str, Any]],
    ) -> None:
        self._me = me
        self._core = core
        self._door = door
        self._mesh = mesh
        self._images = images
        self._containers = containers
        self._network = network
        self._events = events
        self._files = files
        self._now_s = now_s
        self._health = health

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

    async def _verb_put(self, args: Put, request: Request) -> Any:
        """Accept, sync, have a second node sync; only then is it called accepted (design section 6, step 6)."""
        raws = [base64.b64decode(text, validate=True) for text in args.records]
        accepted: list[Record] = []
        for raw in raws:
            record = self._door.offer(raw, from_client=True)
            if record is not None:
                accepted.append(record)
        second = await self._second_copy(raws)
        return {
            "accepted": [record.id for record in accepted],
            "versions": {r.id: r.version for r in accepted if isinstance(r, Document)},
            "kept_by": [self._me, *second],
            "alone": not second and len(self._core.nodes) > 1,
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

    async def keep(self, stream: Stream, who: str) -> None:
        """Handler of `/keep`: a neighbour wants these records synced here before it calls them accepted."""
        for raw in msgspec.msgpack.decode(await recv_bytes(stream), type=list[bytes]):
            self._door.offer(raw, who)
        await send_bytes(stream, b"kept")

    # -- how things stand

    async def _verb_ps(self, args: Subject, request: Request) -> Any:
        return view.ps(self._core, self._now_s(), args.subject)

    async def _verb_hosts(self, args: Subject, request: Request) -> Any:
        return view.hosts(self._core, self._now_s())

    async def _verb_explain(self, args: Subject, request: Request) -> Any:
        return view.explain(self._core, args.subject, self._now_s())

    async def _verb_status(self, args: Subject, request: Request) -> Any:
        return {"node": self._me, "time": time.time(), **self._health()}

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

    def _verb_events(self, args: Lines, request: Request) -> AsyncIterator[Any]:
        return self._events.stream(args.tail, args.follow)

    async def _verb_logs(self, args: Lines, request: Request) -> AsyncIterator[Any]:
        """Lines of this host's containers of these slots or services, oldest first, then (follow) as they come."""
        wanted = [(slot, id) for slot, id in self._containers.with_logs() if _wants(args.targets, slot)]
        batch = []
        for slot, id in wanted:
            batch += [
                {"slot": slot, "time": line.time, "stream": line.stream, "text": line.text}
                for line in tail(self._containers.logs(id), args.tail)
                if line.time >= args.since
            ]
        for line in sorted(batch, key=lambda line: line["time"])[-args.tail or None :]:
            yield line
        if not args.follow:
            return
        queue: asyncio.Queue[Any] = asyncio.Queue(1000)
        watched: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for slot, id in self._containers.with_logs():
                    if _wants(args.targets, slot) and id not in watched and self._containers.runs(id):
                        watched[id] = asyncio.create_task(self._follow_into(queue, slot, id, (slot, id) not in wanted))
                try:
                    async with asyncio.timeout(1.0):
                        yield await queue.get()
                except TimeoutError:
                    continue
        finally:
            for task in watched.values():
                task.cancel()

    async def _follow_into(self, queue: asyncio.Queue[Any], slot: str, id: str, from_start: bool) -> None:
        async for line in follow(self._containers.logs(id)[-1], from_start=from_start):
            await queue.put({"slot": slot, "time": line.time, "stream": line.stream, "text": line.text})

    # -- this host's own data

    async def _verb_volumes(self, args: Subject, request: Request) -> Any:
        rows = []
        for path in sorted(self._files.volumes.glob("*/*")):
            app, name = path.parent.name, path.name
            size = await asyncio.to_thread(lambda p=path: sum(f.lstat().st_size for f in p.rglob("*") if f.is_file()))
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
        return {"missing": self._images.missing(args.image), "ready": self._images.root(args.image) is not None}


def _wants(targets: list[str], slot: str) -> bool:
    """A target is a slot (`web/0`, `app.web/0`), a service (`web`, `app.web`) or an app."""
    app, _, rest = slot.partition(".")
    service = rest.partition("/")[0]
    return not targets or any(t in (slot, rest, f"{app}.{service}", service, app) for t in targets)
