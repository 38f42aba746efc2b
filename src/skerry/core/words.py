"""The last words of a container: what evidence and errors quote of its log. Pure.

The end of a log is where the reason mostly is; but servers with workers close with lines of their own about the worker that
went, so the last line that names an error is quoted before the end if the end has no room for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby

_QUOTES = "; its last words: "
LEAST_CHARACTERS = 40  # a piece of a line that is shorter says nothing
# Of Python, Java, Node ("KeyError: 'X'", "java.lang.IllegalStateException", "Error: listen EADDRINUSE"), Go, Rust.
_STEERS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_NAMED = re.compile(r"(?:Uncaught )?(?:[\w.]*(?:Error|Exception)\b|panic: |fatal error: |thread '.*' panicked)")


def with_words(how: str, log: str, most: int) -> str:
    """`how` it ended, and its last words of at most about `most` characters."""
    words = last_words(log, most)
    return f"{how}{_QUOTES}{words}" if words else how


def told_of(evidence: Mapping[str, str]) -> str:
    """What failed where, in one line: hosts that tell the same are named together. `evidence`: host -> why."""
    hosts: dict[str, list[str]] = {}
    for host, why in sorted(evidence.items()):
        hosts.setdefault(why, []).append(host)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in hosts.items())


def in_short(why: str) -> str:
    """Without the last words: where it is one of several reasons."""
    return why.partition(_QUOTES)[0]


def last_words(log: str, most: int) -> str:
    """Whole lines from the end, parted by " / "; of a line that has no room the end; "…" where something is left out.

    Without what steers a terminal: colours, titles, other control characters. What is said several times running counts once.
    """
    stripped = (_STEERS.sub("", line).strip() for line in log.splitlines())
    lines = [line for line, _ in groupby(line for line in stripped if line)]
    named = next((i for i in range(len(lines) - 1, -1, -1) if _NAMED.match(lines[i])), None)
    first = _first(lines, most)
    if named is None or named >= first:
        return _quoted(lines[first:], most, first > 0)
    error = lines[named] if len(lines[named]) <= most // 2 else f"{lines[named][: most // 2]}…"
    first = _first(lines, most - len(error))
    return f"{error} / " + _quoted(lines[first:], most - len(error), first > named + 1)


def _first(lines: list[str], most: int) -> int:
    """From which line on they have room; the last one always counts."""
    first, taken = len(lines), 0
    while first > 0 and (first == len(lines) or taken + len(lines[first - 1]) + 3 <= most):
        first -= 1
        taken += len(lines[first]) + 3
    return first


def _quoted(lines: list[str], most: int, cut: bool) -> str:
    most = max(most, LEAST_CHARACTERS)
    words = " / ".join(lines)
    if len(words) > most:
        return f"… {words[-most:]}"
    return f"… {words}" if cut else words
