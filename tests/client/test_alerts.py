"""Alerts beside real agents, with real receivers: sent once, by another host where the first is silent, and ended."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.receivers import Hook, hook, mailbox
from agent.small import Aside, SmallCloud
from client.conftest import commands_beside
from skerry.agent.alerts.letters import SIGNED_FOR
from skerry.agent.daemon import Agent
from skerry.cli.main import run
from skerry.core import effects as do
from skerry.core.alerting import sending
from skerry.core.node import NodeCore
from skerry.core.timing import Timing
from skerry.runtime.memory import MemoryRuntime
from skerry.trust.identity import verify

TURN_S = 1.5
TIMING = Timing(alert_look_s=0.1, alert_settle_s=0.3, alert_beat_s=1.0, alert_gather_s=0.2, takeover_after_s=1.0)


class QuickCloud(SmallCloud):
    turn_s = TURN_S

    def agent(self, name: str, runtime: MemoryRuntime) -> Agent:
        made = super().agent(name, runtime)
        made.loop.core = NodeCore(msgspec.structs.replace(TIMING, alert_turn_s=self.turn_s))
        return made


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as kept:
        yield kept


@pytest.fixture
def turn_s() -> float:
    return TURN_S


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn_s: float) -> Iterator[Aside]:
    cloud = QuickCloud(tmp_path, 3)
    cloud.turn_s = turn_s
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    with commands_beside(cloud, tmp_path, monkeypatch) as aside:
        skerry("alert", "rule", "certificate", "--off")  # so that there are settings
        known(aside, "alert/rules")
        yield aside


def skerry(*args: str, code: int = 0) -> None:
    assert run(list(args)) == code


def answered(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> Any:
    capsys.readouterr()
    skerry(*args, "--json", code=code)
    return json.loads(capsys.readouterr().out)


def prepared(small: Aside, receiver: Hook) -> None:
    """One webhook, and hosts that are told silent at once; everybody knows both."""
    skerry("alert", "rule", "host-silent", "--for", "0", "--clear", "0")
    skerry("alert", "add", "ops", "--webhook", receiver.url)
    known(small, "alert/ops")


def known(small: Aside, *paths: str) -> None:
    agents = small.cloud.agents.values()
    small.wait("known everywhere", lambda: all(a.trusted.document(p) is not None for a in agents for p in paths))


def order(small: Aside, subject: str) -> list[str]:
    """Who sends first, second, ... of host-silent."""
    s = next(iter(small.cloud.agents.values())).loop.core._s
    return [node.removeprefix("node/") for node in small.look(lambda: sending.order(s, ("host-silent", subject)))]


@pytest.mark.parametrize("turn_s", [60.0])  # whoever needs longer to send is stood in for, and it is told twice
def test_a_silent_host_is_told_once_and_its_return_too(
    small: Aside, receiver: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(small, receiver)
    first = order(small, "vps-3")[0]
    small.run(small.cloud.stop("vps-3"))
    small.wait("told", lambda: bool(receiver.messages("firing")))
    row = answered(capsys, "alert", "ls")["firing"][0]
    (message,) = receiver.messages("firing")
    assert (message["rule"], message["subject"], message["host"]) == ("host-silent", "vps-3", first)
    assert (message["seen_by"], message["fixed"]) == (2, 3)
    assert (row["rule"], row["subject"], row["id"]) == ("host-silent", "vps-3", message["id"])
    small.wait("said who told", lambda: any(r["sent"] == {first: ["ops"]} for r in _rows(small)))
    small.run(small.cloud.start("vps-3"))
    small.wait("told that it is over", lambda: bool(receiver.messages("over")))
    (over,) = receiver.messages("over")
    assert over["id"] == message["id"], "a receiver folds both"
    assert len(receiver.messages("firing")) == 1
    assert answered(capsys, "alert", "ls")["firing"] == []
    events = [e["reason"] for e in answered(capsys, "events", "--kind", "alert")]
    assert any("ops was told: host-silent vps-3" in reason for reason in events)


def _rows(small: Aside) -> list[dict[str, Any]]:
    rows = []
    for agent in small.cloud.agents.values():
        for row in agent.alerts.firing():
            rows.append({**row, "sent": {host: list(names) for host, names in row["sent"].items()}})
    return rows


def test_who_dies_before_it_has_sent_is_stood_in_for(small: Aside, receiver: Hook) -> None:
    prepared(small, receiver)
    first, second = order(small, "vps-3")[:2]
    agent = small.cloud.agents[first]

    async def dies(effect: do.SendAlert) -> None:
        """Nothing is sent, and nothing said."""

    small.look(lambda: agent.loop.carriers.__setitem__(do.SendAlert, dies))
    small.run(small.cloud.stop("vps-3"))
    small.wait("told by the second", lambda: bool(receiver.messages("firing")), TURN_S + 15)
    assert [m["host"] for m in receiver.messages("firing")] == [second]


def test_who_dies_after_it_has_sent_and_before_it_said_so_costs_a_second_letter_of_one_id(
    small: Aside, receiver: Hook
) -> None:
    prepared(small, receiver)
    first, second = order(small, "vps-3")[:2]
    agent = small.cloud.agents[first]
    send = agent.alerts.send

    async def dies_then(effect: do.SendAlert) -> None:
        agent.loop.post = lambda event: None  # type: ignore[method-assign]
        await send(effect)

    small.look(lambda: agent.loop.carriers.__setitem__(do.SendAlert, dies_then))
    small.run(small.cloud.stop("vps-3"))
    small.wait("told twice", lambda: len(receiver.messages("firing")) == 2, TURN_S + 15)
    told = receiver.messages("firing")
    assert [m["host"] for m in told] == [first, second]
    assert len({m["id"] for m in told}) == 1, "a receiver folds both"


def test_a_receiver_that_fails_is_an_event_and_tried_again(
    small: Aside, receiver: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(small, receiver)
    receiver.status = 503
    small.run(small.cloud.stop("vps-3"))

    def said() -> bool:
        agents = small.cloud.agents.values()
        return any(e.kind == "alert-unsent" and "503" in e.reason for a in agents for e in a.events.tail(50))

    small.wait("the failure is an event", said)
    assert all(row["sent"] == {} for row in small.look(lambda: _rows(small)))
    receiver.status = 200
    before = len(receiver.got)
    small.wait("tried again", lambda: len(receiver.got) > before, 30)
    small.wait("taken", lambda: any(row["sent"] for row in _rows(small)))


def test_what_is_silenced_is_shown_and_not_sent_until_then(
    small: Aside, receiver: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(small, receiver)
    skerry("alert", "silence", "host-silent", "vps-3", "--for", "1h")
    versions = [small.cloud.agents[n].trusted for n in small.cloud.agents]
    small.wait("silence known", lambda: all(t.document("alert/rules").version == 3 for t in versions))  # type: ignore[union-attr]
    small.run(small.cloud.stop("vps-3"))
    small.wait("fires", lambda: bool(_rows(small)))
    row = answered(capsys, "alert", "ls")["firing"][0]
    assert row["silenced_until"] > row["since"] + 3000
    assert receiver.got == []
    skerry("alert", "silence", "host-silent", "vps-3", "--end")
    small.wait("told now", lambda: bool(receiver.messages("firing")))


def test_what_receivers_answer_to_a_test_is_shown(
    small: Aside, receiver: Hook, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("a secret of theirs\n")
    skerry(
        "alert", "add", "ops", "--webhook", f"{receiver.url}/hook?token=hidden", "--secret-file", str(tmp_path / "key")
    )
    (tmp_path / "chat").write_text(f"{receiver.url}/services/T1\n")
    skerry("alert", "add", "chat", "--slack", f"@{tmp_path / 'chat'}")
    skerry("alert", "add", "phone", "--ntfy", f"{receiver.url}/a-topic")
    skerry("alert", "add", "bot", "--telegram", "4711", "--api", receiver.url, "--secret-file", str(tmp_path / "key"))
    with mailbox() as box:
        to = ("--from", "skerry@example.com", "--to", "me@example.com", "--tls", "none")
        skerry("alert", "add", "mail", "--smtp", box.server, *to)
        known(small, "alert/ops", "alert/chat", "alert/phone", "alert/bot", "alert/mail")
        rows = {row["receiver"]: row for row in answered(capsys, "alert", "test")}
        assert {name: row["detail"] for name, row in rows.items()} == {
            "ops": "200 OK thank you", "chat": "200 OK thank you", "phone": "200 OK thank you", "bot": "200 OK thank you",
            "mail": "250 kept as 42",
        }  # fmt: skip
        assert "Subject: [small] a test of skerry's alerts" in box.mails[0]
        box.refuses = "550 no such user here"
        capsys.readouterr()
        skerry("alert", "test", "mail", code=1)
        assert "550 no such user here" in capsys.readouterr().out
    by_path = {path: (headers, body) for path, headers, body in receiver.got}
    headers, body = by_path["/hook?token=hidden"]
    assert headers["skerry-signature"] == "sha256=" + hmac.new(b"a secret of theirs", body, hashlib.sha256).hexdigest()
    key, _, signature = headers["skerry-ed25519"].partition(" ")
    enrolled = {node.signing for a in small.cloud.agents.values() if (node := a.trusted.enrolled(a.me)) is not None}
    assert key in enrolled and verify(key, SIGNED_FOR + body, bytes.fromhex(signature))
    assert "Nothing is wrong" in json.loads(by_path["/services/T1"][1])["text"]
    assert json.loads(by_path["/"][1])["topic"] == "a-topic"
    assert json.loads(by_path["/bota secret of theirs/sendMessage".replace(" ", "%20")][1])["chat_id"] == "4711"
    receiver.status = 403
    rows = {row["receiver"]: row for row in answered(capsys, "alert", "test", "ops", code=1)}
    assert rows["ops"]["detail"] == "403 Forbidden thank you"
    for node in ("vps-1", "vps-2"):
        raw = small.look(lambda node=node: small.cloud.agents[node].records.get("alert/ops"))
        assert raw is not None and b"token=hidden" not in raw and b"a secret" not in raw


def test_the_first_host_shows_an_outside_url_that_the_cloud_lives(small: Aside, receiver: Hook) -> None:
    skerry("alert", "add", "watch", "--heartbeat", f"{receiver.url}/beat")
    small.wait("two beats", lambda: len(receiver.got) >= 2)
    assert {path for path, _, _ in receiver.got} == {"/beat"}


def test_a_rule_over_a_figure_is_looked_at_by_the_host_that_has_it(
    small: Aside, receiver: Hook, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.agent.alerts.delivering.FEEL_S", 0.3)
    skerry("alert", "add", "ops", "--webhook", receiver.url)
    made = answered(
        capsys, "alert", "rule", "full", "--metric", "disk_used_bytes", "--above", "1", "--for", "0", "--clear", "0"
    )
    assert (made["of"], made["means"]) == ("node/", "disk_used_bytes of a host is above 1"), (
        "only hosts have that figure"
    )
    small.wait("told of all", lambda: {s for m in receiver.messages("firing", "full") for s in _subjects(m)} == HOSTS)
    told = receiver.messages("firing", "full")
    assert all(
        a["figure"] > 1e6 and a["limit"] == 1 and "disk_used_bytes is" in a["why"] for m in told for a in m["alerts"]
    )
    skerry("alert", "rule", "full", "--below", "1")
    small.wait("over", lambda: {s for m in receiver.messages("over", "full") for s in _subjects(m)} == HOSTS)
    fired = {a["id"] for m in told for a in m["alerts"]}
    assert {a["id"] for m in receiver.messages("over", "full") for a in m["alerts"]} == fired, "a receiver folds both"
    skerry("alert", "rule", "full", "--rm")
    assert "full" not in {row["rule"] for row in answered(capsys, "alert", "rules")}


HOSTS = {"vps-1", "vps-2", "vps-3"}


def _subjects(message: dict[str, Any]) -> set[str]:
    return {about["subject"] for about in message["alerts"]}


WRONG_RULES = [
    (("slow", "--metric", "prob_s", "--above", "1"), "nothing tells a figure 'prob_s'", "did you mean probe_s"),
    (("slow", "--metric", "load1", "--of", "shop", "--above", "1"), "nothing is called 'shop'", ""),
    (("slow", "--metric", "load1", "--host", "vps-9", "--above", "1"), "there are: vps-1, vps-2, vps-3", ""),
    (("slow", "--metric", "probe_s", "--host", "all", "--above", "1"), "is a figure of slots alone", ""),
    (("slow", "--metric", "probe_s"), "there is no rule slow", "--above or --below"),
    (("slow", "--above", "1"), "there is no rule slow", "--metric"),
    (("disk", "--metric", "load1", "--above", "1"), "it is built in", ""),
    (("slow", "--metric", "probe_s", "--above", "1", "--below", "2"), "exclude one another", ""),
    (("slow", "--rm"), "there are: none", ""),
    (("disk", "--rm"), "it is built in", ""),
    (("Slow", "--metric", "probe_s", "--above", "1"), "a name has", ""),
]


def test_a_rule_over_what_is_not_there_is_refused_with_what_is(
    small: Aside, capsys: pytest.CaptureFixture[str]
) -> None:
    for args, why, fix in WRONG_RULES:
        capsys.readouterr()
        skerry("alert", "rule", *args, code=2)
        said = capsys.readouterr().err
        assert why in said and fix in said, (args, said)
    trusted = small.cloud.agents["vps-1"].trusted
    assert {d.path: d.version for d in trusted.documents() if d.kind == "alert"} == {"alert/rules": 1}


WRONG = [
    (("ops",), "one of --webhook"),
    (("ops", "--webhook", "https://a", "--slack", "https://b"), "one of --webhook"),
    (("rules", "--webhook", "https://example.com"), "that name is for the rules"),
    (("Ops", "--webhook", "https://example.com"), "a name has"),
    (("ops", "--webhook", "ftp://example.com"), "is no URL"),
    (("ops", "--webhook", "@nowhere"), "can't be read"),
    (("ops", "--smtp", "example.com", "--from", "a@b", "--to", "c@d"), "is no HOST:PORT"),
    (("ops", "--smtp", "example.com:25"), "a sender and whom"),
    (("ops", "--smtp", "example.com:25", "--from", "a@b\nBcc: x@y", "--to", "c@d"), "no address of mail"),
    (("ops", "--telegram", "4711"), "token is needed"),
]


def test_what_is_no_receiver_is_refused_and_changes_nothing(small: Aside, capsys: pytest.CaptureFixture[str]) -> None:
    for args, why in WRONG:
        capsys.readouterr()
        skerry("alert", "add", *args, code=2)
        assert why in capsys.readouterr().err, args
    for command in (
        ("silence", "nothing", "--for", "1h"),
        ("silence", "disk"),
        ("rule", "disk"),
        ("rule", "x", "--off"),
    ):
        skerry("alert", *command, code=2)
    trusted = small.cloud.agents["vps-1"].trusted
    assert {d.path: d.version for d in trusted.documents() if d.kind == "alert"} == {"alert/rules": 1}
