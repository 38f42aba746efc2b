"""Strangers at the port for machines, and keepers that are captured: who gets in, and what a keeper can't do.

The pool is kept by vps-1 and vps-2; the third host's keys are a thief's, in some tests those of a keeper.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.burst import BUNDLE, Burst, Guest, say
from agent.small import Aside, SmallCloud
from skerry.core.facts import Machine
from skerry.core.intent import App, Node, Secret
from skerry.core.records import MachineSlot
from skerry.errors import TrustRefusal
from skerry.machines.contract import Server, name_of
from skerry.trust import joining, seal
from skerry.trust.checks_pool import salt_of, subnet_of
from skerry.trust.documents import sign_document
from skerry.trust.identity import Signer


@pytest.fixture(scope="module")
def aside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    with Aside(SmallCloud(tmp_path_factory.mktemp("joining"), 3)) as made:
        made.wait("links", lambda: all(len(a.mesh.neighbours()) == 2 for a in made.cloud.agents.values()))
        yield made


@pytest.fixture(scope="module")
def burst(aside: Aside) -> Burst:
    made = aside.look(lambda: Burst(aside.cloud, max=60, network="10.77.128.0/18"))
    aside.wait("open doors", lambda: all(aside.cloud.agents[name].enrolling.port for name in made.keepers))
    return made


@pytest.fixture
def index(request: pytest.FixtureRequest) -> int:
    """A machine slot for each test: what one leaves is nobody else's."""
    request.session.stash.setdefault(COUNT, [0])[0] += 1
    return request.session.stash[COUNT][0]


COUNT: pytest.StashKey[list[int]] = pytest.StashKey()


@pytest.fixture
def guest(tmp_path: Path, aside: Aside) -> Guest:
    return Guest(tmp_path / "guest", aside.cloud.cloud)


def refused(answer: dict[str, Any], code: str) -> None:
    assert answer.get("error", {}).get("code") == code, answer


def nobody(aside: Aside, burst: Burst, index: int) -> None:
    assert all(aside.look(lambda n=name: burst.node(index, n)) is None for name in aside.cloud.agents)  # type: ignore[misc]


def test_a_machine_that_merely_exists_gets_nobody_in(aside: Aside, burst: Burst, index: int, guest: Guest) -> None:
    """A stolen provider token made it, under our very name, with user data of its own."""
    name = name_of(aside.cloud.cloud, MachineSlot("burst", index))
    aside.cloud.servers.append(Server("666", name, "active", ("127.0.0.1",), tags=("skerry",)))
    for token in ("", "guessed", "x" * 5000):
        refused(guest.enrol(burst.meet()[0], f"burst/{index}", token), "token-refused")
    refused(guest.fetch(burst.meet()[0], burst.bundle, f"burst/{index}", "guessed")[0], "token-refused")
    nobody(aside, burst, index)


def test_a_token_counts_only_from_the_address_that_the_provider_gives(
    aside: Aside, burst: Burst, index: int, tmp_path: Path
) -> None:
    token = aside.look(lambda: burst.expect(index))
    thief = Guest(tmp_path / "thief", aside.cloud.cloud, source="127.0.0.9")
    refused(thief.enrol(burst.meet()[0], f"burst/{index}", token), "address-refused")
    nobody(aside, burst, index)
    right = Guest(tmp_path / "right", aside.cloud.cloud)
    assert "join" in right.enrol(burst.meet()[0], f"burst/{index}", token)


def test_the_provider_is_not_asked_by_strangers_nor_often_by_anybody(
    aside: Aside, burst: Burst, index: int, tmp_path: Path
) -> None:
    token = aside.look(lambda: burst.expect(index))
    thief = Guest(tmp_path / "thief", aside.cloud.cloud, source="127.0.0.9")
    before = len(aside.cloud.asked)
    for _ in range(5):
        refused(thief.enrol(burst.meet()[0], f"burst/{index}", "guessed"), "token-refused")
    assert len(aside.cloud.asked) == before
    for _ in range(5):
        refused(thief.enrol(burst.meet()[0], f"burst/{index}", token), "address-refused")
    assert len(aside.cloud.asked) <= before + 2


