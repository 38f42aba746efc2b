"""How often a token may ask: 5,000 in a sliding hour and 250 in a minute, as the provider says; SSH keys 10 in a minute."""

from __future__ import annotations

from collections import deque

import msgspec


class Limits(msgspec.Struct, frozen=True):
    hour: int = 5000
    minute: int = 250
    keys: int = 10
    droplets: int = 25


class Meter:
    """One token's requests. Each expires an hour after it was made; what was refused counts for nothing."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._hour: deque[float] = deque()
        self._keys: deque[float] = deque()

    def refuse(self, now: float, *, keys: bool) -> int | None:
        """None, and the request is counted; else seconds until the minute's limit lets one through, 0 for the hour's."""
        for times, span in ((self._hour, 3600.0), (self._keys, 60.0)):
            while times and times[0] <= now - span:
                times.popleft()
        if len(self._hour) >= self.limits.hour:
            return 0
        # Appended in order, so the one that must expire first is found by counting from the end.
        for times, most in ((self._hour, self.limits.minute), *(((self._keys, self.limits.keys),) if keys else ())):
            if len(times) >= most and times[-most] > now - 60.0:
                return max(1, int(times[-most] + 60.0 - now) + 1)
        self._hour.append(now)
        if keys:
            self._keys.append(now)
        return None

    def headers(self, now: float) -> dict[str, str]:
        reset = self._hour[0] + 3600.0 if self._hour else now
        return {
            "ratelimit-limit": str(self.limits.hour),
            "ratelimit-remaining": str(max(0, self.limits.hour - len(self._hour))),
            "ratelimit-reset": str(int(reset)),
        }
