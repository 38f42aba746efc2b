"""What is wrong in a compose file: every mistake with line, key and cure, all at once. Reads nothing itself."""

from __future__ import annotations

from typing import NamedTuple

from skerry.errors import BadInput

MOST_SHOWN = 100  # a file of nothing but mistakes shall not flood the terminal


class Mistake(NamedTuple):
    """`line` and `column` count from 1 (0: the file as a whole); `key`: path of the value, "services.web.ports[0]"."""

    line: int
    column: int
    key: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        cure = f" ({self.fix})" if self.fix else ""
        return f"{place}{self.key + ': ' if self.key else ''}{self.what}{cure}"


class ComposeErrors(BadInput):
    """The compose file can't be used. `mistakes` holds all that was found, in the order of the file."""

    code = "bad-compose-file"

    def __init__(self, mistakes: list[Mistake], file: str = "compose file") -> None:
        self.mistakes = mistakes
        self.file = file
        shown = [str(mistake) for mistake in mistakes[:MOST_SHOWN]]
        if len(mistakes) > MOST_SHOWN:
            shown.append(f"and {len(mistakes) - MOST_SHOWN} more")
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(
            what=f"{file} has {count}",
            why="\n".join(shown),
            fix="mend each line; `skerry deploy --dry-run` checks the file without a cloud",
        )


class Findings:
    """Collects mistakes and warnings while the file is read. The same one twice (an alias, say) is told once."""

    def __init__(self) -> None:
        self._mistakes: dict[Mistake, None] = {}
        self._warnings: dict[Mistake, None] = {}
        self._spoiled: set[tuple[int, int]] = set()

    def mistake(self, line: int, column: int, key: str, what: str, fix: str = "") -> None:
        if (line, column) not in self._spoiled:
            self._mistakes[Mistake(line, column, key, what, fix)] = None

    def spoil(self, line: int, column: int) -> None:
        """The value here could not be made: what else is wrong with it only follows from that."""
        self._spoiled.add((line, column))

    def warning(self, line: int, column: int, key: str, what: str, fix: str = "") -> None:
        self._warnings[Mistake(line, column, key, what, fix)] = None

    @property
    def mistakes(self) -> list[Mistake]:
        return sorted(self._mistakes, key=lambda found: (found.line, found.column))

    @property
    def warnings(self) -> list[Mistake]:
        return sorted(self._warnings, key=lambda found: (found.line, found.column))
