"""What a waiting `deploy` makes of the rows that hosts tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from skerry.client import views, waiting
from skerry.core.intent import App, CanaryStep, Service, Update
from skerry.core.places import Placement

APP = App(
    services={
        "web": Service(replicas=4, canary=(CanaryStep(share=0.25, hold_s=60.0), CanaryStep(share=0.5, hold_s=30.0)))
    }
)


def row(index: int, wanted: str = "2.2", **more: Any) -> dict[str, Any]:
    return {"slot": f"shop.web/{index}", "app": "shop", "service": "web", "node": "vps-1", "state": "running", "healthy": True,
            "finished": False, "outdated": False, "failed": False, "verdict": "", "why": "", "wanted": wanted, "canary": None,
            **more}  # fmt: skip


def wait(
    monkeypatch: pytest.MonkeyPatch, *told: list[dict[str, Any]], app: App = APP
) -> tuple[list[str], list[dict[str, Any]]]:
    """What is said while these rows are told one after the other, and what comes of it."""

    async def changes(session: object, name: str) -> AsyncGenerator[list[dict[str, Any]]]:
        for rows in told:
            yield rows

    monkeypatch.setattr(views, "changes", changes)
    said: list[str] = []
    rows = asyncio.run(waiting.wait_healthy(None, "shop", app, (2, 2), 60.0, said.append))  # type: ignore[arg-type]
    return said, rows


def trying(step: int, slots: int, left_s: int | None) -> dict[str, Any]:
    return {"step": step, "steps": 2, "slots": slots, "replicas": 4, "hold_s": 60.0, "left_s": left_s}


def test_the_steps_of_a_canary_are_told_each_once_and_the_time_left_in_steps_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rows(canary: dict[str, Any] | None, moved: int) -> list[dict[str, Any]]:
        return [row(index, canary=canary, outdated=index >= moved) for index in range(4)]

    said, last = wait(
        monkeypatch,
        rows(trying(1, 1, None), 0),
        *(rows(trying(1, 1, left_s), 1) for left_s in (59, 58, 51, 50, 1)),
        rows(trying(2, 2, 30), 2),
        rows(None, 4),
    )
    assert [line for line in said if line.startswith("canary")] == [
        "canary of web, step 1 of 2: 1 of 4 slots get version 2.2",
        "canary of web, step 1 of 2: 1 of 4 slots well in version 2.2, 1m to go",
        "canary of web, step 1 of 2: 1 of 4 slots well in version 2.2, 50s to go",
        "canary of web, step 1 of 2: 1 of 4 slots well in version 2.2, 5s to go",
        "canary of web, step 2 of 2: 2 of 4 slots well in version 2.2, 30s to go",
    ]
    assert len(last) == 4


def test_it_ends_when_a_newer_release_is_wanted_and_not_because_somebody_scaled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(waiting.Superseded) as found:
        wait(monkeypatch, [row(index, outdated=True) for index in range(4)], [row(index, "3.3") for index in range(4)])
    assert "3.3 is wanted now" in found.value.why and found.value.exit_code == 1
    wait(monkeypatch, [row(index, "3.2") for index in range(4)])


@pytest.mark.parametrize(
    ("update", "line"),
    [
        (Update(), True),
        (Update(order="start-first"), False),
        (Update(monitor_s=0.0), False),
        (Update(parallelism=0), False),
        (Update(parallelism=4), False),
    ],
)
def test_why_the_last_that_stops_first_still_stays_is_told(
    monkeypatch: pytest.MonkeyPatch, update: Update, line: bool
) -> None:
    app = App(services={"web": Service(replicas=4, update=update)})
    pictures = [[row(index, outdated=index >= moved) for index in range(4)] for moved in (0, 2, 3, 4)]
    said, _ = wait(monkeypatch, *pictures, app=app)
    assert ("the last of web stays until another has been well for 5s" in said) is line
    assert said[-1] == "4 of 4 replicas healthy"


def test_the_holds_of_a_canary_come_on_top_of_the_time_that_is_given() -> None:
    assert waiting.holds_s(APP) == 90.0 and waiting.holds_s(APP, "store") == 0.0
    assert waiting.holds_s(App(services={"web": Service(canary=APP.services["web"].canary)})) == 0.0, (
        "one slot holds nothing back"
    )
    assert [waiting.duration(seconds) for seconds in (0, 45, 90, 3600, 5400)] == ["0s", "45s", "1m30s", "1h", "1h30m"]


def test_of_a_service_with_one_on_every_host_those_are_waited_for_whose_hosts_are_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App(services={"web": Service(placement=Placement(every_node=True))})

    def rows(*healthy: bool, down: str = "") -> list[dict[str, Any]]:
        found = [
            row(n, node=f"vps-{n}", healthy=well, state="running" if well else "starting")
            for n, well in enumerate(healthy)
        ]
        if down:
            found.append(
                row(9, node="", state="waiting", healthy=False, why=f"{down} is down: no link for 12 s; since then")
            )
        return found

    said, last = wait(
        monkeypatch, rows(True, False), rows(True, False, down="vps-9"), rows(True, True, down="vps-9"), app=app
    )
    assert said == ["1 of 2 replicas healthy", "2 of 2 replicas healthy"] and len(last) == 3
    said, _ = wait(monkeypatch, rows(True, True, False), rows(True, True, True), app=app)
    assert said == ["2 of 3 replicas healthy", "3 of 3 replicas healthy"], "a host that joins meanwhile counts"
