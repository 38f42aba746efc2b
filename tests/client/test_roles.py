"""Who may sign: given, taken away, needing two. By the command line, against real agents over TLS, each person with a home of
its own.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.small import Aside, SmallCloud, archive
from client.conftest import commands_beside
from skerry.cli.main import run
from skerry.core.intent import App, Policy, Release, Root, Secret
from skerry.errors import TrustRefusal
from skerry.mesh.links import Mesh
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.trust import seal
from skerry.trust.documents import sign_document
from skerry.trust.identity import Signer

pytestmark = pytest.mark.usefixtures("quick_age")

COMPOSE = """name: web
services:
  web:
    image: {image}
    command: ["/app"]
    environment:
      TOKEN: {token}
    deploy: {{replicas: 2}}
"""


class Person:
    """Somebody with a machine: runs commands under its own SKERRY_HOME."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._monkeypatch, self._capsys = home, monkeypatch, capsys

    def run(self, *args: str, code: int = 0) -> Any:
        """The JSON that it printed; on an error what stands in it."""
        self._monkeypatch.setenv("SKERRY_HOME", str(self.home))
        self._capsys.readouterr()
        ended = run([args[0], "--json", *args[1:]] if "--" in args else [*args, "--json"])
        captured = self._capsys.readouterr()
        self.said = captured.err
        assert ended == code, (ended, captured.out, captured.err)
        answer = json.loads(captured.out)
        return answer.get("error", answer) if code else answer


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    with commands_beside(SmallCloud(tmp_path / "hosts", 2), tmp_path, monkeypatch) as aside:
        yield aside


@pytest.fixture
def person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Person]:
    return lambda name: Person(tmp_path / name, monkeypatch, capsys)


@pytest.fixture
def ann(person: Callable[[str], Person]) -> Person:
    return person("ann")


def held(small: Aside, path: str) -> Any:
    """The document as every host holds it; waits until they hold the same."""
    agents = list(small.cloud.agents.values())

    def same() -> bool:
        heads = [agent.trusted.heads().get(path) for agent in agents]
        return heads[0] is not None and heads.count(heads[0]) == len(heads)

    small.wait(f"one {path} on all hosts", same)
    return small.look(lambda: agents[0].trusted.document(path))


def add_ben(ann: Person, person: Callable[[str], Person]) -> Person:
    """A second operator, from making the key on ben's machine to his first command."""
    ben = person("ben")
    ben.run("key", "new", "ben", "--out", "ben.key")
    ann.run("role", "add", "operator", "ben", "--key", "ben.key.pub")
    ann.run("key", "export", "--public", "--out", "cloud.json")
    ben.run("key", "import", "cloud.json", "--key", "ben.key")
    return ben


def deploy(
    who: Person,
    image: bytes,
    *,
    token: str = "s3cret-of-web",
    more: str = "",
    name: str = "web",
    code: int = 0,
    detach: bool = False,
) -> Any:
    archive(Path("web.tar"), image)
    Path("compose.yaml").write_text(COMPOSE.format(image="web.tar", token=token) + more)
    options = ["--detach"] if detach else ["--timeout", "30s"]
    return who.run("deploy", "compose.yaml", "--name", name, *options, code=code)


def test_a_second_operator_is_named_in_the_root_can_sign_and_reads_the_secrets(
    small: Aside, ann: Person, person: Callable[[str], Person]
) -> None:
    deploy(ann, b"one")
    ben = add_ben(ann, person)
    root, secret = held(small, "root"), held(small, "secret/web")
    assert root.version == 2 and [o.name for o in root.body.operators] == ["ann", "ben"]
    assert isinstance(secret.body, Secret) and set(secret.body.boxes) == {
        "node/vps-1", "node/vps-2", *(o.key for o in root.body.operators),
    }  # fmt: skip
    deploy(ben, b"two", detach=True)
    release = held(small, "release/web")
    assert release.signers == (root.body.operators[1].key,)
    assert {row["name"]: row["holders"] for row in ben.run("role", "ls")}["operators"] == ["ann", "ben"]


