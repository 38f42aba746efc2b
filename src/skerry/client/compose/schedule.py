"""Schedules in words, `weekdays 8-20 Europe/Berlin: min 3`, as core's Schedule.

Core reads no zone files, so the zone becomes a list of offsets here: of this year and the two that follow, which is longer than
a document lives, and the same on every day of a year, so that a deploy without a change stays one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from skerry.core.intent import Schedule

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_GROUPS = {"weekdays": (0, 1, 2, 3, 4), "weekends": (5, 6), "daily": tuple(range(7)), "every day": tuple(range(7))}
_WHEN = re.compile(
    r"(?P<days>[a-z, -]+?)\s+(?P<begin>[0-9:]+)\s*-\s*(?P<end>[0-9:]+)(?:\s+(?P<zone>[A-Za-z0-9_+/-]+))?"
)
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?")
_BOUND = re.compile(r"(min|max)\s+([0-9]{1,4})")
_YEARS = 3
OFFSETS_MAX = 64
EXAMPLE = "weekdays 8-20 Europe/Berlin: min 3"


def schedule(when: str, bounds: str, year: int | None = None) -> Schedule:
    """Of "weekdays 8-20" and "min 3, max 9". Without a zone UTC is meant. Raises ValueError with what is wrong."""
    match = _WHEN.fullmatch(when.strip())
    if match is None:
        raise ValueError(f"{when[:60]!r} is no time: write it as {EXAMPLE}")
    begin, end = _minute(match["begin"]), _minute(match["end"])
    if begin == end or begin == 1440:
        raise ValueError(f"{match['begin']}-{match['end']} is no span of time: a whole day is 0-24")
    low, high = _bounds(bounds)
    zone = match["zone"] if match["zone"] not in (None, "UTC") else ""
    return Schedule(
        days=_days(match["days"]), from_minute=begin, to_minute=end, min=low, max=high, zone=zone,
        offsets=offsets(zone, year or datetime.now(UTC).year) if zone else (),
    )  # fmt: skip


def line(text: str) -> Schedule:
    """Of "weekdays 8-20: min 3, max 9". Raises ValueError."""
    when, colon, bounds = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text[:40]!r} has no bounds: write it as {EXAMPLE}")
    return schedule(when, bounds)


def _minute(text: str) -> int:
    match = _TIME.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2] or 0) if match else 1441
    if minute > 1440 or (match and int(match[2] or 0) > 59):
        raise ValueError(f"{text[:10]!r} is no time of day: write 8, 8:30 or 24")
    return minute


def _days(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.strip().split(","):
        word = " ".join(part.split())
        first, dash, last = (piece.strip()[:3] for piece in word.partition("-"))
        if word in _GROUPS:
            found |= set(_GROUPS[word])
        elif dash and first in DAYS and last in DAYS:
            length = (DAYS.index(last) - DAYS.index(first)) % 7 + 1
            found |= {(DAYS.index(first) + n) % 7 for n in range(length)}
        elif not dash and first in DAYS and _is_day(word):
            found.add(DAYS.index(first))
        else:
            raise ValueError(
                f"{part.strip()[:20]!r} is no day: write weekdays, weekends, daily, mon, mon-fri or sat,sun"
            )
    return tuple(sorted(found))


def _is_day(word: str) -> bool:
    names = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return any(name.startswith(word.rstrip("s")) for name in names)


def _bounds(text: str) -> tuple[int, int]:
    """(min, max), -1 for what isn't said."""
    said: dict[str, int] = {}
    for part in text.split(","):
        match = _BOUND.fullmatch(part.strip())
        if match is None or match[1] in said:
            raise ValueError(f"{text[:40]!r} does not say how many: write min 3, max 9, or min 3, max 9")
        said[match[1]] = int(match[2])
    low, high = said.get("min", -1), said.get("max", -1)
    if 0 <= high < low:
        raise ValueError(f"min {low} is more than max {high}")
    return low, high


def offsets(zone: str, year: int) -> tuple[tuple[float, int], ...]:
    """(unix seconds, minutes east of UTC from then on) of a zone, from the beginning of that year. Raises ValueError."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        found = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        import difflib

        near = difflib.get_close_matches(zone, available_timezones(), 1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else "write it as Europe/Berlin; this machine's tzdata knows those that there are"
        )
        raise ValueError(f"{zone[:40]!r} is no time zone: {hint}") from None

    def east(at: datetime) -> int:
        offset = at.astimezone(found).utcoffset()
        assert offset is not None
        return round(offset.total_seconds() / 60)

    at, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + _YEARS, 1, 1, tzinfo=UTC)
    out = [(0.0, east(at))]
    while at < end:
        then = at + timedelta(days=1)
        if east(then) != east(at):
            low, high = 0, 1440  # the change lies between these minutes of the day
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if east(at + timedelta(minutes=middle)) != east(at) else (middle, high)
            out.append(((at + timedelta(minutes=high)).timestamp(), east(then)))
        at = then
    return tuple(out[:OFFSETS_MAX])


def in_words(schedule: Schedule) -> str:
    """As it could have been written."""
    groups = {days: word for word, days in _GROUPS.items() if word != "every day"}
    days = groups.get(schedule.days) or ",".join(DAYS[day] for day in schedule.days)
    times = "-".join(
        f"{at // 60}" + (f":{at % 60:02}" if at % 60 else "") for at in (schedule.from_minute, schedule.to_minute)
    )
    said = [f"{word} {n}" for word, n in (("min", schedule.min), ("max", schedule.max)) if n >= 0]
    return f"{days} {times}{' ' * bool(schedule.zone)}{schedule.zone}: {', '.join(said)}"
