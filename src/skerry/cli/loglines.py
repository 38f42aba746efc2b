"""How one line of a log looks at a terminal. What wrote it may be hostile: nothing of it steers the terminal.

Lines that are JSON objects are shown as people read them: level, message, then the other keys, dimmed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from skerry.cli.output import clean
from skerry.outside import UNREADABLE

if TYPE_CHECKING:
    from skerry.client.logs import Line

SLOT_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
LEVEL_COLOURS = {"ERROR": "31", "FATAL": "31", "WARN": "33", "DEBUG": "2", "TRACE": "2"}
KNOWN_MAX, KNOWN_CHARS = 1000, 4096  # sets of keys, and levels, that are remembered
LEVEL_KEYS = ("level", "severity", "lvl", "levelname", "log.level", "loglevel")
MESSAGE_KEYS = ("msg", "message", "event", "text", "body")
TIME_KEYS = ("time", "timestamp", "ts", "@timestamp", "asctime", "datetime")
_LEVELS = {
    "information": "INFO", "warning": "WARN", "err": "ERROR", "critical": "FATAL", "crit": "FATAL", "alert": "FATAL",
    "emergency": "FATAL", "emerg": "FATAL", "panic": "FATAL", "notice": "INFO", "dbg": "DEBUG",
}  # fmt: skip
_decode, _encode = msgspec.json.Decoder(dict[str, Any]).decode, msgspec.json.Encoder().encode
_NUMBERED = {10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR", 60: "FATAL"}  # as bunyan and pino write


class Shape(NamedTuple):
    """What the keys of an object are for; lines of one program have few such sets."""

    level: str | None
    message: str | None
    rest: tuple[str, ...]

    @classmethod
    def of(cls, keys: tuple[str, ...]) -> Shape:
        """The time is left out: the monitor's stands before it."""
        level, message, time = (_first(keys, known) for known in (LEVEL_KEYS, MESSAGE_KEYS, TIME_KEYS))
        return cls(level, message, tuple(key for key in keys if key not in (level, message, time)))


class Lines:
    """`raw`: JSON as it is."""

    def __init__(self, *, raw: bool = False, colour: bool | None = None) -> None:
        self._raw = raw
        self._colour = (sys.stdout.isatty() and not os.environ.get("NO_COLOR")) if colour is None else colour
        self._names: dict[str, str] = {}
        self._minutes: dict[str, str] = {}
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._levels: dict[str | int, str] = {}
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
        try:
            found = _decode(text)
        except UNREADABLE:
            return clean(text)
        keys = tuple(found)
        shape = self._shapes.get(keys)
        if shape is None:
            shape = Shape.of(keys)
            if len(text) < KNOWN_CHARS and len(self._shapes) < KNOWN_MAX:
                self._shapes[keys] = shape
        level, message = shape.level, shape.message
        if (level is None or found[level] is None) and (message is None or found[message] is None):
            return clean(text)
        # What is decoded of such a text without escapes steers nothing either.
        shown = _as_it_is if text.isprintable() and "\\" not in text else clean
        parts = []
        if level is not None and (value := found[level]) is not None:
            parts.append(self._level(value))
        if message is not None and (value := found[message]) is not None:
            parts.append(shown(value if type(value) is str else _short(value)))
        if shape.rest:
            rest = []
            for key in shape.rest:
                value = found[key]
                kind = type(value)
                rest.append(f"{key}={value}" if kind is str or kind is int else f"{key}={_short(value)}")
            parts.append(self._dim(shown(" ".join(rest))))
        return " ".join(parts)

    def _level(self, value: Any) -> str:
        if type(value) is not str and type(value) is not int:
            return self._level(_short(value))
        shown = self._levels.get(value)
        if shown is None:
            word = level_of(value)
            shown = self._paint(clean(word).ljust(5), LEVEL_COLOURS.get(word, "32"))
            if len(shown) < KNOWN_CHARS and len(self._levels) < KNOWN_MAX:
                self._levels[value] = shown
        return shown

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


def _first(keys: tuple[str, ...], known: tuple[str, ...]) -> str | None:
    return next((key for key in known if key in keys), None)


def _as_it_is(text: str) -> str:
    return text


def _short(value: Any) -> str:
    return _encode(value).decode()
