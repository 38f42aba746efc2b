"""Receivers and rules of alerts, tools and receivers of logs in a folder of files, against a small cloud, by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.small import Aside, SmallCloud, archive, put_image
from client.conftest import commands_beside
from client.test_roles import Person, held
from skerry.client.folder.read import BadFolder, read_folder
from skerry.client.images import LocalImages
from skerry.core.intent import Alert, Measure, RuleSetting, Tools

pytestmark = pytest.mark.usefixtures("quick_age")
RECEIVERS = """receivers:
  ops: {webhook: "${HOOK}", secret: "pa$$word"}
  mail: {smtp: "mail.example.com:587", from: a@example.com, to: [b@example.com, c@example.com], user: me, secret: "${MAIL}", tls: tls}
  chat: {telegram: "-4711", secret: "token", api: "https://bots.example.com"}
  phone: {ntfy: "https://ntfy.example.com/topic"}
  team: {slack: "https://hooks.example.com/x"}
  watch: {heartbeat: "https://beat.example.com/x"}
"""
RULES = "rules:\n  disk: {limit: 0.8, for: 10m}\n  restart-loop: {on: false, clear: 90s}\n"
RULES += "  busy: {metric: load1, above: 8, for: 90s}\n  idle: {metric: cpu_cores, host: vps-2, below: -0.5}\n"
SHOP = """name: shop
services:
  web: {image: hello, environment: {LOGS_SHIP_2: x}}
x-skerry: {logs: {ship: ["loki+https://logs.example.com/?token=$$1", "syslog+tcp://10.0.0.1:514"]}}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aside:
    cloud = SmallCloud(tmp_path / "hosts", 2)
    with commands_beside(cloud, tmp_path, monkeypatch) as aside:
        images = LocalImages(tmp_path / "ann" / "images")
        images.tag("hello", put_image(images.objects, {"usr/bin/app": b"program"}))
        yield aside


