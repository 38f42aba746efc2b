"""How one line of a log looks at a terminal. What wrote it may be hostile: nothing of it steers the terminal.

Lines that are JSON objects are shown as people read them: level, message, then the other keys, dimmed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from skerry.cli.output import clean

if TYPE_CHECKING:
    from skerry.client.logs import Line

SLOT_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
LEVEL_COLOURS = {"ERROR": "31", "FATAL": "31", "WARN": "33", "DEBUG": "2", "TRACE": "2"}
LEVEL_KEYS = ("level", "severity", "lvl", "levelname", "log.level", "loglevel")
MESSAGE_KEYS = ("msg", "message", "event", "text", "body")
TIME_KEYS = ("time", "timestamp", "ts", "@timestamp", "asctime", "datetime")
_LEVELS = {
    "information": "INFO", "warning": "WARN", "err": "ERROR", "critical": "FATAL", "crit": "FATAL", "alert": "FATAL",
    "emergency": "FATAL", "emerg": "FATAL", "panic": "FATAL", "notice": "INFO", "dbg": "DEBUG",
}  # fmt: skip
_NUMBERED = {10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR", 60: "FATAL"}  # as bunyan and pino write


class Lines:
    """`raw`: JSON as it is."""

    def __init__(self, *, raw: bool = False, colour: bool | None = None) -> None:
        self._raw = raw
        self._colour = (sys.stdout.isatty() and not os.environ.get("NO_COLOR")) if colour is None else colour
        self._names: dict[str, str] = {}
        self._minutes: dict[str, str] = {}
        self._today = datetime.now().astimezone().date()

    def block(self, lines: Iterable[Line]) -> str:
        """All of them, each with its line end. Almost all are plain text, and there are many: so they are put together here."""
        minutes, names, raw = self._minutes, self._names, self._raw
        shown = []
        for line in lines:
            time, text = line.time, line.text
            minute = minutes.get(time[:16])
            rest = time[16:23]
            name = names.get(line.slot)
            if minute is None or name is None or line.dropped or not rest.isprintable():
                shown.append(self._line(line))
            elif text[:1] == "{" and not raw:
                shown.append(f"{minute}{rest} {name} {self._of_json(text)}\n")
            else:
                shown.append(f"{minute}{rest} {name} {text if text.isprintable() else clean(text)}\n")
        return "".join(shown)

    def text(self, row: dict[str, Any]) -> str:
        """A row of `views.logs`, without a line end."""
        from skerry.client.logs import Line

        line = Line(row["time"], row["slot"], row["stream"], row["text"], row.get("dropped", 0))
        return self._line(line)[:-1]

    def _line(self, line: Line) -> str:
        name = self._names.get(line.slot) or self._name(line.slot)
        clock = self._clock(line.time)
        if line.dropped:
            return f"{clock} {name} {self._paint(f'… {line.dropped:,} lines are missing here', '33')}\n"
        text = line.text
        text = self._of_json(text) if text[:1] == "{" and not self._raw else clean(text)
        return f"{clock} {name} {text}\n"

    def _name(self, slot: str) -> str:
        shown = clean(slot)
        if self._colour:
            colour = SLOT_COLOURS[len(self._names) % len(SLOT_COLOURS)]
            shown = f"\x1b[{colour}m{shown}\x1b[0m"
        self._names[slot] = shown
        return shown

    def _clock(self, time: str) -> str:
        """RFC 3339 as local wall time; with the day if it isn't today. Zones differ from UTC by whole minutes."""
        minute = self._minutes.get(time[:16])
        if minute is None:
            if len(self._minutes) > 10_000:
                self._minutes.clear()
            try:
                then = datetime.fromisoformat(time[:16] + ":00+00:00").astimezone()
            except ValueError:
                return clean(time)
            day = "" if then.date() == self._today else f"{then:%Y-%m-%d} "
            minute = self._minutes[time[:16]] = f"{day}{then:%H:%M}"
        return minute + clean(time[16:23])

    def _of_json(self, text: str) -> str:
        import msgspec

        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return clean(text)
        level, message = _take(found, LEVEL_KEYS), _take(found, MESSAGE_KEYS)
        if level is None and message is None:
            return clean(text)
        _take(found, TIME_KEYS)  # the monitor's stands before it
        parts = []
        if level is not None:
            word = level_of(level)
            parts.append(self._paint(clean(word).ljust(5), LEVEL_COLOURS.get(word, "32")))
        if message is not None:
            parts.append(clean(message if isinstance(message, str) else _short(message)))
        if found:
            rest = " ".join(
                f"{key}={value if isinstance(value, str) else _short(value)}" for key, value in found.items()
            )
            parts.append(self._dim(clean(rest)))
        return " ".join(parts)

    def _dim(self, text: str) -> str:
        return self._paint(text, "2")

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def level_of(found: Any) -> str:
    """One of a few words where it is known, else as it stands."""
    if isinstance(found, int):
        return _NUMBERED.get(found, str(found))
    word = str(found)
    return _LEVELS.get(word.lower(), word.upper())


def _take(found: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in found:
            return found.pop(key)
    return None


def _short(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
