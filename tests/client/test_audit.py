"""`skerry audit verify` beside real agents: a host that writes its past anew is caught by what others hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.small import Aside, SmallCloud
from client.conftest import commands_beside
from skerry.cli.main import run
from skerry.core.intent import Service
from skerry.observe.chain import hash_of
from skerry.observe.events import Entry, EventLog
from skerry.trust.refusals import VerbNotAllowed
from skerry.trust.requests import Request

Change = Callable[[list[Entry]], list[Entry]]


def tell(small: Aside) -> None:
    """Everybody tells its newest line, and the others have noted it."""
    agents = small.cloud.agents
    heads = {}
    for name, agent in agents.items():
        small.run(agent.auditing.tell())
        heads[name] = small.look(lambda agent=agent: agent.author.newest)

    def noted() -> bool:
        return all(
            any(f"node/{other} " in whose for whose in agent.auditing._heads._heads)
            for name, agent in agents.items()
            for other in agents
            if other != name
        )

    small.wait("heads noted", noted)


def written_anew(diary: EventLog, change: Change) -> None:
    """As a captured host would: another past, in a chain that holds."""
    lines, prev = [], ""
    for entry in change(diary.tail(10_000)):
        line = msgspec.json.encode(msgspec.structs.replace(entry, prev=prev))
        lines.append(line + b"\n")
        prev = hash_of(line)
    diary._path.write_bytes(b"".join(lines))


def verified(capsys: pytest.CaptureFixture[str], *names: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["audit", "verify", *names, "--json"])
    return code, {row["host"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_past_written_anew_is_caught_by_what_others_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = SmallCloud(tmp_path, 3)
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    with commands_beside(cloud, tmp_path, monkeypatch) as small:
        two = cloud.agents["vps-2"]
        n = small.look(lambda: two.events.append("refused", "node/vps-1", "what a thief did")).n
        tell(small)
        code, rows = verified(capsys)
        assert code == 0, rows
        assert rows["vps-2"]["checked_with"] == ["vps-1", "vps-3"]
        assert verified(capsys)[1]["vps-2"]["checked_with"] == ["this machine", "vps-1", "vps-3"]

        def other(past: list[Entry]) -> list[Entry]:
            return [msgspec.structs.replace(e, reason="nothing at all") if e.n == n else e for e in past]

        small.look(lambda: written_anew(two.events, other))
        (Path("ann/clouds/small/audit.json")).unlink()
        code, rows = verified(capsys, "vps-2")
        assert code == 1
        assert {b["why"].partition(" has ")[0] for b in rows["vps-2"]["breaks"]} >= {"vps-1", "vps-3"}
        assert verified(capsys, "vps-1")[0] == 0, "the others' diaries hold"

        capsys.readouterr()
        assert run(["audit", "verify"]) == 1
        out = capsys.readouterr().out
        assert "vps-2  BROKEN" in out and "vps-1 has known another line" in out


def test_a_line_changed_in_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = SmallCloud(tmp_path, 1)
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    with commands_beside(cloud, tmp_path, monkeypatch) as small:
        diary = cloud.agents["vps-1"].events
        n = small.look(lambda: [diary.append("refused", "x", "before"), diary.append("host", "x", "after")][0]).n
        data = diary._path.read_bytes()
        diary._path.write_bytes(data.replace(b'"before"', b'"BEFORE"'))
        code, rows = verified(capsys)
        assert code == 1
        assert [b["n"] for b in rows["vps-1"]["breaks"]] == [n + 1]
        assert "not the one that it was written after" in rows["vps-1"]["why"]


def test_events_are_asked_for_by_subject_kind_time_and_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = SmallCloud(tmp_path, 2)
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    with commands_beside(cloud, tmp_path, monkeypatch) as small:
        diary = cloud.agents["vps-1"].events
        for kind, subject, reason in (
            ("exited", "shop.web/0", "ended with exit code 1"),
            ("exited", "shop.db/0", "ended by signal 9"),
            ("started", "shop.web/0", "sha256:ab"),
        ):
            small.look(lambda e=(kind, subject, reason): diary.append(*e))

        def shown(*args: str) -> list[str]:
            capsys.readouterr()
            assert run(["events", "--json", *args]) == 0
            return [f"{row['kind']} {row['subject']}" for row in json.loads(capsys.readouterr().out)]

        assert shown("web") == ["exited shop.web/0", "started shop.web/0"]
        assert shown("--kind", "exited") == ["exited shop.web/0", "exited shop.db/0"]
        assert shown("--grep", "SIGNAL") == ["exited shop.db/0"]
        assert shown("shop", "--until", "1h") == []
        assert shown("shop", "--since", "1h", "--tail", "1") == ["started shop.web/0"]
        assert "agent node/vps-2" in shown("vps-2")


def test_who_signed_what_is_told_by_every_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = SmallCloud(tmp_path, 2)
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    with commands_beside(cloud, tmp_path, monkeypatch) as small:
        image = small.look(lambda: cloud.give_image(b"an app"))
        small.look(lambda: cloud.deploy("web", Service(replicas=1), image))

        def told() -> bool:
            return all(
                {e.subject for e in agent.events.tail(100) if e.kind == "signed"} >= {"app/web", "release/web"}
                for agent in cloud.agents.values()
            )

        small.wait("told on both", told)
        capsys.readouterr()
        assert run(["events", "web", "--kind", "signed", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert {(row["node"], row["subject"], row["reason"]) for row in rows} == {
            (node, subject, "version 0.1, signed by ann")
            for node in ("vps-1", "vps-2")
            for subject in ("app/web", "release/web")
        }


def test_who_observes_one_app_sees_its_events_and_can_not_verify_a_diary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = SmallCloud(tmp_path, 1)
    with Aside(cloud) as small:
        image = small.look(lambda: cloud.give_image(b"an app"))
        for app in ("web", "other"):
            small.look(lambda app=app: cloud.deploy(app, Service(replicas=1), image))
        agent = cloud.agents["vps-1"]
        small.wait("started", lambda: {"web.web/0", "other.other/0"} <= {e.subject for e in agent.events.tail(100)})

        def asked(verb: str, *rights: tuple[str, tuple[str, ...]]) -> list[Any]:
            async def answers() -> list[Any]:
                request = Request(verb, {}, "ab" * 32, "some", rights=rights)
                return [item async for item in agent.server.answer(request)]

            return small.run(answers())

        seen = {entry.subject for entry in asked("events", ("observe", ("app/web",)))}
        assert seen == {"app/web", "release/web", "web.web/0"}
        assert "node/vps-1" in {entry.subject for entry in asked("events", ("observe", ("node/vps-1",)))}
        assert asked("events", ("debug", ("app/*",))) == []
        for rights in ([("observe", ("app/web",))], [("observe", ("node/*",))], [("observe", ("app/*",))]):
            with pytest.raises(VerbNotAllowed):
                asked("audit", *rights)
        assert asked("audit", ("observe", ("node/vps-1", "app/*")))[0]["head"].n > 0
