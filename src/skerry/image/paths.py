"""Where a path of a tree leads, as the kernel would follow it in a container: links are resolved among the tree's own entries."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

MAX_LINKS = 40  # as Linux has it


class Named(Protocol):
    """An entry of a tree: `kind` is "l" for a link, which leads to `link`."""

    @property
    def kind(self) -> str: ...
    @property
    def link(self) -> str: ...


E = TypeVar("E", bound=Named)


class Walk(NamedTuple, Generic[E]):
    """`end`: the real path, None after more than MAX_LINKS links; `links`: those passed; `steps`: parts of paths looked at."""

    end: str | None
    links: list[E]
    steps: int


def walk(path: str, get: Callable[[str], E | None]) -> Walk[E]:
    """Follow `path`, absolute or relative to the root. `get` gives the entry at a path without links before its last part."""
    todo, here, steps = path.split("/")[::-1], "", 0  # the next one last
    links: list[E] = []
    while todo:
        steps += 1
        part = todo.pop()
        if part in ("", ".", ".."):
            here = posixpath.dirname(here) if part == ".." else here
            continue
        step = f"{here}/{part}" if here else part
        found = get(step)
        if found is None or found.kind != "l":
            here = step
            continue
        links.append(found)
        if len(links) > MAX_LINKS:
            return Walk(None, links, steps)
        here = "" if found.link.startswith("/") else here
        todo += found.link.split("/")[::-1]
    return Walk(here, links, steps)
