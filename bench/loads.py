"""Made-up loads, so many requests in each minute: calm ones (days, weeks, ramps) and some that are not. Seeds are fixed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

DAY = 1440
Level = Callable[[int], float]


def made(seed: int, days: int, level: Level, noise: float = 0.0) -> list[int]:
    """Requests come one by one (Poisson, as good as normal here); `noise`: what the level itself differs from minute to minute."""
    chance = random.Random(seed)
    load = []
    for minute in range(days * DAY):
        mean = max(0.0, level(minute) * (1 + noise * chance.gauss(0, 1)))
        load.append(max(0, round(chance.gauss(mean, math.sqrt(mean)))))
    return load


def daily(low: float, high: float, peak: int = 14 * 60) -> Level:
    return lambda minute: low + (high - low) * (0.5 + 0.5 * math.cos(2 * math.pi * (minute - peak) / DAY))


def weekly(level: Level) -> Level:
    return lambda minute: level(minute) * (0.55 if minute // DAY % 7 >= 5 else 1.0)


def office(minute: int) -> float:
    at = minute % DAY
    comes, goes = 1 / (1 + math.exp((510 - at) / 20)), 1 / (1 + math.exp((at - 1080) / 30))
    return 150 + 850 * comes * goes


def ramps(minute: int) -> float:
    at = minute % 720
    return 200 + 800 * (at if at < 360 else 720 - at) / 360


def steps(minute: int) -> float:
    return (300, 500, 800, 400, 600, 200, 700, 350)[minute // 360 % 8]


def crowds(level: Level, begins: tuple[int, ...], height: float, rise: int, decay: float) -> Level:
    """On top of `level`, each within `rise` minutes."""

    def one(since: int) -> float:
        return 0.0 if since < 0 else height * (since / rise if since < rise else math.exp(-(since - rise) / decay))

    return lambda minute: level(minute) + sum(one(minute - begin) for begin in begins)


def wandering(seed: int, level: Level, pull: float, push: float) -> Level:
    """A level that goes its own way and comes back."""
    chance, off, ways = random.Random(seed), 0.0, []
    for _ in range(14 * DAY):
        off += push * chance.gauss(0, 1) - pull * off
        ways.append(math.exp(off))
    return lambda minute: level(minute) * ways[minute]


LOADS: dict[str, Callable[[], list[int]]] = {
    "daily": lambda: made(1, 7, daily(200, 1000)),
    "daily, deep nights": lambda: made(2, 7, daily(50, 1000)),
    "daily, large": lambda: made(3, 7, daily(20_000, 100_000)),
    "daily and weekly": lambda: made(4, 14, weekly(daily(200, 1000))),
    "daily, 2 % noise": lambda: made(5, 7, daily(200, 1000), 0.02),
    "daily, 5 % noise": lambda: made(6, 7, daily(200, 1000), 0.05),
    "daily, 10 % noise": lambda: made(7, 7, daily(200, 1000), 0.10),
    "office hours": lambda: made(8, 14, weekly(office)),
    "ramps": lambda: made(9, 7, ramps),
    "flat": lambda: made(10, 7, lambda minute: 500),
    "small": lambda: made(11, 7, daily(10, 100)),
    "wandering": lambda: made(12, 7, wandering(12, daily(300, 900), 0.02, 0.015)),
    "flash crowds": lambda: made(13, 7, crowds(daily(200, 600), (2000, 5000, 8123), 500, 10, 40)),
    "steep crowds": lambda: made(14, 7, crowds(daily(200, 600), (2600, 7000), 800, 3, 30)),
    "steps": lambda: made(15, 7, steps),
}
ABRUPT = ("steep crowds", "steps")  # nothing causal is in time for these
