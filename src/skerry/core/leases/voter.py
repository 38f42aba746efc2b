"""What a voter may promise, by its own monotonic clock. Pure.

Gray and Cheriton 1989 (leases); the number is the fencing token, and grows as a ballot does in Paxos: a voter that has granted one
never grants it, or a lower one, to another. Times: a holder counts D(1 - 2ρ) from before it asked, a voter D(1 + 2ρ) from when it
promised; with clocks whose rates are within ρ the holder has ended before the voter is free.
"""

from __future__ import annotations

from typing import NamedTuple

from skerry.core.facts import Grant

LEAP = 1000  # so far above the highest number that is known an ask may be: else one asker could use all numbers up


class Yes(NamedTuple):
    why: str


class No(NamedTuple):
    why: str


class Later(NamedTuple):
    """Bound to somebody else, or silent, until then."""

    at_s: float
    why: str


class Case(NamedTuple):
    """One ask. `own`: what this voter granted last; `own_freed`: whether its holder has let it go.

    `settled`: of which no other can win the number; `alive_s`: when that one was last seen to be renewed, `settled_freed`: as above.
    `first`: below the numbers of the present voters. `top`: the highest number granted by any voter.
    """

    lease: str
    asker: str
    number: int
    first: int = 0
    own: Grant | None = None
    own_freed: bool = False
    settled: Grant | None = None
    settled_freed: bool = False
    alive_s: float = -1e9
    top: int = 0


class Voter:
    """The promises of one life. Numbers and holders outlive it, as grants on its disk."""

    def __init__(self, lease_s: float, rho: float) -> None:
        self.length_s = lease_s * (1 + 2 * rho)
        self._silent_s = float("inf")
        self._careful_s = 0.0
        self._bound: dict[str, float] = {}  # lease -> until when it is promised to its holder

    def begin(self, now_s: float) -> None:
        """It has started: what it promised before it can't know any more."""
        self._silent_s = now_s + self.length_s

    def changed(self, now_s: float) -> None:
        """The voters are others now: leases of the former ones may still run that this one knows nothing of."""
        self._careful_s = now_s + self.length_s

    def is_silent(self, now_s: float) -> bool:
        return now_s < self._silent_s

    @property
    def speaks_s(self) -> float:
        return self._silent_s

    def promised(self, lease: str, now_s: float) -> None:
        self._bound[lease] = max(self._bound.get(lease, 0.0), now_s + self.length_s)

    def is_bound(self, lease: str, now_s: float) -> bool:
        return now_s < self._bound.get(lease, 0.0)

    def answer(self, case: Case, now_s: float) -> Yes | No | Later:
        own, settled = case.own, case.settled
        asked = Grant(number=case.number, holder=case.asker)
        if now_s < self._silent_s:
            return Later(self._silent_s, "started a moment ago: what it promised before has to run out first")
        if own == asked:
            return Yes("it holds it")
        if settled == asked and (own is None or own.number <= case.number):
            return Yes("more than half have granted it")  # a loser of that number may have had our vote: it can't win
        highest = max(own.number if own is not None else 0, settled.number if settled is not None else 0)
        if case.number <= highest:
            return No(f"number {highest} was granted already")
        if case.number <= case.first:
            return No("it was asked for before the voters were changed")
        if case.number > (most := max(case.top, highest, case.first) + LEAP):
            return No(
                f"number {case.number} is above {most}: it asks for more than the next one, or knows of newer voters"
            )
        free_s, why = self._careful_s, "the voters were changed a moment ago"
        if own is not None and own.holder != case.asker and not case.own_freed:
            free_s, why = max((free_s, why), (self._bound.get(case.lease, 0.0), f"promised to {own.holder}"))
        if settled is not None and settled.holder != case.asker and not case.settled_freed:
            free_s, why = max((free_s, why), (case.alive_s + self.length_s, f"{settled.holder} holds it"))
        if now_s < free_s:
            return Later(free_s, why)
        return Yes("it is free")