def test_an_operator_is_not_added_without_the_root_key(small: Aside, ann: Person, tmp_path: Path) -> None:
    ann.run("key", "new", "ben", "--out", "ben.key")
    away = tmp_path / "stick" / "root.key"
    away.parent.mkdir()
    (tmp_path / "ann" / "clouds" / "small" / "keys" / "root.key").rename(away)
    error = ann.run("role", "add", "operator", "ben", "--key", "ben.key.pub", code=2)
    assert error["code"] == "key-missing" and held(small, "root").version == 1
    ann.run("role", "add", "operator", "ben", "--key", "ben.key.pub", "--root-key", str(away))
    assert held(small, "root").version == 2


def test_where_two_must_sign_the_first_ones_step_waits_and_the_second_sees_exactly_what_it_changes(
    small: Aside, ann: Person, person: Callable[[str], Person]
) -> None:
    deploy(ann, b"one")
    ben = add_ben(ann, person)
    assert ben.run("sign") == []
    before = small.look(lambda: [a.trusted.heads() for a in small.cloud.agents.values()])
    waits = ann.run("role", "threshold", "policy", "2", code=3)
    assert waits["code"] == "threshold-not-met" and "1 of the 2 keys" in waits["why"]
    assert "vps-1" in waits["why"] and waits["fix"] == "let another key holder run: skerry sign policy"
    assert small.look(lambda: [a.trusted.heads() for a in small.cloud.agents.values()]) == before, "all or nothing"

    (row,) = ben.run("sign")
    assert row["paths"] == ["root", "policy"] and row["signed_by"] == ["ann", "root key"]
    done = ben.run("sign", "policy", "--yes")
    assert done["accepted"] and {(c["path"], c["field"], c["new"]) for c in done["changes"]} == {
        ("root", "policy_threshold", 2), ("root", "policy_epoch", 1), ("policy", "epoch", 1),
    }  # fmt: skip
    assert held(small, "root").body.policy_threshold == 2 and len(held(small, "policy").signers) == 2
    assert ben.run("sign") == [], "what was accepted waits no more"

    ann.run("key", "new", "github", "--out", "ci.key")
    assert ann.run("role", "add", "ci", "github", "--key", "ci.key.pub", "--app", "web", code=3)["code"] == (
        "threshold-not-met"
    )
    assert ann.run("sign", "policy", "--yes", code=2)["code"] == "not-yours", "one operator twice is one"
    done = ben.run("sign", "policy", "--yes")
    assert ("policy", "roles[1].name", "github") in [(c["path"], c["field"], c["new"]) for c in done["changes"]]
    assert [role.name for role in held(small, "policy").body.roles] == ["operators", "github"]
    deploy(ann, b"two", detach=True)  # apps need one: k is said for each role


def test_a_draft_that_rests_on_what_was_replaced_is_dropped(
    small: Aside, ann: Person, person: Callable[[str], Person]
) -> None:
    ben = add_ben(ann, person)
    ann.run("role", "threshold", "policy", "2", code=3)
    ben.run("key", "new", "github", "--out", "ci.key")
    ben.run("role", "add", "ci", "github", "--key", "ci.key.pub", "--app", "web")
    assert ann.run("sign") == [] and ann.run("sign", "policy", code=2)["code"] == "nothing-waits"


def test_a_right_to_look_in_is_given_for_named_apps_and_a_time_and_signs_nothing(
    small: Aside, ann: Person, person: Callable[[str], Person]
) -> None:
    ann.run("key", "new", "eve", "--out", "eve.key")
    for wrong in (("debug",), ("debug-host", "--app", "web"), ("debug", "--app", "web", "--host", "vps-1")):
        error = ann.run("role", "add", wrong[0], "eve", "--key", "eve.key.pub", *wrong[1:], code=2)
        assert error["code"] == "bad-input" and "are to be named" in error["why"]
    before_s = time.time()
    given = ann.run("role", "add", "debug", "eve", "--key", "eve.key.pub", "--app", "web", "--until", "2h")
    assert given["asks"] == ["debug"] and given["paths"] == ["app/web"]
    assert before_s + 7200 <= given["until"] <= time.time() + 7200
    ann.run("role", "add", "debug-host", "eve-hosts", "--key", "eve.key.pub", "--host", "*")
    rows = {row["name"]: row for row in ann.run("role", "ls")}
    assert (rows["eve"]["asks"], rows["eve"]["kinds"], rows["eve"]["until"]) == (["debug"], [], given["until"])
    assert rows["eve-hosts"]["paths"] == ["node/*"] and rows["eve-hosts"]["until"] == 0
    ann.run("role", "rm", "eve")
    assert "eve" not in {row["name"] for row in ann.run("role", "ls")}


