"""Log files of several containers as one stream: merged by time, picked by time and pattern, followed over restarts and rotations,
nothing missed or told twice; and only by who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from skerry.agent.logs.tails import Asked, PatternTooSlow, Tails, TooManySearches
from skerry.core.records import is_meant
from skerry.errors import BadInput
from skerry.observe import matching
from skerry.observe.logstore import LogStore, pack
from skerry.trust.refusals import VerbNotAllowed
from skerry.trust.requests import OPERATORS_ASK, Request

ANN = Request("logs", {}, "a" * 64, "operators", "ann", rights=OPERATORS_ASK)
WITHIN_S = 10


def observer(*paths: str) -> Request:
    return Request("logs", {}, "b" * 64, "shop-watchers", rights=(("observe", paths),))


class Shelf:
    """What Tails asks of the containers: which there are, and where their (real) log files lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slots: dict[str, str] = {}
        self.missing: dict[str, int] = {}
        self.store = LogStore(folder / "kept")

    def write(self, id: str, slot: str, second: int, text: str) -> None:
        self.slots[id] = slot
        with (self.folder / id).open("a") as file:
            file.write(f"2026-01-01T00:00:{second:02}.000000000+00:00 stdout F {text}\n")

    def rotate(self, id: str) -> None:
        (self.folder / id).rename(self.folder / f"{id}.1")

    def with_logs(self) -> list[tuple[str, str]]:
        return list(self.slots.items())

    def missing_lines(self, id: str) -> int:
        return self.missing.get(id, 0)

    def logs(self, id: str) -> list[Path]:
        return [path for path in (self.folder / f"{id}.1", self.folder / id) if path.exists()]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    for second, (id, slot) in enumerate([("a", "shop.web/0"), ("b", "shop.web/1"), ("c", "mail.db/0")] * 3):
        shelf.write(id, slot, second, f"{slot} {second}")
    return shelf


def tails(shelf: Shelf) -> Tails:
    return Tails(shelf, shelf.store, "node/vps-1", lambda: [shelf.folder / "agent.log"])  # type: ignore[arg-type]


async def texts(shelf: Shelf, request: Request = ANN, **asked: Any) -> list[str]:
    return [row[3] async for batch in tails(shelf).answer(Asked(**asked), request) for row in batch["rows"]]


async def test_the_past_is_merged_by_time_and_cut_to_what_was_asked_for(shelf: Shelf) -> None:
    assert await texts(shelf, tail=4) == ["mail.db/0 5", "shop.web/0 6", "shop.web/1 7", "mail.db/0 8"]
    assert await texts(shelf, targets=["web"], since="2026-01-01T00:00:04") == [
        "shop.web/1 4", "shop.web/0 6", "shop.web/1 7",
    ]  # fmt: skip
    assert await texts(shelf, until="2026-01-01T00:00:02") == ["shop.web/0 0", "shop.web/1 1"]
    assert await texts(shelf, targets=["web"], since="2026-01-01T00:00:03", until="2026-01-01T00:00:05") == [
        "shop.web/0 3", "shop.web/1 4",
    ]  # fmt: skip
    assert await texts(shelf, targets=["web"], tail=0) == []


async def test_what_the_store_keeps_comes_before_what_is_written_now(shelf: Shelf) -> None:
    def block(*seconds: int, dropped: int = 0) -> bytes:
        lines = [f"2025-12-31T00:00:{second:02}.0+00:00 stdout F kept {second}\n" for second in seconds]
        return pack("".join(lines).encode(), dropped=dropped)

    shelf.store.append("shop.web/0", [block(1, 2), block(3, 4, dropped=7)])
    shelf.store.append("old.app/0", [block(5)])
    shelf.missing["a"] = 3
    rows = [
        row[3] or row[4]
        for batch in [item async for item in tails(shelf).answer(Asked(targets=["web/0", "old"]), ANN)]
        for row in batch["rows"]
    ]
    assert rows == [
        "kept 1",
        "kept 2",
        7,
        "kept 3",
        "kept 4",
        "kept 5",
        3,
        "shop.web/0 0",
        "shop.web/0 3",
        "shop.web/0 6",
    ]
    assert await texts(shelf, since="2025-12-31T00:00:02", until="2025-12-31T00:00:04") == ["kept 2", "", "kept 3"]
    assert await texts(shelf, grep="kept 4", tail=1) == ["kept 4", ""], "what is missing is told, always"
    with pytest.raises(VerbNotAllowed):
        await texts(shelf, observer("app/mail"), targets=["old"])
    assert "kept 5" not in await texts(shelf, observer("app/mail"))


