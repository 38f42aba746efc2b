"""The policies side by side on one trace, and the frontier of cost against lateness that each can reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skerry.core.scaling import DOWN_S
from skerry.sim.elastic import policies
from skerry.sim.elastic.fleet import Outcome, Terms, serve
from skerry.sim.elastic.kubernetes import kubernetes

PARTS = 10  # a machine serves so little of the highest minute where nothing else is said
TARGETS = {
    "skerry": (0.6, 0.7, 0.8, 0.9, 1.0, 1.1),
    "plain": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0),
    "kubernetes": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
}


def terms_of(trace: Sequence[int], *, capacity: float = 0.0, start: int = 2) -> Terms:
    return Terms(capacity or max(trace) / PARTS, start)


def compare(trace: Sequence[int], terms: Terms, *, target: float = 1.0, down_s: float = DOWN_S) -> dict[str, Any]:
    """One object, as `skerry sim elastic --json` prints it."""
    found = {
        "skerry": serve(trace, terms, policies.skerry(trace, terms, target=target, down_s=down_s)),
        "fixed_peak": serve(trace, terms, policies.fixed_peak(trace, terms)),
        "kubernetes": kubernetes(trace, terms),
        "oracle": serve(trace, terms, policies.oracle(trace, terms)),
        "plain": serve(trace, terms, policies.plain(trace, terms)),
    }
    return {
        "minutes": len(trace),
        "requests": sum(trace),
        "machine_capacity": round(terms.capacity, 3),
        "machine_start_minutes": terms.start,
        **{name: outcome.rounded() for name, outcome in found.items()},
    }


def frontier(trace: Sequence[int], terms: Terms, *, down_s: float = DOWN_S) -> dict[str, list[tuple[float, Outcome]]]:
    """For each policy that has a target: the target, and what comes of it."""
    return {
        "skerry": [
            (at, serve(trace, terms, policies.skerry(trace, terms, target=at, down_s=down_s)))
            for at in TARGETS["skerry"]
        ],
        "plain": [(at, serve(trace, terms, policies.plain(trace, terms, target=at))) for at in TARGETS["plain"]],
        "kubernetes": [(at, kubernetes(trace, terms, target=at)) for at in TARGETS["kubernetes"]],
    }
