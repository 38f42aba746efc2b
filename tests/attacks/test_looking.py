"""Design section 7, rule 5, and section 6: who may not look into a container can't, whatever key it has; nor twice by one request."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agent.small import Aside, SmallCloud
from attacks.captured import ANSWER_S, Thief
from skerry.core.intent import Policy, Role, Service
from skerry.mesh.dial import Identity
from skerry.mesh.messages import recv_bytes, send_bytes
from skerry.trust.identity import Signer, certificate, private_pem
from skerry.trust.requests import make_request

VERBS = ("ls", "cat", "tree", "would", "put", "procs", "sockets", "files", "capture")
ROLES: dict[str, dict[str, Any]] = {
    "ci": {"kinds": ("release",), "paths": ("release/web",)},
    "debugs-other": {"asks": ("debug",), "paths": ("app/other",)},
    "debugs-host": {"asks": ("debug-host",), "paths": ("node/*",)},
    "observes": {"asks": ("observe",), "paths": ("app/*", "node/*")},
    "debugged-once": {"asks": ("debug",), "paths": ("app/*",), "until": time.time() - 60},
    "debugs": {"asks": ("debug",), "paths": ("app/web",)},
}


class Asker:
    """Somebody with a key, who asks vps-1 on `/look`, over TLS by that key."""

    def __init__(self, aside: Aside, thief: Thief, signer: Signer, der: bytes) -> None:
        self.aside, self.thief, self.signer = aside, thief, signer
        self.identity = Identity(der, private_pem(signer.seed))
        self.last = b""

    def ask(self, what: str, *, slot: str = "web.web/0", verb: str = "look", again: bytes = b"") -> dict[str, Any]:
        """The answer's first message: the error, or what was shown."""
        return self.aside.run(self._ask({"slot": slot, "what": what, "write": what == "put"}, verb, again))

    async def _ask(self, args: dict[str, Any], verb: str, again: bytes) -> dict[str, Any]:
        stream = await self.thief.open("vps-1", "/look", self.identity)
        try:
            hello = msgspec.json.decode(await recv_bytes(stream, timeout_s=ANSWER_S))
            cloud = self.thief.cloud.cloud
            self.last = again or make_request(self.signer, cloud, "node/vps-1", verb, args, hello["nonce"], time.time())
            await send_bytes(stream, self.last)
            answer = await recv_bytes(stream, timeout_s=ANSWER_S)
            assert answer[:1] == b"e", "shown"
            return dict(msgspec.json.decode(answer[1:]))
        finally:
            await stream.close()


class Scene:
    def __init__(self, aside: Aside) -> None:
        self.aside, self.thief = aside, Thief(aside.cloud, "vps-2")
        self.keys = {name: Signer(secrets.token_bytes(32)) for name in ROLES}
        self.ders = {name: certificate(key.seed, name, secrets.randbits(63)) for name, key in self.keys.items()}
        agent = aside.cloud.agents["vps-1"]
        held = agent.trusted.policy
        assert held is not None
        assert isinstance(held.body, Policy)
        roles = tuple(
            Role(
                name=name,
                keys=(key.key,),
                certificates={key.key: base64.b64encode(self.ders[name]).decode()},
                **ROLES[name],
            )
            for name, key in self.keys.items()
        )
        body = msgspec.structs.replace(held.body, roles=(*held.body.roles, *roles))
        raw = aside.cloud.sign("policy", body, held.version + 1, prev=held.hash)
        aside.look(lambda: agent.door.offer(raw, from_client=True))

    def who(self, name: str) -> Asker:
        return Asker(self.aside, self.thief, self.keys[name], self.ders[name])

    def events(self) -> list[str]:
        return [entry.reason for entry in self.aside.cloud.agents["vps-1"].events.tail(200) if entry.kind == "debug"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    cloud = SmallCloud(tmp_path_factory.mktemp("looking"), 2)
    with Aside(cloud) as aside:
        aside.wait("links", lambda: all(len(a.mesh.neighbours()) == 1 for a in cloud.agents.values()))
        image = aside.look(lambda: cloud.give_image(b"an app", "vps-1"))
        service = Service(command=("/app",), constraints=("node==vps-1",))
        aside.look(lambda: cloud.deploy("web", service, image))
        aside.wait("the app", lambda: bool(cloud.runtimes["vps-1"].disk.specs))
        yield Scene(aside)


@pytest.mark.parametrize("name", ["ci", "debugs-other", "debugs-host", "observes"])
def test_another_key_sees_nothing_and_is_told_why(scene: Scene, name: str) -> None:
    for what in VERBS:
        refused = scene.who(name).ask(what)
        assert (refused["code"], refused["exit_code"]) == ("verb-not-allowed", 3), what
        assert name in refused["why"]
    assert scene.events() == []


def test_a_right_that_has_ended_is_none(scene: Scene) -> None:
    assert scene.who("debugged-once").ask("cat")["code"] == "unknown-key"
    assert scene.events() == []


def test_a_captured_host_sees_nothing_of_anothers_containers(scene: Scene) -> None:
    asker = Asker(scene.aside, scene.thief, scene.thief.signer, scene.thief.identity.certificate_der)
    for what in VERBS:
        assert asker.ask(what)["code"] == "unknown-key"
    assert scene.events() == []


def test_a_recorded_request_is_good_once(scene: Scene) -> None:
    asker = scene.who("debugs")
    assert asker.ask("cat")["code"] == "nothing-to-see"  # allowed: but this cloud's containers have no files
    assert asker.ask("cat", again=asker.last)["code"] == "request-refused"
    assert scene.events() == []


def test_other_verbs_slots_and_arguments_are_refused_by_name(scene: Scene) -> None:
    asker = scene.who("debugs")
    assert asker.ask("cat", verb="debug")["code"] == "verb-not-allowed"
    assert asker.ask("cat", verb="heads")["code"] == "verb-not-allowed"
    assert asker.ask("cat", slot="other.web/0")["code"] == "verb-not-allowed"
    assert asker.ask("cat", slot="../../etc")["code"] == "bad-input"
    assert asker.ask("rm")["code"] == "bad-input"
    assert asker.ask("cat", slot="web.web/7")["code"] == "nothing-to-see"
