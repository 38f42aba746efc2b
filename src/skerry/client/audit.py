"""`skerry audit verify`: whether hosts' diaries are what they were. Each is read whole and its chain followed here; then it is held
against what the other hosts noted of it, and against what this machine saw the last time.

A captured host can answer anything: it can stay silent, or show a diary that is true up to where it was captured. What it can't do
is to change what was in it before somebody else noted a later line.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from skerry.client.session import Session
from skerry.core.intent import Node
from skerry.errors import BadFormat, NoSuchSubject, SkerryError
from skerry.observe.chain import Head, walk
from skerry.outside import UNREADABLE

DIARY_BYTES = 64 << 20  # what a host may show as one
HEADS_MOST = 1000


class Seen(msgspec.Struct, frozen=True):
    """The newest line of a diary that held, as this machine saw it."""

    n: int
    hash: str
    time: float


class Told(msgspec.Struct, frozen=True):
    """What a host shows first. `heads`: node -> (number, hash, when it was heard)."""

    node: str
    anchor: Head | None = None
    heads: dict[str, list[tuple[int, str, float]]] = {}


class Diary(msgspec.Struct):
    told: Told
    lines: list[bytes]


async def verify(session: Session, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each host that is asked about (none named: all). Raises NoSuchSubject; Unreachable where nobody answers.

    What all hosts noted is used, whichever are asked about.
    """
    await session.sync(1)
    wanted = [f"node/{name.removeprefix('node/')}" for name in names] or sorted(session.nodes)
    if unknown := [path.removeprefix("node/") for path in wanted if path not in session.nodes]:
        known = ", ".join(sorted(path.removeprefix("node/") for path in session.nodes))
        raise NoSuchSubject(f"there is no host {', '.join(unknown)}", f"this cloud has: {known}", "see skerry host ls")
    nodes = list(session.nodes)
    answers = dict(
        zip(nodes, await asyncio.gather(*(_read(session, node, whole=node in wanted) for node in nodes)), strict=True)
    )
    silent = [f"{node.removeprefix('node/')}: {a}" for node, a in answers.items() if isinstance(a, SkerryError)]
    if len(silent) == len(nodes):
        first = next(a for a in answers.values() if isinstance(a, SkerryError))
        raise first if len(nodes) == 1 else session.unreached(silent)
    seen = _seen(session)
    rows = [_row(session, node, answers, seen) for node in wanted]
    session.home.write_audit(msgspec.json.encode(seen))
    return rows


async def _read(session: Session, node: str, *, whole: bool) -> Diary | SkerryError:
    """Of one that isn't asked about only what it noted."""
    try:
        diary: Diary | None = None
        size = 0
        rest = zlib.decompressobj()
        async for item in session.stream("audit", {}, node=node):
            if diary is None:
                diary = Diary(msgspec.convert(item, Told), [])
                if not whole:
                    return diary
                continue
            rest = zlib.decompressobj()
            data = rest.decompress(base64.b64decode(item["lines"], validate=True), DIARY_BYTES - size)
            size += len(data)
            if rest.unconsumed_tail or size >= DIARY_BYTES:
                raise BadFormat(f"{node} was not understood", f"its diary is larger than {DIARY_BYTES >> 20} MiB", "")
            diary.lines += data.split(b"\n")[:-1]
    except SkerryError as error:
        return error
    except (binascii.Error, zlib.error, KeyError, TypeError, ValueError, *UNREADABLE) as error:
        return BadFormat(f"{node.removeprefix('node/')} was not understood", str(error)[:200], "it may be captured")
    return diary if diary is not None else BadFormat(f"{node} was not understood", "it showed nothing", "ask it again")


def _row(session: Session, node: str, answers: dict[str, Diary | SkerryError], seen: dict[str, Seen]) -> dict[str, Any]:
    name, answer = node.removeprefix("node/"), answers[node]
    if isinstance(answer, SkerryError):
        return {"host": name, "ok": None, "why": f"it did not show its diary: {answer}"}
    noted = _noted(node, answers)
    mine = seen.get(_whose(session, node))
    wanted = {head.n for _, head in noted} | ({mine.n} if mine is not None else set())
    walked = walk(answer.lines, answer.told.anchor, wanted)
    broken = [{"line": b.line, "n": b.n, "why": b.why} for b in walked.breaks]
    checked: set[str] = set()
    for who, head in [*noted, *([("this machine", Head(mine.n, mine.hash))] if mine is not None else [])]:
        if 0 < head.n < walked.first:
            continue  # it has let go of that line, as it may
        checked.add(who)
        if walked.hashes.get(head.n) != head.hash:
            broken.append({"line": 0, "n": head.n, "why": _differs(who, head.n, walked.head.n, walked.hashes)})
    if not broken and walked.head.n:
        seen[_whose(session, node)] = Seen(walked.head.n, walked.head.hash, round(time.time(), 3))
    row = {
        "host": name, "ok": not broken, "entries": walked.lines, "first": walked.first, "last": walked.head.n,
        "head": walked.head.hash, "since": walked.since, "until": walked.until, "breaks": broken,
        "checked_with": sorted(checked),
    }  # fmt: skip
    return row | {"why": _told(row)}


def _noted(node: str, answers: dict[str, Diary | SkerryError]) -> list[tuple[str, Head]]:
    """(who, head): what the other hosts heard of this one."""
    return [
        (other.removeprefix("node/"), Head(n, hash))
        for other, answer in sorted(answers.items())
        if other != node and isinstance(answer, Diary)
        for n, hash, _ in answer.told.heads.get(node, [])[:HEADS_MOST]
    ]


def _differs(who: str, n: int, last: int, hashes: dict[int, str]) -> str:
    if n not in hashes:
        return f"{who} has known line {n}; now " + (f"line {last} is its last" if n > last else "it is not there")
    return f"{who} has known another line {n}: what is here was written later"


def _told(row: dict[str, Any]) -> str:
    if row["breaks"]:
        return "; ".join(f"at line {b['n'] or b['line']}: {b['why']}" for b in row["breaks"][:3])
    others = ", ".join(row["checked_with"]) or "nobody: its chain alone holds"
    return f"lines {row['first']} to {row['last']} are in a chain; held against: {others}"


def _whose(session: Session, node: str) -> str:
    body = session.nodes[node].body
    assert isinstance(body, Node)
    return f"{node} {body.signing[:16]}"


def _seen(session: Session) -> dict[str, Seen]:
    try:
        return msgspec.json.decode(session.home.read_audit(), type=dict[str, Seen])
    except UNREADABLE:
        return {}
