"""The first talk with a host that this machine holds no enrolment of, over real TLS on loopback."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.client import recovery
from skerry.client.home import CloudHome, Home
from skerry.client.identity import read_operator
from skerry.client.meet import NotOurs, meet
from skerry.client.session import Session
from skerry.core.intent import Node
from skerry.errors import Unreachable
from skerry.mesh.links import Mesh
from skerry.mesh.messages import recv_bytes, send_bytes
from skerry.mesh.streams import Stream
from skerry.trust.documents import sign_document
from skerry.trust.identity import Signer, certificate, private_pem, sealing_public
from skerry.trust.requests import judge_request

pytestmark = pytest.mark.usefixtures("quick_age")


def nobody(what: str) -> str:
    pytest.fail(f"asked for {what}")


@dataclass
class Host:
    """A machine's keys, and the enrolment that an operator signed for it."""

    seed: bytes
    der: bytes
    enrolment: bytes


def enrol(cloud: CloudHome, signed_by: Signer, *, shows: bytes | None = None) -> Host:
    seed = secrets.token_bytes(32)
    der = certificate(seed, "vps-1", 7)
    body = Node(
        signing=Signer(seed).key,
        sealing=sealing_public(secrets.token_bytes(32)),
        wireguard=sealing_public(secrets.token_bytes(32)),
        certificate=base64.b64encode(shows or der).decode(),
        addresses=("127.0.0.1:7077",),
        subnet="10.77.1.0/24",
        salt="s",
    )
    now_s = time.time()
    raw = sign_document(signed_by, cloud.read().id, "node/vps-1", body, version=1, issued=now_s, expires=now_s + 86400)
    return Host(seed, der, raw)


@asynccontextmanager
async def serving(
    host: Host, session: Session, directory: Path, answer: Callable[[], list[bytes]]
) -> AsyncIterator[str]:
    """A host that answers one kind of request, checked as an agent checks it; gives its address."""

    async def request(stream: Stream, who: str) -> None:
        await send_bytes(stream, msgspec.json.encode({"node": "node/vps-1", "nonce": "n" * 32}))
        raw = await recv_bytes(stream)
        asked = judge_request(raw, session.trusted, node="node/vps-1", nonce="n" * 32, now_s=time.time())
        assert (asked.verb, asked.args) == ("get", {"paths": ["root", "policy", "node/vps-1"]})
        item: Any = [base64.b64encode(raw).decode() for raw in answer()]
        await send_bytes(stream, msgspec.json.encode({"item": item}))

    mesh = Mesh(
        "node/vps-1",
        host.der,
        private_pem(host.seed),
        directory,
        on_link=lambda *_: None,
        on_frame=lambda *_: None,
        handlers={"/request": request},
    )
    mesh.set_clients(session.trusted.client_certificates())
    port = await mesh.serve("127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await mesh.close()


@pytest.fixture
def lost(tmp_path: Path) -> tuple[CloudHome, CloudHome]:
    """(the cloud as it was, the same recovered on another machine from the file that `init` wrote)."""
    begun = recovery.init(Home(tmp_path / "home"), "shop", operator="ada", passphrase="", recovery_file=tmp_path / "r")
    cloud, _ = recovery.recover(Home(tmp_path / "other"), tmp_path / "r", begun.passphrase)
    return begun.cloud, cloud


async def test_a_host_that_our_operators_enrolled_is_taken_at_its_word(
    lost: tuple[CloudHome, CloudHome], tmp_path: Path
) -> None:
    old, new = lost
    session = Session(old, nobody)
    host = enrol(old, session.signer)
    policy = base64.b64decode(old.read().documents["policy"])
    async with serving(host, session, tmp_path, lambda: [policy, host.enrolment]) as address:
        assert await meet(new, nobody, ["127.0.0.1:1", address]) == "node/vps-1"
    assert list(Session(new, nobody).nodes) == ["node/vps-1"]


async def test_a_stranger_with_an_enrolment_that_it_signed_itself_is_none_of_ours(
    lost: tuple[CloudHome, CloudHome], tmp_path: Path
) -> None:
    old, new = lost
    before = new.read()
    host = enrol(old, Signer(secrets.token_bytes(32)))
    async with serving(host, Session(old, nobody), tmp_path, lambda: [host.enrolment]) as address:
        with pytest.raises(NotOurs):
            await meet(new, nobody, [address])
    assert new.read() == before


async def test_a_stranger_that_shows_another_hosts_enrolment_is_none_of_ours(
    lost: tuple[CloudHome, CloudHome], tmp_path: Path
) -> None:
    old, new = lost
    before = new.read()
    session = Session(old, nobody)
    real, stranger = enrol(old, session.signer), enrol(old, session.signer)
    async with serving(stranger, session, tmp_path, lambda: [real.enrolment]) as address:
        with pytest.raises(NotOurs):
            await meet(new, nobody, [address])
    assert new.read() == before


async def test_nobody_there(lost: tuple[CloudHome, CloudHome]) -> None:
    with pytest.raises(Unreachable):
        await meet(lost[1], nobody, ["127.0.0.1:1", "127.0.0.1:2"])
    assert read_operator(lost[1], nobody) == read_operator(lost[0], nobody)
