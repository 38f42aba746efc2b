"""What an app's leases stand at, by the word of its voters. Pure.

A voter answers all that is asked of one app in one fact (`Votes`): a node may tell only so many facts a second, and an election
must not use up what its health and its slots need.
"""

from __future__ import annotations

from collections.abc import Mapping

from skerry.core.facts import Grant, Votes
from skerry.core.knowledge import Knowledge
from skerry.core.leases.quorum import Voters, winner

NAMES_MAX = 20  # of an app that are held or remembered at once: what a voter says of them has to fit into one fact


def votes_of(known: Knowledge, voters: Voters, app: str) -> dict[str, Votes]:
    """voter -> what it says of the app's leases."""
    told = known.about("votes", app)
    return {voter: votes for voter, votes in told.items() if isinstance(votes, Votes) and voter in voters.all}


def granted(votes: Votes | None, name: str) -> Grant | None:
    entry = votes.granted.get(name) if votes is not None else None
    return Grant(number=entry[0], holder=votes.nodes[entry[1]]) if entry is not None and votes is not None else None


def grants_of(votes: Mapping[str, Votes], name: str) -> dict[str, Grant]:
    found = {voter: granted(of, name) for voter, of in votes.items()}
    return {voter: grant for voter, grant in found.items() if grant is not None}


def top(votes: Mapping[str, Votes], name: str) -> int:
    """No number up to this one may be asked for: granted to somebody, or forgotten with the name that had it."""
    return max((of.granted[name][0] if name in of.granted else of.floor for of in votes.values()), default=0)


def holder_of(voters: Voters, votes: Mapping[str, Votes], name: str) -> Grant | None:
    return winner(voters, grants_of(votes, name))


class Budget:
    """So many facts at once, and so many a second after that."""

    def __init__(self, burst: float, a_second: float) -> None:
        self._burst, self._a_second = burst, a_second
        self._left, self._at_s = burst, 0.0

    def wait_s(self, now_s: float) -> float:
        """0: there is one left; take it."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._a_second)
        self._at_s = now_s
        return 0.0 if self._left > 1.0 - 1e-9 else (1.0 - self._left) / self._a_second

    def take(self) -> None:
        self._left = max(0.0, self._left - 1.0)
