"""Requests that are repeated, operations that take long, streams that break off: nothing is done twice, nothing is lost."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.serving import WITHIN_S, Served, compose, events, finished, waiting
from api.test_requests import problem
from skerry.api.ledger import LIFE_S, Ledger
from skerry.api.routes.watch import positions


def wait(what: str, see: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + WITHIN_S
    while not (seen := see()):
        assert time.monotonic() < end_s, f"waited for {what}"
        time.sleep(0.02)
    return seen


def keyed(key: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **more}


def test_a_request_with_the_same_key_is_done_once_and_answered_alike(served: Served, operator: httpx.Client) -> None:
    first = operator.put("/v1/apps/shop", json=compose(), headers=keyed("a"))
    again = operator.put("/v1/apps/shop", json=compose(), headers=keyed("a"))
    assert (again.status_code, again.headers["location"], again.content) == (
        202,
        first.headers["location"],
        first.content,
    )
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    finished(operator, first)
    assert len([o for o in operator.get("/v1/operations").json()["items"] if o["kind"] == "deploy"]) == 1
    problem(operator.put("/v1/apps/shop", json=compose("hello:2"), headers=keyed("a")), 422, "key-reused")
    problem(operator.put("/v1/apps/blog", json=compose(), headers=keyed("a")), 422, "key-reused")
    problem(
        operator.put("/v1/apps/shop", json=compose(), headers=keyed("a", **{"If-None-Match": "*"})), 422, "key-reused"
    )
    with served.client("ben", "operator") as other:  # another one's key is another key
        assert "idempotency-replayed" not in other.post("/v1/hosts/vps-1/undrain", headers=keyed("a")).headers
    refused = operator.put("/v1/apps/shop", json={"compose": {}}, headers=keyed("b"))
    assert operator.put("/v1/apps/shop", json={"compose": {}}, headers=keyed("b")).content == refused.content
    problem(operator.post("/v1/hosts/vps-1/undrain", headers=keyed("x" * 129)), 400, "bad-request")
    finished(operator, operator.delete("/v1/apps/shop"))


def test_a_server_that_ended_in_the_middle_neither_does_it_again_nor_claims_that_it_was_done(
    served: Served, operator: httpx.Client
) -> None:
    begun = operator.put("/v1/apps/shop", json=waiting(), headers=keyed("c"))
    served.again()
    with served.client("ann", "operator") as client:
        again = client.put("/v1/apps/shop", json=waiting(), headers=keyed("c"))
        assert (again.status_code, again.headers["location"]) == (202, begun.headers["location"])
        operation = client.get(begun.headers["location"]).json()
        assert operation["state"] in ("cancelled", "lost", "done")
        assert operation["ended_s"] >= operation["begun_s"]


def test_keys_are_kept_for_a_while_and_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = itertools.count(1_000_000.0)
    monkeypatch.setattr(time, "time", lambda: next(now_s))
    monkeypatch.setattr("skerry.api.ledger.ANSWERS_MAX", 150)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for n in range(200):
        assert ledger.begin("t", str(n), "asked") is None
    assert ledger.begin("t", "0", "other") is None, "the oldest went first"
    known = ledger.begin("t", str(199), "asked")
    assert known is not None
    assert known.status == 0
    monkeypatch.setattr(time, "time", lambda: 3_000_000.0 + LIFE_S)
    assert ledger.begin("t", str(199), "asked") is None
    ledger.close()


def test_an_operation_is_cancelled_once_and_what_was_accepted_stays(operator: httpx.Client) -> None:
    begun = operator.put("/v1/apps/wait", json=waiting())
    place = begun.headers["location"]
    wait("what was signed to be accepted", lambda: any("accepted" in p for p in operator.get(place).json()["progress"]))
    cancelled = operator.delete(place).json()
    assert (cancelled["state"], cancelled["error"], cancelled["cancellable"]) == ("cancelled", None, False)
    problem(operator.delete(place), 409, "not-cancellable")
    assert operator.get("/v1/apps/wait").json()["version"] == "1.1"
    finished(operator, operator.delete("/v1/apps/wait"))


def test_what_cannot_be_stopped_halfway_is_not(operator: httpx.Client) -> None:
    """ssh to an address that never answers (RFC 5737) until its own time-out."""
    begun = operator.post("/v1/hosts", json={"target": "root@192.0.2.1"})
    operation = begun.json()
    assert operation["cancellable"] is False
    if operator.get(begun.headers["location"]).json()["state"] == "running":
        problem(operator.delete(begun.headers["location"]), 409, "not-cancellable")


def test_progress_is_followed_and_gone_on_with_after_the_last_line_that_was_seen(operator: httpx.Client) -> None:
    begun = operator.put("/v1/apps/shop", json=compose())
    path = "/v1/watch" + begun.headers["location"].removeprefix("/v1")
    with operator.stream("GET", path) as stream:
        first = next(events(stream))
    assert (first.event, first.id) == ("progress", "1")
    with operator.stream("GET", path, headers={"Last-Event-ID": "1"}) as stream:
        rest = list(events(stream))
    assert [event.id for event in rest[:-1]] == [str(n + 2) for n in range(len(rest) - 1)]
    assert rest[-1].event == "done"
    assert [first.data, *(event.data for event in rest[:-1])] == rest[-1].data["progress"]
    finished(operator, operator.delete("/v1/apps/shop"))


def test_events_that_were_missed_come_after_the_last_that_was_seen_each_once(operator: httpx.Client) -> None:
    def deploy(name: str) -> None:
        finished(operator, operator.put(f"/v1/apps/{name}", json=compose()))
        finished(operator, operator.delete(f"/v1/apps/{name}"))

    with operator.stream("GET", "/v1/watch/events", params={"tail": 1000}) as stream:
        deploy("one")
        seen = []
        for event in events(stream):
            seen.append(event)
            if event.data["subject"] == "one.web/0" and event.data["kind"] == "claimed":
                break
    deploy("two")
    with operator.stream("GET", "/v1/watch/events", headers={"Last-Event-ID": seen[-1].id}) as stream:
        deploy("three")
        for event in events(stream):
            seen.append(event)
            if event.data["subject"] == "three.web/0" and event.data["kind"] == "claimed":
                break
    told = [(e.data["node"], e.data["time"], e.data["kind"], e.data["subject"]) for e in seen if e.event == "event"]
    assert len(set(told)) == len(told), "none twice"
    missed = [subject for _, _, kind, subject in told if kind == "claimed" and subject[:3] in ("one", "two", "thr")]
    assert missed == ["one.web/0", "two.web/0", "three.web/0"]
    assert {e.event for e in seen} == {"event"}


def test_an_id_that_is_none_of_ours_begins_anew() -> None:
    for text in ("", "x", "=1", "a=b", "vps-1=1,=2,vps-2=x"):
        assert positions(text) in ({}, {"vps-1": 1.0})
    assert positions("vps-1=1.5,burst/3=2") == {"vps-1": 1.5, "burst/3": 2.0}


def test_replicas_are_told_whole_whenever_one_changes(operator: httpx.Client) -> None:
    with operator.stream("GET", "/v1/watch/replicas", params={"app": "shop"}) as stream:
        told = events(stream)
        assert next(told).data == []
        begun = operator.put("/v1/apps/shop", json=compose())
        assert next(event for event in told if event.data and event.data[0]["healthy"]).data[0]["slot"] == "shop.web/0"
        finished(operator, begun)
    finished(operator, operator.delete("/v1/apps/shop"))


def test_a_quiet_stream_shows_that_it_lives_and_ends_with_its_reader(served: Served, operator: httpx.Client) -> None:
    with operator.stream("GET", "/v1/watch/replicas", params={"app": "nothing"}) as stream:
        shown = events(stream, comments=True)
        comments = [got.data for got in itertools.islice((g for g in shown if not g.event), 3)]
    assert comments == ["skerry", "still here", "still here"]


def test_many_requests_at_once_are_answered_each(operator: httpx.Client) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.append(operator.get("/v1/hosts").status_code)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 16
