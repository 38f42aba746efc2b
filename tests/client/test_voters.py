"""Who votes about leases: named and changed against real agents, by the functions that `skerry host voters` calls."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agent.small import SmallCloud
from skerry.client import voters
from skerry.client.compose.plan import ComposeApp
from skerry.client.session import Session
from skerry.core.intent import App, Service
from skerry.errors import BadInput, NotInTime

HOSTS = ("vps-1", "vps-2", "vps-3")


def votes(session: Session) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    policy = session.policy
    return policy.voters, policy.voters_before, policy.voting


async def names(session: Session) -> list[str]:
    await session.sync()
    return sorted(path.removeprefix("node/") for path in session.nodes)


async def without_its_voter(cloud: SmallCloud, session: Session) -> list[str]:
    """All hosts; the last one alone votes, and is away."""
    first, second, third = await names(session)
    await voters.set_voters(session, (third,))
    session.preferred = f"node/{first}"
    await cloud.stop(third)
    return [first, second, third]


async def test_voters_are_named_shown_and_changed_in_two_steps(session: Session) -> None:
    first, second, third = await names(session)
    said: list[str] = []
    told = await voters.set_voters(session, (first,), progress=said.append)
    assert told == {"voters": [first], "before": []} and votes(session) == ((f"node/{first}",), (), 0)
    assert said == [], "nobody voted before"
    told = await voters.set_voters(session, (third, second, first), progress=said.append)
    assert told == {"voters": [third, second, first], "before": [first]}
    assert said == [
        f"{first} and {third}, {second}, {first} vote together",
        f"more than half of {first} know it; {third}, {second}, {first} vote alone",
    ]
    assert votes(session)[1:] == ((), 2)
    rows = await voters.ls(session)
    assert [(row["name"], row["votes"], row["leases"]) for row in rows] == [
        (n, "yes", 0) for n in (third, second, first)
    ]
    version = session.trusted.heads()["policy"][1]
    await voters.set_voters(session, (first, second, third))
    assert session.trusted.heads()["policy"][1] == version, "the same again signs nothing"


async def test_a_change_waits_for_the_old_voters_and_is_finished_by_the_same_command(
    cloud: SmallCloud, session: Session
) -> None:
    first, second, third = await without_its_voter(cloud, session)
    with pytest.raises(NotInTime, match="not changed yet"):
        await voters.set_voters(session, (first,), timeout_s=0.5)
    assert votes(session) == ((f"node/{first}",), (f"node/{third}",), 1)
    with pytest.raises(BadInput) as refused:
        await voters.set_voters(session, (second,))
    assert refused.value.fix == f"finish that first: skerry host voters set {first}"
    told = await voters.set_voters(session, (first,), old_majority_is_dead=True)
    assert told["voters"] == [first] and votes(session) == ((f"node/{first}",), (), 2)


async def test_who_says_that_the_old_majority_is_dead_is_shown_which_hosts_that_are_and_a_no_signs_nothing(
    cloud: SmallCloud, session: Session
) -> None:
    first, second, third = await without_its_voter(cloud, session)
    before, asked = votes(session), []

    def no(question: str) -> None:
        asked.append(question)
        raise BadInput("not confirmed", "", "")

    with pytest.raises(BadInput, match="not confirmed"):
        await voters.set_voters(session, (first,), old_majority_is_dead=True, sure=no)
    assert votes(session) == before
    assert f"the old voters are {third} (" in asked[0] and first not in asked[0] and second not in asked[0]
    told = await voters.set_voters(session, (first,), old_majority_is_dead=True)
    assert told["voters"] == [first] and votes(session) == ((f"node/{first}",), (), 1)


async def test_two_hosts_one_host_twice_and_a_stranger_are_refused_and_nothing_is_signed(session: Session) -> None:
    first, second, third = await names(session)
    before = session.trusted.heads()["policy"]
    for wanted in ((first, second), (first, second, second), (first, second, third, "vps-9"), ("vps-9",)):
        with pytest.raises(BadInput):
            await voters.set_voters(session, wanted)
    assert session.trusted.heads()["policy"] == before


async def test_an_exclusive_service_is_refused_without_voters_and_warned_of_with_one(session: Session) -> None:
    first, _, _ = await names(session)
    compose = _compose(Service(exclusive=True))
    with pytest.raises(voters.NoVoters) as refused:
        voters.check_voters(session, compose)
    assert "skerry host voters set" in refused.value.fix
    await voters.set_voters(session, (first,))
    assert "there is one" in voters.check_voters(session, compose)
    assert voters.check_voters(session, _compose(Service())) == ""


async def test_the_last_voters_stay_as_long_as_an_exclusive_service_is_there(session: Session) -> None:
    first, _, _ = await names(session)
    await voters.set_voters(session, (first,))
    await session.change([("app/shop", App(services={"db": Service(exclusive=True)}))])
    with pytest.raises(voters.VotersNeeded, match="db could run nowhere"):
        await voters.set_voters(session, ())
    assert votes(session)[0] == (f"node/{first}",)


def _compose(service: Service) -> ComposeApp:
    return SimpleNamespace(name="shop", services={"db": SimpleNamespace(service=service)})  # type: ignore[return-value]
