"""What this host's containers wrote and write, and what the host itself says: the past by time, number and pattern, then as it comes.

Rows go out in batches, sorted by time: `[time, slot, stream, text]`, or `[time, slot, "", "", n]` where n lines are missing. With each
batch of a followed stream goes `now`: whatever was written before that has been told, so that whoever merges several hosts
knows how far it may go.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec

from skerry.agent.logs.past import LINE, Past, Room, Row
from skerry.core.constraints import name_of
from skerry.core.records import is_meant, path_of
from skerry.errors import BadInput, Passing
from skerry.observe import matching
from skerry.observe.logs import BLOCK_BYTES, blocks_back, count_lines, parse_rows, stamp, whole_bytes
from skerry.observe.logstore import LogStore, Piece
from skerry.trust.requests import Request

if TYPE_CHECKING:
    from skerry.agent.containers import Containers

LOOK_S = 0.15  # how soon a new line is told
WRITTEN_S = 0.05  # from a line's stamp to its being in the file
BATCH_ROWS = 5000
COUNTED_BYTES = 256 << 10  # read at once of what is left out
TAIL_MAX = 1_000_000

Paths = Callable[[], Sequence[Path]]
Sources = dict[str, tuple[str, Paths]]  # container or host -> slot or host, and its files
_stamp = itemgetter(0)


class Pieces(Protocol):
    """Of one source, newest first. To be closed."""

    def __iter__(self) -> Iterator[Piece]: ...
    def __next__(self) -> Piece: ...
    def close(self) -> None: ...


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """`targets`: slots, services, apps; neither these nor `hosts`: all apps that may be read. Times: RFC 3339 in UTC."""

    targets: list[str] = []
    hosts: list[str] = []
    follow: bool = False
    tail: Annotated[int, msgspec.Meta(ge=0, le=TAIL_MAX)] = 100
    since: str = ""
    until: str = ""
    grep: Annotated[str, msgspec.Meta(max_length=matching.PATTERN_MAX)] = ""
    regex: bool = False
    ignore_case: bool = False


class PatternTooSlow(BadInput):
    """A regular expression that would keep the host from its work."""

    code = "pattern-too-slow"


class TooManySearches(Passing):
    code = "too-many-searches"


class Tails:
    """`own`: this host's own log files, oldest first. `room`: for what is read and not yet taken."""

    def __init__(self, containers: Containers, store: LogStore, me: str, own: Paths, room: Room | None = None) -> None:
        self._containers = containers
        self._store = store
        self._me = me
        self._own = own
        self._room = room or Room()

    async def answer(self, asked: Asked, request: Request) -> AsyncGenerator[dict[str, Any]]:
        """Close it: a search holds a child process. Raises VerbNotAllowed, BadInput, PatternTooSlow, TooManySearches."""
        matcher = matching.Matcher(asked.grep, regex=asked.regex, ignore_case=asked.ignore_case)
        try:
            async with matcher, contextlib.aclosing(self._answer(asked, request, matcher)) as batches:
                async for batch in batches:
                    yield batch
        except matching.BadPattern as error:
            raise BadInput(
                f"{asked.grep!r} was not looked for", f"no regular expression: {error}", "without -E it is plain text"
            ) from None
        except matching.TooSlow:
            raise PatternTooSlow(
                f"{asked.grep!r} was not looked for to the end",
                f"it took more than {matching.BATCH_WITHIN_S:.0f} s on {matching.BATCH_LINES} lines",
                "write it without repetitions within repetitions, or leave -E out",
            ) from None
        except matching.TooMany:
            raise TooManySearches(
                f"{asked.grep!r} was not looked for",
                f"{name_of(self._me)} has {matching.CHILDREN_MAX} searches by regular expression under way",
                "try again when they have ended, or leave -E out",
            ) from None

    async def _answer(
        self, asked: Asked, request: Request, matcher: matching.Matcher
    ) -> AsyncGenerator[dict[str, Any]]:
        self._allowed(asked, request)  # what is named and not allowed is refused before anything is read
        reader = _Reader(asked, matcher)
        sources = self._sources(asked, request)
        followed = _Followed(sources, lambda: self._sources(asked, request)) if asked.follow else None
        try:
            with contextlib.closing(Past(self._room, asked.tail)) as past:
                opened = await asyncio.to_thread(self._open, asked, request, sources, followed)
                try:
                    for name, pieces in opened:
                        past.begin()
                        await reader.past(name, pieces, past)
                finally:
                    for _, pieces in opened:
                        pieces.close()
                found = past.rows()
                while batch := list(itertools.islice(found, BATCH_ROWS)):
                    yield {"rows": batch}
            while followed is not None:
                now = moment(WRITTEN_S)
                rows = await asyncio.to_thread(followed.round)
                picked = await reader.pick(rows)
                yield {"rows": picked, "now": now}
                if asked.until and now > asked.until:
                    return
                if not rows:
                    await asyncio.sleep(LOOK_S)
        finally:
            if followed is not None:
                followed.close()

    # -- which

    def _allowed(self, asked: Asked, request: Request) -> None:
        """Raises VerbNotAllowed for what is named and may not be read."""
        for slot in {slot for _, slot in self._containers.with_logs()} | set(self._store.slots()):
            if asked.targets and is_meant(asked.targets, slot):
                request.must("observe", path_of(slot))
        if self._me in asked.hosts or name_of(self._me) in asked.hosts:
            request.must("observe", self._me)

    def _is_meant(self, asked: Asked, request: Request, slot: str) -> bool:
        if asked.hosts and not asked.targets:
            return False
        return is_meant(asked.targets, slot) and request.may("observe", path_of(slot))

    def _sources(self, asked: Asked, request: Request) -> Sources:
        """What is written to now, or was a moment ago."""
        found: Sources = {
            id: (slot, self._paths(id))
            for id, slot in self._containers.with_logs()
            if self._is_meant(asked, request, slot)
        }
        if self._me in asked.hosts or name_of(self._me) in asked.hosts:
            found[self._me] = (self._me, self._own)
        return found

    def _open(
        self, asked: Asked, request: Request, sources: Sources, followed: _Followed | None
    ) -> list[tuple[str, Pieces]]:
        """What there is at this moment, each line once: in a file, or in the store."""
        ends = followed.ends() if followed is not None else {}
        with self._store.moving:
            found: list[tuple[str, Pieces]] = [
                (slot, self._store.snapshot(slot).back(asked.since, asked.until))
                for slot in self._store.slots()
                if self._is_meant(asked, request, slot)
            ]
            for key, (name, paths) in sources.items():
                files = _opened(paths(), ends)
                found.append((name, _Files(files, 0 if key == self._me else self._containers.missing_lines(key))))
        return found

    def _paths(self, id: str) -> Paths:
        return lambda: self._containers.logs(id)


