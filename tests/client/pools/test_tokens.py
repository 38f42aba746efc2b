"""Who can read a provider's token: keepers and operators, each from its own box. Who goes reads none that comes after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.small import Aside
from client.test_pools import held, rent
from client.test_roles import Person, add_ben
from skerry.client.home import Home
from skerry.client.identity import read_operator
from skerry.core.intent import Pool
from skerry.errors import TrustRefusal
from skerry.trust import seal
from skerry.trust.documents import sign_document
from skerry.trust.refusals import CannotOpen

pytestmark = pytest.mark.usefixtures("quick_age")
FIRST, NEXT = "dop_v1_first", "dop_v1_next"


@pytest.fixture
def ben(
    ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], Person]:
    return lambda: add_ben(ann, lambda name: Person(tmp_path / name, monkeypatch, capsys))


@pytest.fixture
def token(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    def option(text: str) -> tuple[str, str]:
        (tmp_path / text).write_text(text + "\n")
        return ("--token-file", str(tmp_path / text))

    return option


def sealing_of(person: Person, cloud: str = "small") -> bytes:
    return read_operator(Home(person.home).cloud(cloud), lambda what: "").sealing


def readable(sealing: bytes, pool: Pool) -> set[str]:
    """What somebody with this key gets out of all boxes of a pool."""
    found = set()
    for box in pool.tokens.values():
        try:
            found.add(seal.open_token(sealing, box))
        except CannotOpen:
            continue
    return found


def pool_of(small: Aside) -> Pool:
    pool = held(small, "pool/burst")
    assert isinstance(pool, Pool)
    return pool


def test_an_operator_who_comes_reads_it_and_one_who_goes_does_not_read_the_next(
    add: Callable[..., Any], small: Aside, ann: Person, ben: Callable[[], Person], token: Callable[[str], Any]
) -> None:
    add("--size", "s-1", "--keepers", "vps-1", *token(FIRST))
    who = ben()
    key = sealing_of(who)
    assert readable(key, pool_of(small)) == {FIRST}
    who.run("machine", "pool", "set", "burst", *token("dop_v1_bens"))  # he may give one himself, and all others read it
    for holder in (sealing_of(ann), small.cloud.files["vps-1"].seed("sealing")):
        assert readable(holder, pool_of(small)) == {"dop_v1_bens"}
    answer = ann.run("role", "rm", "ben")
    assert answer["tokens_it_could_read"] == ["burst"] and "pool/burst" in answer["signed_again"]
    assert readable(key, pool_of(small)) == set()
    ann.run("machine", "pool", "set", "burst", *token(NEXT))
    assert readable(key, pool_of(small)) == set() and readable(sealing_of(ann), pool_of(small)) == {NEXT}
    assert len(pool_of(small).tokens) == 2


def test_an_operators_new_key_reads_it_and_the_old_one_does_not_read_the_next(
    add: Callable[..., Any], small: Aside, ann: Person, token: Callable[[str], Any]
) -> None:
    add("--size", "s-1", "--keepers", "vps-1", *token(FIRST))
    old = sealing_of(ann)
    answer = ann.run("key", "rotate", "--recovery-file", "new.age")
    assert answer["tokens_it_could_read"] == ["burst"]
    assert readable(old, pool_of(small)) == set() and readable(sealing_of(ann), pool_of(small)) == {FIRST}
    ann.run("machine", "pool", "set", "burst", *token(NEXT))
    assert readable(old, pool_of(small)) == set() and readable(sealing_of(ann), pool_of(small)) == {NEXT}


def test_keepers_that_are_exchanged_read_it_from_when_they_come_until_they_go(
    add: Callable[..., Any], small: Aside, ann: Person, token: Callable[[str], Any]
) -> None:
    one, two, three = (small.cloud.files[f"vps-{n}"].seed("sealing") for n in (1, 2, 3))
    add("--size", "s-1", "--keepers", "vps-1,vps-2", *token(FIRST))
    before = pool_of(small)
    answer = ann.run("machine", "pool", "set", "burst", "--keepers", "vps-2,vps-3")
    assert answer["token_known_to"] == ["vps-1"]
    assert (
        "vps-1 knows the provider's token: make another one there, take the old one away, and: skerry machine pool set"
        in ann.said
    )
    assert [readable(key, pool_of(small)) for key in (one, two, three)] == [set(), {FIRST}, {FIRST}]
    assert readable(one, before) == {FIRST}, "what it had it has: hence the warning"
    answer = ann.run("machine", "pool", "set", "burst", "--keepers", "vps-3", *token(NEXT))
    assert "vps-2 knows the provider's token that the pool had: take that one away at the provider" in ann.said
    assert [readable(key, pool_of(small)) for key in (one, two, three)] == [set(), set(), {NEXT}]
    ann.run("machine", "pool", "set", "burst", "--keepers", "vps-3", "--max", "5")
    assert "knows" not in ann.said and pool_of(small).max == 5


def test_after_its_last_keeper_was_expelled_a_pool_is_given_another_one(
    add: Callable[..., Any], small: Aside, ann: Person, token: Callable[[str], Any], tmp_path: Path
) -> None:
    add("--size", "s-1", "--keepers", "vps-3", *token(FIRST))
    rent(small, tmp_path, 0, "vps-3")
    answer = ann.run("host", "expel", "vps-3")
    assert (answer["tokens_it_could_read"], answer["without_keeper"]) == (["burst"], ["burst"])
    assert "it kept burst, and knows the provider's token: make another one there" in ann.said
    assert "no host keeps burst any more: skerry machine pool set burst --keepers HOST" in ann.said
    assert not pool_of(small).keepers
    ann.run("machine", "pool", "set", "burst", "--keepers", "vps-2", *token(NEXT))
    keys = [small.cloud.files[f"vps-{n}"].seed("sealing") for n in (2, 3)]
    assert [readable(key, pool_of(small)) for key in keys] == [{NEXT}, set()]
    small.wait("its door", lambda: bool(small.cloud.agents["vps-2"].enrolling.port))
    assert small.look(lambda: small.cloud.agents["vps-2"].trusted.enrolled("node/burst/0")) is not None
    rent(small, tmp_path, 1, "vps-2")


def test_a_keeper_that_was_taken_away_gets_neither_its_right_nor_a_token_back(
    add: Callable[..., Any], small: Aside, ann: Person, token: Callable[[str], Any], tmp_path: Path
) -> None:
    """It is captured: it brings the documents of its time again, signs what it could sign then, and opens what it finds."""
    add("--size", "s-1", "--keepers", "vps-1,vps-3", *token(FIRST))
    guest = rent(small, tmp_path, 0, "vps-3")
    agent, thief = small.cloud.agents["vps-1"], small.cloud.files["vps-3"]
    old = small.look(lambda: {path: agent.trusted.raw(path) for path in ("pool/burst", "policy", "node/burst/0")})
    ann.run("machine", "pool", "set", "burst", "--keepers", "vps-1", *token(NEXT))
    at = small.cloud.agents["vps-2"]
    small.wait("it at vps-2", lambda: set(at.trusted.document("pool/burst").body.keepers) == {"node/vps-1"})  # type: ignore[union-attr]

    def offer(raw: bytes) -> str:
        try:
            small.look(lambda: at.door.offer(raw, "node/vps-3"))
        except TrustRefusal as refusal:
            return refusal.code
        return ""

    assert {path: offer(raw) for path, raw in old.items() if raw} == {  # type: ignore[arg-type]
        "pool/burst": "stale", "policy": "stale", "node/burst/0": "stale",
    }  # fmt: skip
    document = small.look(lambda: at.trusted.document("node/burst/0"))
    assert document is not None and document.signers == (small.cloud.operator.key,)
    for path, body in {
        "node/burst/0": document.body,
        "node/burst/1": document.body,
        "pool/burst": held(small, "pool/burst"),
    }.items():
        raw = sign_document(
            thief.keeper(), small.cloud.cloud, path, body, epoch=small.look(lambda p=path: at.trusted.epoch(p)),  # type: ignore[misc]
            version=9, prev="", issued=document.issued + 1, expires=document.issued + 86400,
        )  # fmt: skip
        assert offer(raw) in ("role-does-not-cover", "unknown-key"), path
    assert readable(thief.seed("sealing"), pool_of(small)) == set()
    assert small.look(lambda: at.trusted.enrolled("node/burst/0")).signing == guest.keys.signing