def test_an_operator_who_is_taken_away_signs_nothing_more_and_what_runs_stays(
    small: Aside, ann: Person, person: Callable[[str], Person]
) -> None:
    ben = add_ben(ann, person)
    deploy(ben, b"one")
    # Of two hosts that claimed one slot at the same time, one may still be ending its container.
    small.wait("no replica twice", lambda: sum(len(r.disk.specs) for r in small.cloud.runtimes.values()) == 2)
    runs = small.look(lambda: {name: sorted(r.disk.specs) for name, r in small.cloud.runtimes.items()})
    answer = ann.run("role", "rm", "ben")
    assert answer["signed_again"] == ["app/web", "release/web", "secret/web"]
    assert answer["secrets_it_could_read"] == ["web"]
    root, policy = held(small, "root"), held(small, "policy")
    assert isinstance(root.body, Root) and [o.name for o in root.body.operators] == ["ann"]
    assert isinstance(policy.body, Policy) and policy.body.barred == tuple(answer["barred"])
    key = small.cloud.operator.key
    for path in answer["signed_again"]:
        assert held(small, path).signers == (key,) and held(small, path).epoch == 1
    assert set(held(small, "secret/web").body.boxes) == {"node/vps-1", "node/vps-2", key}
    assert small.look(lambda: {name: sorted(r.disk.specs) for name, r in small.cloud.runtimes.items()}) == runs
    assert ben.run("ps", code=4)["code"] == "unreachable", "hosts don't know its key any more"
    assert ann.run("role", "rm", "ann", code=1)["code"] == "last-operator"


@pytest.fixture
def ci(small: Aside, ann: Person, person: Callable[[str], Person]) -> Person:
    """A CI system that may release `web`, set up as the documentation says."""
    deploy(ann, b"one")
    github = person("github")
    github.run("key", "new", "github", "--out", "ci.key")
    ann.run("role", "add", "ci", "github", "--key", "ci.key.pub", "--app", "web")
    ann.run("key", "export", "--public", "--out", "cloud.json")
    github.run("key", "import", "cloud.json", "--key", "ci.key")
    return github


RIGHTS = {
    "    user: '0'\n": "services.web.user",
    "    cap_add: [SYS_ADMIN]\n": "services.web.capabilities",
    "    ports: ['8080:80']\n": "services.web.ports",
    "    x-skerry: {scale: {max: 9, target: {cpu: 60%}}}\n": "services.web.scale",
}
COMMANDS = (
    ("scale", "web.web", "5"),
    ("rm", "web"),
    ("host", "expel", "vps-2"),
    ("role", "rm", "operators"),
    ("role", "add", "ci", "more", "--key", "other.key.pub", "--app", "other"),
)


def test_ci_deploys_a_new_image_of_its_app_and_changes_nothing_else(small: Aside, ann: Person, ci: Person) -> None:
    before = small.look(lambda: small.cloud.agents["vps-1"].trusted.heads())
    for more, field in RIGHTS.items():
        error = deploy(ci, b"two", more=more, code=3)
        assert error["code"] == "not-for-this-key" and field in error["why"]
    ci.run("key", "new", "other", "--out", "other.key")
    for command in COMMANDS:
        error = ci.run(*command, code=3)
        assert error["code"] in ("unknown-key", "role-does-not-cover"), (command, error)
    assert deploy(ci, b"two", name="other", code=3)["code"] == "role-does-not-cover"
    assert small.look(lambda: small.cloud.agents["vps-1"].trusted.heads()) == before

    answer = deploy(ci, b"two")
    assert answer["changed"] == ["release/web"] and held(small, "app/web").version == 1
    assert all(row["image"] == answer["images"]["web"] and row["healthy"] for row in ann.run("ps"))