def test_a_token_is_good_once(aside: Aside, burst: Burst, index: int, tmp_path: Path) -> None:
    """Used again with other keys it is refused, at every keeper; the machine itself, whose answer was lost, is answered again."""
    token = aside.look(lambda: burst.expect(index))
    right, second = (Guest(tmp_path / name, aside.cloud.cloud) for name in ("right", "second"))
    assert "join" in right.enrol(burst.meet()[0], f"burst/{index}", token)
    aside.wait("both to know", lambda: burst.node(index, "vps-2") is not None)
    for point in burst.meet():
        refused(second.enrol(point, f"burst/{index}", token), "machine-enrolled")
        assert "join" in right.enrol(point, f"burst/{index}", token)
    assert aside.look(lambda: burst.node(index)).signing == right.keys.signing


def test_the_token_of_another_slot_and_one_that_is_over_don_t_count(
    aside: Aside, burst: Burst, index: int, guest: Guest
) -> None:
    token = aside.look(lambda: burst.expect(index))
    refused(guest.enrol(burst.meet()[0], f"burst/{index + 30}", token), "token-refused")
    refused(guest.enrol(burst.meet()[0], f"boost/{index}", token), "not-kept-here")
    for over in ({"token_until": time.time() - 1}, {"state": "returning"}, {"state": "failed"}, {"state": "joined"}):
        token = aside.look(lambda o=over: burst.expect(index, **o))  # type: ignore[misc]
        refused(guest.enrol(burst.meet()[0], f"burst/{index}", token), "token-refused")
    nobody(aside, burst, index)


def test_only_keepers_of_the_pool_make_tokens(aside: Aside, burst: Burst, index: int, guest: Guest) -> None:
    """A captured host that keeps nothing says what a keeper would say."""
    token = aside.look(lambda: burst.expect(index, by="vps-3"))
    aside.wait("it is heard", lambda: bool(aside.cloud.agents["vps-1"].loop.core.said("machine", f"burst/{index}")))
    refused(guest.enrol(burst.meet()[0], f"burst/{index}", token), "token-refused")
    nobody(aside, burst, index)


def test_who_does_not_hold_the_keys_that_it_names_is_refused(
    aside: Aside, burst: Burst, index: int, tmp_path: Path
) -> None:
    token = aside.look(lambda: burst.expect(index))
    guest, other = (Guest(tmp_path / name, aside.cloud.cloud) for name in ("guest", "other"))
    point, slot = burst.meet()[0], f"burst/{index}"
    refused(guest.enrol(point, slot, token, keys=other.keys), "false-signature")
    mixed = msgspec.structs.replace(guest.keys, sealing=other.keys.sealing)
    refused(guest.enrol(point, slot, token, keys=mixed), "false-signature")
    refused(guest.enrol(point, slot, token, keys=msgspec.structs.replace(guest.keys, wireguard="zz")), "out-of-bounds")
    refused(guest.enrol(point, slot, token, proof="AAAA"), "out-of-bounds")
    nobody(aside, burst, index)


def test_the_keys_of_a_fixed_host_don_t_become_a_machine(aside: Aside, burst: Burst, index: int, guest: Guest) -> None:
    """Else a captured keeper could give another host's facts a second author."""
    token = aside.look(lambda: burst.expect(index))
    files = aside.cloud.files["vps-3"]
    guest.files, guest.signer = files, Signer(files.seed("signing"))
    own = files.public_keys()
    guest.keys = joining.Keys(own.signing, own.sealing, own.wireguard, own.certificate)
    refused(guest.enrol(burst.meet()[0], f"burst/{index}", token), "conflicting")
    nobody(aside, burst, index)


def test_only_the_agent_of_the_pool_s_document_is_given(aside: Aside, burst: Burst, index: int, guest: Guest) -> None:
    token = aside.look(lambda: burst.expect(index))
    other = aside.look(lambda: aside.cloud.agents["vps-1"].objects.put(b"a thief's agent"))
    refused(guest.fetch(burst.meet()[0], other, f"burst/{index}", token)[0], "not-kept-here")
    answer, data = guest.fetch(burst.meet()[0], burst.bundle, f"burst/{index}", token)
    assert (answer, data) == ({"size": len(BUNDLE)}, BUNDLE)


