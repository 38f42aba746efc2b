"""How far a new version may go for now: the first share of a service's slots, then the next, each held well for a time. Pure.

By the order of slots, as rollouts are: the slots of the lowest numbers are tried, on every node the same. No step counts those
that have moved, and none is over before every slot of it has been well for as long as it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from skerry.core.intent import CanaryStep


class Step(NamedTuple):
    slots: int  # the first so many
    hold_s: float


class Held(NamedTuple):
    """Where it stands. `step`: from 1. `slots`: so many may run the new version. `until_s`: when the hold is over; None while
    not all of them are well."""

    step: int
    steps: int
    slots: int
    hold_s: float
    until_s: float | None


def steps_of(canary: Sequence[CanaryStep], replicas: int) -> tuple[Step, ...]:
    """Those that leave any slot alone. A share is rounded down, but is one slot at least."""
    steps = (Step(max(1, int(step.share * replicas + 1e-9)), step.hold_s) for step in canary)
    return tuple(step for step in steps if step.slots < replicas)


def held(steps: Sequence[Step], done_s: Sequence[float | None], now_s: float) -> Held | None:
    """The first step that is not over; None: all are. `done_s`: of each slot, since when it is well in the new version."""
    for number, step in enumerate(steps, 1):
        since = [at for at in done_s[: step.slots] if at is not None]
        until_s = max(since) + step.hold_s if len(since) == step.slots else None
        if until_s is None or now_s < until_s:
            return Held(number, len(steps), step.slots, step.hold_s, until_s)
    return None
