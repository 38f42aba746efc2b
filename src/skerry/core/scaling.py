"""How many replicas or machines there should be: one rule for both. Pure: figures come in as rings, a number and why go out.

Nothing is remembered between two calls: two nodes that hold the same rings, or one that started anew, say the same.
Figures are in units of what ONE replica or machine may take; steps are whole, the newest is the last of a ring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from skerry.core.intent import Scale, Schedule

DAY_MINUTES = 1440


class Rule(NamedTuple):
    """The rule's numbers. `target`: which share of what a unit may take is right; 1.0 where figures count targets already."""

    target: float = 0.9
    band: float = 0.1  # so little off the target, in either direction, changes nothing
    up: int = 1  # up: what was wanted in each of so many steps
    down: int = 30  # down: only to the most that was wanted in so many steps
    rise: float = 0.1  # up by at most this share (at least one) a step, unless twice as many are wanted
    fall: float = 0.1  # down by at most this share (at least one) in `fall_steps`
    fall_steps: int = 5


class Wished(NamedTuple):
    number: int
    why: str


def replica_rule(scale: Scale) -> Rule:
    """For replicas: the operator's target stands, figures come in units of it."""
    return Rule(target=1.0, up=_steps(scale.up_s, scale.step_s), down=_steps(scale.down_s, scale.step_s))


def wish(demand: Sequence[float], counts: Sequence[int], rule: Rule) -> Wished:
    """How many there should be after the newest step.

    `demand[k]`: the load of step k, in units of what one may take; `counts[k]`: how many there were (for machines: asked for
    or there, and not draining). Oldest first; rings of unequal length are laid together at their ends.
    """
    now = max(counts[-1], 0) if counts else 0
    if not demand:
        return Wished(now, f"{now}: no figures yet")
    wanted = [_units(figure / rule.target) for figure in demand]
    last = wanted[-1]
    exact = _sane(demand[-1]) / rule.target
    if last > now:
        if now and exact <= now * (1 + rule.band):
            return Wished(now, f"{now}: {exact:.2f} are wanted, which is within the dead band of {rule.band:.0%}")
        held = min(wanted[-max(rule.up, 1) :])
        if held <= now or len(wanted) < rule.up:
            return Wished(now, f"{now}: {last} are wanted, but not yet for {rule.up} steps")
        most = now + max(1, math.floor(now * rule.rise))
        if held >= 2 * now:
            return Wished(held, f"{held}: {exact:.2f} are wanted, twice as many as there are or more: all at once")
        if held > most:
            return Wished(most, f"{most}: {held} are wanted, up by a tenth (at least one) a step")
        return Wished(held, f"{held}: {exact:.2f} are wanted")
    window = wanted[-max(rule.down, 1) :]
    highest = max(window)
    if len(window) < rule.down or highest >= now:
        if last == now:
            return Wished(now, f"{now}: {exact:.2f} are wanted")
        known = f"the most of the last {rule.down} steps" if len(window) >= rule.down else "the past is not known yet"
        return Wished(now, f"{now}: {exact:.2f} are wanted, but {known}: {max(highest, now)}")
    before = max([now, *counts[-rule.fall_steps :]])
    least = before - max(1, math.floor(before * rule.fall))
    if highest < least:
        return Wished(min(least, now), f"{min(least, now)}: down by a tenth (at least one) in {rule.fall_steps} steps")
    return Wished(highest, f"{highest}: the most that was wanted in the last {rule.down} steps")


def median_wish(wishes: Sequence[int], low: int, high: int) -> int | None:
    """What nodes go by: the median of the keepers' wishes (of two the higher), within `low` to `high`; None without any."""
    if not wishes:
        return None
    return max(low, min(high, sorted(wishes)[len(wishes) // 2]))


def bounds(scale: Scale, now_unix: float) -> tuple[int, int]:
    """(min, max) at this time: the scale's own, or what the last of its schedules that holds now says instead; max wins."""
    low, high = scale.min, scale.max
    for schedule in scale.schedules:
        if _holds(schedule, now_unix):
            low = schedule.min if schedule.min >= 0 else low
            high = schedule.max if schedule.max >= 0 else high
    return min(low, high), high


def _holds(schedule: Schedule, now_unix: float) -> bool:
    """By the wall clock of its zone. `to` at or before `from` is on the next day; `days` are those on which it begins."""
    offset = schedule.offsets[0][1] if schedule.offsets else 0
    for at_unix, minutes in schedule.offsets:
        if at_unix <= now_unix:
            offset = minutes
    day, minute = divmod(math.floor(now_unix / 60) + offset, DAY_MINUTES)
    today, yesterday = (day + 3) % 7, (day + 2) % 7  # 1970-01-01 was a Thursday
    if schedule.from_minute < schedule.to_minute:
        return today in schedule.days and schedule.from_minute <= minute < schedule.to_minute
    return (today in schedule.days and minute >= schedule.from_minute) or (
        yesterday in schedule.days and minute < schedule.to_minute
    )


def _steps(seconds: float, step_s: float) -> int:
    return max(1, math.ceil(seconds / step_s))


def _sane(figure: float) -> float:
    """Figures come from other nodes: what is no number, or negative, is no load."""
    return min(figure, 1e9) if figure > 0 else 0.0  # a NaN is not greater than 0


def _units(figure: float) -> int:
    return math.ceil(_sane(figure) - 1e-9)
