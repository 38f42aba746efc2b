"""The chain that a diary is: each line names the one before it by hash, so that no line can be changed or taken out unseen.

Pure. Whoever holds a whole diary can write it anew from the beginning, chain and all; that is found by what others noted of it
before (agent/auditing.py), not here. Lines of before there was a chain (no number) may only come before all others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from skerry.outside import UNREADABLE

BREAKS_TOLD = 20


class Link(msgspec.Struct, frozen=True):
    """Of one line: which it is, counted from 1, and the hash of the line before it."""

    n: int = 0
    prev: str = ""
    time: float = 0.0


class Head(msgspec.Struct, frozen=True):
    """A line by number and hash: nothing before it can be changed without changing it."""

    n: int
    hash: str


class Break(msgspec.Struct, frozen=True):
    """Where a chain does not hold. `line`: counted from 1 among the lines that are there; `n`: by its own word, 0: it says none."""

    line: int
    n: int
    why: str


class Walked(NamedTuple):
    lines: int
    first: int  # number of the oldest line in the chain; 0: there is none
    head: Head  # of the newest; 0 and "": there is none
    since: float
    until: float
    breaks: tuple[Break, ...]
    hashes: dict[int, str]  # of the numbers that were asked for


_link = msgspec.json.Decoder(Link)


def hash_of(line: bytes) -> str:
    """`line`: exactly as it was written, without its end."""
    return hashlib.sha256(line).hexdigest()


def read_link(line: bytes) -> Link | None:
    try:
        return _link.decode(line)
    except UNREADABLE:
        return None


def walk(lines: Iterable[bytes], anchor: Head | None = None, wanted: Collection[int] = ()) -> Walked:
    """Follow the chain through a diary, oldest line first. `anchor`: what its keeper says was the last line that it let go of.

    Goes on after a break, so that one changed line is told as one. Gives the hashes of the lines in `wanted`.
    """
    breaks: list[Break] = []
    hashes: dict[int, str] = {}
    first = count = 0
    since = until = 0.0
    head = Head(0, "")
    before = ""  # hash of the line before, whatever it is
    asked = {*wanted, *([anchor.n] if anchor is not None else [])}

    def found(n: int, why: str) -> None:
        if len(breaks) < BREAKS_TOLD:
            breaks.append(Break(count, n, why))

    for line in lines:
        count += 1
        link, own = read_link(line), hash_of(line)
        if link is None:
            found(0, "the line can't be read")
        elif link.n <= 0:
            if head.n:
                found(0, f"a line without a number after line number {head.n}")
        else:
            if not head.n:
                first, since = link.n, link.time
                if anchor is not None and anchor.n < link.n and (anchor.n + 1, anchor.hash) != (link.n, link.prev):
                    found(
                        link.n, f"the first line is number {link.n}, and number {anchor.n} was the last to be let go of"
                    )
            elif link.n != head.n + 1:
                found(link.n, f"number {link.n} follows number {head.n}")
            if before and link.prev != before:
                found(link.n, "the line before it is not the one that it was written after")
            head, until = Head(link.n, own), link.time
            if link.n in asked:
                hashes[link.n] = own
        before = own
    if anchor is not None and anchor.n in hashes and hashes[anchor.n] != anchor.hash:
        found(anchor.n, "it is not the line that was there when older ones were let go of")
    return Walked(count, first, head, since, until, tuple(breaks), {n: hashes[n] for n in wanted if n in hashes})
