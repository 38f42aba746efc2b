"""`host voters`: which hosts grant the leases of exclusive slots, and how they are changed without two of anything ever.

Old and new vote together first (policy names both); the old are let go once more than half of them know it, by what they say
themselves. Whoever ends in the middle runs the same command again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from skerry.client.compose.plan import ComposeApp
from skerry.client.enrolment import find
from skerry.client.session import Session
from skerry.core.intent import App, Policy
from skerry.core.records import MachineSlot
from skerry.errors import BadInput, NotInTime, Refusal

COUNTS = (1, 3, 5)
POLL_S = 0.3
MOVE_S = 60.0  # for so long it is waited for the old voters to hear that they are changed


class NoVoters(Refusal):
    """An exclusive service was deployed, and nobody is there to grant it a lease."""

    code = "no-voters"
    exit_code = 2


class VotersNeeded(Refusal):
    """The last voters were to go while an exclusive service is there."""

    code = "voters-needed"
    exit_code = 2


async def ls(session: Session) -> list[dict[str, Any]]:
    """Each voter: how it is, and whether it votes now, with the former ones, or from now on."""
    await session.sync(1)
    policy = session.policy
    hosts = {row["name"]: row for row in await session.request("hosts")}
    found = []
    for path in dict.fromkeys((*policy.voters, *policy.voters_before)):
        name = path.removeprefix("node/")
        row = hosts.get(name, {})
        votes = "yes" if not policy.voters_before or path in policy.voters else "until the change is done"
        found.append(
            {"name": name, "state": row.get("state", "not enrolled"), "votes": votes, "leases": row.get("leases", 0)}
        )
    return found


async def set_voters(
    session: Session,
    names: Sequence[str],
    *,
    old_majority_is_dead: bool = False,
    sure: Callable[[str], None] = lambda question: None,
    timeout_s: float = MOVE_S,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Let these hosts, and no others, grant leases. Raises BadInput, VotersNeeded, NotInTime.

    `old_majority_is_dead`: an operator's word that more than half of the old voters are gone for good, and that nothing runs
    there any more. Nobody can check it: where it is wrong, an exclusive slot may run twice. So `sure` is asked, with the old
    voters by name and how each is seen just now; it raises where the answer is no.
    """
    await session.sync()
    policy = session.policy
    wanted = _checked(session, names)
    if not wanted and (users := exclusive_services(session)):
        raise VotersNeeded("the voters were not changed", f"{', '.join(users)} could run nowhere", "name 3 hosts, or 5")
    if set(wanted) == set(policy.voters) and not policy.voters_before:
        return _told(policy, [])
    if old_majority_is_dead and policy.voters:
        sure(await _dead(session, policy.voters_before or policy.voters))
    if old_majority_is_dead or not policy.voters or not wanted:
        await _sign(session, policy, wanted, ())
        return _told(session.policy, policy.voters)
    if policy.voters_before and set(wanted) != set(policy.voters):
        raise BadInput(
            "the voters were not changed",
            "a change of them is under way: from " + _list(policy.voters_before) + " to " + _list(policy.voters),
            f"finish that first: skerry host voters set {' '.join(map(_name, policy.voters))}",
        )
    before = policy.voters_before or policy.voters
    if not policy.voters_before:
        progress(f"{_list(before)} and {_list(wanted)} vote together")
        await _sign(session, policy, wanted, before)
    version = session.trusted.heads()["policy"][1]
    await _moved(session, before, version, timeout_s)
    progress(f"more than half of {_list(before)} know it; {_list(wanted)} vote alone")
    await _sign(session, session.policy, wanted, ())
    return _told(session.policy, before)


def exclusive_services(session: Session, but: str = "") -> list[str]:
    """Services that can't run without voters, of all apps but one."""
    return [
        f"{document.path.removeprefix('app/')}.{name}"
        for document in session.documents("app")
        if isinstance(document.body, App) and not document.body.deleted and document.path != f"app/{but}"
        for name, service in document.body.services.items()
        if service.exclusive or service.leases
    ]


def check_voters(session: Session, compose: ComposeApp) -> str:
    """What is to be said of too few voters, "" if nothing. Raises NoVoters."""
    asks = [name for name, planned in compose.services.items() if planned.service.exclusive or planned.service.leases]
    if not asks:
        return ""
    voters = session.policy.voters
    if not voters:
        fixed = [path.removeprefix("node/") for path in session.nodes if MachineSlot.of_path(path) is None]
        few = " ".join(sorted(fixed)[: 3 if len(fixed) >= 3 else 1]) or "HOST"
        raise NoVoters(
            f"{compose.name}.{asks[0]} was not deployed",
            "it runs under a lease of more than half of the voters, and no voters are named",
            f"name three hosts: skerry host voters set {few}",
        )
    if len(voters) < 3:
        return (
            f"{', '.join(asks)} needs the voters, and there is one: while {_name(voters[0])} is away it is started nowhere; "
            "name three: skerry host voters set"
        )
    return ""


def _checked(session: Session, names: Sequence[str]) -> tuple[str, ...]:
    paths = []
    for name in names:
        document, _ = find(session, name)
        if MachineSlot.of_path(document.path) is not None:
            raise BadInput(
                "the voters were not changed", f"{name} is a pool's machine: it comes and goes", "name fixed hosts"
            )
        paths.append(document.path)
    if len(set(paths)) != len(paths):
        raise BadInput("the voters were not changed", "one host is named twice", "each votes once")
    if paths and len(paths) not in COUNTS:
        raise BadInput(
            "the voters were not changed",
            f"{len(paths)} are no better than {max(n for n in COUNTS if n < len(paths))}: more than half of them has to live",
            "name 1, 3 or 5 hosts",
        )
    return tuple(paths)


async def _sign(session: Session, policy: Policy, wanted: tuple[str, ...], before: tuple[str, ...]) -> None:
    first = not policy.voters and not policy.voting
    turn = policy.voting if first else policy.voting + 1
    body = msgspec.structs.replace(policy, voters=wanted, voters_before=before, voting=turn)
    await session.change([("policy", body)])


async def _dead(session: Session, before: Sequence[str]) -> str:
    """The question whose yes is all that stands between a wrong word and two of an exclusive slot."""
    states = {f"node/{row['name']}": row.get("state", "unknown") for row in await session.request("hosts")}
    seen = ", ".join(f"{_name(path)} ({states.get(path, 'not enrolled')})" for path in before)
    return (
        f"the old voters are {seen}. Are {len(before) // 2 + 1} of them or more off, never to come back, and does nothing that "
        "they granted run any more? If that is wrong, exclusive slots run twice"
    )


async def _moved(session: Session, before: Sequence[str], version: int, timeout_s: float) -> None:
    """Wait until more than half of the old voters say that they hold that policy."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        rows = {f"node/{row['name']}": row for row in await session.request("hosts")}
        behind = [path for path in before if rows.get(path, {}).get("policy", 0) < version]
        if 2 * (len(before) - len(behind)) > len(before):
            return
        if time.monotonic() > deadline_s:
            raise NotInTime(
                "the voters are not changed yet",
                f"{_list(behind)} did not say that they know of it; until then more than half of old and new have to agree",
                "when they are back, run this again; if more than half of the old are gone for good: --old-majority-is-dead",
            )
        await asyncio.sleep(POLL_S)


def _told(policy: Policy, before: Sequence[str]) -> dict[str, Any]:
    return {"voters": [_name(path) for path in policy.voters], "before": [_name(path) for path in before]}


def _name(path: str) -> str:
    return path.removeprefix("node/")


def _list(paths: Sequence[str]) -> str:
    return ", ".join(map(_name, paths))
