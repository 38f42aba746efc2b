"""When a slot may go to the version that is wanted. Pure.

By the order of slots, never by counting those that move: counts differ from node to node, and every node would see "none is
moving" and move (notes/decisions.md: over the limit in 45 to 60 of 60 runs; with the order in 0 of 360).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Lower(NamedTuple):
    """A slot of lower number: `done_s` since when it is held, in the wanted version and well (None: it is not)."""

    name: str
    done_s: float | None


class MayMove(NamedTuple):
    yes: bool
    why: str
    look_again_s: float | None = None


def may_move(lower: Sequence[Lower], *, parallelism: int, delay_s: float, now_s: float) -> MayMove:
    """Whether a slot may move, given those of lower number. `parallelism` 0: all at once, as in a compose file."""
    if parallelism <= 0:
        return MayMove(True, "all at once")
    waiting: list[str] = []
    again: float | None = None
    for slot in lower:
        if slot.done_s is None:
            waiting.append(slot.name)
        elif now_s < slot.done_s + delay_s:
            waiting.append(slot.name)
            ripe = slot.done_s + delay_s
            again = ripe if again is None else min(again, ripe)
    if len(waiting) < parallelism:
        return MayMove(True, "its turn" if lower else "first of its service")
    return MayMove(False, f"waits for {waiting[0]} to be healthy in the new version", again)


def tolerated(max_failure_ratio: float, replicas: int) -> int:
    """So many slots may fail before anything follows from it."""
    return int(max_failure_ratio * replicas + 1e-9)


def has_failed(failed_on: Mapping[str, str], candidates: Sequence[str]) -> bool:
    """Whether a version has failed: on two nodes, or on all (then it is one) that could run it at all."""
    return len(failed_on) >= 2 or (len(failed_on) == 1 and bool(candidates) and all(n in failed_on for n in candidates))
