"""Design section 7, rule 1, and the table of section 6: what a stolen key can't sign, tried over real links.

Each record is pushed over the captured host's own link, asked about there, and handed over by `put`; then everything that the
honest hosts hold and run is compared with before.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from attacks.captured import Thief
from attacks.conftest import HONEST, Scene
from skerry.core.facts import Alarm, Claim, Lost, Sent, SlotState
from skerry.core.intent import Alert, App, Node, Policy, Receiver, Release, Secret, Service, Silence
from skerry.trust import envelope, genesis, seal
from skerry.trust.identity import Signer, certificate, sealing_public, wireguard_public
from skerry.trust.refusals import CannotOpen

Forge = Callable[[Thief, Scene], bytes]
SENT = Sent(round=1, since=1.0, time=1.0, told=("ops",))
EVIL = "sha256:" + "66" * 32


def body_of(scene: Scene, path: str) -> Any:
    document = scene.cloud.agents["vps-1"].trusted.document(path)
    assert document is not None
    return document.body


def right_for_itself(thief: Thief, scene: Scene) -> bytes:
    web = Service(command=("/app",), capabilities=("SYS_ADMIN",), user="0:0")
    return thief.next_of("app/web", App(services={"web": web}))


def own_code(thief: Thief, scene: Scene) -> bytes:
    return thief.next_of("release/web", Release(images={"web": EVIL}, fits=1))


def new_app(thief: Thief, scene: Scene) -> bytes:
    return thief.next_of("app/miner", App(services={"miner": Service(command=("/mine",))}))


def own_receiver(thief: Thief, scene: Scene) -> bytes:
    """To be told what is wrong, and to have the others be silent about it."""
    return thief.next_of("alert/thief", Alert(receiver=Receiver(kind="webhook"), silences=(Silence(until=1e12),)))


def own_role(thief: Thief, scene: Scene) -> bytes:
    role = genesis.operators_role([thief.signer.key])
    return thief.next_of("policy", Policy(roles=(role,)))


def own_root(thief: Thief, scene: Scene) -> bytes:
    root = body_of(scene, "root")
    return thief.next_of("root", msgspec.structs.replace(root, keys=(thief.signer.key,)))


def another_first_root(thief: Thief, scene: Scene) -> bytes:
    person = genesis.operator("eve", secrets.token_bytes(32), secrets.token_bytes(32), 1)
    return genesis.first_root([thief.signer], [person], issued=time.time(), expires=time.time() + 86400)


def host_with_its_keys(thief: Thief, scene: Scene) -> bytes:
    held = body_of(scene, "node/vps-1")
    own = body_of(scene, thief.path)
    keys = {name: getattr(own, name) for name in ("signing", "sealing", "wireguard", "certificate")}
    return thief.next_of("node/vps-1", msgspec.structs.replace(held, **keys))


def host_of_its_own(thief: Thief, scene: Scene) -> bytes:
    seed = secrets.token_bytes(32)
    body = Node(
        signing=Signer(seed).key, sealing=sealing_public(seed), wireguard=wireguard_public(seed),
        certificate=base64.b64encode(certificate(seed, "x", 1)).decode(), addresses=("127.0.0.1:1",),
        subnet="10.77.99.0/24", salt="s",
    )  # fmt: skip
    return thief.next_of("node/vps-9", body)


def better_order(thief: Thief, scene: Scene) -> bytes:
    return thief.next_of(thief.path, msgspec.structs.replace(body_of(scene, thief.path), weight=10_000, salt="mine"))


def expulsion(thief: Thief, scene: Scene) -> bytes:
    return thief.next_of("node/vps-1", msgspec.structs.replace(body_of(scene, "node/vps-1"), state="expelled"))


def secret_for_itself(thief: Thief, scene: Scene) -> bytes:
    box = seal.make_box(secrets.token_bytes(32), sealing_public(thief.sealing), secrets.token_bytes(32))
    return thief.next_of("secret/web", Secret(key_id="k", boxes={thief.path: box}))


BY_A_HOST: list[Forge] = [
    right_for_itself, own_code, new_app, own_role, own_root, another_first_root, host_with_its_keys, host_of_its_own,
    better_order, expulsion, secret_for_itself, own_receiver,
]  # fmt: skip


@pytest.mark.parametrize("forge", BY_A_HOST, ids=lambda f: f.__name__)
def test_a_captured_host_signs_no_intent(scene: Scene, forge: Forge) -> None:
    attack_by_all_ways(scene, scene.aside.look(lambda: forge(scene.thief, scene)))


def test_a_captured_host_speaks_for_no_other(scene: Scene) -> None:
    """Its own signature under another's name is refused; a false one under another's key costs it the link."""
    thief, before = scene.thief, scene.world.look()
    claim = Claim(spec="0" * 16, image=scene.image, rank=0, reason="mine")
    state = SlotState(spec="0" * 16, image=scene.image, state="running", address="10.77.3.9", healthy=True)
    forged = [
        thief.fact("claim", "web.web/0", claim, seq=(10**6, 1), node="node/vps-1"),
        thief.fact("claim", "web.web/0", None, seq=(10**6, 2), node="node/vps-1"),
        thief.fact("slot", "web.web/0", state, seq=(10**6, 3), node="node/vps-1"),
        thief.fact("lost", "node/vps-2", Lost(boot=10**6, beat=1), seq=(10**6, 4), node="node/vps-1"),
        thief.fact("sent", "disk:vps-2", SENT, seq=(10**6, 5), node="node/vps-1"),
        thief.fact("alarm", "disk:vps-1", Alarm(since=1.0, why="a lie")),
    ]
    for raw in forged:
        attack_by_all_ways(scene, raw)
    envelope_of = envelope.parse(forged[0])
    owner = body_of(scene, "node/vps-1").signing
    framed = msgspec.json.encode(
        envelope.Envelope(
            envelope_of.payload,
            envelope_of.payloadType,
            (envelope.Signature(owner, envelope_of.signatures[0].sig),),
        )
    )

    async def push() -> bool:
        link = await thief.link("vps-2")
        try:
            await link.send(framed)
            return await link.settle()
        finally:
            await link.close()

    assert scene.aside.run(push()) is False, "the link was cut"
    assert scene.world.told("vps-2", "false-signature")
    scene.calm()
    assert scene.world.look() == before


def test_a_captured_host_reads_no_secret_that_is_not_sealed_to_it(scene: Scene) -> None:
    key = secrets.token_bytes(32)
    boxes = {
        path: seal.make_box(key, body_of(scene, path).sealing, secrets.token_bytes(32))
        for path in ("node/vps-1", "node/vps-2")
    }
    for box in boxes.values():
        with pytest.raises(CannotOpen):
            seal.open_box(scene.thief.sealing, box)


@pytest.mark.parametrize("forge", [own_role, own_root, another_first_root], ids=lambda f: f.__name__)
def test_one_operator_key_of_two_changes_neither_policy_nor_root(scene: Scene, forge: Forge) -> None:
    """The captured host passes on what one stolen operator key has signed."""
    thief, operator = scene.thief, scene.cloud.operator
    raw = scene.aside.look(lambda: forge(thief, scene))
    payload = msgspec.json.decode(envelope.parse(raw).payload)
    again = envelope.sign(envelope.parse(raw).kind, msgspec.json.encode(payload), [operator])
    attack_by_all_ways(scene, again, key=operator)


def test_one_operator_key_of_two_signs_what_one_may_sign(scene: Scene) -> None:
    """The other half of the row: apps and hosts are one operator's to change where policy says one."""
    thief, operator = scene.thief, scene.cloud.operator
    app = scene.aside.look(lambda: body_of(scene, "app/web"))
    raw = scene.aside.look(lambda: thief.next_of("app/web", msgspec.structs.replace(app, fallback=""), operator))
    before = scene.aside.look(lambda: scene.cloud.agents["vps-1"].trusted.heads()["app/web"])
    scene.aside.run(over_link(scene, "vps-1", raw))
    after = scene.aside.look(lambda: scene.cloud.agents["vps-1"].trusted.heads()["app/web"])
    assert after[1] == before[1] + 1


