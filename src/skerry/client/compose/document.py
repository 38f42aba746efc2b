"""YAML text to a tree that knows its lines: bounded in size, depth and expansion, strict about doubled keys.

Built from the parser's events rather than its objects: an alias is counted each time it is used, nothing recurses, tags
make no objects, and a value keeps the text it was written with (`1.10` in an environment stays `1.10`).
Scalars are read by YAML 1.2's core schema: `no` and `22:22` are strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

from skerry.client.compose.mistakes import Findings

TEXT_MAX_BYTES = 1 << 20
NODES_MAX = 20_000  # after expansion; a big real file has some 2,000
DEPTH_MAX = 32

_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}


@dataclass(slots=True)
class Tree:
    """A value and where it stands. `raw`: a scalar's own text. `given`: a variable stood in it.

    `value`: None, bool, int, float, str, list[Tree] or dict[str, Tree].
    """

    value: Any
    line: int
    column: int
    raw: str = ""
    size: int = 1  # how many values it holds, itself included
    given: bool = False

    def plain(self) -> Any:
        """Without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


class _Stop(Exception):
    """The text can't be read further; the reason is among the findings already."""


@dataclass(slots=True)
class _Open:
    """A collection whose end hasn't come. `key`: the key that waits for its value."""

    tree: Tree
    anchor: str | None
    key: Tree | None = None
    merged: dict[str, Tree] | None = None


def read(text: str, findings: Findings, resolve: Callable[[str], str]) -> Tree | None:
    """The tree of a YAML text, or None with mistakes in `findings`.

    `resolve` replaces the variables in each value (not in keys); it raises ValueError with `.what` and `.fix`.
    """
    if len(text) > TEXT_MAX_BYTES or len(text.encode("utf-8", "replace")) > TEXT_MAX_BYTES:
        findings.mistake(0, 0, "", f"the file is larger than {TEXT_MAX_BYTES >> 20} MiB", "is this the right file?")
        return None
    try:
        return _Builder(findings, resolve).build(text)
    except _Stop:
        return None


class _Builder:
    def __init__(self, findings: Findings, resolve: Callable[[str], str]) -> None:
        self.findings = findings
        self.resolve = resolve
        self.anchors: dict[str, Tree] = {}
        self.stack: list[_Open] = []
        self.root: Tree | None = None
        self.nodes = 0

    def build(self, text: str) -> Tree | None:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            for event in YAML(typ="safe", pure=True).parse(StringIO(text)):
                self.take(event)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            said = " ".join(part for part in (error.context, error.problem) if part)
            self.stop(line, column, f"this is not YAML: {said}", "check the indentation and the quotes")
        except YAMLError as error:
            self.stop(0, 0, f"this is not YAML: {str(error).splitlines()[0]}", "save it as plain UTF-8 text")
        except (ValueError, IndexError, AttributeError, TypeError, AssertionError, NotImplementedError) as error:
            # ruamel.yaml lets these through on some broken input; they come from the text, not from us
            self.stop(0, 0, f"this is not YAML ({type(error).__name__})", "check the file")
        if self.root is None and not self.findings.mistakes:
            self.stop(0, 0, "the file is empty", "it needs at least `services:`")
        return self.root

    def stop(self, line: int, column: int, what: str, fix: str) -> None:
        self.findings.mistake(line, column, "", what, fix)
        raise _Stop

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if kind == "DocumentStartEvent" and self.root is not None:
            self.stop(line, column, "there is a second document in the file", "keep one; put the other in its own file")
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            if len(self.stack) >= DEPTH_MAX:
                self.stop(line, column, f"it is nested more than {DEPTH_MAX} deep", "no compose file needs that")
            self.count(1, line, column)
            tree = Tree({} if kind == "MappingStartEvent" else [], line, column)
            self.stack.append(_Open(tree, event.anchor))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            done = self.stack.pop()
            for key, child in (done.merged or {}).items():
                if key not in done.tree.value:
                    done.tree.value[key] = child
                    done.tree.size += child.size
            self.place(done.tree, done.anchor)
        elif kind == "ScalarEvent":
            self.count(1, line, column)
            self.place(self.scalar(event, line, column), event.anchor)
        elif kind == "AliasEvent":
            target = self.anchors.get(event.anchor)
            if target is None:
                self.stop(line, column, f"*{event.anchor} refers to nothing", f"put &{event.anchor} before it is used")
                return
            self.count(target.size, line, column)
            self.place(target, None)

    def count(self, size: int, line: int, column: int) -> None:
        self.nodes += size
        if self.nodes > NODES_MAX:
            self.stop(
                line,
                column,
                f"the file holds more than {NODES_MAX} values once its aliases are expanded",
                "write fewer or smaller aliases",
            )

    def scalar(self, event: Any, line: int, column: int) -> Tree:
        text = event.value
        is_key = bool(self.stack) and isinstance(self.stack[-1].tree.value, dict) and self.stack[-1].key is None
        if not is_key:
            try:
                text = self.resolve(text)
            except ValueError as error:
                what, fix = getattr(error, "what", str(error)), getattr(error, "fix", "")
                self.findings.mistake(line, column, self.path(), what, fix)
                self.findings.spoil(line, column)
                return Tree("", line, column)
        plain = event.style in (None, "") and event.tag in (None, "") and not is_key
        return Tree(_core_schema(text) if plain else text, line, column, text, given=text != event.value)

    def place(self, tree: Tree, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = tree
        if not self.stack:
            self.root = tree
            return
        top = self.stack[-1]
        if isinstance(top.tree.value, list):
            top.tree.value.append(tree)
            top.tree.size += tree.size
        elif top.key is None:
            if not isinstance(tree.value, str):
                self.stop(
                    tree.line, tree.column, "a list or a mapping stands where a key is expected", "use a word as key"
                )
            top.key = tree
        else:
            key, top.key = top.key, None
            self.put(top, key, tree)

    def put(self, top: _Open, key: Tree, tree: Tree) -> None:
        name = key.value
        if name == "<<":
            top.merged = self.merge(top.merged or {}, tree)
            return
        if name in top.tree.value:
            self.findings.mistake(
                key.line, key.column, f"{self.path()}.{name}".lstrip("."), "the key is there twice", "keep one of them"
            )
        top.tree.value[name] = _at_key(tree, key)
        top.tree.size += tree.size

    def merge(self, merged: dict[str, Tree], tree: Tree) -> dict[str, Tree]:
        """`<<: *one` or `<<: [*one, *two]`: what the mapping itself says goes first, then the earlier alias."""
        sources = tree.value if isinstance(tree.value, list) else [tree]
        for source in sources:
            if not isinstance(source.value, dict):
                self.findings.mistake(
                    source.line, source.column, self.path(), "`<<` merges mappings only", "write <<: *name"
                )
                continue
            for key, child in source.value.items():
                merged.setdefault(key, child)
        return merged

    def path(self) -> str:
        """The key path so far, for messages made before the tree is whole."""
        steps = ""
        for level in self.stack:
            if isinstance(level.tree.value, list):
                steps = f"{steps.removesuffix('.')}[{len(level.tree.value)}]."
            elif level.key is not None:
                steps += f"{level.key.value}."
        return steps.removesuffix(".")


def _at_key(tree: Tree, key: Tree) -> Tree:
    """An empty value has no place of its own in the text: its key's will do."""
    return replace(tree, line=key.line, column=key.column) if tree.value is None else tree


def _core_schema(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT.fullmatch(text):
        return int(text, 8 if text[:2] == "0o" else 16 if text[:2] == "0x" else 10)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
