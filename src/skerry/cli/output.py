"""Everything that `skerry` writes to a terminal goes through here. The rules:

- stdout is for the answer: a table or a few lines for people, or, with `--json`, one JSON document and nothing else.
  (`-f` never ends, so there each line is a document.)
- stderr is for the rest: which cloud is changed (first line), progress, warnings, questions, errors.
- An error says what, why and how to mend it; with `--json` the document is {"error": {code, what, why, fix, type}}.
- Colour only where a person looks (a terminal, and NO_COLOR is not set), and never as the only sign.
- Text that others wrote (logs, names, reasons) can't move the cursor: control characters are shown, not sent. JSON has them
  as \\u009b: a terminal may obey more than the format makes one escape.
- Times are RFC 3339 in JSON, ages ("3m") in tables. Units stand in the header or beside the figure; what is called
  `…_bytes` is a number in JSON and has its unit in tables ("1.5 GiB").
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from skerry.errors import SkerryError
from skerry.sizes import size

PROGRESS_S = 0.2
_STEERS = re.compile("\x1b\\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


class Terminal:
    """Where a command writes. `as_json`: `--json` was given."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._told_s = time.monotonic()

    # -- stdout

    def answer(self, value: Any, text: str) -> None:
        """The command's answer: `value` with --json, `text` (already cleaned) without."""
        sys.stdout.write((as_json(value, indent=2) if self.as_json else unsteered(text.rstrip("\n"))) + "\n")
        sys.stdout.flush()

    def rows(self, rows: Sequence[dict[str, Any]], columns: Sequence[str], empty: str = "nothing") -> None:
        """A list of objects: all of it as JSON, or these columns as a table."""
        self.answer(list(rows), table(rows, columns) if rows else f"({empty})")

    def line(self, value: Any, text: str) -> None:
        """One of a stream that may never end."""
        sys.stdout.write((as_json(value) if self.as_json else unsteered(text)) + "\n")
        sys.stdout.flush()

    def text(self, text: str) -> None:
        """Several lines at once (already cleaned)."""
        sys.stdout.write(unsteered(text))
        sys.stdout.flush()

    # -- stderr

    def say(self, text: str) -> None:
        """A line of progress."""
        self._error_line(clean(text))

    def warn(self, text: str) -> None:
        self._error_line(f"{self.paint('warning:', 'yellow')} {clean(text)}")

    def cloud(self, name: str) -> None:
        """The first line of every command that changes something."""
        self._error_line(self.paint(f"cloud {clean(name)}", "bold"))

    def error(self, error: SkerryError) -> None:
        self._error_line(f"{self.paint('error:', 'red')} {clean(error.what)}")
        for label, part in (("why", error.why), ("fix", error.fix)):
            for i, row in enumerate(part.splitlines()):
                self._error_line(f"  {label if i == 0 else '   '}: {clean(row)}" if i == 0 else f"       {clean(row)}")
        if self.as_json:
            document = error.as_dict()
            mistakes = getattr(error, "mistakes", None)
            if mistakes:
                document["mistakes"] = [mistake._asdict() for mistake in mistakes]  # type: ignore[assignment]
            self.answer({"error": document}, "")

    def progress(self, done_bytes: int) -> None:
        """How much has come, in one line that is written over; for a person who looks on, a few times a second."""
        if sys.stderr.isatty() and time.monotonic() - self._told_s > PROGRESS_S:
            self._told_s = time.monotonic()
            sys.stderr.write(f"\r{size(done_bytes)}\x1b[K\r")
            sys.stderr.flush()

    def paint(self, text: str, colour: str) -> str:
        if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
            return text
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"

    def _error_line(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def as_json(value: Any, indent: int | None = None) -> str:
    """Readable in any language, and without a character that a terminal might obey or that turns others round."""
    shown = json.dumps(value, indent=indent, ensure_ascii=False)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in shown)


def unsteered(text: str) -> str:
    """The last look at what goes out: but for colours and line ends nothing is left that a terminal obeys, should a command have
    forgotten to clean what others wrote."""
    return _STEERS.sub(lambda found: found[0] if len(found[0]) > 1 else _shown(found[0]), text)


def clean(text: object) -> str:
    """Foreign text in one line that can't steer the terminal: control characters come out as \\x1b, \\n."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else _shown(c) for c in shown)


def clean_lines(text: str) -> str:
    """As `clean`, of text that has lines of its own."""
    return "".join(c if c.isprintable() or c in " \n\t" else _shown(c) for c in text.replace("\r\n", "\n"))


def _shown(character: str) -> str:
    return ascii(character)[1:-1]


def table(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> str:
    """Columns padded to their widest cell; the last one isn't, so that long reasons don't push lines apart."""
    cells = [[_title(column) for column in columns]]
    cells += [[_cell(row.get(column), column) for column in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    widths[-1] = 0
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _title(column: str) -> str:
    return column.removesuffix("_bytes").upper().replace("_", " ")


def _cell(value: Any, column: str = "") -> str:
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if column.endswith("_bytes") and isinstance(value, (int, float)):
        return size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column == "usd_hour" and isinstance(value, float):
        return f"{value:.5f}"  # an hour of a small machine is less than a cent
    if isinstance(value, float):
        return f"{value:.2f}".removesuffix("0")  # a limit of 0.25 is shown as what it is
    if isinstance(value, dict):
        return ",".join(
            f"{clean(str(key).removesuffix('_bytes'))}={_cell(part, str(key))}" for key, part in value.items()
        )
    if isinstance(value, (list, tuple)):
        return ",".join(_cell(part) for part in value)
    return clean(value)


def age(since: str | float | None) -> str:
    """RFC 3339 or unix seconds -> "3m"."""
    if not since:
        return "-"
    then_s = since if isinstance(since, (int, float)) else _unix_s(since)
    seconds = max(time.time() - then_s, 0.0)
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{seconds:.0f}s"


def _unix_s(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