def ci_forgeries(thief: Thief, scene: Scene, ci: Signer) -> dict[str, bytes]:
    release = body_of(scene, "release/web")
    return {
        "rights": thief.next_of("app/web", App(services={"web": Service(user="0:0")}), ci),
        "another app": thief.next_of("release/other", Release(images={"other": EVIL}, fits=1), ci),
        "a host": thief.next_of("node/vps-1", msgspec.structs.replace(body_of(scene, "node/vps-1"), weight=0), ci),
        "its own role": own_role(thief, scene).replace(thief.signer.key.encode(), ci.key.encode()),
        "a secret": thief.next_of("secret/web", Secret(key_id="k", boxes={}), ci),
        "in a later epoch": thief.next_of("release/web", release, ci, epoch=1, version=1),
    }


def test_a_stolen_ci_key_releases_its_app_and_nothing_else(scene: Scene) -> None:
    thief, ci = scene.thief, Signer(secrets.token_bytes(32))
    der = certificate(ci.seed, "ci", 3)
    agents = scene.cloud.agents

    def give_role() -> None:
        policy = body_of(scene, "policy")
        roles = (*policy.roles, genesis.ci_role("ci", ci.key, der, ["web"]))
        raw = thief.next_of(
            "policy", msgspec.structs.replace(policy, roles=roles), scene.cloud.operator, scene.cloud.second
        )
        agents["vps-1"].door.offer(raw, from_client=True)

    scene.aside.look(give_role)
    scene.aside.wait("the role", lambda: all(len(agents[n].trusted.roles()) == 2 for n in HONEST))
    for raw in scene.aside.look(lambda: ci_forgeries(thief, scene, ci)).values():
        attack_by_all_ways(scene, raw, key=ci)
    own = scene.aside.look(lambda: thief.next_of("release/web", body_of(scene, "release/web"), ci))
    scene.aside.run(over_link(scene, "vps-1", own))
    scene.aside.wait("its release", lambda: agents["vps-2"].trusted.document("release/web").signers == (ci.key,))


