"""Token buckets: how fast one link may bring records, and one author may make them. The caller says what time it is.

A link is charged before a signature is checked, as checking is what costs. An author is charged after, or forged
records would use up somebody else's rate.
"""

from __future__ import annotations

from skerry.trust.refusals import RateExceeded

LINK_PER_S, LINK_BURST = 2000.0, 2000.0
AUTHOR_PER_S, AUTHOR_BURST = 20.0, 200.0
DIRECT_PER_S, DIRECT_BURST = 200.0, 400.0  # of facts that go no further than to whom they were sent


class Bucket:
    """`burst` at once, `per_s` in the long run. A clock that goes back gives nothing and takes nothing."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at_s = burst, now_s

    def take(self, now_s: float, many: int = 1) -> bool:
        """Take so many, if they are there. `many`: no more than the burst."""
        self._left = min(self._burst, self._left + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < many:
            return False
        self._left -= many
        return True


class Rates:
    """One bucket per name. Names are enrolled nodes, as neighbours and as authors, so there are never more than those."""

    def __init__(self, per_s: float, burst: float, what: str) -> None:
        self._per_s, self._burst, self._what = per_s, burst, what
        self._buckets: dict[str, Bucket] = {}

    def charge(self, name: str, now_s: float, many: int = 1) -> None:
        """Raises RateExceeded."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._per_s, self._burst, now_s)
        if not bucket.take(now_s, many):
            raise RateExceeded(
                f"a record of {self._what} {name} was not taken",
                f"it sends more than {self._per_s:g} a second",
                "nothing: it will be asked for again",
            )
