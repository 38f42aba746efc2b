"""The other port, 7078: where machines ask that no host knows yet. Open only on keepers and meeting points.

A stranger gets little: few at once, few from one address, one line of 8 KiB within seconds. Who shows a slot's live token gets
the agent that the pool's document names, and no other. Who also holds the keys that it wants enrolled, and has the address that
the provider gives now for the slot's name, is enrolled and told all that a new host is told. On a meeting point nothing is
signed: the stranger's public keys wait there for the operator who made it (client/machine_up.py).

One line each way, JSON: {node, nonce} → {bundle: …} or {enrol: …} → {size} and bytes, {join: …}, {wait: true} or {error: …}.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.agent.renting.enrolments import Enrolments
from skerry.core.facts import Machine
from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.errors import BadFormat, Passing, SkerryError, TrustRefusal
from skerry.machines.contract import Server, name_of
from skerry.machines.providers import MEETING
from skerry.mesh import tls
from skerry.mesh.door import Door
from skerry.outside import UNREADABLE
from skerry.trust import joining
from skerry.trust.refusals import Conflicting

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

STRANGERS = 16  # at once, that have shown nothing yet
STRANGERS_AN_ADDRESS = 4
EXPECTED = 64  # machines that operators wait for at once
ASKED_EACH = 4  # with different keys, for one of them
AWAITED_S = 120.0  # so long after an operator has last asked
GUESTS = 32  # at once, whose token counts
LINE_S = 10.0
OPEN_AGAIN_S = 10.0  # where something else has the port
CHUNK_BYTES = 256 << 10
CHUNK_S = 30.0
LOOK_AGAIN_S = 2.0  # the provider is asked so seldom about one name
SECOND_S = 3.0  # for another host to sync the enrolment

log = logging.getLogger(__name__)
_line = msgspec.json.Decoder(joining.Line)


class TooMany(Passing):
    """Of those who ask here at once."""

    code = "too-many-strangers"


class NotHere(TrustRefusal):
    """This host has nothing to do with that pool, or not with that agent."""

    code = "not-kept-here"


class SlotTaken(TrustRefusal):
    """The slot's machine is enrolled already, with other keys: the token was good once."""

    code = "machine-enrolled"


class Expected(msgspec.Struct):
    """A machine that an operator has made, and waits for. `token`: the hash; `asked`: by signing key, who showed that token."""

    token: str
    until: float
    asked: dict[str, dict[str, Any]] = {}