@pytest.mark.parametrize("held", ["policy", "node/vps-1", "app/web", "release/web"])
def test_what_was_once_signed_does_not_come_back(scene: Scene, held: str) -> None:
    """Rollback: validly signed, but older than what is held; whoever brings it is shown the newer one."""
    agents = scene.cloud.agents
    old = scene.aside.look(lambda: agents["vps-1"].records.get(held))
    assert old is not None
    body = scene.aside.look(lambda: body_of(scene, held))
    signers = (scene.cloud.operator, scene.cloud.second)
    newer = scene.aside.look(lambda: scene.thief.next_of(held, body, *signers))
    scene.aside.look(lambda: agents["vps-1"].door.offer(newer, from_client=True))
    scene.aside.wait(
        "the newer one", lambda: len({agents[n].trusted.heads()[held] for n in HONEST}) == 1
        and agents["vps-2"].records.get(held) == newer,
    )  # fmt: skip
    attack_by_all_ways(scene, old)


def test_a_record_of_another_cloud_a_cut_one_and_a_too_big_one_are_each_refused_by_name(scene: Scene) -> None:
    thief = scene.thief
    app = scene.aside.look(lambda: body_of(scene, "app/web"))
    operator = scene.cloud.operator
    good = scene.aside.look(lambda: thief.next_of("app/web", app, operator))
    opened = envelope.parse(good)
    sig = opened.signatures[0].sig
    wrong = {
        "wrong-cloud": scene.aside.look(lambda: thief.next_of("app/web", app, operator, cloud="ab" * 32)),
        "malformed": good[: len(good) // 2],
        "too-big": scene.aside.look(
            lambda: thief.next_of("app/web", App(services={"web": Service(command=("x" * 66_000,))}), operator)
        ),
        "false-signature": msgspec.json.encode(
            envelope.Envelope(
                opened.payload, opened.payloadType, (envelope.Signature(operator.key, bytes([sig[0] ^ 1]) + sig[1:]),)
            )
        ),
        "from-the-future": scene.aside.look(
            lambda: thief.next_of("app/web", app, operator, issued=time.time() + 3600, expires=time.time() + 7200)
        ),
        "expired": scene.aside.look(
            lambda: thief.next_of("app/web", app, operator, issued=time.time() - 60, expires=time.time() - 10)
        ),
    }
    before = scene.world.look()
    scene.aside.look(scene.cloud.agents["vps-1"].links._told.clear)  # few things of one neighbour are told in a minute
    for code, raw in wrong.items():
        scene.aside.run(over_link(scene, "vps-1", raw))
        assert scene.world.told("vps-1", f"({code})"), code
    scene.calm()
    assert scene.world.look() == before


def test_a_captured_host_asks_no_request_and_fills_no_disk(scene: Scene) -> None:
    """Requests are for operators and roles; uploads for clients. In the name of an operator it lacks the key."""
    thief = scene.thief
    for verb in (
        "ps",
        "put",
        "draft",
        "drafts",
        "logs",
        "volume-rm",
        "events",
        "metrics",
        "audit",
        "alerts",
        "alert-test",
    ):
        answer = scene.aside.run(thief.ask("vps-1", verb, {}))
        assert answer["error"]["code"] == "unknown-key", verb

    async def upload() -> str:
        stream = await thief.open("vps-1", "/objects/put")
        await stream.wait_closed()
        return str(stream.close_reason)

    assert "they don't hand over" in scene.aside.run(upload())


def test_a_captured_hosts_certificate_opens_no_link_in_anothers_name(scene: Scene) -> None:
    """A link's name is the key's: facts that come over it change nothing of that."""
    link = scene.aside.run(scene.thief.link("vps-1"))
    scene.aside.wait("the link", lambda: "node/vps-3" in scene.cloud.agents["vps-1"].mesh.neighbours())
    assert scene.aside.look(lambda: sorted(scene.cloud.agents["vps-1"].mesh.neighbours())) == [
        "node/vps-2",
        "node/vps-3",
    ]
    scene.aside.run(link.close())


async def over_link(scene: Scene, target: str, *raws: bytes) -> bool:
    """Whether the other end says that it keeps them."""
    link = await scene.thief.link(target)
    try:
        await link.send(*raws)
        return await link.settle() and await link.holds(*raws)
    finally:
        await link.close()


def attack_by_all_ways(scene: Scene, raw: bytes, *, key: Signer | None = None) -> None:
    """Over a link and by `put`, to each honest host. Nothing may have changed when all is done."""
    before = scene.world.look()
    for target in HONEST:
        assert not scene.aside.run(over_link(scene, target, raw)) or _older(scene, target, raw)
        answer = scene.aside.run(scene.thief.ask(target, "put", {}, key=key, attached=[raw]))
        assert "error" in answer, answer
    scene.calm()
    assert scene.world.look() == before


def _older(scene: Scene, target: str, raw: bytes) -> bool:
    """Held already, or as an older one by its hash: what is new and forged never is."""
    hash = envelope.parse(raw).hash
    records = scene.cloud.agents[target].records
    return bool(scene.aside.look(lambda: records.by_hash(hash) is not None))
