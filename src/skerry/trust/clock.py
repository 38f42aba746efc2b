"""What time it is, as far as trust asks: for expiry, and for documents from the future. Nothing else obeys a clock."""

from __future__ import annotations

from collections.abc import Sequence

AHEAD_MAX_S = 300.0
DIFFERS_S = 60.0


def agreed_s(own_s: float, neighbours_s: Sequence[float], *, not_before_s: float = 0.0) -> float:
    """The median of one's own clock and one's neighbours', never earlier than the newest policy's or root's `issued`.

    The median, so that one wrong clock (one's own too) decides nothing; the floor, so that a clock that was set back
    doesn't bring back what has expired. Of two in the middle the nearer to one's own: their mean would be anything that
    the only neighbour likes. Times: unix seconds.
    """
    ordered = sorted((own_s, *neighbours_s))
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return max(low if own_s - low <= high - own_s else high, not_before_s)


def off_s(own_s: float, neighbours_s: Sequence[float]) -> float:
    """By how many seconds one's own clock differs from the median of all; 0 beside nobody."""
    return own_s - median((own_s, *neighbours_s))


def differs(own_s: float, neighbours_s: Sequence[float]) -> float | None:
    """The same, if it is more than 60: worth an event, nothing else."""
    by_s = off_s(own_s, neighbours_s)
    return by_s if abs(by_s) > DIFFERS_S else None


def median(values: Sequence[float]) -> float:
    """The standard library's would bring fractions and more along: 0.2 MB of every agent."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
