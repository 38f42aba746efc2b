"""A new host's first act: asking others whether what it was given at its enrolment is still the newest.

Whoever hands a host its beginning could hold it in the past. So it claims nothing before it has asked three others (all, if
there are fewer); one honest answer among them is enough, as signatures make the newest safe to take. Design section 6.
A host whose records are lost is new again. Who holds which slot, and where its data is, comes with the answers.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Annotated

import msgspec

from skerry.core.events import CaughtUp
from skerry.core.intent import Node
from skerry.core.records import MachineSlot
from skerry.errors import BadFormat, SkerryError, TrustRefusal
from skerry.mesh.messages import recv_bytes, send_bytes
from skerry.outside import UNREADABLE

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

ASKED = 3
PATIENCE_S = 10.0  # for further answers, once one is there
AGAIN_S = 0.5
ANSWER_S = 10.0
MET = "compared"  # in the store's notes: it was done once in this host's life

# More than there can be: paths, hosts, claims. An answer of millions of nothings would cost this host a gigabyte.
Answer = Annotated[list[bytes], msgspec.Meta(max_length=1 << 16)]

log = logging.getLogger(__name__)


def is_new(agent: Agent) -> bool:
    return agent.records.get_meta(MET) is None


async def compare(agent: Agent) -> None:
    """Ask until enough have answered; then core may claim. Nothing where it was done before."""
    answered: set[str] = set()
    first_s = 0.0
    while not _enough(agent, answered, first_s):
        waiting = sorted(_others(agent) - answered)
        for node in random.sample(waiting, len(waiting)):  # chance, so that nobody can choose who is asked
            if await _ask(agent, node):
                answered.add(node)
                first_s = first_s or time.monotonic()
            if _enough(agent, answered, first_s):
                break
        else:
            await asyncio.sleep(AGAIN_S)
    agent.records.set_meta(MET, b"1")
    if answered:
        names = ", ".join(sorted(node.removeprefix("node/") for node in answered))
        agent.events.append("agent", agent.me, f"new here: compared with {names} before the first claim")
    agent.loop.post(CaughtUp())


def _enough(agent: Agent, answered: set[str], first_s: float) -> bool:
    others = _others(agent)
    if agent.trusted.below_floor(agent.me):
        return False  # what held when it was enrolled is not all here yet
    if len(answered) >= min(ASKED, len(others)):
        return True
    return bool(answered) and time.monotonic() - first_s > PATIENCE_S


def _others(agent: Agent) -> set[str]:
    """Fixed hosts; machines of a pool come and go, and know no more than these."""
    nodes = agent.trusted.nodes.items()
    there = {
        p for p, d in nodes if p != agent.me and isinstance(d.body, Node) and agent.trusted.enrolled(p) is not None
    }
    return {path for path in there if MachineSlot.of_path(path) is None} or there


async def _ask(agent: Agent, node: str) -> bool:
    """Take what is newer there. Whether it answered, whatever that was worth."""
    ours = {path: head[:2] for path, head in agent.trusted.heads().items()}
    try:
        stream = await agent.mesh.open(node, "/catch-up")
        try:
            await send_bytes(stream, msgspec.msgpack.encode(ours))
            raws = _read(await recv_bytes(stream, timeout_s=ANSWER_S))
        finally:
            await stream.close()
    except (SkerryError, OSError) as error:
        log.debug("%s did not answer: %s", node, error)
        return False
    for raw in raws:
        try:
            agent.door.offer(raw)
        except TrustRefusal as refusal:
            agent.links.refused(refusal, node)
    return True


def _read(answer: bytes) -> Answer:
    """Records, of which nothing is believed yet. Raises BadFormat."""
    try:
        return msgspec.msgpack.decode(answer, type=Answer)
    except UNREADABLE as error:
        raise BadFormat("an answer was not taken", str(error)) from None
