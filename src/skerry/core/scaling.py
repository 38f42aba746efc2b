"""How many replicas or machines there should be: one rule for both. Pure: figures come in as rings, a number and why go out.

Nothing is remembered between two calls: two nodes that hold the same rings, or one that started anew, say the same.
Figures are in units of what ONE replica or machine may have to do; steps are whole, the newest is the last of a ring.

The rule: the highest mean of a few steps in the way down, and on top of it the room that this load's own ups and downs have
asked for of late; but never more than its highest step with a tenth to spare. The plain rule (the highest step of the way
down at 80 % or 90 %) pays the same spare for a calm load as for a wild one; `skerry sim elastic` compares both on a trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from skerry.core.intent import Scale, Schedule

DAY_MINUTES = 1440
RING_STEPS = 60  # so many figures a node publishes; more are not looked at
DOWN_S = 1200.0  # of Scale and Pool, where they say nothing else
STAY_S = 600.0  # what was added stays for so long: it has to be paid for anyway, and nothing flaps
QUICK_STEPS = 3  # what starts within so many is there before a load has run away from its mean
RISES_LEAST = 10  # with fewer of them nothing is known of the load's ups and downs


class Rule(NamedTuple):
    """The rule's numbers, in steps where they are counts."""

    ahead: int = 3  # from the newest figure to the step in which what is asked for now serves
    mean: int = 10  # so many steps make the level
    nth: int = 2  # which of the rises decides: the second highest, for one may never come again
    apart: int = 10  # rises nearer to each other than this are one
    spare: float = 0.9  # the highest step, at this utilisation, is always enough
    up: int = 1  # up only to what was wanted in each of so many
    down: int = 20  # down only to what the highest level of so many asks for
    stay: int = 10  # and to no less than was wanted in any of so many: what was added stays for so long
    fall: float = 0.1  # down by at most this share (at least one) in `fall_steps`
    fall_steps: int = 5


class Wished(NamedTuple):
    number: int
    why: str


class Need(NamedTuple):
    """`units`: what is needed after the newest step, as a broken number, and what made it so much.

    `left`: at least so much is left on the way down. As long as the ups and downs are not known it has the spare that they may ask
    for soon: else the number would go down, and up again a few steps later under the same load.
    """

    units: float
    why: str
    left: float = 0.0