def test_a_stolen_ci_keys_huge_version_is_cured_by_taking_the_role_away(small: Aside, ann: Person, ci: Person) -> None:
    deploy(ci, b"two", detach=True)
    good = held(small, "release/web")
    thief = Signer(_seed())
    evil = Release(images={"web": "sha256:" + "66" * 32}, fits=1, fallback=good.hash)
    raw = sign_document(
        thief, small.cloud.cloud, "release/web", evil, version=2**53, prev=good.hash,
        issued=good.issued + 1, expires=good.issued + 86400,
    )  # fmt: skip
    agent = small.cloud.agents["vps-1"]
    small.look(lambda: agent.door.offer(raw, "node/vps-2"))  # as a captured neighbour would bring it
    assert held(small, "release/web").version == 2**53
    answer = ann.run("role", "rm", "github", "--turn-back")
    cured = held(small, "release/web")
    assert (cured.epoch, cured.version) == (1, 1) and cured.body.images == good.body.images
    assert answer["turned_back"] == ["release/web"] and answer["barred"] == [thief.key]
    assert ci.run("ps", code=4)["code"] == "unreachable"
    deploy(ann, b"three", detach=True)


def _seed() -> bytes:
    import base64

    return base64.b64decode(msgspec.json.decode(Path("ci.key").read_bytes())["seed"])