async def test_lines_are_picked_by_a_text_or_by_a_regular_expression(shelf: Shelf) -> None:
    shelf.write("a", "shop.web/0", 20, "GET /a+b 503")
    assert await texts(shelf, grep="a+b") == ["GET /a+b 503"], "a text is no pattern"
    assert await texts(shelf, grep="get /A", ignore_case=True) == ["GET /a+b 503"]
    assert await texts(shelf, grep=" 5[0-9]{2}$", regex=True) == ["GET /a+b 503"]
    assert await texts(shelf, grep="^shop.*[67]$", regex=True, tail=1) == ["shop.web/1 7"]
    with pytest.raises(BadInput, match="no regular expression"):
        await texts(shelf, grep="(", regex=True)


async def test_a_pattern_that_never_ends_is_ended_and_the_host_goes_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "BATCH_WITHIN_S", 0.5)
    shelf.write("a", "shop.web/0", 20, "a" * 60)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(beat())
    with pytest.raises(PatternTooSlow):
        await texts(shelf, grep="(a+)+b", regex=True)
    beating.cancel()
    assert beats > 20, "the loop was not held up"
    assert await texts(shelf, grep="a{60}", regex=True) == ["a" * 60], "its place is free again"


async def test_only_so_many_expensive_searches_run_at_once(shelf: Shelf) -> None:
    async with asyncio.timeout(WITHIN_S):
        streams = [followed(shelf, grep=".", regex=True, tail=0) for _ in range(matching.CHILDREN_MAX)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(TooManySearches):
            await texts(shelf, grep=".", regex=True)
        for stream in streams:
            await stream.aclose()
        assert await texts(shelf, grep="8", regex=True)


async def followed(shelf: Shelf, request: Request = ANN, **asked: Any) -> AsyncGenerator[list[Any]]:
    """Batches of rows, the empty ones too."""
    async with aclosing(tails(shelf).answer(Asked(follow=True, **asked), request)) as batches:
        async for batch in batches:
            yield batch["rows"]


async def test_following_goes_on_over_restarts_and_rotations(shelf: Shelf) -> None:
    heard: list[str] = []
    stream = followed(shelf, targets=["web"], tail=1)

    async def until(text: str) -> None:
        async for rows in stream:
            heard.extend(row[3] for row in rows)
            if text in heard:
                return

    async with asyncio.timeout(WITHIN_S):
        await until("shop.web/1 7")
        shelf.write("a", "shop.web/0", 13, "new")
        await until("new")
        shelf.write("a", "shop.web/0", 14, "before a rotation")
        shelf.rotate("a")
        shelf.write("a", "shop.web/0", 15, "after it")
        await until("after it")
        shelf.write("a2", "shop.web/0", 16, "another container")
        shelf.write("c", "mail.db/0", 16, "not meant")
        await until("another container")
    await stream.aclose()
    assert heard == ["shop.web/1 7", "new", "before a rotation", "after it", "another container"]


async def test_a_follower_of_a_flood_is_told_the_newest_and_how_much_it_misses(shelf: Shelf) -> None:
    stream = followed(shelf, targets=["web"], tail=0)
    async with asyncio.timeout(WITHIN_S):
        await anext(stream)
        with (shelf.folder / "a").open("a") as file:
            for n in range(50_000):
                file.write(f"2026-01-01T00:01:00.{n:09}+00:00 stdout F line {n}\n")
        rows: list[Any] = []
        while not rows or rows[-1][3] != "line 49999":
            rows += await anext(stream)
    await stream.aclose()
    missing = [row[4] for row in rows if len(row) > 4]
    assert missing and sum(missing) + sum(len(row) == 4 for row in rows) == 50_000


async def test_who_may_observe_one_app_reads_that_one_only(shelf: Shelf) -> None:
    (shelf.folder / "agent.log").write_text("2026-01-01T00:00:30.0+00:00 stderr F it began\n")
    assert await texts(shelf, observer("app/mail")) == ["mail.db/0 2", "mail.db/0 5", "mail.db/0 8"]
    for asked, about in (({"targets": ["web/0"]}, "app/shop"), ({"hosts": ["vps-1"]}, "node/vps-1")):
        with pytest.raises(VerbNotAllowed, match=f"no right to observe {about}"):
            await texts(shelf, observer("app/mail"), **asked)
    assert await texts(shelf, observer("node/vps-1"), hosts=["vps-1"]) == ["it began"]
    assert await texts(shelf, hosts=["vps-1"]) == ["it began"], "without a target no app's lines are among them"
    assert await texts(shelf, hosts=["vps-2"]) == [], "of another host nothing is known here"


def test_what_a_person_may_call_a_slot() -> None:
    for target in ("shop.web/0", "web/0", "shop.web", "web", "shop"):
        assert is_meant([target], "shop.web/0") and is_meant(["x", target], "shop.web/0")
    for target in ("web/1", "shop.we", "sho", "0", ""):
        assert not is_meant([target], "shop.web/0")
    assert is_meant([], "shop.web/0")
