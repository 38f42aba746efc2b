"""Whether this node claims a vacant slot. Pure: times come in as numbers, reasons go out as text."""

from __future__ import annotations

from typing import NamedTuple

from skerry.core.intent import Needs


class ClaimIt(NamedTuple):
    reason: str


class DeclineIt(NamedTuple):
    reason: str


class LookAgain(NamedTuple):
    at_s: float
    reason: str


class Room(NamedTuple):
    """What containers may use here in all, and what is reserved of it."""

    cpus: float
    memory_bytes: int
    used_cpus: float = 0.0
    used_memory_bytes: int = 0

    def lacks(self, needs: Needs) -> str:
        """What is missing for `needs`, "" if it fits. A reserve of 0 always fits: nobody asked for a promise."""
        free_bytes = self.memory_bytes - self.used_memory_bytes
        if needs.reserve_memory_bytes > 0 and needs.reserve_memory_bytes > free_bytes:
            return f"no room: needs {needs.reserve_memory_bytes >> 20} MiB, {max(free_bytes, 0) >> 20} MiB are free"
        free_cpus = self.cpus - self.used_cpus
        if needs.reserve_cpus > 0 and needs.reserve_cpus > free_cpus + 1e-9:
            return f"no room: needs {needs.reserve_cpus:g} CPUs, {max(free_cpus, 0.0):g} are free"
        return ""


def consider(
    lacks: str, rank: int, *, vacant_s: float, now_s: float, delay_s: float, not_before_s: float = 0.0, why: str = ""
) -> ClaimIt | DeclineIt | LookAgain:
    """Decide whether this node claims a vacant slot.

    `lacks`: why it can't, "" if it can. `rank`: how many better nodes may still claim it (those that are down, declined or
    are barred no longer count). `vacant_s`: since when nobody holds it. `not_before_s`: others' slots are left alone until
    then. `why` it is vacant goes into the reason.
    """
    if lacks:
        return DeclineIt(lacks)  # only this node knows: no order computed elsewhere overrules it
    turn_s = max(vacant_s, not_before_s) + rank * delay_s  # the ranks still go in turn when all have waited
    if now_s < not_before_s:
        return LookAgain(turn_s, "started a moment ago: others' slots are left alone at first")
    if now_s < turn_s:
        return LookAgain(turn_s, f"rank {rank}: better nodes go first")
    return ClaimIt(f"rank {rank}: vacant for {now_s - vacant_s:.1f} s" + (f", {why}" if why else ""))
