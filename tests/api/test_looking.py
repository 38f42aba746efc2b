"""What programs see of a cloud from outside, by the SDK and by REST: what fires, lines and events that are looked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

import skerry
from agent.receivers import hook
from agent.small import Aside, put_image
from api.serving import WITHIN_S, Served, events
from client.test_alerts import QuickCloud
from skerry.client.identity import write_key_pair
from skerry.client.images import LocalImages
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


def test_receivers_rules_and_silences_are_changed_by_programs(
    cloud: skerry.Client, operator: httpx.Client, served: Served
) -> None:
    with hook() as receiver:
        put = operator.put(
            "/v1/alerts/receivers/rest", json={"kind": "webhook", "where": receiver.url, "secret": SECRET}
        )
        assert put.status_code == 200 and SECRET not in put.text, put.text
        added = cloud.alerting.add("sdk", "slack", receiver.url)
        assert (added.kind, added.at) == ("slack", "127.0.0.1")
        assert {row.name for row in cloud.alert_receivers()} == {"ops", "rest", "sdk"}
        answer = operator.post("/v1/alerts/test", params={"receiver": "rest"})
        assert [(row["ok"], row["detail"]) for row in answer.json()["items"]] == [(True, "200 OK thank you")], (
            answer.text
        )
        assert [(row.receiver, row.ok) for row in cloud.alerting.test("sdk")] == [("sdk", True)]
    again = operator.put("/v1/alerts/receivers/rest", json={"kind": "ntfy", "where": "https://example.com/x"})
    assert (again.status_code, again.json()["code"]) == (409, "receiver-taken")
    wrong = operator.put("/v1/alerts/receivers/more", json={"kind": "webhook", "where": "ftp://example.com"})
    assert wrong.status_code == 422 and "is no URL" in wrong.json()["detail"]
    assert operator.delete("/v1/alerts/receivers/rest").status_code == 204
    cloud.alerting.rm("sdk")
    assert {row["name"] for row in operator.get("/v1/alerts/receivers").json()["items"]} == {"ops"}

    made = operator.patch("/v1/alerts/rules/slow", json={"metric": "probe_s", "limit": 0.5, "of": "shop", "for_s": 120})
    assert made.status_code == 200, made.text
    rule = cloud.alerting.set_rule("slow", below=True)
    assert (rule.metric, rule.of, rule.limit, rule.for_s, rule.below) == ("probe_s", "shop", 0.5, 120.0, True)
    unknown = operator.patch("/v1/alerts/rules/other", json={"metric": "prob_s", "limit": 1})
    assert unknown.status_code == 422 and "probe_s" in unknown.json()["fix"]
    assert operator.patch("/v1/alerts/rules/disk", json={"metric": "probe_s"}).status_code == 422
    assert cloud.alerting.set_rule("disk", limit=0.5).limit == 0.5
    for name in ("disk", "slow"):
        assert operator.delete(f"/v1/alerts/rules/{name}").status_code == 204
    rules = {each.name: each.limit for each in cloud.alert_rules()}
    assert rules["disk"] == 0.9 and "slow" not in rules

    assert operator.post("/v1/alerts/silences", json={"rule": "clock", "for_s": 60}).json()["rule"] == "clock"
    assert [(each.rule, each.until > time.time()) for each in cloud.alerting.silences()] == [("clock", True)]
    cloud.alerting.silence("clock", for_s=0)
    assert operator.get("/v1/alerts/silences").json()["items"] == []
    with served.client("reader", "read") as reader:
        for method, path in (
            ("PUT", "receivers/x"),
            ("DELETE", "receivers/x"),
            ("PATCH", "rules/disk"),
            ("POST", "silences"),
        ):
            assert reader.request(method, f"/v1/alerts/{path}", json={}).status_code in (400, 403), (method, path)


def test_lines_and_events_are_followed_by_words(beside: Aside, operator: httpx.Client) -> None:
    say(beside, "shop.shop/0", "apple 1", "pear 2", "apple 3")
    with operator.stream(
        "GET", "/v1/watch/logs", params={"target": "shop", "tail": 100, "grep": "APPLE", "ignore_case": "true"}
    ) as s:
        got = (event for event in events(s) if event.event != "unanswered")  # vps-3 has ended
        assert [next(got).data["text"] for _ in range(2)] == ["apple 1", "apple 3"]
        say(beside, "shop.shop/0", "pear 4", "apple 5")
        assert next(got).data["text"] == "apple 5"
    with operator.stream(
        "GET", "/v1/watch/events", params={"subject": "shop.shop/1", "kinds": "claimed,started", "tail": 100}
    ) as s:
        got = (event for event in events(s) if event.event != "unanswered")  # vps-3 has ended
        assert [(e.data["kind"], e.data["subject"]) for e in (next(got), next(got))] == [
            ("claimed", "shop.shop/1"),
            ("started", "shop.shop/1"),
        ]


def test_rights_to_look_in_tools_and_diaries(
    cloud: skerry.Client, operator: httpx.Client, served: Served, tmp_path: Path, home: Path
) -> None:
    public = write_key_pair(tmp_path / "eve.key", tmp_path / "eve.pub", "eve", "")
    until_s = float(int(time.time()) + 3600)
    body = {
        "right": "debug",
        "name": "eve",
        "public": msgspec.to_builtins(public),
        "apps": ["shop"],
        "until_s": until_s,
    }
    answer = operator.post("/v1/roles/rights", json=body)
    assert answer.status_code == 201, answer.text
    (role,) = (role for role in cloud.roles.ls() if role.name == "eve")
    assert (role.asks, role.paths, role.kinds, role.until) == (("debug",), ("app/shop",), (), until_s)
    assert cloud.roles.add_right("observe", "eve-logs", tmp_path / "eve.pub", apps=["*"]).asks == ("observe",)
    assert (
        operator.post("/v1/roles/rights", json={**body, "name": "x", "apps": [], "hosts": ["vps-1"]}).status_code == 422
    )

    images = LocalImages(home / "images")
    images.tag("kit", put_image(images.objects, {"usr/bin/tool": b"a tool"}))
    put = operator.put("/v1/tools/mine", json={"image": "kit", "about": "of ours"})
    assert put.status_code == 200, put.text
    rows = {row.name: row for row in cloud.tools.ls()}
    assert (rows["mine"].image, rows["mine"].about, rows["base"].image) == (images.names["kit"], "of ours", "")
    assert operator.put("/v1/tools/other", json={"image": "/etc/passwd"}).status_code == 422
    assert cloud.tools.add("mine", "kit").about == "image kit"
    assert operator.delete("/v1/tools/mine").status_code == 204
    assert "mine" not in {row["name"] for row in operator.get("/v1/tools").json()["items"]}

    told = operator.get("/v1/audit", params={"hosts": "vps-1,vps-2"}).json()["items"]
    assert [(row["host"], row["ok"]) for row in told] == [("vps-1", True), ("vps-2", True)]
    assert [row.host for row in cloud.audit("vps-1")] == ["vps-1"]
    assert operator.get("/v1/audit", params={"hosts": "vps-9"}).status_code == 404

    assert operator.get("/v1/crashes").json()["items"] == cloud.looks.crashes() == []
    assert operator.get("/v1/look/entries", params={"slot": "nothing/0"}).status_code == 404
    with served.client("reader", "read") as reader:
        for path in ("entries", "file", "processes", "sockets", "changes"):
            assert reader.get(f"/v1/look/{path}", params={"slot": "shop.shop/0", "path": "/"}).status_code in (
                400,
                403,
            ), path