class _Reader:
    """Picks rows of pieces of log by time and pattern."""

    def __init__(self, asked: Asked, matcher: matching.Matcher) -> None:
        self._asked = asked
        self._matcher = matcher

    async def past(self, name: str, pieces: Pieces, past: Past) -> None:
        """The last `tail` of a source that match. `pieces`: newest first. Raises TooManyLines."""
        count = 0
        while self._asked.tail > count:
            more = await asyncio.to_thread(self._next, name, pieces)
            if more is None:
                break
            rows, is_old = more
            rows = await self.pick(rows)
            past.add(rows)
            count += [len(row) for row in rows].count(LINE)
            if is_old:
                break

    def _next(self, name: str, pieces: Pieces) -> tuple[list[Row], bool] | None:
        """Rows of the next piece that has any of the time asked for, and whether all before it is too old."""
        asked = self._asked
        for piece in pieces:
            missing = [[piece.first, name, "", "", piece.dropped]] if piece.dropped else []
            if self._matcher.needle and self._matcher.needle not in piece.data:
                is_old = piece.first < asked.since
                rows = self._in_time(missing)
            else:
                lines = parse_rows(piece.data, name)
                is_old = bool(lines) and lines[0][0] < asked.since
                rows = missing + lines if missing else lines
                if is_old or (asked.until and lines and lines[-1][0] >= asked.until):
                    rows = self._in_time(rows)
            if rows or is_old:
                return rows, is_old
        return None

    def _in_time(self, rows: list[Row]) -> list[Row]:
        since, until = self._asked.since, self._asked.until
        return [row for row in rows if row[0] >= since and (not until or row[0] < until)]

    async def pick(self, rows: list[Row]) -> list[Row]:
        """Those that match; what tells of missing lines always does."""
        if not self._asked.grep or not rows:
            return rows
        told = [row for row in rows if len(row) > LINE]
        rows = [row for row in rows if len(row) == LINE]
        return told + [rows[n] for n in await self._matcher.pick([row[3] for row in rows])]


