"""Figures as characters: lines of blocks, bars, amounts that fit a column. Pure; unknown is shown as unknown, never as 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▁▂▃▄▅▆▇█"
LEFT = " ▏▎▍▌▋▊▉█"
UNKNOWN = "–"
Value = float | None


def spark(values: Sequence[Value], width: int, most: float | None = None) -> str:
    """The newest `width` values as one line, right-aligned; a gap where nothing is known. `most`: what a full block means."""
    shown = list(values)[-width:]
    highest = top_of(shown) if most is None else most
    line = "".join(" " if value is None else BLOCKS[_step(value, highest, len(BLOCKS) - 1)] for value in shown)
    return line.rjust(width)


def chart(values: Sequence[Value], width: int, height: int, most: float | None = None) -> list[str]:
    """The newest `width` values as columns, `height` lines from the top down."""
    known = list(values)[-width:]
    highest = top_of(known) if most is None else most
    shown = [*[None] * (width - len(known)), *known]
    eighths = [0 if value is None else max(_step(value, highest, 8 * height), 1) for value in shown]
    return [
        "".join(EIGHTHS[min(max(eighth - 8 * line, 0), 8)] for eighth in eighths) for line in range(height - 1, -1, -1)
    ]


def top_of(values: Sequence[Value]) -> float:
    """What a full block means where nothing says so: the highest that is seen, with a little air."""
    return max((value for value in values if value is not None), default=0.0) * 1.1


def _step(value: float, most: float, steps: int) -> int:
    if most <= 0 or not math.isfinite(value):
        return 0
    return min(max(round(value / most * steps), 0), steps)


def bar(share: Value, width: int) -> str:
    """0.0 to 1.0 as a bar of eighths; full is full."""
    if share is None:
        return " " * width
    eighths = min(max(round(share * width * 8), 0), width * 8)
    if share > 0 and not eighths:
        eighths = 1
    full, rest = divmod(eighths, 8)
    return ("█" * full + (LEFT[rest] if rest else "")).ljust(width)


def amount(value: Value) -> str:
    """Bytes in at most 5 characters: "0", "812", "1.2K", "34M", "1.5G". Units are powers of 1024, as elsewhere."""
    if value is None:
        return UNKNOWN
    for unit in ("", "K", "M", "G", "T", "P"):
        if abs(value) < 999.5 or unit == "P":
            return f"{value:.0f}{unit}" if not unit or abs(value) >= 9.95 else f"{value:.1f}{unit}"
        value /= 1024
    raise AssertionError


def cores(value: Value) -> str:
    """Processor time in cores: "0.03", "1.25", "12.5"."""
    if value is None:
        return UNKNOWN
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def percent(share: Value) -> str:
    return UNKNOWN if share is None else f"{share:.0%}"


def seconds(value: Value) -> str:
    """A latency: "0.4ms", "12ms", "1.2s"."""
    if value is None:
        return UNKNOWN
    return (
        f"{value * 1000:.1f}ms" if value < 0.00995 else f"{value * 1000:.0f}ms" if value < 0.9995 else f"{value:.1f}s"
    )


def share(part: Value, whole: Value) -> Value:
    return None if part is None or not whole else part / whole


def short(text: str, width: int) -> str:
    """Cut in the middle, as both ends of a slot's name say something."""
    if len(text) <= width:
        return text
    if width < 3:
        return text[:width]
    left = (width - 1) * 2 // 3
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"
