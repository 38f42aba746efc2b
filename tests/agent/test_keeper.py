"""A real keeper against the simulator of DigitalOcean over HTTP: killed with SIGKILL around its calls, and with a provider that hangs.

What is asked for runs through the real client in real child processes. All steps in all ways: sim/faults.py, on virtual time.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

from agent.small import SmallCloud
from skerry.core.intent import Offer, Policy, Pool, Role
from skerry.core.records import Document
from skerry.lab.ocean import Fault, Pace, Simulator
from skerry.lab.ocean.limits import Limits
from skerry.lab.ocean.serving import Server
from skerry.store.records import RecordStore
from skerry.trust import documents, envelope, seal

WITHIN_S = 90.0
TOKEN, TOKEN_2 = "dop_v1_" + "5ec2e7" * 10, "dop_v1_" + "7e2ce5" * 10
POST, DELETE = "POST /v2/droplets", "DELETE /v2/droplets/"


class Provider(Simulator):
    """Calls `hook` before and after each request is carried out."""

    hook: Callable[[str, str], None] | None = None

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Any:
        if self.hook is not None:
            self.hook(f"{method} {target}", "before")
        found = super().answer(method, target, headers, content)
        if self.hook is not None:
            self.hook(f"{method} {target}", "after")
        return found


class Keeper:
    """One host that keeps pool `burst` of one machine, in a process that is started and killed."""

    def __init__(self, directory: Path) -> None:
        self.simulator = Provider(pace=Pace(1.0, 0.3, 0.5, 0.5, 0.1), tokens={TOKEN: None}, control="c")
        self.server = Server(self.simulator, ("127.0.0.1", 0)).start()
        self.cloud = SmallCloud(directory, 1)
        self.files = self.cloud.files["vps-1"]
        key = self.files.keeper().key
        role = Role(name="keeper-burst", keys=(key,), kinds=("node",), paths=("node/burst/*",))
        held = documents.decode(envelope.parse(self.cloud.records[1]))[1]
        assert isinstance(held, Document) and isinstance(held.body, Policy)
        self.put("policy", Policy(roles=(*held.body.roles, role)), 2, self.cloud.records[1])
        box = seal.make_box(TOKEN.encode(), self.files.public_keys().sealing, secrets.token_bytes(32))
        self.pool = {
            "provider": "digitalocean", "network": "10.77.128.0/22", "size": "s-1vcpu-1gb", "min": 1, "max": 1, "bundle": "ab" * 32,
            "image": "debian-12-x64", "endpoint": self.server.endpoint, "keepers": {"node/vps-1": key}, "tokens": {"node/vps-1": box},
            "spend_usd_month": 5.0, "join_s": 3600.0, "age_s": 1.0, "drain_s": 1.0, "down_s": 2.0, "grace_s": 3.0,
        }  # fmt: skip
        self.put_pool(1)
        self.port, self.process = free_port(), None  # type: int, subprocess.Popen[bytes] | None
        self.kills = 0
        self.servers: list[Server] = []  # of further providers

    def put(self, path: str, body: Any, version: int, before: bytes = b"") -> bytes:
        """Signed by the operator, on the keeper's disk while it doesn't run."""
        prev = envelope.parse(before).hash if before else ""
        raw = self.cloud.sign(path, body, version, prev=prev)
        store = RecordStore(self.files.state)
        store.put(path, raw, hash=envelope.parse(raw).hash, sync=True)
        store.close()
        return raw

    def put_pool(self, version: int, before: bytes = b"", **changed: Any) -> None:
        self.raw_pool = self.put("pool/burst", Pool(**{**self.pool, **changed}), version, before)

    def start(self) -> None:
        words = [
            sys.executable,
            "-m",
            "agent.keeping",
            str(self.files.state),
            str(self.files.run),
            str(self.port),
            str(free_port()),
        ]
        path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
        self.process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def kill_at(self, call: str, when: str) -> None:
        """With SIGKILL, at the first such call."""

        def hook(asked: str, moment: str) -> None:
            if asked.startswith(call) and moment == when and not self.kills:
                self.kills += 1
                self.kill()

        self.simulator.hook = hook

    def there(self) -> list[Any]:
        return [row for row in self.simulator.state()["droplets"] if row["there"]]

    def wait(self, what: str, see: Callable[[], bool]) -> None:
        end_s = time.monotonic() + WITHIN_S
        while not see():
            assert self.process is None or self.process.poll() is None, "the keeper ended"
            assert time.monotonic() < end_s, f"waited {WITHIN_S:.0f} s for {what}; there are {self.there()}"
            time.sleep(0.05)

    def fact(self, index: int = 0) -> str:
        """What the keeper has on its disk of the machine."""
        store = RecordStore(self.files.state)
        raw = store.get(f"node/vps-1|machine|burst/{index}") or b""
        store.close()
        return envelope.parse(raw).payload.decode() if raw else ""

    def give_back_all(self, version: int = 2) -> None:
        """The operator lowers the pool's most to 0."""
        self.kill()
        self.put_pool(version, self.raw_pool, max=0, min=0)
        self.start()

    def another_provider(self) -> Provider:
        """A second account at half the price, which holds one machine; from now on the pool has both, and wants two machines."""
        near = Provider(
            pace=Pace(1.0, 0.3, 0.5, 0.5, 0.1), tokens={TOKEN_2: None}, price_factor=0.5, limits=Limits(droplets=1)
        )
        self.servers.append(Server(near, ("127.0.0.1", 0)).start())
        tokens = seal.token_text({"": TOKEN, "digitalocean-2": TOKEN_2})
        box = seal.make_box(tokens.encode(), self.files.public_keys().sealing, secrets.token_bytes(32))
        offer = Offer(
            name="digitalocean-2", provider="digitalocean", image="debian-12-x64", endpoint=self.servers[-1].endpoint
        )
        self.pool |= {
            "size": "",
            "cpus": 1.0,
            "memory_bytes": 1 << 30,
            "others": (offer,),
            "tokens": {"node/vps-1": box},
        }
        self.pool |= {"min": 2, "max": 2, "spend_usd_month": 20.0}
        self.put_pool(2, self.raw_pool)
        return near

    def end(self) -> None:
        self.simulator.hook = None
        self.kill()
        for server in (self.server, *self.servers):
            server.stop()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    yield made
    made.end()


