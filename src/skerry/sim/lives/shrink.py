"""Of a broken life the shortest that is still broken in the same way: acts and conditions are left out one by one. And its story."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import msgspec

from skerry.sim.cluster import World
from skerry.sim.lives.life import run
from skerry.sim.lives.plan import Plan

LIMIT_S = 60.0


class Story(msgspec.Struct, frozen=True):
    """`lines`: what was done and when, then what was broken. `plan` runs it again."""

    plan: Plan
    lines: tuple[str, ...]
    wrong: tuple[str, ...]


def kind_of(wrong: str) -> str:
    """What is wrong, without times, names and numbers: so two lives are broken in the same way."""
    return re.sub(r"[0-9]+([.:/][0-9]*)*|node/\S+|shop\.\S+|vps-\S*", "", wrong)[:60]


def shrink(plan: Plan, wrong: list[str], *, limit_s: float = LIMIT_S) -> Story:
    """`limit_s`: of wall time; what it has come to by then is given."""
    kinds, end_s = {kind_of(what) for what in wrong[:3]}, time.monotonic() + limit_s
    best = plan
    again = True
    while again and time.monotonic() < end_s:
        again = False
        for smaller in _smaller(best):
            if time.monotonic() >= end_s:
                break
            found, _ = run(smaller)
            if any(kind_of(what) in kinds for what in found):
                best, again = smaller, True
                break
    found, life = run(best)
    return Story(best, tuple(life.log), tuple(found))


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Half of the acts first, then one by one; then milder conditions."""
    acts, size = plan.acts, len(plan.acts) // 2
    while size >= 1:
        for at in range(0, len(acts), size):
            yield msgspec.structs.replace(plan, acts=acts[:at] + acts[at + size :])
        size //= 2
    calm = World(latency_s=plan.world.latency_s)
    for change in (
        {"world": calm},
        {"captured": ()},
        {"rates": ()},
        {"gone": 0},
        {"reboot": False},
        {"laptops": 1},
        {"real": False},
    ):
        if any(getattr(plan, name) != value for name, value in change.items()):
            yield msgspec.structs.replace(plan, **change)
    for index, tricks in enumerate(plan.captured):
        for trick in tricks if len(tricks) > 1 else ():
            fewer = tuple(other for other in tricks if other != trick)
            yield msgspec.structs.replace(plan, captured=(*plan.captured[:index], fewer, *plan.captured[index + 1 :]))
    if len(plan.services) > 1:
        for name in plan.services:
            if name != "web":
                yield msgspec.structs.replace(plan, services={n: s for n, s in plan.services.items() if n != name})
