"""Expelling in a hurry: hosts that do not answer hold it up as little as one that lies about what it holds or has taken."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from agent.small import SmallCloud
from skerry.agent.serve import Server
from skerry.client import leave
from skerry.client import session as sessions
from skerry.client.session import Session
from skerry.core.intent import Node
from skerry.errors import Unreachable

FOR_EVER_S = 3600.0
WITHIN_S = 20.0


def body(session: Session, name: str) -> Node:
    held = session.trusted.nodes[f"node/{name}"].body
    assert isinstance(held, Node)
    return held


@pytest.fixture
def unreached(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Addresses from which nothing ever comes back, to whoever asks."""
    silent: set[str] = set()
    dial = sessions.dial

    async def dialled(addresses: Any, *more: Any) -> Any:
        if silent & set(addresses):
            await asyncio.sleep(FOR_EVER_S)
        return await dial(addresses, *more)

    monkeypatch.setattr(sessions, "dial", dialled)
    return silent


def lying(monkeypatch: pytest.MonkeyPatch, host: str, verb: str, lie: Any) -> None:
    honest = getattr(Server, f"_verb_{verb}")

    async def answer(self: Server, args: Any, request: Any) -> Any:
        return await (lie() if self._me == f"node/{host}" else honest(self, args, request))

    monkeypatch.setattr(Server, f"_verb_{verb}", answer)


async def never() -> None:
    await asyncio.sleep(FOR_EVER_S)


async def test_hosts_that_do_not_answer_are_not_waited_for_and_hear_of_it_from_the_others(
    cloud: SmallCloud, session: Session, unreached: set[str]
) -> None:
    unreached |= {*body(session, "vps-1").addresses, *body(session, "vps-3").addresses}
    async with asyncio.timeout(WITHIN_S):
        told = await leave.expel(session, "vps-3")
    assert (told["known_to"], told["not_yet_known_to"]) == (["vps-1", "vps-2"], [])
    assert all(cloud.agents[name].trusted.enrolled("node/vps-3") is None for name in ("vps-1", "vps-2"))


async def test_a_host_that_is_up_and_has_not_said_that_it_knows_is_named(
    cloud: SmallCloud, session: Session, unreached: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unreached |= {*body(session, "vps-1").addresses}
    monkeypatch.setattr("skerry.agent.serve.SPREAD_S", 0.2)
    cloud.agents["vps-1"].links.copies.asked = lambda peer, message: None  # type: ignore[method-assign]
    async with asyncio.timeout(WITHIN_S):
        told = await leave.expel(session, "vps-3")
    assert (told["known_to"], told["not_yet_known_to"]) == (["vps-2"], ["vps-1"])


async def test_one_that_says_it_has_taken_it_and_shows_old_documents_keeps_it_from_nobody(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile another operator has changed the host's enrolment: what is signed over the old one is refused by who is honest."""
    held = session.trusted.nodes["node/vps-3"]
    newer = msgspec.structs.replace(body(session, "vps-3"), labels={"changed": "meanwhile"})
    raw = cloud.sign("node/vps-3", newer, 2, prev=held.hash)
    cloud.agents["vps-2"].door.offer(raw, from_client=True)

    async def nothing() -> dict[str, Any]:
        return {}

    lying(monkeypatch, "vps-1", "heads", nothing)
    lying(monkeypatch, "vps-1", "put", nothing)
    assert session.candidates()[0] == "node/vps-1"
    async with asyncio.timeout(WITHIN_S):
        await leave.expel(session, "vps-3")
    document = cloud.agents["vps-2"].trusted.nodes["node/vps-3"]
    assert isinstance(document.body, Node) and (document.version, document.body.state) == (3, "expelled")


async def test_a_host_that_takes_a_question_and_keeps_silent_is_given_up_and_asked_last(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(monkeypatch, "vps-1", "heads", never)
    lying(monkeypatch, "vps-1", "status", never)
    async with asyncio.timeout(WITHIN_S):
        assert sorted(await session.sync()) == ["node/vps-2", "node/vps-3"]
        session.preferred = "node/vps-1"
        monkeypatch.setattr(sessions, "ANSWER_S", 0.3)
        with pytest.raises(Unreachable, match="silent"):
            await session.request("status")
        session.preferred = None
    assert session.candidates()[-1] == "node/vps-1"


async def test_one_that_is_reached_by_nobody_else_is_waited_for(
    cloud: SmallCloud, session: Session, unreached: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first host is silent, the second is slow: it is asked beside it, and its answer counts."""
    unreached |= {*body(session, "vps-1").addresses, *body(session, "vps-3").addresses}
    session._silent = dict.fromkeys(session.nodes, 2e10)
    honest = Server._verb_heads

    async def slowly(self: Server, args: Any, request: Any) -> Any:
        await asyncio.sleep(2 * (sessions.EAGER_S + sessions.LATE_S))
        return await honest(self, args, request)

    monkeypatch.setattr(Server, "_verb_heads", slowly)
    async with asyncio.timeout(WITHIN_S):
        assert await session.sync() == ["node/vps-2"]
