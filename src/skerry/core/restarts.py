"""Whether and when a container that ended is started again. Pure; what counts as one failure too many is tending's."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.intent import Restart


def again(policy: Restart, exit_code: int, exits_s: Sequence[float], now_s: float) -> bool:
    """Whether the policy wants another start after this exit. `exits_s`: when it ended before, this time included."""
    if policy.condition == "none" or (policy.condition == "on-failure" and exit_code == 0):
        return False
    recent = sum(now_s - at <= policy.window_s for at in exits_s)
    return policy.max_attempts <= 0 or recent <= policy.max_attempts


def next_backoff(last_s: float, first_s: float, most_s: float) -> float:
    """Seconds to wait before the next start, given those waited the last time (0: it was well for long)."""
    return min(most_s, last_s * 2 if last_s > 0 else first_s)


def told(exit_code: int | None, oom: bool) -> str:
    """How it ended, in words."""
    if oom:
        return "killed by the kernel: more memory than its limit"
    if exit_code is None:
        return "it ended"
    if exit_code > 128:
        return f"ended by signal {exit_code - 128}"
    return f"ended with exit code {exit_code}"
