"""All nodes' figures of a service laid together: one ring of sums, from which a keeper makes its wish.

What a node told stays in the sums as long as it is in a ring: that it fell silent, or died, does not make the past smaller. A
node that was left out with its past would take its share from every step at once, and the rule would go down for no reason.
What it has not told since is taken as its newest for a stated time as long as it may live; a dead one has nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from skerry.core.facts import Load
from skerry.core.scaling import RING_STEPS

if TYPE_CHECKING:
    from skerry.core.situation import Situation

SILENT_STEPS = 3  # figures that are late by no more are under way
HELD_STEPS = 10  # a node that lives and tells nothing new has as much to do as it had for so long, and then nothing


class Rings(msgspec.Struct, frozen=True):
    """All nodes' rings laid together, up to one step. `nodes`: who says how it is now; `late`: whose figures are under way."""

    cpu: list[float]
    connections: list[float]
    fresh: list[float]
    replicas: list[float]
    nodes: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    metric: list[float] = []


class Placed(NamedTuple):
    """One node's ring. `ends`: so many steps before the one that is asked about; `held`: so many more are as its newest."""

    load: Load
    ends: int
    held: int


class Placement(NamedTuple):
    """`nodes`, `late`: as in Rings."""

    rings: list[Placed]
    nodes: tuple[str, ...]
    late: tuple[str, ...]


def place(s: Situation, key: tuple[str, str], step: int) -> Placement:
    """By the clock of who told them. One whose clock is wrong counts steps of its own, and is placed by how wrong it is."""
    scale, name = s.wishing.initial[key].scale, ".".join(key)
    step_s = scale.step_s if scale is not None else 0.0
    placed, nodes, late = [], [], []
    for node, load in s.known.about("load", name).items():
        if not isinstance(load, Load) or load.step_s != step_s or node not in s.known.nodes or not load.cpu:
            continue
        ahead = s.wishing.ahead.get((node, name), 0) if s.presence.is_up(node) else 0
        ends = step - load.step + (ahead if abs(ahead) > SILENT_STEPS else 0)
        if not -SILENT_STEPS <= ends < RING_STEPS:
            continue
        dead = s.presence.is_down(node)
        if scale is not None and load.metric_of != scale.metric:  # of a figure that was aimed at before
            load = msgspec.structs.replace(load, metric=(), metric_of="")
        placed.append(Placed(load, ends, 0 if dead else HELD_STEPS))
        if not dead and ends <= HELD_STEPS:
            nodes.append(node)
            if 0 < ends <= SILENT_STEPS:
                late.append(node)
    return Placement(placed, tuple(sorted(nodes)), tuple(late))


def together(placed: Sequence[Placed], nodes: tuple[str, ...] = (), late: tuple[str, ...] = ()) -> Rings:
    length = min(RING_STEPS, max((len(ring.load.cpu) + ring.ends for ring in placed), default=0))

    def summed(of: str) -> list[float]:
        return list(map(sum, zip(*(_laid(getattr(ring.load, of), ring, length) for ring in placed), strict=True)))

    return Rings(
        summed("cpu"), summed("connections"), summed("fresh"), summed("replicas"), nodes, late, summed("metric")
    )


def _laid(figures: tuple[float, ...], ring: Placed, length: int) -> tuple[float, ...]:
    """So many figures, the newest of the step that is asked about."""
    held = max(0, min(ring.ends, ring.held))
    told = figures[: ring.ends] if ring.ends < 0 else (*figures, *figures[-1:] * held, *(0.0,) * (ring.ends - held))
    return (*(0.0,) * (length - len(told)), *told[len(told) - min(length, len(told)) :])
