"""Whether a replica is healthy, by the words of its owner and of its witnesses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from skerry.core.intent import Probe

WITNESSES = 2  # nodes that the slot's order picks, beside the owner


def start_limit_s(probe: Probe | None, without_s: float) -> float:
    """How long a container may take to become healthy: its start period, and no less than its retries take."""
    return max(probe.start_period_s, probe.retries * probe.interval_s) if probe is not None else without_s


class Judgement(NamedTuple):
    healthy: bool
    why: str = ""


def judge(owner: bool | None, witnesses: Sequence[bool | None]) -> Judgement:
    """The owner's word holds, unless both of two, or most of three, witnesses say the opposite of "healthy".

    None: that one has not said anything yet. Witnesses can't make healthy what its owner calls unhealthy: it would only keep
    a replica in the routes that is about to be stopped.
    """
    if not owner:
        return Judgement(False, "its own probe fails" if owner is False else "not yet probed")
    against = sum(word is False for word in witnesses)
    if against >= 2 and against * 2 > len(witnesses):
        return Judgement(False, f"{against} of {len(witnesses)} witnesses can't reach it")
    return Judgement(True, "a witness can't reach it, its owner can" if against else "")
