"""What a person who drains a host is told meanwhile: where each replica starts, and where it is once it is well there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry.client import drain as draining
from skerry.errors import NotInTime


def row(slot: str, node: str, *claims: str, healthy: bool = True, **more: Any) -> dict[str, Any]:
    return {"slot": slot, "node": node, "state": "running", "healthy": healthy, "finished": False, "claims": [*claims],
            "pinned": False, **more}  # fmt: skip


class Session:
    """Answers `ps` with one picture after the other, the last again and again."""

    def __init__(self, *pictures: list[dict[str, Any]]) -> None:
        self.pictures = list(pictures)

    async def sync(self) -> None:
        pass

    async def request(self, verb: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
        return self.pictures.pop(0) if len(self.pictures) > 1 else self.pictures[0]


def drained(
    monkeypatch: pytest.MonkeyPatch, *pictures: list[dict[str, Any]], timeout_s: float = 10.0
) -> tuple[list[str], dict[str, Any]]:
    async def no_change(session: object, name: str, state: str) -> None:
        assert (name, state) == ("vps-2", "draining")

    said: list[str] = []
    monkeypatch.setattr(draining, "_set_state", no_change)
    monkeypatch.setattr(draining, "POLL_S", 0.0)
    result = asyncio.run(draining.drain(Session(*pictures), "vps-2", timeout_s, said.append))  # type: ignore[arg-type]
    return said, result


def test_where_each_replica_starts_is_said_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    said, result = drained(
        monkeypatch,
        [row("shop.web/0", "vps-2", "vps-2"), row("shop.web/1", "vps-1", "vps-1")],
        [row("shop.web/0", "vps-2", "vps-2"), row("shop.web/1", "vps-1", "vps-1")],
        [row("shop.web/0", "vps-2", "vps-2", "vps-3"), row("shop.web/1", "vps-1", "vps-1")],
        [row("shop.web/0", "vps-3", "vps-3"), row("shop.web/1", "vps-1", "vps-1")],
    )
    assert said == [
        "1 replica left on vps-2",
        "shop.web/0 starts on vps-3",
        "shop.web/0 is on vps-3 now",
        "0 replicas left on vps-2",
    ]
    assert result["moved"] == {"shop.web/0": "vps-3"} and result["left"] == []


def test_one_that_stops_first_is_there_only_when_it_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exclusive slot: for a moment nobody has it, then another host, which is not well yet."""
    said, result = drained(
        monkeypatch,
        [row("s.one/0", "vps-2", "vps-2")],
        [row("s.one/0", "", healthy=False, state="waiting")],
        [row("s.one/0", "vps-1", "vps-1", healthy=False, state="starting")],
        [row("s.one/0", "vps-1", "vps-1", healthy=False, state="running")],
        [row("s.one/0", "vps-1", "vps-1")],
    )
    assert said == ["0 replicas left on vps-2", "s.one/0 starts on vps-1", "s.one/0 is on vps-1 now"]
    assert result["moved"] == {"s.one/0": "vps-1"}


def test_what_was_not_well_before_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ill = row("a.b/0", "vps-2", "vps-2", healthy=False)
    said, _ = drained(monkeypatch, [ill], [ill], [row("a.b/0", "vps-1", "vps-1", healthy=False)])
    assert said == ["1 replica left on vps-2", "a.b/0 is on vps-1 now", "0 replicas left on vps-2"]


def test_what_waits_for_its_data_stays_and_is_named_and_what_is_wanted_no_more_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = row("shop.store/0", "vps-2", "vps-2", pinned=True)
    said, result = drained(monkeypatch, [store, row("shop.web/0", "vps-2", "vps-2")], [store])
    assert said == ["shop.web/0 has stopped", "0 replicas left on vps-2"]
    assert result["left"] == ["shop.store/0"]


@pytest.mark.parametrize(
    ("later", "what"),
    [
        (row("a.b/0", "vps-2", "vps-2"), "vps-2 is not empty yet"),
        (row("a.b/0", "vps-1", "vps-1", healthy=False), "vps-2 is empty"),
    ],
)
def test_what_is_not_done_in_time_is_told(monkeypatch: pytest.MonkeyPatch, later: dict[str, Any], what: str) -> None:
    with pytest.raises(NotInTime) as refusal:
        drained(monkeypatch, [row("a.b/0", "vps-2", "vps-2")], [later], timeout_s=-1.0)
    assert refusal.value.what.startswith(what) and "skerry explain a.b/0" in refusal.value.fix
