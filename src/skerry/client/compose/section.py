"""Reading one mapping of the file by its table: wrong shapes and keys become mistakes, right values come out typed.

Readers never raise: what can't be read is told to the findings and answered by None, so that all mistakes come at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from skerry.client.compose.document import Tree
from skerry.client.compose.mistakes import Findings
from skerry.client.compose.table import Key

T = TypeVar("T")
KEY_MAX_CHARS = 200


class Value:
    """One value with its place: `key` is its path. Methods check its shape; on a wrong one they note a mistake."""

    def __init__(self, tree: Tree, key: str, findings: Findings) -> None:
        self.tree = tree
        self.key = key
        self.findings = findings

    def mistake(self, what: str, fix: str = "") -> None:
        self.findings.mistake(self.tree.line, self.tree.column, self.key, what, fix)

    def warning(self, what: str, fix: str = "") -> None:
        self.findings.warning(self.tree.line, self.tree.column, self.key, what, fix)

    @property
    def is_null(self) -> bool:
        return self.tree.value is None

    @property
    def is_list(self) -> bool:
        return isinstance(self.tree.value, list)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.tree.value, dict)

    def text(self) -> str | None:
        """A scalar as it was written; null, lists and mappings are mistakes."""
        if isinstance(self.tree.value, (list, dict)) or self.is_null:
            self.mistake(f"should be a text, not {self._kind()}")
            return None
        if "\0" in self.tree.raw:
            self.mistake("holds a NUL character")
            return None
        return self.tree.raw

    def read(self, reader: Callable[[str], T]) -> T | None:
        """A scalar through one of the readers of values.py."""
        text = self.text()
        if text is None:
            return None
        try:
            return reader(text)
        except ValueError as error:
            self.mistake(str(error))
            return None

    def number(self, low: int, high: int) -> int | None:
        text = self.text()
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19 and low <= int(text) <= high):
            self.mistake(f"should be a whole number from {low} to {high}")
            return None
        return int(text)

    def flag(self) -> bool | None:
        if isinstance(self.tree.value, bool):
            return self.tree.value
        if self.tree.raw in ("true", "false"):  # "${DEBUG}" may have become one
            return self.tree.raw == "true"
        self.mistake(f"should be true or false, not {self._kind()}")
        return None

    def one_of(self, *allowed: str) -> str | None:
        text = self.text()
        if text is not None and text not in allowed:
            self.mistake(f"{text[:40]!r} is not one of {', '.join(allowed)}")
            return None
        return text

    def items(self) -> list[Value]:
        """A list's members; [] and a mistake for anything else."""
        if not self.is_list:
            self.mistake(f"should be a list, not {self._kind()}")
            return []
        return [Value(child, f"{self.key}[{i}]", self.findings) for i, child in enumerate(self.tree.value)]

    def one_or_many(self) -> list[Value]:
        return self.items() if self.is_list else [self]

    def texts(self, reader: Callable[[str], T]) -> list[T]:
        """A text or a list of them, each through `reader`; wrong ones are left out, with a mistake."""
        read = (item.read(reader) for item in self.one_or_many())
        return [value for value in read if value is not None]

    def pairs(self) -> Iterator[tuple[str, Value]]:
        """A mapping's keys and values."""
        if not self.is_mapping:
            self.mistake(f"should be a mapping of names, not {self._kind()}")
            return
        for name, child in self.tree.value.items():
            yield name, Value(child, f"{self.key}.{name}" if self.key else name, self.findings)

    def section(self, table: dict[str, Key]) -> Section:
        return Section(self, table)

    def _kind(self) -> str:
        value = self.tree.value
        kinds: list[tuple[Any, str]] = [(dict, "a mapping"), (list, "a list"), (bool, "true or false"), (str, "a text")]
        return "empty" if value is None else next((word for kind, word in kinds if isinstance(value, kind)), "a number")


class Section:
    """A mapping whose keys stand in a table. Making it tells every key that is unknown, refused or without effect."""

    def __init__(self, value: Value, table: dict[str, Key]) -> None:
        self.value = value
        self._table = table
        self._values = dict(value.pairs()) if not value.is_null else {}
        for name, child in self._values.items():
            self._check(name, child)

    def _check(self, name: str, child: Value) -> None:
        key = self._table.get(name)
        if key is None:
            if name.startswith("x-") and name != "x-skerry":
                return  # an extension of somebody else, by the specification not for us
            import difflib  # for mistakes alone

            near = difflib.get_close_matches(
                name[:KEY_MAX_CHARS], [k for k in self._table if not k.startswith("x-")], 1, 0.7
            )
            fix = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(self._honoured())}"
            child.mistake("unknown key", fix)
        elif key.use == "refused" and child.tree.value is not False:  # `privileged: false` asks for nothing
            child.mistake(key.words, key.fix)
        elif key.use == "noted":
            child.warning(f"without effect: {key.words}")

    def _honoured(self) -> list[str]:
        return [name for name, key in self._table.items() if key.use == "honoured"]

    def get(self, name: str) -> Value | None:
        """The value of a key that the table has as honoured; None if it is absent or empty."""
        assert self._table[name].use == "honoured", f"{name} is read, but the table does not honour it"
        value = self._values.get(name)
        return None if value is None or value.is_null else value

    def section(self, name: str, table: dict[str, Key]) -> Section | None:
        value = self.get(name)
        return value.section(table) if value else None

    def places(self) -> Iterator[tuple[str, Value]]:
        """("", itself), then each key and each member of its lists: for messages that are made later."""
        yield "", self.value
        for name, child in self._values.items():
            yield name, child
            if child.is_list:
                yield from ((f"{name}[{i}]", item) for i, item in enumerate(child.items()))