def rule_of(start_s: float, *, step_s: float, up_s: float = 0.0, down_s: float = DOWN_S) -> Rule:
    """The rule for what takes `start_s` to start. What starts slowly is judged by the highest rise: it comes too late for any."""
    start, down = max(0, math.ceil(start_s / step_s)), _steps(down_s, step_s)
    return Rule(
        ahead=min(start + 1, RING_STEPS // 2),
        nth=2 if start <= QUICK_STEPS else 1,
        up=_steps(up_s, step_s),
        down=down,
        stay=min(_steps(STAY_S, step_s), _steps(down_s / 2, step_s)),
    )


def replica_rule(scale: Scale, start_s: float = 10.0) -> Rule:
    """For replicas of which one has all that it may have to do when a figure says 1.0."""
    return rule_of(start_s, step_s=scale.step_s, up_s=scale.up_s, down_s=scale.down_s)


def need(demand: Sequence[float], rule: Rule) -> Need:
    """What the load asks for, before it is compared with what there is."""
    figures = [_sane(figure) for figure in demand[-RING_STEPS:]]
    means = _means(figures, rule.mean)
    level, highest, last = max(means[-rule.down :]), max(figures[-rule.down :]), figures[-1]
    rises = [figures[at + rule.ahead] - means[at] for at in range(rule.mean - 1, len(figures) - rule.ahead)]
    if len(rises) < RISES_LEAST:
        return Need(highest, f"at most {highest:.2f} in the last {rule.down} steps", highest / rule.spare)
    roomy = Need(highest / rule.spare, f"at most {highest:.2f} in the last {rule.down} steps, at {rule.spare:.0%}")
    rise = _nth_apart(rises, rule.nth, rule.apart)
    close = Need(level + rise, f"a level of {level:.2f} in the last {rule.down} steps, {rise:+.2f} for ups and downs")
    best = min(close, roomy)
    return best if best.units >= last else Need(last, f"{last:.2f} in the newest step")


def wish(demand: Sequence[float], counts: Sequence[int], rule: Rule) -> Wished:
    """How many there should be after the newest step.

    `demand[k]`: the load of step k, in units of what one may have to do; `counts[k]`: how many there were (for machines:
    asked for or there, and not draining). Oldest first; rings of unequal length are laid together at their ends.
    """
    now = max(counts[-1], 0) if counts else 0
    if not demand:
        return Wished(now, f"{now}: no figures yet")
    units, why, left = need(demand, rule)
    wanted = _whole(units)
    if wanted < now:
        wanted = max(wanted, min(now, _whole(left)))
    if wanted == now:
        return Wished(now, f"{now}: {why}")
    if wanted > now:
        for back in range(1, rule.up):
            wanted = min(wanted, _wanted_before(demand, back, rule, now))
        if wanted <= now:
            return Wished(now, f"{now}: more are wanted, but not yet for {rule.up} steps: {why}")
        return Wished(wanted, f"{wanted}: {why}")
    if len(demand) < rule.down:
        return Wished(now, f"{now}: down only once {rule.down} steps are known, {len(demand)} are: {why}")
    for back in range(1, rule.stay):
        wanted = max(wanted, _wanted_before(demand, back, rule, 0))
        if wanted >= now:
            return Wished(now, f"{now}: fewer would do, but not yet for {rule.stay} steps: {why}")
    lately = max(counts[-rule.fall_steps :])
    least = lately - _tenth(lately, rule)
    if wanted < least:
        slowly = min(least, now)
        return Wished(slowly, f"{slowly}: down to {wanted}, a tenth (at least one) in {rule.fall_steps} steps: {why}")
    return Wished(wanted, f"{wanted}: {why}")


def median_wish(wishes: Sequence[int], low: int, high: int) -> int | None:
    """What nodes go by: the median of the keepers' wishes (of two the higher), within `low` to `high`; None without any."""
    if not wishes:
        return None
    return max(low, min(high, sorted(wishes)[len(wishes) // 2]))


def left_alone(last: int, own: int, rule: Rule, steps: int) -> int:
    """How many so many steps after the last keeper died: `last` for the way down, then the document's `own`, reached slowly."""
    if steps < rule.down or last == own:
        return last
    if last < own:
        return own
    for _ in range((steps - rule.down) // rule.fall_steps + 1):
        last = max(own, last - _tenth(last, rule))
    return last


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


def _tenth(number: int, rule: Rule) -> int:
    """As many at once may go: at least one."""
    return max(1, math.floor(number * rule.fall))


def _steps(seconds: float, step_s: float) -> int:
    return max(1, math.ceil(seconds / step_s))


def _wanted_before(demand: Sequence[float], back: int, rule: Rule, unknown: int) -> int:
    """How many were wanted `back` steps ago."""
    return _whole(need(demand[:-back], rule).units) if back < len(demand) else unknown


def _means(figures: Sequence[float], steps: int) -> list[float]:
    """The mean of each figure and those before it, `steps` in all (fewer at the beginning)."""
    first = [math.fsum(figures[:at]) / at for at in range(1, min(steps, len(figures) + 1))]
    return first + [math.fsum(figures[at - steps : at]) / steps for at in range(steps, len(figures) + 1)]


def _nth_apart(rises: Sequence[float], nth: int, apart: int) -> float:
    """The nth highest of those that lie so many steps apart (the lowest of them, where there are not so many)."""
    taken: list[int] = []
    for at in sorted(range(len(rises)), key=lambda at: -rises[at]):
        if all(abs(at - other) >= apart for other in taken):
            taken.append(at)
            if len(taken) == nth:
                break
    return rises[taken[-1]]


def _sane(figure: float) -> float:
    """Figures come from other nodes: what is no number, or negative, is no load."""
    return min(figure, 1e9) if figure > 0 else 0.0  # a NaN is not greater than 0


def _whole(units: float) -> int:
    return math.ceil(units - 1e-9)
