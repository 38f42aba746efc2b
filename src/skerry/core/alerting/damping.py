"""From what is so now to what fires: nothing that passes at once, nothing that comes and goes, is told twice. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from skerry.core.alerting.rules import Rule

Key = tuple[str, str]  # (rule, subject)


class Finding(NamedTuple):
    """What a rule looks for is so now."""

    figure: float = 0.0
    limit: float = 0.0
    why: str = ""


class Watch(msgspec.Struct):
    """One finding over time. Seconds of our monotonic clock; None: not (yet, any more)."""

    since_s: float
    found: Finding
    fired_s: float | None = None
    absent_s: float | None = None  # since when it is not so, while it fires
    over_s: float | None = None  # it is over since then, and that may still be to be told
    # What sending remembers of it:
    round: int = 0
    letter: int = 0  # the number of the one that is under way with it; 0: none is
    again_s: float = 0.0  # no further try before
    tries: int = 0
    denied_s: float | None = None  # others have told that it is over; since when we see that it isn't

    @property
    def fires(self) -> bool:
        return self.fired_s is not None and self.over_s is None


def look(watches: dict[Key, Watch], found: Mapping[Key, Finding], rules: Mapping[str, Rule], now: float) -> None:
    """Bring the watches up to date. Those that are over stay for whoever has to tell of it; what comes back before that was told
    has never been over.
    """
    for key, finding in found.items():
        rule, watch = rules[key[0]], watches.get(key)
        if watch is None:
            watch = watches[key] = Watch(now, finding)
        watch.found, watch.absent_s, watch.over_s = finding, None, None
        if watch.fired_s is None and now >= watch.since_s + rule.for_s:
            watch.fired_s = now
    for key, watch in list(watches.items()):
        if key in found or watch.over_s is not None:
            continue
        if watch.fired_s is None:
            del watches[key]
            continue
        if watch.absent_s is None:
            watch.absent_s = now
        clear_s = rules[key[0]].clear_s if key[0] in rules else 0.0  # a rule that was switched off is over at once
        if now >= watch.absent_s + clear_s:
            watch.over_s = now
