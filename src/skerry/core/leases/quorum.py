"""Who the voters are, and when enough of them agree. Pure.

While voters change, more than half of the old and of the new have to agree: two holders would need two halves that don't meet.
A number begins with how often the voters had been changed when it was asked for: what other voters granted before is lower, whether
or not the present ones ever heard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from skerry.core.constraints import name_of
from skerry.core.facts import Grant
from skerry.core.intent import Policy
from skerry.core.knowledge import Knowledge

ERA = 10**9  # numbers between two changes of the voters


class Voters(NamedTuple):
    """As policy names them. `turn`: how often they have been changed."""

    now: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    turn: int = 0

    @property
    def all(self) -> frozenset[str]:
        return frozenset((*self.now, *self.before))

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Of each more than half has to agree."""
        return tuple(group for group in (self.now, self.before) if group)

    def agree(self, yes: Collection[str]) -> bool:
        return bool(self.now) and all(_most(group, yes) for group in self.groups)

    def settles(self, number: int, yes: Collection[str]) -> bool:
        """Whether no other can win the number that these have granted: more than half of one group that it needs is enough.

        While they change, numbers from before it are the former ones' to settle: the new ones may have heard of a loser first.
        """
        groups = (self.before,) if self.before and number // ERA < self.turn else self.groups
        return any(_most(group, yes) for group in groups)

    def first(self) -> int:
        """No number of these voters is as low."""
        return self.turn * ERA

    def newest(self, times: Mapping[str, float]) -> float | None:
        """The latest time at or after which enough voters have a time; None: too few have one."""
        found = []
        for group in self.groups:
            held = sorted((times[voter] for voter in group if voter in times), reverse=True)
            if len(held) <= len(group) // 2:
                return None
            found.append(held[len(group) // 2])
        return min(found, default=None)


def _most(group: Collection[str], yes: Collection[str]) -> bool:
    return 2 * sum(voter in yes for voter in group) > len(group)


def too_few(voters: Voters, is_up: Callable[[str], bool]) -> str:
    """Why no lease can be had just now, in words; "" if enough voters live."""
    if not voters.now:
        return "no voters are named: skerry host voters set"
    silent = [voter for voter in sorted(voters.all) if not is_up(voter)]
    if voters.agree(voters.all - {*silent}):
        return ""
    are = "is" if len(silent) == 1 else "are"
    return f"{len(silent)} of {len(voters.all)} voters {are} silent: {', '.join(map(name_of, silent))}"


def voters_of(known: Knowledge) -> Voters:
    policy = known.body("policy", Policy)
    return Voters(policy.voters, policy.voters_before, policy.voting) if policy is not None else Voters()


def grants_of(known: Knowledge, voters: Voters, lease: str) -> dict[str, Grant]:
    """voter -> what it last granted of that lease."""
    told = known.about("grant", lease)
    return {voter: grant for voter, grant in told.items() if isinstance(grant, Grant) and voter in voters.all}


def granted_by(grants: Mapping[str, Grant]) -> dict[Grant, set[str]]:
    by: dict[Grant, set[str]] = {}
    for voter, grant in grants.items():
        by.setdefault(grant, set()).add(voter)
    return by


def winner(voters: Voters, grants: Mapping[str, Grant], *, settled: bool = False) -> Grant | None:
    """The newest grant on which enough agree; `settled`: of which no other can win that number."""
    by = granted_by(grants)
    won = [g for g in by if (voters.settles(g.number, by[g]) if settled else voters.agree(by[g]))]
    return max(won, key=lambda grant: grant.number, default=None)


def top(grants: Mapping[str, Grant]) -> int:
    return max((grant.number for grant in grants.values()), default=0)
