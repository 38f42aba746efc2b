"""A pool that no host keeps: the operator's machine rents, the new one leaves its keys at a meeting host, and nobody else gets in."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.burst import Guest
from agent.small import Aside
from client import test_pools as pools
from client.test_roles import Person
from ports import free_port
from skerry.agent.files import HostFiles
from skerry.agent.main import join
from skerry.agent.renting.enrol import enrol
from skerry.machines import providers, userdata
from skerry.machines.contract import Order, Server
from skerry.machines.userdata import MeetingPoint
from skerry.mesh.tls import fingerprint
from skerry.trust import joining

pytestmark = pytest.mark.usefixtures("quick_age")
ann, bundle, folder, small = pools.ann, pools.bundle, pools.folder, pools.small


class Yard:
    """What makes files in a folder to machines: each that is created does at once what its user data says."""

    def __init__(self, small: Aside, place: Path) -> None:
        self.small, self.place = small, place
        self.port = free_port()
        self.boots = True
        self.asked: list[dict[str, Any]] = []
        self.threads: list[threading.Thread] = []

    def boot(self, order: Order) -> None:
        asked = json.loads(json.loads(re.findall(r"^ASKED = json.loads\((.*)\)$", order.user_data, re.MULTILINE)[0]))
        self.asked.append(asked)
        if self.boots:
            self.threads.append(threading.Thread(target=self._run, args=(asked,)))
            self.threads[-1].start()

    def _run(self, asked: dict[str, Any]) -> None:
        slot, cloud = asked["slot"], self.small.cloud
        files = HostFiles(self.place / slot / "state", self.place / slot / "run")
        files.state.mkdir(parents=True)
        join(files, enrol(files, json.dumps(asked).encode()))
        cloud.files[slot], cloud.ports[slot], cloud.enrol_ports[slot] = files, self.port, 0
        self.small.run(cloud.start(slot))


@pytest.fixture
def yard(small: Aside, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    import sys

    made = Yard(small, tmp_path / "machines")

    class Rented(sys.modules["folder"].Folder):  # type: ignore[name-defined,misc]
        def create(self, order: Order) -> Server:
            server = msgspec.structs.replace(super().create(order), addresses=("127.0.0.1",))
            self._write(server)
            made.boot(order)
            return server

    monkeypatch.setattr(sys.modules["folder"], "Rented", Rented, raising=False)
    monkeypatch.setitem(providers.PROVIDERS, "folder", "folder:Rented")
    monkeypatch.setattr(joining, "NODE_PORT", made.port)
    monkeypatch.setattr(userdata, "ENROL_PORT", small.cloud.enrol_ports["vps-2"])
    yield made
    for thread in made.threads:
        thread.join(20)


@pytest.fixture
def pool(ann: Person, folder: Path, bundle: Path, yard: Yard) -> None:
    answer = ann.run(*pools.adding(folder), "--max", "2", "--size", "s-1", "--keepers", "none", "--meeting", "vps-2")
    assert answer["keepers"] == []


def test_a_machine_is_rented_let_in_and_returned_and_no_host_ever_holds_a_token(
    pool: None, small: Aside, ann: Person, folder: Path, yard: Yard, tmp_path: Path
) -> None:
    assert all(not agent.enrolling.port for agent in small.cloud.agents.values())  # nobody is awaited
    (tmp_path / "token").write_text("dop_v1_secret")
    answer = ann.run("machine", "up", "burst", "--token-file", str(tmp_path / "token"))
    assert answer["slot"] == "burst/0" and len(list(folder.iterdir())) == 1
    assert pools.held(small, "pool/burst").tokens == {}
    node = pools.held(small, "node/burst/0")
    assert (node.subnet, node.addresses) == ("10.77.16.0/24", (f"127.0.0.1:{yard.port}",))
    small.wait("the machine's links", lambda: len(small.cloud.agents["burst/0"].mesh.neighbours()) == 3)
    assert [row["slot"] for row in ann.run("machine", "ls")] == ["burst/0"]
    raw = small.look(lambda: b"".join(small.cloud.agents["vps-1"].door.newer_than({})))
    asked = yard.asked[0]
    assert b"dop_v1" not in raw and asked["secret"].encode() not in raw and "dop_v1" not in json.dumps(asked)
    assert ann.run("machine", "up", "burst/0", code=2)["code"] == "machine-there"
    assert ann.run("machine", "rm", "burst/0")["state"] == "gone"
    assert list(folder.iterdir()) == [] and pools.held(small, "node/burst/0").state == "expelled"
    assert ann.run("machine", "pool", "rm", "burst")["pool"] == "burst"


def test_a_stranger_that_has_the_token_but_not_the_secret_is_not_signed(
    pool: None, small: Aside, ann: Person, folder: Path, yard: Yard, tmp_path: Path
) -> None:
    """As a captured meeting host has it: the token is shown to it. It was there first, and stays out; so does the host's own word."""
    yard.boots = False
    thief = Guest(tmp_path / "thief", small.cloud.cloud)
    point = MeetingPoint(
        f"127.0.0.1:{small.cloud.enrol_ports['vps-2']}", fingerprint(small.cloud.files["vps-2"].certificate)
    )
    answers: list[dict[str, Any]] = []

    def steal() -> None:
        small.wait("a machine to be asked for", lambda: bool(yard.asked))
        token = yard.asked[0]["token"]
        answers.append(thief.enrol(point, "burst/0", token, mac="0" * 64))
        answers.append(thief.enrol(point, "burst/0", "guessed"))
        yard.threads.append(threading.Thread(target=yard._run, args=(yard.asked[0],)))
        yard.threads[-1].start()

    stealing = threading.Thread(target=steal)
    stealing.start()
    try:
        assert ann.run("machine", "up", "burst/0")["slot"] == "burst/0"
    finally:
        stealing.join(30)
    assert answers[0] == {"wait": True} and answers[1]["error"]["code"] == "token-refused"
    assert pools.held(small, "node/burst/0").signing != thief.keys.signing
    ann.run("machine", "rm", "burst/0", "--now")


def test_a_machine_that_does_not_come_is_returned_and_said_so(
    pool: None, small: Aside, ann: Person, folder: Path, yard: Yard
) -> None:
    yard.boots = False
    error = ann.run("machine", "up", "burst", "--timeout", "2s", code=5)
    assert error["code"] == "not-in-time" and "7078/tcp" in error["fix"]
    assert list(folder.iterdir()) == [] and pools.held(small, "node/burst/0") is None
    assert ann.run("machine", "up", "burst/7", code=2)["code"] == "bad-input"


def test_what_keepers_rent_nobody_rents_by_hand(
    ann: Person, folder: Path, bundle: Path, yard: Yard, small: Aside
) -> None:
    ann.run(*pools.adding(folder), "--max", "2", "--size", "s-1")
    assert ann.run("machine", "up", "burst", code=2)["code"] == "pool-is-kept"