def test_killed_after_the_create_was_done_it_finds_the_machine_by_its_name_and_makes_no_other(keeper: Keeper) -> None:
    keeper.kill_at(POST, "after")
    keeper.start()
    keeper.wait("the kill", lambda: keeper.kills == 1 and keeper.process is None)
    assert len(keeper.there()) == 1 and '"token":"' in keeper.fact()  # its hash was on disk before anybody was asked
    keeper.start()
    keeper.wait("the machine to be known", lambda: f'"id":"{keeper.there()[0]["id"]}"' in keeper.fact())
    assert keeper.simulator.calls[POST] == 1
    keeper.kill_at(DELETE, "after")
    keeper.kills = 0
    keeper.give_back_all()
    keeper.wait("the second kill", lambda: keeper.kills == 1 and keeper.process is None)
    keeper.start()
    keeper.wait("nothing to be left", lambda: not keeper.there() and '"body":null' in keeper.fact())


def test_killed_before_the_create_was_done_it_asks_again_when_it_can_be_sure(keeper: Keeper) -> None:
    keeper.kill_at(POST, "before")
    keeper.simulator.faults.append(Fault(kind="cut-before", method="POST", path="/v2/droplets"))
    keeper.start()
    keeper.wait("the kill", lambda: keeper.kills == 1 and keeper.process is None)
    assert keeper.there() == []
    keeper.start()
    keeper.wait("the machine", lambda: len(keeper.there()) == 1)
    keeper.give_back_all()
    keeper.wait("nothing to be left", lambda: not keeper.there())


def test_a_provider_that_hangs_after_it_acted_gets_nothing_twice_and_a_hang_hurts_nothing_else(keeper: Keeper) -> None:
    keeper.simulator.faults += [
        Fault(kind="hang-after", method="POST", path="/v2/droplets"),
        Fault(kind="hang", method="DELETE", path="/v2/droplets/"),
    ]
    keeper.start()
    keeper.wait("the machine", lambda: len(keeper.there()) == 1)
    keeper.wait("it to be known", lambda: f'"id":"{keeper.there()[0]["id"]}"' in keeper.fact())
    keeper.give_back_all()
    keeper.wait("nothing to be left", lambda: not keeper.there())
    assert keeper.simulator.calls[POST] <= 1


def test_of_two_providers_the_cheaper_one_is_asked_and_once_its_account_is_full_the_other(keeper: Keeper) -> None:
    near = keeper.another_provider()

    def at(provider: Simulator) -> list[str]:
        return sorted(row["name"].rpartition("-")[2] for row in provider.state()["droplets"] if row["there"])

    keeper.start()
    keeper.wait("one at each", lambda: len(at(near)) == 1 and len(at(keeper.simulator)) == 1)
    assert sorted(at(near) + at(keeper.simulator)) == ["0", "1"]
    keeper.wait("the cheaper one to be known", lambda: '"offer":"digitalocean-2"' in keeper.fact(int(at(near)[0])))
    fact = keeper.fact(int(at(near)[0]))
    assert '"price_usd_hour":0.00372' in fact and '"id":"digitalocean-2:' in fact
    assert near.calls[POST] >= 1 and keeper.simulator.calls[POST] == 1
    keeper.give_back_all(3)
    keeper.wait("nothing to be left", lambda: not at(near) and not at(keeper.simulator))
