"""What operators and CI may ask of this node, by signed request. Any node answers; none is special.

Each verb is one method, whose annotation says what arguments it takes: those in, JSON-able values out (one, or a stream of
them). Reading is answered from what this node holds; the only writing verbs are `put` (records, each judged by itself) and
the few that touch this host's own data.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import msgspec

from skerry.agent.drafts import Drafts
from skerry.agent.logs.past import Room
from skerry.agent.logs.tails import Asked, Tails
from skerry.agent.metrics import answering
from skerry.agent.renting.acts import act
from skerry.core.constraints import name_of
from skerry.core.events import VolumeGone
from skerry.core.intent import KINDS, App, Policy
from skerry.core.messages import PayloadHash
from skerry.core.records import Document, MachineSlot, Record, Slot, is_about, is_meant, path_of
from skerry.core.view import Row
from skerry.errors import BadInput, NoSuchSubject, Refusal
from skerry.observe.events import Entry, Wanted
from skerry.trust import envelope
from skerry.trust.drafts import DOCUMENTS_MAX
from skerry.trust.requests import Request

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

KEEP_TIMEOUT_S = 3.0
SPREAD_S = 1.5  # who does not say by then that it has a document is told as one that has not
AUDIT_BYTES = 8 << 20  # of a diary that is read as it stands, file by file
ENTRY_BYTES = 1000  # of the diary, as one is held: its other words and the objects
TOGETHER_S = 0.005  # changes of rows that come closer to one another are told as one
STILL_HERE_S = 1.0  # who follows rows hears of us at least so often


class UnknownVerb(BadInput):
    code = "unknown-verb"


class InUse(Refusal):
    """A container has the volume mounted, or will at its next start."""

    code = "in-use"
    exit_code = 2


class Paths(msgspec.Struct, forbid_unknown_fields=True):
    paths: list[str] = []


class Hashes(msgspec.Struct, forbid_unknown_fields=True):
    hashes: list[str]


class Spread(msgspec.Struct, forbid_unknown_fields=True):
    """Payload hashes of documents."""

    hashes: Annotated[list[PayloadHash], msgspec.Meta(min_length=1, max_length=DOCUMENTS_MAX)]


class Subject(msgspec.Struct, forbid_unknown_fields=True):
    subject: str = ""


class Rows(msgspec.Struct, forbid_unknown_fields=True):
    subject: str = ""  # an app; all of them
    follow: bool = False


class Diary(msgspec.Struct, forbid_unknown_fields=True):
    """`targets`: slots, services, apps, hosts; `since`, `until`: unix seconds, 0: no bound; `grep`: words that an entry holds."""

    targets: list[str] = []
    follow: bool = False
    tail: int = 100
    since: float = 0.0
    until: float = 0.0
    kinds: list[str] = []
    grep: str = ""


class VolumeName(msgspec.Struct, forbid_unknown_fields=True):
    app: str
    volume: str


class ImageName(msgspec.Struct, forbid_unknown_fields=True):
    image: str


class ToolsName(msgspec.Struct, forbid_unknown_fields=True):
    tools: str
    digest: str


class CoreName(msgspec.Struct, forbid_unknown_fields=True):
    """`name`: "" for all of that slot."""

    slot: str
    name: str = ""


class MachineAct(msgspec.Struct, forbid_unknown_fields=True):
    slot: str
    act: Literal["reboot", "resize"]
    size: str = ""


class Expect(msgspec.Struct, forbid_unknown_fields=True):
    slot: str
    token: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]  # SHA-256 of the one that it will show
    until: float


class Reach(msgspec.Struct, forbid_unknown_fields=True):
    address: str


class Upgrade(msgspec.Struct, forbid_unknown_fields=True):
    limit_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 60.0


class Server:
    """Verbs by name, over one agent."""

    def __init__(self, agent: Agent) -> None:
        self._me = agent.me
        self._core = agent.loop.core
        self._door = agent.door
        self._copies = agent.links.copies
        self._containers = agent.containers
        self._room = Room()
        self._tails = Tails(agent.containers, agent.logs.store, agent.me, agent.files.own_logs, self._room)
        self._events = agent.events
        self._metrics = agent.metrics
        self._auditing = agent.auditing
        self._alerts = agent.alerts
        self._volumes = agent.volumes
        self._crashes = agent.crashes
        self._cores = agent.cores
        self._now_s = agent.loop.now_s
        self._health = agent.health
        self._upgrade = agent.upgrade
        self._keeper = agent.files.keeper
        self._enrolling = agent.enrolling
        self._act = partial(act, agent)
        self._kits = agent.kits
        self._post = agent.loop.post
        self._stepped = agent.loop.stepped
        self._drafts = Drafts(agent.files.state / "drafts", agent.trusted)

    async def answer(self, request: Request) -> AsyncGenerator[Any]:
        """Raises UnknownVerb, BadInput for wrong arguments, or what the verb itself refuses."""
        verb = getattr(self, "_verb_" + request.verb.replace("-", "_"), None)
        if verb is None:
            raise UnknownVerb(
                f"request {request.verb!r} was refused", "this agent doesn't know it", "upgrade: skerry host upgrade"
            )
        try:
            args = msgspec.convert(request.args, get_type_hints(verb)["args"])
        except msgspec.ValidationError as error:
            raise BadInput(f"request {request.verb} was refused", str(error), "see the client's version") from None
        result = verb(args, request)
        if hasattr(result, "__aiter__"):
            async with contextlib.aclosing(result) as items:  # its client may go in the middle
                async for item in items:
                    yield item
        else:
            yield await result

    # -- what is held

    async def _verb_heads(self, args: Paths, request: Request) -> Any:
        return {path: list(head) for path, head in self._door.trusted.heads().items()}

    async def _verb_kinds(self, args: Subject, request: Request) -> Any:
        """Which kinds of documents this agent can read: an operator's newer machine asks before it signs a new one."""
        return sorted(KINDS)

    async def _verb_get(self, args: Paths, request: Request) -> Any:
        return [base64.b64encode(raw).decode() for raw in self._door.bytes_of(args.paths)]

    async def _verb_named(self, args: Hashes, request: Request) -> Any:
        """Fallbacks by the hash of their payload."""
        return [base64.b64encode(raw).decode() for raw in self._door.named(args.hashes)]

    async def _verb_put(self, args: Paths, request: Request) -> Any:
        """Accept, sync, have a second node sync; only then is it called accepted (design section 6, step 6)."""
        raws = list(request.attached)  # in the order in which they rest on one another
        accepted: list[Record] = self._door.offer_step(raws)
        second = await self._copies.second([envelope.parse(raw).hash for raw in raws], KEEP_TIMEOUT_S)
        return {
            "accepted": [record.id for record in accepted],
            "versions": {r.id: r.version for r in accepted if isinstance(r, Document)},
            "kept_by": [self._me, *filter(None, [second])],
            "alone": not second and len(self._door.trusted.nodes) > 1,
        }

    async def _verb_spread(self, args: Spread, request: Request) -> Any:
        """Who of those that are up has these documents on its disk by now, as far as it is linked to this host and says so."""
        here = all(self._door.holds(hash) for hash in args.hashes)
        have = {*await self._copies.all(args.hashes, SPREAD_S), *([self._me] if here else [])}
        up = {f"node/{host.name}" for host in self._core.hosts() if host.state in ("up", "draining")}
        missing = {path for path in up - have if self._door.trusted.enrolled(path) is not None}
        return {"kept_by": sorted(have), "missing": sorted(missing)}

    # -- what waits for more signatures

    async def _verb_draft(self, args: Paths, request: Request) -> Any:
        """Keep what one operator has signed, until others have, too."""
        return {"draft": self._drafts.leave(list(request.attached), request.key)}

    async def _verb_drafts(self, args: Paths, request: Request) -> Any:
        return self._drafts.waiting()

    # -- how things stand

    async def _verb_ps(self, args: Rows, request: Request) -> AsyncIterator[Any]:
        """All rows; with `follow` again whenever one changes, and each second as a sign of life."""
        rows = self._rows(args.subject)
        yield rows
        while args.follow:
            told, end_s = rows, self._now_s() + STILL_HERE_S
            while rows == told and (left_s := end_s - self._now_s()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stepped(), left_s)
                    await asyncio.sleep(TOGETHER_S)
                rows = self._rows(args.subject)
            yield rows

    def _rows(self, app: str) -> list[Row]:
        return [row for row in self._core.rows() if app in ("", row.app)]

    async def _verb_hosts(self, args: Subject, request: Request) -> Any:
        return self._core.hosts()

    async def _verb_explain(self, args: Subject, request: Request) -> Any:
        return [self._core.explain(slot) for slot in self._slots(args.subject)]

    async def _verb_scaling(self, args: Subject, request: Request) -> Any:
        """Services that follow the load: all, of an app, or the one that is meant."""
        return [
            row
            for row in self._core.scalings()
            if is_meant([args.subject] if args.subject else [], f"{row.app}.{row.service}/0")
        ]

    def _slots(self, subject: str) -> list[Slot]:
        """The slots that a person means by `web/0`, `guestbook.web/0`, `web` or `guestbook`. Raises NoSuchSubject."""
        slots = [row.slot for row in self._core.rows() if is_meant([subject], row.slot)]
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

    async def _verb_events(self, args: Diary, request: Request) -> AsyncIterator[Any]:
        said = Wanted(args.since, args.until, tuple(args.kinds), args.grep)

        def wanted(entry: Entry) -> bool:
            return said(entry) and is_about(args.targets, entry.subject) and request.may("observe", self._about(entry))

        seen, past = self._events.count, self._events.tail(args.tail, wanted)[::-1]
        with self._room.holding(sum(ENTRY_BYTES + len(entry.reason) for entry in past)):
            while past:
                yield past.pop()
        if args.follow:
            async for entry in self._events.follow(wanted=wanted, seen=seen):
                yield entry

    def _about(self, entry: Entry) -> str:
        """Whose events these are: an app's, or this host's own."""
        head, *rest = re.split(r"[./]", entry.subject)
        app = rest[0] if head in ("app", "release", "secret") and rest else head
        known = bool(rest) and self._door.trusted.document(f"app/{app}") is not None
        return f"app/{app}" if known else self._me

    async def _verb_alerts(self, args: Subject, request: Request) -> Any:
        """What fires now, as this host sees it; of apps alone to whom no more may be shown."""
        return [row for row in self._alerts.firing() if request.may("observe", self._about_alert(row["subject"]))]

    def _about_alert(self, subject: str) -> str:
        app = subject.partition(".")[0]
        return f"app/{app}" if "." in subject and self._door.trusted.document(f"app/{app}") is not None else self._me

    async def _verb_alert_test(self, args: Subject, request: Request) -> Any:
        """Send a test to a receiver, or to all, from here."""
        return await self._alerts.test(args.subject)

    async def _verb_audit(self, args: Subject, request: Request) -> AsyncIterator[Any]:
        """The whole diary as it stands on disk; whoever may not see all of it can't verify it."""
        request.must("observe", self._me)
        request.must("observe", "app/*")
        with self._room.holding(AUDIT_BYTES):
            for part in self._auditing.shown():
                yield part

    async def _verb_logs(self, args: Asked, request: Request) -> AsyncIterator[Any]:
        """Lines of this host's containers, and its own: oldest first, then (follow) as they come."""
        async with contextlib.aclosing(self._tails.answer(args, request)) as batches:
            async for batch in batches:
                yield batch

    async def _verb_metrics(self, args: answering.Query, request: Request) -> Any:
        """Figures of this host and of slots that run or ran here."""
        return await answering.answer(self._metrics, args, request)

    async def _verb_crashes(self, args: Subject, request: Request) -> Any:
        """What is kept here of containers that crashed, of the apps that it may look into."""
        cores: dict[str, list[str]] = {}
        for row in await asyncio.to_thread(self._cores.rows):
            cores.setdefault(row["container"], []).append(row["name"])
        return [
            msgspec.to_builtins(crash) | {"cores": cores.get(crash.container, [])}
            for crash in self._crashes.all()
            if is_meant([args.subject] if args.subject else [], crash.slot)
            and request.may("debug", path_of(crash.slot))
        ]

    async def _verb_cores(self, args: Subject, request: Request) -> Any:
        """Core files that are kept here, and why none are kept of processes that die, where containers here ask for it."""

        def meant(slot: str) -> bool:
            return is_meant([args.subject] if args.subject else [], slot) and request.may("debug", path_of(slot))

        rows = await asyncio.to_thread(self._cores.rows)
        asking = [slot for slot in self._cores.asking if meant(slot)]
        return {
            "cores": [row for row in rows if meant(row["slot"])],
            "asking": asking,
            "why": self._cores.unkept if asking else "",
        }

    async def _verb_core_rm(self, args: CoreName, request: Request) -> Any:
        request.must("debug", path_of(args.slot))
        gone = self._cores.remove(args.slot, args.name)
        self._events.append("debug", args.slot, f"cores rm {', '.join(gone)} by {request.name or request.role}")
        return {"slot": args.slot, "names": gone, "node": name_of(self._me)}

    # -- this host's own data

    async def _verb_volumes(self, args: Subject, request: Request) -> Any:
        return [
            {
                "app": app,
                "volume": name,
                "node": name_of(self._me),
                "size_bytes": await asyncio.to_thread(self._volumes.size_bytes, app, name),
                "used_by": self._users(app, name),
            }
            for app, name in self._volumes.all()
        ]

    def _users(self, app: str, volume: str) -> list[str]:
        """Slots that run with it here, or that this node holds and that will want it at their next start."""
        body = self._door.trusted.document(f"app/{app}")
        services = body.body.services if body is not None and isinstance(body.body, App) else {}
        wanting = {name for name, service in services.items() if any(m.volume == volume for m in service.volumes)}
        held = [
            r.slot for r in self._core.rows() if r.app == app and r.service in wanting and r.node == name_of(self._me)
        ]
        return sorted({*held, *self._containers.users_of(app, volume)})

    async def _verb_volume_rm(self, args: VolumeName, request: Request) -> Any:
        """Delete a volume's data here, and let core know that nothing ties its slot to this node. Refused while it is used."""
        if users := self._users(args.app, args.volume):
            raise InUse(
                f"volume {args.volume} of {args.app} was not deleted",
                f"{', '.join(users)} uses it",
                f"stop it first: skerry scale {users[0].partition('/')[0]} 0, or skerry rm {args.app}",
            )
        if (args.app, args.volume) not in self._volumes.all():
            here = ", ".join(f"{name} of {app}" for app, name in self._volumes.all())
            raise NoSuchSubject(
                f"there is no volume {args.volume} of {args.app} on {name_of(self._me)}",
                f"here are: {here or 'none'}",
                "see skerry volume ls",
            )
        await asyncio.to_thread(self._volumes.remove, args.app, args.volume)
        self._post(VolumeGone(args.app, args.volume, self._volumes.of(args.app)))
        self._events.append(
            "volume", f"{args.app}/{args.volume}", f"deleted on request of {request.name or request.key[:16]}"
        )
        return {"node": name_of(self._me), "app": args.app, "volume": args.volume}

    async def _verb_upgrade(self, args: Upgrade, request: Request) -> Any:
        """Try the bundle that our enrolment names; whether it is kept is told by `status`."""
        return {"trying": await self._upgrade(args.limit_s)}

    async def _verb_keeper_key(self, args: Paths, request: Request) -> Any:
        """The public half of the key by which this host would sign a pool's machines; it is made now if there is none."""
        policy = self._door.trusted.policy
        barred = policy.body.barred if policy is not None and isinstance(policy.body, Policy) else ()
        return {"key": self._keeper(barred=barred).key}

    async def _verb_expect(self, args: Expect, request: Request) -> Any:
        """As the meeting point of a pool without keepers: let a machine that an operator made leave its keys here; give those."""
        slot = MachineSlot.read(args.slot)
        if slot is None:
            raise BadInput(f"{args.slot!r} is no machine slot", "", "such as burst/3")
        return {"asked": self._enrolling.expect(slot, args.token, args.until)}

    async def _verb_machines(self, args: Subject, request: Request) -> Any:
        """Rented machines as this node sees them; of one pool, or all."""
        return [row for row in self._core.machines() if args.subject in ("", row.slot.partition("/")[0])]

    async def _verb_pools(self, args: Subject, request: Request) -> Any:
        return [row for row in self._core.pools() if args.subject in ("", row.pool)]

    async def _verb_machine_act(self, args: MachineAct, request: Request) -> Any:
        """Reboot or resize a machine of a pool that this host keeps."""
        slot = MachineSlot.read(args.slot)
        if slot is None:
            raise BadInput(f"{args.slot!r} is no machine slot", "", "such as burst/3")
        return await self._act(slot, args.act, args.size)

    # -- images

    async def _verb_image_hosts(self, args: ImageName, request: Request) -> Any:
        """Who has it whole, as far as it is known here."""
        return self._core.hosts_with(args.image)

    async def _verb_tools(self, args: ToolsName, request: Request) -> AsyncIterator[Any]:
        """Have these tools here, to look into a container: fetched from hosts that have them. Ends with "here" or "nowhere"."""
        async for item in self._kits.bring(args.tools, args.digest):
            yield item
