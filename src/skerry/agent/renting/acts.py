"""What an operator asks of one rented machine, done by a keeper of its pool: only keepers hold the provider's token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from skerry.agent.renting.asking import ask, question
from skerry.core.facts import Machine
from skerry.core.records import MachineSlot
from skerry.errors import NoSuchSubject, Passing, Refusal
from skerry.machines.contract import Server, name_of

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

LIMIT_S = 330.0  # a resize switches the machine off and on


class NotDone(Refusal):
    """The provider refused it."""

    code = "machine-act-refused"


class NotDoneNow(Passing):
    """The provider did not do it, or did not say whether."""

    code = "machine-act-failed"


async def act(agent: Agent, slot: MachineSlot, what: Literal["reboot", "resize"], size: str) -> dict[str, Any]:
    """Raises NoSuchSubject, NotDone, NotDoneNow."""
    pool = agent.enrolments.pools().get(slot.pool)
    if pool is None:
        raise NoSuchSubject(
            f"{slot} was not asked for", "this host does not keep its pool", "see skerry machine pool ls"
        )
    name = name_of(agent.trusted.cloud, slot)
    said = agent.loop.core.said("machine", str(slot)).values()
    ids = {fact.id for fact in said if isinstance(fact, Machine) and fact.id and fact.state != "gone"}
    at = pool.offer_of(next(iter(sorted(ids)), ""))
    offer, token = pool.offers()[at], agent.enrolments.token(pool, at)
    found = [server for server in await agent.parts.servers(offer, token, name) if pool.id_at(at, server.id) in ids]
    server: Server | None = min(found, key=lambda server: (len(server.id), server.id), default=None)
    if server is None:
        raise NoSuchSubject(
            f"there is no machine {slot}", f"{at or pool.provider} has none for it", "see skerry machine ls"
        )
    answer = await ask(question(offer, token, what, server=server, size=size), limit_s=LIMIT_S)
    if answer.trouble is not None:
        error = NotDone if answer.trouble.lasting else NotDoneNow
        raise error(f"{slot}: {what} was not done", answer.trouble.why, "see skerry machine show " + str(slot))
    agent.events.append(
        "machine", str(slot), f"{what}{f' to {size}' if size else ''}: {server.id}, as an operator asked"
    )
    return {"slot": str(slot), "id": server.id}
