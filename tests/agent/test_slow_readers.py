"""Who asks a host for much and reads nothing: of logs, of events, of both together a stated amount of memory waits, and no more."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from agent.small import SmallCloud
from skerry.agent.logs import past as pasts
from skerry.agent.logs.past import Past, Room, TooManyLines
from skerry.agent.logs.tails import Asked, Tails
from skerry.client.session import Answered, Session
from skerry.mesh import links
from skerry.observe.events import FRESH_MAX, EventLog
from skerry.observe.logstore import LogStore
from skerry.trust.requests import OPERATORS_ASK, Request

ANN = Request("logs", {}, "a" * 64, "operators", "ann", rights=OPERATORS_ASK)
MIB = 1 << 20
LINES = 6000
SOURCES = 4


class Shelf:
    """Containers that wrote LINES lines each."""

    def __init__(self, folder: Path) -> None:
        self._files = {}
        for n in range(SOURCES):
            file = self._files[f"c{n}"] = folder / f"c{n}"
            with file.open("w") as out:
                for line in range(LINES):
                    at = f"{line // 3600:02}:{line // 60 % 60:02}:{line % 60:02}.{line:09}"
                    out.write(f"2026-01-01T{at}+00:00 stdout F {n} {line} {'x' * 60}\n")

    def with_logs(self) -> list[tuple[str, str]]:
        return [(id, f"shop.web/{id[1:]}") for id in self._files]

    def missing_lines(self, id: str) -> int:
        return 0

    def logs(self, id: str) -> list[Path]:
        return [self._files[id]]


async def test_what_is_asked_for_and_not_taken_has_one_bound_for_all_who_ask(tmp_path: Path) -> None:
    """Ten answers, each of all there is; of each the first lines are taken, and then no more."""
    room = Room(8 * MIB)
    tails = Tails(Shelf(tmp_path), LogStore(tmp_path / "kept"), "node/vps-1", list, room)  # type: ignore[arg-type]
    refused = 0
    tracemalloc.start()
    async with AsyncExitStack() as held:
        for _ in range(10):
            batches = await held.enter_async_context(aclosing(tails.answer(Asked(tail=LINES * SOURCES), ANN)))
            try:
                assert len((await anext(batches))["rows"]) == 5000
            except TooManyLines:
                refused += 1
            assert room.held <= room.most_bytes
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0 < refused < 10 and peak < 3 * room.most_bytes, (refused, peak)
    assert room.held == 0, "all is let go of with those who asked"
    count = 0
    async with aclosing(tails.answer(Asked(tail=LINES * SOURCES), ANN)) as batches:
        async for batch in batches:
            count += len(batch["rows"])
    assert (count, room.held) == (LINES * SOURCES, 0)


async def test_few_lines_of_many_containers_are_found_in_little_room(tmp_path: Path) -> None:
    """The last ones of each would not fit; the last ones of all do, and so they are told."""
    room = Room(MIB)
    tails = Tails(Shelf(tmp_path), LogStore(tmp_path / "kept"), "node/vps-1", list, room)  # type: ignore[arg-type]
    rows = [row async for batch in tails.answer(Asked(tail=3000), ANN) for row in batch["rows"]]
    everything = Tails(Shelf(tmp_path), LogStore(tmp_path / "all"), "node/vps-1", list)  # type: ignore[arg-type]
    every = [row async for batch in everything.answer(Asked(tail=SOURCES * LINES), ANN) for row in batch["rows"]]
    assert [row[0] for row in rows] == [row[0] for row in every[-3000:]]


def test_the_last_lines_begin_with_a_line_and_all_of_them_with_what_is_missing_before() -> None:
    rows: list[list[Any]] = [
        ["0", "s", "", "", 3],
        ["1", "s", "stdout", "a"],
        ["2", "s", "", "", 4],
        ["3", "s", "stdout", "b"],
    ]
    for tail, told in ((1, rows[3:]), (2, rows[1:]), (3, rows)):
        past = Past(Room(), tail)
        past.begin()
        past.add(rows)
        assert list(past.rows()) == told


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[SmallCloud]:
    small = SmallCloud(tmp_path / "hosts", 1)
    await small.start()
    yield small
    await small.stop()


@pytest.fixture
async def session(cloud: SmallCloud, tmp_path: Path) -> AsyncIterator[Session]:
    async with Session(cloud.home(tmp_path / "home"), lambda what: "") as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "CLIENT_PATIENCE_S", 1.5)


async def test_events_that_nobody_reads_wait_within_bounds_and_their_streams_end(
    cloud: SmallCloud, session: Session, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen streams of one client, each with the whole diary asked for and not read. Afterwards it is answered as before."""
    agent = cloud.agents["vps-1"]
    for n in range(3000):
        agent.events.append("test", "vps-1", f"{n} {'x' * 1900}")
    monkeypatch.setattr(agent.server._room, "most_bytes", 20 * MIB)
    words: list[tuple[str, str]] = []
    agent.mesh.complain = lambda who, what: words.append((who, what))

    def named() -> bool:
        return any(who.startswith("client") and what == links.TOO_SLOW for who, what in words)

    streams = []
    for _ in range(links.STREAMS_EACH - 1):
        stream, _ = await session.asked("/request", "events", {"tail": 10**6, "follow": True}, "node/vps-1")
        stream.transport.pause_reading()
        streams.append(stream)
    most_buffered = most_held = 0
    async with asyncio.timeout(30):
        while not most_held or agent.server._room.held or not named():
            served = list(agent.mesh._streams)
            most_buffered = max(most_buffered, sum(end.transport.get_write_buffer_size() for end in served))
            most_held = max(most_held, agent.server._room.held)
            await asyncio.sleep(0.01)
    assert 0 < most_held <= 20 * MIB and most_buffered < links.STREAMS_EACH * MIB
    assert agent.server._room.held == 0
    for stream in streams:
        stream.transport.abort()
    assert len([row async for row in session.stream("events", {"tail": 10}, node="node/vps-1")]) == 10