def test_a_flood_of_strangers_gets_little_and_the_machine_gets_in(
    aside: Aside, burst: Burst, index: int, guest: Guest
) -> None:
    """Connections that say nothing, that speak no TLS, that say too much; from a few addresses, all at once."""
    token = aside.look(lambda: burst.expect(index))
    point = burst.meet()[0]
    port = int(point.address.rpartition(":")[2])
    held: list[Any] = []
    for n in range(40):
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", port), 5, source_address=(f"127.0.1.{n % 4 + 1}", 0)))
    talkers = [
        Guest(guest.files.state.parent / f"flood-{n}", guest.cloud, source=f"127.0.2.{n % 3 + 1}") for n in range(6)
    ]
    loud = b"x" * (joining.LINE_BYTES * 4)

    def talk(one: Guest) -> None:
        with contextlib.suppress(OSError), one.line(point) as file:
            file.readline()
            file.write(loud)
            file.flush()
            assert file.read() == b""

    threads = [threading.Thread(target=talk, args=(one,)) for one in talkers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    answer = guest.enrol(point, f"burst/{index}", token)
    assert "join" in answer, answer
    enrolling = aside.cloud.agents["vps-1"].enrolling
    assert aside.look(lambda: (sum(enrolling._strangers.values()), enrolling._guests)) == (0, 0)
    for each in held:
        each.close()


@pytest.mark.parametrize("line", [
    b"{}\n", b"[]\n", b"null\n", b'{"bundle": 1}\n', b'{"enrol": {}}\n', b"\xff\xfe\n", b'{"a": ' * 500 + b"\n",
    b'{"bundle": {"hash": "x", "slot": "burst/1", "token": "x", "more": 1}}\n',
    b'{"bundle": {"hash": "../../etc/shadow", "slot": "burst/../1", "token": "x"}}\n',
])  # fmt: skip
def test_what_is_not_well_formed_is_refused_in_one_line(aside: Aside, burst: Burst, guest: Guest, line: bytes) -> None:
    with guest.line(burst.meet()[0]) as file:
        file.readline()
        file.write(line)
        file.flush()
        answer = msgspec.json.decode(file.readline())
        assert answer["error"]["code"] in ("bad-format", "not-kept-here")
        assert file.read() == b""


# -- a captured keeper


@pytest.fixture
def keeper(aside: Aside, burst: Burst) -> Callable[..., TrustRefusal | None]:
    """Sign as vps-1's keeper key does, and hand it to vps-3 as a neighbour would: what it says to that."""
    signer = aside.cloud.files["vps-1"].keeper()
    trusted = aside.cloud.agents["vps-3"].trusted

    def try_it(path: str, body: Any) -> TrustRefusal | None:
        held = trusted.document(path)
        now_s = time.time()
        raw = sign_document(
            signer, aside.cloud.cloud, path, body, epoch=trusted.epoch(path),
            version=held.version + 1 if held is not None else 1, prev=held.hash if held is not None else "",
            issued=now_s, expires=now_s + 86400,
        )  # fmt: skip

        def offer() -> TrustRefusal | None:
            try:
                aside.cloud.agents["vps-3"].door.offer(raw)
            except TrustRefusal as refusal:
                return refusal
            return None

        return aside.look(offer)

    return try_it


@pytest.fixture
def machine(aside: Aside, burst: Burst, index: int, guest: Guest) -> Node:
    """An enrolment that a keeper may sign."""
    keys, slot = guest.keys, MachineSlot("burst", index)
    return Node(
        signing=keys.signing, sealing=keys.sealing, wireguard=keys.wireguard, certificate=keys.certificate,
        addresses=("127.0.0.1:7077",), subnet=subnet_of(burst.pool, index), salt=salt_of(aside.cloud.cloud, slot),
        zone="fra1", weight=burst.pool.weight, labels=burst.pool.labels, bundle=burst.bundle,
    )  # fmt: skip


def test_a_captured_keeper_enrols_nothing_but_machines_of_its_pool_as_the_pool_says(
    aside: Aside, burst: Burst, index: int, machine: Node, keeper: Callable[..., TrustRefusal | None]
) -> None:
    path, change = f"node/burst/{index}", msgspec.structs.replace
    assert all(aside.look(lambda n=name: aside.cloud.agents[n].trusted.document("pool/burst")) for name in ("vps-3",))  # type: ignore[misc]
    for what, body in {
        "weight": change(machine, weight=10_000),
        "labels": change(machine, labels={"disk": "ssd"}),
        "salt": change(machine, salt="0000"),
        "subnet": change(machine, subnet="10.77.2.0/24"),
        "zone": change(machine, zone="b"),
    }.items():
        refusal = keeper(path, body)
        assert refusal is not None and refusal.code == "out-of-pool", what
    beyond = burst.pool.max
    for slot in (beyond, 249):
        refusal = keeper(
            f"node/burst/{slot}", change(machine, salt=salt_of(aside.cloud.cloud, MachineSlot("burst", slot)))
        )
        assert refusal is not None and refusal.code in ("out-of-pool", "out-of-bounds")
    refusal = keeper("node/boost/1", machine)
    assert refusal is not None and refusal.code == "role-does-not-cover"
    assert keeper(path, machine) is None  # as the pool says it may


def test_a_captured_keeper_gives_no_machine_the_keys_of_a_fixed_host(
    aside: Aside, burst: Burst, index: int, machine: Node, keeper: Callable[..., TrustRefusal | None]
) -> None:
    """Links are known by the signing key, tunnels by the WireGuard key: the host's own would be taken for the machine's."""
    victim = aside.cloud.agents["vps-3"].trusted.enrolled("node/vps-2")
    assert victim is not None
    for keys in (
        {"wireguard": victim.wireguard},
        {"signing": victim.signing, "certificate": victim.certificate},
    ):
        refusal = keeper(f"node/burst/{index}", msgspec.structs.replace(machine, **keys))
        assert refusal is not None and refusal.code == "barred-key"


def test_a_machine_that_had_a_host_s_key_before_the_host_was_known_gives_way(
    aside: Aside, burst: Burst, index: int, machine: Node, keeper: Callable[..., TrustRefusal | None], tmp_path: Path
) -> None:
    """The enrolment of a new host may reach a thief before it reaches others."""
    coming = Guest(tmp_path / "vps-4", aside.cloud.cloud)
    stolen = msgspec.structs.replace(machine, wireguard=coming.keys.wireguard)
    assert keeper(f"node/burst/{index}", stolen) is None
    host = msgspec.structs.replace(
        machine, signing=coming.keys.signing, sealing=coming.keys.sealing, wireguard=coming.keys.wireguard,
        certificate=coming.keys.certificate, subnet="10.77.99.0/24", salt="other", weight=100, labels={}, zone="",
    )  # fmt: skip
    name = f"late{index}"
    at = aside.cloud.agents["vps-3"]
    aside.look(lambda: at.door.offer(aside.cloud.sign(f"node/{name}", host, 1)))
    assert at.trusted.lapsed(f"node/burst/{index}")
    peers = aside.look(lambda: {p.node for p in at.loop.core._peers.peers})  # type: ignore[union-attr]
    assert f"node/{name}" in peers and f"node/burst/{index}" not in peers
    over = msgspec.structs.replace(host, state="expelled")
    aside.look(lambda: at.door.offer(aside.cloud.sign(f"node/{name}", over, 2)))


def test_a_captured_keeper_changes_no_fixed_host_app_secret_pool_or_policy(
    aside: Aside, burst: Burst, keeper: Callable[..., TrustRefusal | None]
) -> None:
    trusted = aside.cloud.agents["vps-3"].trusted
    host = trusted.enrolled("node/vps-2")
    assert host is not None and trusted.policy is not None
    for path, body in {
        "node/vps-2": msgspec.structs.replace(host, state="expelled"),
        "node/vps-9": msgspec.structs.replace(host, subnet="10.77.99.0/24"),
        "app/web": App(deleted=True),
        "secret/web": Secret(key_id="thief", boxes={}),
        "pool/burst": msgspec.structs.replace(burst.pool, max=250),
        "policy": trusted.policy.body,
    }.items():
        refusal = keeper(path, body)
        assert refusal is not None and refusal.code in ("role-does-not-cover", "unknown-key"), path


def test_a_machine_opens_no_secret_that_was_not_opened_to_its_pool(
    aside: Aside, burst: Burst, index: int, machine: Node, keeper: Callable[..., TrustRefusal | None], guest: Guest
) -> None:
    """A captured keeper may write what it likes into a box: nobody runs the app there, and what is sealed stays sealed."""
    key = b"k" * 32
    holders = {n: f.public_keys().sealing for n, f in aside.cloud.files.items()}
    boxes = {f"node/{n}": seal.make_box(key, sealing, bytes(range(32))) for n, sealing in holders.items()}
    for path, body in {f"secret/bank{index}": Secret(key_id="k1", boxes=boxes), f"app/bank{index}": App()}.items():
        aside.look(lambda p=path, b=body: aside.cloud.agents["vps-1"].door.offer(aside.cloud.sign(p, b, 1)))  # type: ignore[misc]
    forged = f"k1:{seal.make_box(b'x' * 32, guest.keys.sealing, bytes(range(32)))}"
    assert keeper(f"node/burst/{index}", msgspec.structs.replace(machine, boxes={f"bank{index}": forged})) is None
    for name in ("vps-1", "vps-2"):
        aside.wait("it is known", lambda n=name: burst.node(index, n) is not None)  # type: ignore[misc]
        known = aside.cloud.agents[name].loop.core._s.known
        assert not aside.look(lambda k=known: k.may_read(f"bank{index}", f"node/burst/{index}"))  # type: ignore[misc]
    secret = aside.cloud.agents["vps-1"].trusted.document(f"secret/bank{index}")
    with pytest.raises(TrustRefusal):
        seal.content_key(guest.files.seed("sealing"), f"node/burst/{index}", secret)
    # The honest keepers take the forged box away again: the app was never opened to the pool.
    aside.wait("no box", lambda: not burst.node(index, "vps-2").boxes, 20)


def test_a_machine_that_was_expelled_does_not_come_back_with_its_token_or_its_keys(
    aside: Aside, burst: Burst, index: int, tmp_path: Path
) -> None:
    token = aside.look(lambda: burst.expect(index))
    slot = f"burst/{index}"
    first, other = (Guest(tmp_path / name, aside.cloud.cloud) for name in ("first", "other"))
    assert "join" in first.enrol(burst.meet()[0], slot, token)
    agent = aside.cloud.agents["vps-1"]
    over = msgspec.structs.replace(aside.look(lambda: burst.node(index)), state="expelled")
    aside.look(lambda: agent.enrolments.sign(MachineSlot("burst", index), over))
    refused(first.enrol(burst.meet()[0], slot, token), "barred-key")
    aside.look(lambda: say(agent, slot, Machine(state="gone", id=f"{index}00")))
    refused(other.enrol(burst.meet()[0], slot, token), "token-refused")
    again = aside.look(lambda: burst.expect(index, id=f"{index}00"))
    assert "join" in other.enrol(burst.meet()[0], slot, again)
    assert first.keys.signing in aside.look(lambda: burst.node(index)).barred


def test_one_key_is_one_machine_and_is_asked_for_no_second_slot(
    aside: Aside, burst: Burst, index: int, guest: Guest
) -> None:
    """Two slots of a pool, with good tokens both: who copied a machine's disk, or never made keys of its own."""
    first, second = index, index + 20
    tokens = {n: aside.look(lambda n=n: burst.expect(n)) for n in (first, second)}  # type: ignore[misc]
    assert "join" in guest.enrol(burst.meet()[0], f"burst/{first}", tokens[first])
    aside.wait("both keepers to know", lambda: burst.node(first, "vps-2") is not None)
    for point in burst.meet():
        refused(guest.enrol(point, f"burst/{second}", tokens[second]), "conflicting")
    nobody(aside, burst, second)


def test_of_two_machines_with_one_key_the_same_one_stands_wherever_which_came_first(
    aside: Aside, burst: Burst, index: int, machine: Node, keeper: Callable[..., TrustRefusal | None], tmp_path: Path
) -> None:
    """A captured keeper enrols a key for a second slot: one after the other, and the other way round."""
    low, high = sorted((f"node/burst/{index}", f"node/burst/{index + 20}"))

    def of(path: str, **keys: Any) -> Node:
        slot = MachineSlot.of_path(path)
        assert slot is not None
        place = {"salt": salt_of(aside.cloud.cloud, slot), "subnet": subnet_of(burst.pool, slot.index)}
        return msgspec.structs.replace(machine, **place, **keys)

    trusted = aside.cloud.agents["vps-3"].trusted
    assert keeper(high, of(high)) is None and keeper(low, of(low)) is None
    assert trusted.lapsed(high) and trusted.enrolled(low) is not None
    other = Guest(tmp_path / "other", aside.cloud.cloud)
    for taken in ({"wireguard": machine.wireguard}, {"signing": machine.signing, "certificate": machine.certificate}):
        own = {
            "signing": other.keys.signing, "sealing": other.keys.sealing, "wireguard": other.keys.wireguard,
            "certificate": other.keys.certificate,
        }  # fmt: skip
        refusal = keeper(high, of(high, **{**own, **taken}))
        assert refusal is not None and refusal.code == "barred-key" and low in refusal.why
    aside.wait("so it is at all", lambda: all(a.trusted.lapsed(high) or a.trusted.document(high) is None
        for a in aside.cloud.agents.values()))  # fmt: skip