def pass_days(small: Aside, monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """For everybody in this process: operators and hosts, once these have told one another."""
    real_s, then_s = time.time, time.time() + days * 86400.0
    monkeypatch.setattr(time, "time", lambda: real_s() + days * 86400.0)
    agents = small.cloud.agents.values()
    small.wait("all clocks", lambda: all(min(a.door.neighbours_s(), default=0) >= then_s for a in agents))


def test_every_command_of_an_operator_renews_what_is_past_half_its_life(
    small: Aside, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(ann, b"one")
    runs = small.look(lambda: {name: sorted(r.disk.specs) for name, r in small.cloud.runtimes.items()})
    pass_days(small, monkeypatch, 200)
    ann.run("ps")
    assert "the policy was past half its life: renewed" in ann.said and held(small, "policy").version == 2
    assert [held(small, path).version for path in ("app/web", "release/web", "secret/web")] == [2, 2, 2]
    ann.run("ps")
    assert "renewed" not in ann.said
    assert small.look(lambda: {name: sorted(r.disk.specs) for name, r in small.cloud.runtimes.items()}) == runs


def test_where_two_must_sign_a_renewal_waits_for_the_second_ones_next_command_and_expiry_is_warned_of(
    small: Aside, ann: Person, person: Callable[[str], Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    ben = add_ben(ann, person)
    ann.run("role", "threshold", "policy", "2", code=3)
    ben.run("sign", "root", "--yes")
    version = held(small, "policy").version
    pass_days(small, monkeypatch, 340)
    for _ in range(2):  # the second time nothing is added
        ann.run("ps")
        assert "the policy expires in 25 days" in ann.said and held(small, "policy").version == version
    ben.run("ps")
    assert "the policy's renewal is signed" in ben.said and held(small, "policy").version == version + 1
    ann.run("ps")
    assert "expires" not in ann.said


def test_after_the_policys_expiry_nothing_is_admitted_and_what_was_goes_on_and_is_healed(
    small: Aside, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a restart, also on another host; until an operator's next command renews the policy."""
    deploy(ann, b"one")
    pass_days(small, monkeypatch, 370)
    agents, runtimes = small.cloud.agents, small.cloud.runtimes
    app = held(small, "app/web")
    raw = small.cloud.sign("app/web", app.body, app.version + 1, prev=app.hash)
    with pytest.raises(TrustRefusal) as refusal:
        small.look(lambda: agents["vps-1"].door.offer(raw, from_client=True))
    assert refusal.value.code == "expired" and "policy" in refusal.value.why
    small.run(small.cloud.stop("vps-1"))
    small.run(small.cloud.start("vps-1"))
    small.wait("adopted", lambda: len(agents["vps-1"].containers.running()) >= 1)
    small.wait("linked", lambda: "node/vps-2" in agents["vps-1"].mesh.neighbours())
    # It has seen the other live: it need not wait for 20 s to believe that it died.
    small.wait(
        "heard", lambda: any(host.state == "up" and host.name == "vps-2" for host in agents["vps-1"].loop.core.hosts())
    )
    small.run(small.cloud.stop("vps-2"))
    small.wait("healed on the other host", lambda: len(runtimes["vps-1"].disk.specs) == 2, 60)
    small.run(small.cloud.start("vps-2"))
    ann.run("ps")
    assert "the policy was past half its life: renewed" in ann.said
    deploy(ann, b"two", detach=True)


def test_values_of_the_environment_stand_in_clear_nowhere_but_in_the_container(
    small: Aside, ann: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "s3cret-that-nobody-may-read"
    deploy(ann, b"one", token=token)
    specs = small.look(lambda: [s for r in small.cloud.runtimes.values() for s in r.disk.specs.values()])
    assert specs and all(f"{token}" in str(spec.environment) for spec in specs)
    for row in ann.run("ps"), ann.run("events"), ann.run("explain", "web"), ann.run("status"):
        assert token not in json.dumps(row)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "compose.yaml"]
    assert len(files) > 20
    assert not [path for path in files if token.encode() in path.read_bytes()], "on no disk of a host or an operator"


def test_a_host_without_a_box_is_no_candidate(small: Aside, ann: Person) -> None:
    deploy(ann, b"one")
    secret, app = held(small, "secret/web"), held(small, "app/web")
    assert isinstance(secret.body, Secret) and isinstance(app.body, App)
    key = seal.content_key(small.cloud.sealing, small.cloud.operator.key, secret)
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", app.body.services["web"].environment["TOKEN"]) and len(key) == 32
    boxes = {holder: box for holder, box in secret.body.boxes.items() if holder != "node/vps-2"}
    raw = small.cloud.sign(
        "secret/web", msgspec.structs.replace(secret.body, boxes=boxes), secret.version + 1, prev=secret.hash
    )
    small.look(lambda: small.cloud.agents["vps-1"].door.offer(raw, from_client=True))
    small.wait("both replicas on vps-1", lambda: len(small.cloud.runtimes["vps-1"].disk.specs) == 2)
    order = {row["node"]: row["answer"] for row in ann.run("explain", "web/0")["web.web/0"]["order"]}
    assert order["vps-2"] == "no candidate" and order["vps-1"] != "no candidate"


def test_expelling_a_host_names_the_secrets_that_it_could_read(small: Aside, ann: Person) -> None:
    deploy(ann, b"one")
    assert ann.run("host", "expel", "vps-2")["secrets_it_could_read"] == ["web"]
    small.wait("cut off", lambda: not small.cloud.agents["vps-1"].mesh.neighbours())
    small.wait("healed", lambda: len(small.cloud.runtimes["vps-1"].disk.specs) == 2)


LIES = {
    "no hello": lambda nonce: [b"\xff\x00"],
    "no json": lambda nonce: [json.dumps({"node": "node/vps-1", "nonce": nonce}).encode(), b"{"],
    "no object": lambda nonce: [json.dumps({"node": "node/vps-1", "nonce": nonce}).encode(), b"[1, 2]"],
    "no heads": lambda nonce: [json.dumps({"node": "node/vps-1", "nonce": nonce}).encode(), b'{"item": [1]}', b'{"end": 1}'],
    "absurd heads": lambda nonce: [
        json.dumps({"node": "node/vps-1", "nonce": nonce}).encode(), b'{"item": {"app/x": [1e99, "", null]}}', b'{"end": 1}',
    ],
    "an odd error": lambda nonce: [json.dumps({"node": "node/vps-1", "nonce": nonce}).encode(), b'{"error": "no"}'],
}  # fmt: skip


def test_whatever_a_captured_host_answers_the_next_one_is_asked(small: Aside, ann: Person, tmp_path: Path) -> None:
    cloud = small.cloud
    trusted = cloud.agents["vps-1"].trusted
    small.run(cloud.stop("vps-1"))
    files = cloud.files["vps-1"]
    told: list[str] = []
    lie = ""

    async def answer(stream: Stream, who: str) -> None:
        told.append(lie)
        first, *rest = LIES[lie]("n" * 32)
        await send_bytes(stream, first)
        if rest:
            await recv_bytes(stream, timeout_s=5)
        for part in rest:
            await send_bytes(stream, part)
        await stream.wait_closed()

    async def begin() -> Mesh:
        mesh = Mesh(
            "node/vps-1", files.certificate, files.private_pem(), tmp_path, on_link=lambda *_: None,
            on_frame=lambda *_: None, handlers={"/request": answer},
        )  # fmt: skip
        mesh.set_clients(trusted.client_certificates())
        await mesh.serve("127.0.0.1", cloud.ports["vps-1"])
        return mesh

    mesh = small.run(begin())
    try:
        for lie in LIES:
            assert {row["name"] for row in ann.run("role", "ls")} == {"root", "policy", "operators"}, lie
        assert set(told) == set(LIES)
    finally:
        small.run(mesh.close())