@pytest.fixture
def ann(small: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "ann", monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cloud"
    path.mkdir()
    (path / "receivers.yaml").write_text(RECEIVERS)
    (path / ".env").write_text("HOOK=https://example.com/hook\nMAIL='p w'\n")
    (path / "rules.yaml").write_text(RULES)
    return path


def test_receivers_and_rules_become_what_the_folder_says_are_written_and_read_back_as_the_same(
    small: Aside, ann: Person, folder: Path, tmp_path: Path
) -> None:
    names = ["chat", "mail", "ops", "phone", "team", "watch"]
    done = ann.run("apply", str(folder))["done"]
    assert sorted(done[:6]) == [f"add receiver/{name}" for name in names]
    assert done[6:] == ["change rule/disk", "change rule/restart-loop", "add rule/busy", "add rule/idle"]
    body = held(small, "alert/rules").body
    assert isinstance(body, Alert)
    assert body.rules == {"disk": RuleSetting(limit=0.8, for_s=600), "restart-loop": RuleSetting(off=True, clear_s=90)}
    assert body.measures == {
        "busy": Measure(metric="load1", of="node/", limit=8, for_s=90),
        "idle": Measure(metric="cpu_cores", of="node/vps-2", limit=-0.5, below=True),
    }
    assert ann.run("apply", str(folder))["done"] == []
    ops = held(small, "alert/ops").body
    assert isinstance(ops, Alert) and len(ops.boxes) == 3, "two hosts and an operator"

    ann.run("export", str(tmp_path / "out"), "--secrets")
    assert ann.run("plan", str(tmp_path / "out"))["steps"] == []
    assert (tmp_path / "out" / ".env").stat().st_mode & 0o777 == 0o600
    ann.run("export", str(tmp_path / "bare"))
    text = (tmp_path / "bare" / "receivers.yaml").read_text()
    assert not (tmp_path / "bare" / ".env").exists()
    assert "ops:\n    webhook: ${OPS_WEBHOOK}\n    secret: ${OPS_SECRET}" in text
    assert not [word for word in ("hook.", "pa$", "p w", "mail.example", "token", "topic") if word in text]
    mistakes = ann.run("plan", str(tmp_path / "bare"), code=2)["mistakes"]
    assert mistakes[0]["what"] == "variable CHAT_API is not set" and len(mistakes) == 11

    (folder / "receivers.yaml").write_text('receivers:\n  ops: {webhook: "${HOOK}", secret: quince}\n')
    (folder / "rules.yaml").write_text("rules:\n  disk: {limit: 0.9}\n  busy: {metric: load1, below: 8}\n")
    plan = ann.run("plan", str(folder), "--prune")
    assert [f"{s['action']} {s['kind']}/{s['name']}" for s in plan["steps"]] == [
        "change receiver/ops", "change rule/disk", "change rule/busy", "remove rule/idle",
        "remove rule/restart-loop", "remove receiver/chat", "remove receiver/mail",
        "remove receiver/phone", "remove receiver/team", "remove receiver/watch",
    ]  # fmt: skip
    assert plan["steps"][0]["fields"] == [{"field": "address", "old": "(sealed)", "new": "(sealed, another)"}]
    assert plan["steps"][2]["fields"] == [{"field": "below", "old": False, "new": True}]
    assert "quince" not in str(plan)
    ann.run("apply", str(folder), "--prune", "--yes")
    assert [row["receiver"] for row in ann.run("alert", "ls")["receivers"]] == ["ops"]
    rules = {row["rule"]: row for row in ann.run("alert", "rules")}
    assert (rules["disk"]["limit"], rules["disk"]["for_s"], rules["restart-loop"]["on"]) == (0.9, 600.0, True)
    assert ann.run("plan", str(folder), "--prune")["steps"] == []


def test_tools_are_signed_as_the_folder_says_and_read_back_as_the_same(
    small: Aside, ann: Person, folder: Path, tmp_path: Path
) -> None:
    for n in (1, 2):
        archive(Path(f"kit-{n}.tar"), b"program %d" % n)
        ann.run("image", "import", f"kit-{n}.tar", "--name", f"kit:{n}")
    (folder / "receivers.yaml").unlink()
    (folder / "tools.yaml").write_text("tools:\n  mine: {image: 'kit:1'}\n")
    assert ann.run("apply", str(folder))["done"][0] == "add tools/mine"
    first = held(small, "tools/mine").body
    assert isinstance(first, Tools) and (first.size_bytes, first.about) == (9, "image kit:1")
    assert ann.run("plan", str(folder))["steps"] == []
    ann.run("export", str(tmp_path / "out"))
    assert ann.run("plan", str(tmp_path / "out"))["steps"] == []
    assert first.image in (tmp_path / "out" / "tools.yaml").read_text()
    (folder / "tools.yaml").write_text("tools:\n  mine: {image: 'kit:2', about: two}\n")
    (step,) = ann.run("apply", str(folder))["steps"]
    assert [field["field"] for field in step["fields"]] == ["image", "about"]
    second = held(small, "tools/mine").body
    assert isinstance(second, Tools) and second.image != first.image and second.about == "two"
    (folder / "tools.yaml").write_text("tools:\n  other: {image: nowhere}\n")
    assert ann.run("plan", str(folder), code=2)["code"] == "image-not-found"
    (folder / "tools.yaml").write_text("tools: {}\n")
    assert ann.run("apply", str(folder), "--prune", "--yes")["done"] == ["remove tools/mine"]
    assert held(small, "tools/mine").body == Tools(deleted=True)


def test_receivers_of_logs_are_written_as_variables_and_read_back_as_the_same(ann: Person, tmp_path: Path) -> None:
    at = tmp_path / "cloud" / "apps" / "shop"
    at.mkdir(parents=True)
    (at / "compose.yaml").write_text(SHOP)
    ann.run("apply", str(tmp_path / "cloud"))
    written = ann.run("export", str(tmp_path / "out"), "--secrets")
    assert written["notes"] == []
    out = tmp_path / "out" / "apps" / "shop"
    assert "${LOGS_SHIP_1}" in (out / "compose.yaml").read_text()
    assert "example.com" not in (out / "compose.yaml").read_text()
    assert ann.run("plan", str(tmp_path / "out"))["steps"] == []
    text = (out / ".env").read_text().replace("10.0.0.1", "10.0.0.2")
    (out / ".env").write_text(text)
    (step,) = ann.run("plan", str(tmp_path / "out"))["steps"]
    assert [field["field"] for field in step["fields"]] == ["app/shop ship.receiver-1"]


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("receivers.yaml", "receivers:\n  ops: {}\n", "line 2: receivers.ops: one of webhook, smtp"),
        ("receivers.yaml", "receivers:\n  ops: {webhook: 'ftp://x'}\n", "line 2: receivers.ops: 'ftp://x' is no URL"),
        ("receivers.yaml", "receivers:\n  rules: {webhook: 'https://x'}\n", "is a name for the rules"),
        ("receivers.yaml", "receivers:\n  ops: {webhook: '${NOPE}'}\n", "line 2: receivers.ops.webhook: variable NOPE"),
        ("receivers.yaml", "receivers:\n  ops: {hook: x}\n", "unknown key (did you mean `webhook`?)"),
        ("receivers.yaml", "receivers:\n  ops: {slack: 'https://x', secret: y}\n", "slack takes no secret"),
        ("receivers.yaml", "receivers:\n  ops: {ntfy: 'https://x', to: [a@b]}\n", "are for mail (smtp), not for ntfy"),
        ("receivers.yaml", "receivers:\n  ops: {smtp: 'x:1', from: a@b, to: [c@d], tls: no}\n", "tls is one of"),
        ("receivers.yaml", "receivers:\n  ops: {telegram: '1'}\n", "the bot's token is needed"),
        (".env", "HOOK\n", ".env, line 1: the line is not NAME=value"),
        (
            "rules.yaml",
            "rules:\n  disc: {limit: 1}\n",
            "line 2: rules.disc: is no built-in rule, and one of your own has a `metric`",
        ),
        ("rules.yaml", "rules:\n  disk: {metric: load1}\n", "line 2: rules.disk.metric: is for rules of your own"),
        ("rules.yaml", "rules:\n  busy: {metric: load1}\n", "line 2: rules.busy: has no limit"),
        (
            "rules.yaml",
            "rules:\n  busy: {metric: load1, above: 1, below: 2}\n",
            "has more than one of `above`, `below`",
        ),
        ("rules.yaml", "rules:\n  busy: {metric: load1, above: x}\n", "'x' is no figure"),
        ("rules.yaml", "rules:\n  busy: {metric: load1, above: 1, of: shop, host: all}\n", "stands beside `of`"),
        ("rules.yaml", "rules:\n  disk: {limit: -1}\n", "line 2: rules.disk.limit: '-1' is no figure"),
        ("rules.yaml", "rules:\n  disk: {for: soon}\n", "is not a duration"),
        ("rules.yaml", "rules:\n  disk: {on: perhaps}\n", "should be true or false"),
        ("tools.yaml", "tools:\n  mine: {}\n", "line 2: tools.mine: says neither `image` nor `from`"),
        ("tools.yaml", "tools:\n  mine: {from: ./nowhere}\n", "is no folder with an image.toml"),
        ("tools.yaml", "tools:\n  base: {image: a, from: b}\n", "has both `image` and `from`"),
        ("tools.yaml", "tools:\n  base: {about: mine}\n", "is for `image` and `from`"),
    ],
)
def test_each_bad_line_is_told_with_file_and_line(folder: Path, file: str, text: str, why: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(BadFolder) as refused:
        read_folder(folder, {})
    assert why in refused.value.why
    assert file in refused.value.why
