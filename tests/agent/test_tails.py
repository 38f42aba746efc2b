"""Log files of several containers as one stream: merged by time, followed over restarts, nothing missed or told twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from skerry.agent.tails import Tails
from skerry.core.records import is_meant


class Shelf:
    """What Tails asks of the containers: which there are, which run, and where their (real) log files lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slots: dict[str, str] = {}
        self.ended: set[str] = set()

    def write(self, id: str, slot: str, second: int, text: str) -> None:
        self.slots[id] = slot
        with (self.folder / id).open("a") as file:
            file.write(f"2026-01-01T00:00:{second:02}.000000000+00:00 stdout F {text}\n")

    def with_logs(self) -> list[tuple[str, str]]:
        return list(self.slots.items())

    def running(self) -> dict[str, str]:
        return {id: slot for id, slot in self.slots.items() if id not in self.ended}

    def logs(self, id: str) -> list[Path]:
        return [self.folder / id]


def texts(rows: list[dict[str, str]]) -> list[str]:
    return [row["text"] for row in rows]


def test_the_past_is_merged_by_time_and_cut_to_what_was_asked_for(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for second, (id, slot) in enumerate([("a", "shop.web/0"), ("b", "shop.web/1"), ("c", "shop.db/0")] * 3):
        shelf.write(id, slot, second, f"{slot} {second}")
    shelf.ended.add("a")
    tails = Tails(shelf)  # type: ignore[arg-type]
    assert texts(tails.past([], 4, "")) == ["shop.db/0 5", "shop.web/0 6", "shop.web/1 7", "shop.db/0 8"]
    assert texts(tails.past(["web"], 10, "2026-01-01T00:00:04")) == ["shop.web/1 4", "shop.web/0 6", "shop.web/1 7"]
    assert tails.past(["web"], 0, "") == []


async def test_following_goes_on_over_restarts(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.write("a1", "shop.web/0", 1, "old")
    shelf.write("a1", "shop.web/0", 2, "last of the past")
    stream = Tails(shelf).following(["web"], 1, "")  # type: ignore[arg-type]
    heard = [(await anext(stream))["text"]]
    shelf.write("a1", "shop.web/0", 3, "new")
    heard.append((await anext(stream))["text"])
    shelf.ended.add("a1")
    shelf.write("a2", "shop.web/0", 4, "it lived for less than a look")
    shelf.ended.add("a2")
    shelf.write("other", "shop.db/0", 4, "not meant")
    heard.append((await anext(stream))["text"])
    shelf.write("a3", "shop.web/0", 5, "and again")
    async with asyncio.timeout(5):
        heard.append((await anext(stream))["text"])
    await stream.aclose()
    assert heard == ["last of the past", "new", "it lived for less than a look", "and again"]


def test_what_a_person_may_call_a_slot() -> None:
    for target in ("shop.web/0", "web/0", "shop.web", "web", "shop"):
        assert is_meant([target], "shop.web/0") and is_meant(["x", target], "shop.web/0")
    for target in ("web/1", "shop.we", "sho", "0", ""):
        assert not is_meant([target], "shop.web/0")
    assert is_meant([], "shop.web/0")
