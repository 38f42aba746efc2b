"""Who decides how many machines there are: Skerry's own rule, the plain rule, the peak, and one that knows what comes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from skerry.core.scaling import DOWN_S, RING_STEPS, rule_of, wish
from skerry.sim.elastic.fleet import Policy, Terms

MINUTE_S = 60.0
FORESIGHT = 3  # minutes that the oracle knows, the one that begins among them


def skerry(trace: Sequence[int], terms: Terms, *, target: float = 1.0, down_s: float = DOWN_S) -> Policy:
    """The product's own rule on rings such as nodes publish. `target`: the share of a machine that may be had to do."""
    units = [figure / target for figure in terms.units(trace)]
    rule = rule_of(terms.start * MINUTE_S, step_s=MINUTE_S, down_s=down_s)

    def policy(minute: int, counts: list[int]) -> int:
        if minute == 0:
            return terms.least
        return wish(units[max(0, minute - RING_STEPS) : minute], counts[-RING_STEPS:], rule).number

    return policy


def plain(trace: Sequence[int], terms: Terms, *, target: float = 0.8, band: float = 0.1, down: int = 30) -> Policy:
    """Up when the last minute is more than `band` over the target; down to the most that one of `down` minutes wanted."""
    units = [figure / target for figure in terms.units(trace)]
    wanted = [math.ceil(figure - 1e-9) for figure in units]

    def policy(minute: int, counts: list[int]) -> int:
        if minute == 0:
            return terms.least
        now = counts[-1]
        if units[minute - 1] > now * (1 + band):
            return wanted[minute - 1]
        return min(now, max(wanted[max(0, minute - down) : minute]))

    return policy


def fixed_peak(trace: Sequence[int], terms: Terms) -> Policy:
    most = math.ceil(max(trace) / terms.capacity)
    return lambda minute, counts: most


def oracle(trace: Sequence[int], terms: Terms) -> Policy:
    """What the minutes to come need, each machine asked for just in time where it is known in time."""
    ahead = FORESIGHT
    return lambda minute, counts: math.ceil(max(trace[minute : minute + ahead]) / terms.capacity)
