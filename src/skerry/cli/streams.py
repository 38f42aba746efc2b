"""How `logs` and `events` show rows that come one after the other, perhaps for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from skerry.cli.output import Terminal, clean


async def show(
    terminal: Terminal, rows: AsyncIterator[dict[str, Any]], follow: bool, text: Callable[[dict[str, Any]], str]
) -> None:
    """With --json: one list, or, when following, one document a line. A host that did not answer is told on stderr."""
    collected = []
    async for row in rows:
        if "unanswered" in row:
            warn(terminal, row)
        elif terminal.as_json and not follow:
            collected.append(row)
        else:
            terminal.line(row, text(row))
    if terminal.as_json and not follow:
        terminal.answer(collected, "")


def warn(terminal: Terminal, row: dict[str, Any]) -> None:
    """Of a host that could not be asked."""
    terminal.warn(f"{row['node']} did not answer: {row['unanswered']}")


def clock(time: Any) -> str:
    """Unix seconds or RFC 3339 as local wall time; with the day if it isn't today."""
    from datetime import datetime

    try:
        then = datetime.fromtimestamp(time) if isinstance(time, (int, float)) else datetime.fromisoformat(time)
    except (TypeError, ValueError):
        return clean(time)
    then = then.astimezone()
    day = "" if then.date() == datetime.now().astimezone().date() else f"{then:%Y-%m-%d} "
    return day + then.strftime("%H:%M:%S.%f")[:-3]