class Enrolling:
    """Opens and closes with the pools that are held here; `changed` says that they may be others now."""

    def __init__(self, agent: Agent, enrolments: Enrolments) -> None:
        self._agent = agent
        self._enrolments = enrolments
        self._changed = asyncio.Event()
        self._strangers: Counter[str] = Counter()
        self._guests = 0
        self._looks: dict[str, tuple[float, list[Server]]] = {}  # name -> when, and what the provider said
        self._looking: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._expected: dict[MachineSlot, Expected] = {}
        self._told = False  # that the port can't be had
        self.port = 0  # where it listens; 0: it doesn't

    def changed(self) -> None:
        self._changed.set()

    async def keep(self) -> None:
        """Runs for ever."""
        server: asyncio.Server | None = None
        try:
            while True:
                self._changed.clear()
                wanted = bool(self._enrolments.pools() or self._awaited())
                if wanted and server is None:
                    server = await self._open()
                elif not wanted and server is not None:
                    await self._close(server)
                    server = None
                until_s = max((e.until for e in self._expected.values()), default=0.0) - self._agent.clock.wall_s()
                if wanted and server is None:
                    until_s = OPEN_AGAIN_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), until_s if until_s > 0 else None)
        finally:
            if server is not None:
                await self._close(server)

    async def _open(self) -> asyncio.Server | None:
        parts = self._agent.parts
        try:
            now_s, complain = self._agent.loop.now_s, self._agent.links.complaints.against
            door = Door(parts.address, parts.enrol_port, now_s=now_s, complain=complain)
        except OSError as error:
            if not self._told:
                self._agent.events.append("agent", self._agent.me, f"can't listen for machines: {error}")
            self._told = True
            return None
        self._told = False
        context = tls.open_context(self._agent.files.state / "keys" / "link.pem")

        def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            door.finished(writer.get_extra_info("socket").fileno())
            task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

        made = await asyncio.start_server(
            arrived, sock=door, ssl=context, ssl_handshake_timeout=LINE_S, limit=joining.LINE_BYTES
        )
        self.port = int(door.getsockname()[1])
        return made

    async def _close(self, server: asyncio.Server) -> None:
        self.port = 0
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a stranger was not served", exc_info=task.exception())

    # -- as a meeting point

    def expect(self, slot: MachineSlot, token: str, until: float) -> list[dict[str, Any]]:
        """An operator has made this machine: let it leave its public keys. Gives who did: {keys, mac, address}. Raises NotHere."""
        self._meets(slot)
        held = self._expected.get(slot)
        if held is None or held.token != token:
            if len(self._awaited()) >= EXPECTED:
                raise TooMany(f"{slot} is not awaited", "too many machines are awaited here", "wait for those")
            held = self._expected[slot] = Expected(token, 0.0)
        held.until = min(until, self._agent.clock.wall_s() + AWAITED_S)
        self._changed.set()
        return list(held.asked.values())

    def _awaited(self) -> dict[MachineSlot, Expected]:
        now_s = self._agent.clock.wall_s()
        self._expected = {slot: expected for slot, expected in self._expected.items() if now_s < expected.until}
        return self._expected

    def _meets(self, slot: MachineSlot | None) -> Pool:
        """The pool, if this host is its meeting point."""
        held = self._agent.trusted.document(f"pool/{slot.pool}") if slot is not None else None
        pool = held.body if held is not None else None
        meeting = pool.options.get(MEETING, "") if isinstance(pool, Pool) else ""
        if not isinstance(pool, Pool) or pool.deleted or pool.keepers or f"node/{meeting}" != self._agent.me:
            raise NotHere("a machine was not let in", "this host keeps no pool of that name", "ask another keeper")
        return pool

    def _leave(self, asking: joining.Asking, slot: MachineSlot, address: str) -> dict[str, Any]:
        """Keep a stranger's public keys for the operator. A few: whoever has stolen the token must not keep out the machine."""
        asked = self._shows(asking.token, slot).asked
        if asking.keys.signing not in asked and len(asked) >= ASKED_EACH:
            raise TooMany(f"the keys of a machine at {address} were not kept", f"{len(asked)} wait for {slot} already")
        asked[asking.keys.signing] = {
            "keys": msgspec.to_builtins(asking.keys),
            "mac": asking.mac[:64],
            "address": address,
        }
        return {"wait": True}

    def _shows(self, token: str, slot: MachineSlot) -> Expected:
        """Raises TokenRefused."""
        expected = self._awaited().get(slot)
        facts = [Machine(state="booting", token=expected.token, token_until=expected.until)] if expected else []
        joining.live(token, facts, self._agent.clock.wall_s())
        assert expected is not None
        return expected

    # -- one stranger

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("peername")[0])
        try:
            if self._strangers.total() >= STRANGERS or self._strangers[address] >= STRANGERS_AN_ADDRESS:
                return
            nonce = os.urandom(16).hex()
            self._strangers[address] += 1
            try:
                async with asyncio.timeout(LINE_S):
                    await _say(writer, {"node": self._agent.me, "nonce": nonce})
                    raw = await reader.readuntil(b"\n")
            finally:
                self._strangers[address] -= 1
                self._strangers += Counter()  # forget those at zero
            await self._answer(raw, address, nonce, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a stranger at %s went: %s", address, error)
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(LINE_S):
                    await writer.wait_closed()

    async def _answer(self, raw: bytes, address: str, nonce: str, writer: asyncio.StreamWriter) -> None:
        try:
            line = _decoded(raw)
            if self._guests >= GUESTS:
                raise TooMany("a machine was not served", "too many ask at once", "it asks again")
            if line.bundle is not None:
                path = self._bundle(line.bundle)
                await self._send_bundle(path, writer)
            elif line.enrol is not None:
                await _say(writer, await self._enrol(line.enrol, address, nonce))
        except SkerryError as error:
            if isinstance(error, TrustRefusal):
                self._agent.links.tell(error, f"a stranger at {address}")
            await _say(writer, {"error": error.as_dict()})

    # -- the agent

    def _bundle(self, wanted: joining.Wanted) -> Any:
        """Where it lies. Raises TokenRefused, NotHere."""
        slot = MachineSlot.read(wanted.slot)
        if slot in self._awaited():
            pool = self._meets(slot)
            self._shows(wanted.token, slot)
        else:
            pool = self._pool(slot)
            assert slot is not None
            self._live(wanted.token, slot, pool)
        path = self._agent.objects.here(pool.bundle) if pool.bundle else None
        if wanted.hash != pool.bundle or path is None:
            why = "it is not here" if wanted.hash == pool.bundle else "the pool's document names another"
            raise NotHere(
                f"agent {wanted.hash[:12]} was not given to {slot}", why, "skerry machine pool set, or another keeper"
            )
        return path

    async def _send_bundle(self, path: Any, writer: asyncio.StreamWriter) -> None:
        self._guests += 1
        try:
            with path.open("rb") as file:
                await _say(writer, {"size": os.fstat(file.fileno()).st_size})
                while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    writer.write(chunk)
                    async with asyncio.timeout(CHUNK_S):
                        await writer.drain()
        finally:
            self._guests -= 1

    # -- an enrolment

    async def _enrol(self, asking: joining.Asking, address: str, nonce: str) -> dict[str, Any]:
        agent = self._agent
        slot = joining.check(asking, agent.trusted.cloud, nonce=nonce, door=tls.fingerprint(agent.files.certificate))
        if self._is_enrolled(slot, asking.keys):  # its answer was lost
            return self._handed_over(slot)
        if slot in self._awaited():
            self._meets(slot)
            return self._leave(asking, slot, address)
        self._guests += 1
        try:
            pool = self._pool(slot)
            fact = self._may_enrol(asking, slot, pool)
            server = await self._server(pool, slot, fact, address)
            pool = self._pool(slot)  # again: it was long
            self._may_enrol(asking, slot, pool)
            document = self._enrolments.enrol(slot, pool, asking.keys, server, address)
            second = await agent.links.copies.second([document.hash], SECOND_S)
        finally:
            self._guests -= 1
        kept = f", kept by {second.removeprefix('node/')} too" if second else ""
        agent.events.append(
            "machine", str(slot), f"enrolled at {address}, {server.id} of {fact.offer or pool.provider}{kept}"
        )
        return self._handed_over(slot)

    def _may_enrol(self, asking: joining.Asking, slot: MachineSlot, pool: Pool) -> Machine:
        fact = self._live(asking.token, slot, pool)
        keys = asking.keys
        for path, document in self._agent.trusted.nodes.items():
            node = document.body
            assert isinstance(node, Node)
            shared = {keys.signing, keys.sealing, keys.wireguard} & {node.signing, node.sealing, node.wireguard}
            if shared and path != slot.path:
                raise Conflicting(f"{slot} was not enrolled", f"{path} has the same key", "make new keys there")
        if self._agent.trusted.enrolled(slot.path) is not None:
            raise SlotTaken(
                f"{slot} was not enrolled", "its machine is enrolled with other keys: a token is good once",
                f"if that one is gone: skerry machine rm {slot}",
            )  # fmt: skip
        return fact

    def _is_enrolled(self, slot: MachineSlot, keys: joining.Keys) -> bool:
        held = self._agent.trusted.enrolled(slot.path)
        return held is not None and keys == joining.Keys(held.signing, held.sealing, held.wireguard, held.certificate)

    def _pool(self, slot: MachineSlot | None) -> Pool:
        pool = self._enrolments.pools().get(slot.pool) if slot is not None else None
        if pool is None:
            raise NotHere("a machine was not let in", "this host keeps no pool of that name", "ask another keeper")
        return pool

    def _live(self, token: str, slot: MachineSlot, pool: Pool) -> Machine:
        """The fact, of any keeper of the pool, by which this token counts. Raises TokenRefused."""
        said = self._agent.loop.core.said("machine", str(slot))
        facts = [fact for node, fact in said.items() if node in pool.keepers and isinstance(fact, Machine)]
        return joining.live(token, facts, self._agent.clock.wall_s())

    async def _server(self, pool: Pool, slot: MachineSlot, fact: Machine, address: str) -> Server:
        """The slot's machine as the provider gives it now, if this is its address. Raises AddressRefused, or as providers do."""
        name = name_of(self._agent.trusted.cloud, slot)
        async with self._looking.setdefault(name, asyncio.Lock()):
            at_s, found = self._looks.get(name, (-LOOK_AGAIN_S, []))
            if self._agent.loop.now_s() - at_s >= LOOK_AGAIN_S:
                token = self._enrolments.token(pool, fact.offer)
                found = await self._agent.parts.servers(pool.offers().get(fact.offer, pool), token, name)
                self._looks[name] = (self._agent.loop.now_s(), found)
        ours = [
            s for s in found if s.name == name and s.state != "gone" and fact.id in ("", pool.id_at(fact.offer, s.id))
        ]
        server = min(ours, key=lambda s: (len(s.id), s.id), default=None)  # of two with one name the lower id stays
        if server is None or not any(_same(address, each) for each in server.addresses):
            have = ", ".join(server.addresses) if server is not None else "no machine"
            raise joining.AddressRefused(
                f"a machine at {address} was not enrolled as {slot}", f"the provider has {have} under {name}",
                "if it has just begun, it asks again",
            )  # fmt: skip
        return server

    def _handed_over(self, slot: MachineSlot) -> dict[str, Any]:
        """As `host add` hands over: who it is, and all documents, in the order in which they rest on one another."""
        membership = self._agent.files.membership()
        assert membership is not None
        records = [base64.b64encode(raw).decode() for raw in self._agent.door.newer_than({})]
        network = {"cloud": membership.cloud, "node": slot.path, "network": membership.network}
        return {"join": {**network, "records": records}}


def _decoded(raw: bytes) -> joining.Line:
    try:
        line = _line.decode(raw)
    except UNREADABLE as error:
        raise BadFormat("a stranger's line was not taken", str(error)[:200]) from None
    if (line.bundle is None) == (line.enrol is None):
        raise BadFormat("a stranger's line was not taken", "it asks for nothing, or for two things at once")
    return line


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    async with asyncio.timeout(CHUNK_S):
        await writer.drain()


def _same(one: str, other: str) -> bool:
    try:
        first, second = ipaddress.ip_address(one), ipaddress.ip_address(other.strip("[]"))
    except ValueError:
        return False
    return (getattr(first, "ipv4_mapped", None) or first) == (getattr(second, "ipv4_mapped", None) or second)
