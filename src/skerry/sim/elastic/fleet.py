"""A fleet of machines that serves a trace: what a policy pays, what comes too late, how often it changes.

A machine is asked for at the beginning of a minute, serves after its start time, and is paid for from asking to returning, at
least a minute. Whoever decides knows the minutes before this one and nothing else (the oracle is told more). No noise of a
provider, no failed create: the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

DAY_MINUTES = 1440


class Terms(NamedTuple):
    """`capacity`: requests a minute that one machine serves; `start`: minutes from asking to serving."""

    capacity: float
    start: int = 2
    least: int = 1  # so many machines are always there

    def units(self, trace: Sequence[int]) -> list[float]:
        """The trace in machines."""
        return [requests / self.capacity for requests in trace]


class Outcome(NamedTuple):
    """`paid_ratio`: machine-minutes paid ÷ just enough; `late_share`: requests over capacity ÷ all, 0 to 1."""

    paid_ratio: float
    late_share: float
    changes_per_day: float

    def rounded(self) -> dict[str, float]:
        return {
            "paid_ratio": round(self.paid_ratio, 4),
            "late_share": round(self.late_share, 7),
            "changes_per_day": round(self.changes_per_day, 2),
        }


Policy = Callable[[int, list[int]], int]
"""(minute, how many there were in the minutes before it) -> how many from now on."""


def just_enough(trace: Sequence[int], terms: Terms) -> int:
    """Machine-minutes, if each minute had exactly the machines that it takes and no others."""
    return sum(math.ceil(requests / terms.capacity) for requests in trace)


def serve(trace: Sequence[int], terms: Terms, policy: Policy) -> Outcome:
    """The youngest goes first; a machine that is started is paid for without serving."""
    asked = [-terms.start] * max(policy(0, []), terms.least)  # since when each is there, the oldest first
    counts: list[int] = []
    paid = changes = 0
    late = 0.0
    for minute, requests in enumerate(trace):
        if minute:
            wanted = max(policy(minute, counts), terms.least)
            changes += abs(wanted - len(asked))
            asked[wanted:] = [minute] * (wanted - len(asked))
        serving = sum(since + terms.start <= minute for since in asked)
        paid += len(asked)
        late += max(0.0, requests - serving * terms.capacity)
        counts.append(len(asked))
    return Outcome(paid / just_enough(trace, terms), late / sum(trace), changes / (len(trace) / DAY_MINUTES))
