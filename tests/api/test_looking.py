"""What programs see of a cloud from outside, by the SDK and by REST: what fires, lines and events that are looked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import skerry
from agent.receivers import hook
from agent.small import Aside
from api.serving import WITHIN_S, Served
from client.test_alerts import QuickCloud
from skerry.core.intent import Service
from skerry.errors import SkerryError
from ui.talking import Talking

SECRET = "known-to-nobody-else"


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    cloud = QuickCloud(tmp_path_factory.mktemp("hosts"), 3)
    for name in cloud.files:
        cloud.runtimes[name] = Talking(cloud.directory / "said")
    with Aside(cloud) as aside:
        aside.look(lambda: cloud.deploy("shop", Service(replicas=2), cloud.give_image(b"program")))
        yield aside


@pytest.fixture(scope="module")
def cloud(home: Path) -> Iterator[skerry.Client]:
    with skerry.Client(home=home) as client:
        client.wait(lambda rows: len(rows) == 2 and all(row.healthy for row in rows), "shop")
        yield client


def say(beside: Aside, slot: str, *texts: str) -> None:
    talking = beside.cloud.runtimes["vps-1"]
    assert isinstance(talking, Talking)
    for text in texts:
        talking.say(slot, text)


def test_lines_are_looked_for_by_words_and_time(beside: Aside, cloud: skerry.Client, operator: httpx.Client) -> None:
    say(beside, "shop.shop/0", "GET /prices 200", "GET /prices 503", "Timeout")
    say(beside, "shop.shop/1", "GET /stock 502")
    past_s = time.time() - 3600

    def rest(**query: object) -> list[str]:
        answer = operator.get("/v1/logs", params={"target": "shop", **query})  # type: ignore[dict-item]
        assert answer.status_code == 200, answer.text
        return [line["text"] for line in answer.json()["items"]]

    every = {"GET /prices 200", "GET /prices 503", "Timeout", "GET /stock 502"}
    assert {line.text for line in cloud.logs("shop", since_s=past_s)} == set(rest(since_s=past_s)) == every
    assert cloud.logs("shop", until_s=past_s) == rest(until_s=past_s) == []
    assert [line.text for line in cloud.logs("shop.shop/0", grep="prices")] == ["GET /prices 200", "GET /prices 503"]
    assert rest(grep="prices") == ["GET /prices 200", "GET /prices 503"]
    assert {line.text for line in cloud.logs("shop", grep=" 5[0-9]+$", regex=True)} == {
        "GET /prices 503",
        "GET /stock 502",
    }
    assert set(rest(grep=" 5[0-9]+$", regex="true")) == {"GET /prices 503", "GET /stock 502"}
    assert cloud.logs("shop", grep="timeout") == rest(grep="timeout") == []
    assert [line.text for line in cloud.logs("shop", grep="timeout", ignore_case=True)] == ["Timeout"]
    assert rest(grep="timeout", ignore_case="true") == ["Timeout"]
    with pytest.raises(SkerryError, match="regular expression"):
        cloud.logs("shop", grep="(", regex=True)
    wrong = operator.get("/v1/logs", params={"target": "shop", "grep": "(", "regex": "true"})
    assert wrong.status_code == 422 and "regular expression" in wrong.json()["detail"]
    assert operator.get("/v1/logs", params={"grep": "x" * 201}).status_code == 400


def test_events_are_looked_for_by_kind_subject_words_and_time(cloud: skerry.Client, operator: httpx.Client) -> None:
    def rest(**query: object) -> list[tuple[str, str]]:
        answer = operator.get("/v1/events", params=query)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [(event["kind"], event["subject"]) for event in answer.json()["items"]]

    def sdk(*subjects: str, **wanted: object) -> list[tuple[str, str]]:
        return [(event.kind, event.subject) for event in cloud.events(*subjects, **wanted)]  # type: ignore[arg-type]

    claimed = {("claimed", "shop.shop/0"), ("claimed", "shop.shop/1")}
    assert set(sdk(kinds=["claimed"])) == set(rest(kinds="claimed")) == claimed
    assert {kind for kind, _ in rest(kinds="claimed,started")} == {"claimed", "started"}
    assert (
        sdk("shop.shop/1", kinds=["claimed"])
        == rest(subject="shop.shop/1", kinds="claimed")
        == [("claimed", "shop.shop/1")]
    )
    assert (
        sdk(grep="SHOP.SHOP/0", kinds=["claimed"])
        == rest(grep="SHOP.SHOP/0", kinds="claimed")
        == [("claimed", "shop.shop/0")]
    )
    past_s = time.time() - 3600
    assert sdk(until_s=past_s) == rest(until_s=past_s) == []
    assert set(sdk(since_s=past_s, kinds=["claimed"])) == set(rest(since_s=past_s, kinds="claimed")) == claimed


def test_what_fires_who_is_told_and_by_which_rules(
    beside: Aside, home: Path, cloud: skerry.Client, operator: httpx.Client, served: Served,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("SKERRY_HOME", str(home))
    monkeypatch.setenv("SKERRY_ALERT_SECRET", SECRET)
    assert cloud.alerts() == operator.get("/v1/alerts").json()["items"] == []
    with hook() as receiver:
        alert("add", "ops", "--webhook", f"{receiver.url}/{SECRET}")
        alert("rule", "host-silent", "--for", "0")
        alert("rule", "clock", "--off")
        (told,) = cloud.alert_receivers()
        assert (told.name, told.kind, told.at, told.not_opened_to) == ("ops", "webhook", "127.0.0.1", ())
        answer = operator.get("/v1/alerts/receivers")
        assert [row["name"] for row in answer.json()["items"]] == ["ops"] and SECRET not in answer.text
        rules = {rule.name: rule for rule in cloud.alert_rules()}
        assert (rules["host-silent"].for_s, rules["clock"].on, rules["disk"].limit) == (0.0, False, 0.9)
        assert {row["name"]: row["on"] for row in operator.get("/v1/alerts/rules").json()["items"]} == {
            name: rule.on for name, rule in rules.items()
        }
        beside.run(beside.cloud.stop("vps-3"))
        beside.wait("it to be told", lambda: bool(receiver.messages("firing")))
        end_s = time.monotonic() + WITHIN_S
        while not any(fires.sent for fires in cloud.alerts()):
            assert time.monotonic() < end_s, cloud.alerts()
            time.sleep(0.05)
        (fires,) = cloud.alerts()
        (row,) = operator.get("/v1/alerts").json()["items"]
        assert (fires.rule, fires.subject, fires.id) == ("host-silent", "vps-3", receiver.messages("firing")[0]["id"])
        assert (row["rule"], row["subject"], row["id"]) == (fires.rule, fires.subject, fires.id)
        assert list(fires.sent.values()) == [("ops",)] and fires.since_s > time.time() - 60
    with served.client("ci", "deploy:shop") as client:
        for path in ("/v1/alerts", "/v1/alerts/receivers", "/v1/alerts/rules"):
            assert client.get(path).status_code == 403


def alert(*args: str) -> None:
    from skerry.cli.main import run

    assert run(["alert", *args]) == 0