async def test_what_does_not_fit_is_refused_with_the_cure(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = cloud.agents["vps-1"]
    for n in range(100):
        agent.events.append("test", "vps-1", str(n))
    monkeypatch.setattr(agent.server._room, "most_bytes", 50_000)
    with pytest.raises(Answered, match="asked for") as refused:
        await session.request("events", {"tail": 100}, node="node/vps-1")
    assert refused.value.code == "too-many-lines" and "--tail" in refused.value.fix
    with pytest.raises(Answered, match="asked for"):
        await session.request("audit", node="node/vps-1")
    assert await session.request("events", {"tail": 3}, node="node/vps-1")


async def test_who_follows_events_and_stops_reading_is_told_how_many_it_missed(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    followed = log.follow(0)
    log.append("test", "a", "before")
    first = asyncio.ensure_future(anext(followed))
    await asyncio.sleep(0)
    log.append("test", "a", "first")
    assert (await first).reason == "first"
    for n in range(FRESH_MAX + 7):
        log.append("test", "a", str(n))
    told = [await anext(followed) for _ in range(FRESH_MAX + 1)]
    assert told[0].kind == "diary" and told[0].reason.startswith("7 entries are not told")
    assert [entry.reason for entry in told[1:]] == [str(n) for n in range(7, FRESH_MAX + 7)]


async def test_nothing_is_lost_between_the_past_and_what_follows(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that comes just when the past is sent is told after it."""
    agent = cloud.agents["vps-1"]
    agent.events.append("test", "vps-1", "old")
    give = agent.server._room.give

    def gave(size: int) -> None:
        give(size)
        agent.events.append("test", "vps-1", "new")

    monkeypatch.setattr(agent.server._room, "give", gave)
    rows = session.stream("events", {"kinds": ["test"], "tail": 5, "follow": True}, node="node/vps-1")
    async with aclosing(rows), asyncio.timeout(20):
        assert [(await anext(rows))["reason"], (await anext(rows))["reason"]] == ["old", "new"]


def test_a_room_that_is_full_refuses_and_is_as_full_as_before() -> None:
    room = Room(10)
    with pytest.raises(TooManyLines), room.holding(11):
        pass
    with room.holding(10), pytest.raises(TooManyLines):
        room.take(1)
    assert room.held == 0
    assert pasts.ROOM_BYTES < 128 * MIB