class _Followed:
    """Sources that are read as they grow, each from where the past ended. Calls block."""

    def __init__(self, begun: Sources, sources: Callable[[], Sources]) -> None:
        self._sources = sources
        self._open = {key: _Growing(name, paths, from_end=True) for key, (name, paths) in begun.items()}

    def ends(self) -> dict[int, int]:
        """Inode -> where the past of a file ends, for those that are followed."""
        return {growing.inode: growing.position for growing in self._open.values() if growing.inode}

    def round(self) -> list[Row]:
        """What came since the last one, sorted by time."""
        sources = self._sources()
        rows: list[Row] = []
        for key, (name, paths) in sources.items():
            if key not in self._open:
                self._open[key] = _Growing(name, paths, from_end=False)
        for key, growing in list(self._open.items()):
            more = growing.read()
            rows += more
            if not more and key not in sources:
                self._open.pop(key).close()
        rows.sort(key=_stamp)
        return rows

    def close(self) -> None:
        for growing in self._open.values():
            growing.close()


class _Growing:
    """One source that grows: its files, one after the other as they are rotated."""

    def __init__(self, name: str, paths: Paths, *, from_end: bool) -> None:
        self._name = name
        self._paths = paths
        self._file = -1
        self.inode = 0
        self.position = 0
        if from_end and (files := paths()):
            self._turn_to(files[-1])
            if self._file >= 0:
                self.position = _whole_end(self._file, os.fstat(self._file).st_size)

    def read(self) -> list[Row]:
        """At most a block; what lies between that and the newest block is left out and counted: so a reader never falls behind."""
        if self._file < 0 and not self._next_file():
            return []
        size = os.fstat(self._file).st_size
        rows: list[Row] = []
        missing = 0
        if size - self.position > 2 * BLOCK_BYTES:
            missing, self.position = self._leave_out(self.position, size - BLOCK_BYTES)
        data = os.pread(self._file, BLOCK_BYTES, self.position)
        cut = whole_bytes(data)
        if not cut and len(data) == BLOCK_BYTES:
            cut = len(data)  # not in the format at all
        self.position += cut
        lines = parse_rows(data[:cut], self._name)
        if missing:
            rows.append([lines[0][0] if lines else "", self._name, "", "", missing])
        rows += lines
        if not rows and self._next_file():
            return self.read()
        return rows

    def _leave_out(self, begin: int, end: int) -> tuple[int, int]:
        """(lines from `begin` to the first line that begins after `end`, where that is)."""
        count = 0
        while begin < end:
            data = os.pread(self._file, min(COUNTED_BYTES, end - begin), begin)
            count += count_lines(data)
            begin += len(data)
            if not data:
                break
        data = os.pread(self._file, BLOCK_BYTES, begin)
        return count + 1, begin + data.find(b"\n") + 1

    def _next_file(self) -> bool:
        """Turn to the file after the one that was read to its end; whether there is one."""
        for path in self._after():
            old, self._file = self._file, -1
            self._turn_to(path)
            if self._file >= 0:
                if old >= 0:
                    os.close(old)
                return True
            self._file = old
        return False

    def _after(self) -> Sequence[Path]:
        paths = self._paths()
        inodes = [_inode(path) for path in paths]
        if not self.inode or self.inode not in inodes:
            return paths  # of those that were rotated away meanwhile nothing is left
        return paths[inodes.index(self.inode) + 1 :]

    def _turn_to(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self.inode, self.position = os.fstat(self._file).st_ino, 0

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def moment(ago_s: float) -> str:
    """A moment ago, by the clock that the monitors stamp lines with."""
    return stamp(time.time() - ago_s)


def _opened(paths: Sequence[Path], ends: dict[int, int]) -> list[tuple[int, int]]:
    """These files and where each ends for us: all are open, so that what is moved away meanwhile is still read."""
    files: list[tuple[int, int]] = []
    for path in paths:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        stat = os.fstat(file)
        files.append((file, ends.get(stat.st_ino, stat.st_size)))
        if stat.st_ino in ends:
            break  # what came after it is followed
    return files


class _Files:
    """Pieces of files, newest first; they are closed with it. `dropped`: lines that are missing before the oldest."""

    def __init__(self, files: list[tuple[int, int]], dropped: int) -> None:
        self._files = files
        self._pieces = self._back(dropped)

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def __next__(self) -> Piece:
        return next(self._pieces)

    def _back(self, dropped: int) -> Iterator[Piece]:
        for n, (file, end) in reversed(list(enumerate(self._files))):
            pieces = blocks_back(file, end)
            data = next(pieces, None)
            while data is not None:
                before = next(pieces, None)
                yield Piece(data, dropped if n == 0 and before is None else 0, _first(data))
                data = before

    def close(self) -> None:
        for file, _ in self._files:
            os.close(file)


def _whole_end(file: int, size: int) -> int:
    """Where the last whole line before `size` ends."""
    begin = max(0, size - BLOCK_BYTES)
    return begin + whole_bytes(os.pread(file, size - begin, begin))


def _first(data: bytes) -> str:
    """The time of its first line."""
    return data[: data.find(b" ")][:64].decode("ascii", "replace")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
