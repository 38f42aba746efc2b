"""Leases by the socket that a container gets: real agents with real links, asked as the example's client asks."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.small import Aside, SmallCloud
from checkout import ROOT
from skerry.core.intent import Policy, Service
from skerry.core.timing import Timing

sys.path.insert(0, str(ROOT / "examples" / "leases" / "web"))
from leases import Held, LeaseError, Leases

HOSTS = ("vps-1", "vps-2", "vps-3")


class Shop:
    """An app of two replicas on each of three hosts; `ask(host)`: a client in its n-th container there."""

    def __init__(self, aside: Aside) -> None:
        self.aside = aside

    def sockets(self, host: str) -> list[Path]:
        agent = self.aside.cloud.agents[host]
        running = self.aside.look(lambda: sorted(agent.containers.running()))
        return [agent.leases.doors.place(id) / "leases.sock" for id in running]

    def ask(self, host: str, n: int = 0) -> Leases:
        return Leases(str(self.sockets(host)[n]))

    def end(self, host: str, n: int = 0) -> None:
        """Its program ends."""
        agent = self.aside.cloud.agents[host]
        id = self.aside.look(lambda: sorted(agent.containers.running())[n])
        self.aside.look(lambda: self.aside.cloud.runtimes[host].end(id, 1))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    cloud = SmallCloud(tmp_path_factory.mktemp("leases"), 3)
    with Aside(cloud) as aside:
        made = Shop(aside)
        aside.wait("links", lambda: all(len(agent.mesh.neighbours()) == 2 for agent in cloud.agents.values()))
        held = cloud.agents["vps-1"].trusted.document("policy")
        assert held is not None and isinstance(held.body, Policy)
        voting = msgspec.structs.replace(held.body, voters=tuple(f"node/{host}" for host in HOSTS))
        raw = cloud.sign("policy", voting, held.version + 1, prev=held.hash)
        aside.look(lambda: cloud.agents["vps-1"].door.offer(raw, from_client=True))
        image = aside.look(lambda: cloud.give_image(b"program"))
        service = Service(replicas=6, leases=True)
        aside.look(lambda: cloud.deploy("shop", service, image))
        aside.wait("two on each host", lambda: all(len(cloud.runtimes[host].disk.specs) == 2 for host in HOSTS))
        yield made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name[5:45]


def test_it_is_mounted_where_the_variable_says(shop: Shop) -> None:
    (spec, *_) = shop.aside.cloud.runtimes["vps-1"].disk.specs.values()
    assert dict(spec.environment)["SKERRY_LEASES"] == "/run/skerry/leases.sock"
    (mount,) = [mount for mount in spec.mounts if mount.target == "/run/skerry"]
    assert mount.read_only and Path(mount.source, "leases.sock").is_socket()
    assert (
        Path(mount.source).stat().st_mode & 0o777 == 0o755
        and Path(mount.source, "leases.sock").stat().st_mode & 0o777 == 0o666
    )


def test_acquired_renewed_released_and_by_nobody_else_meanwhile(shop: Shop, name: str) -> None:
    one, beside, other = shop.ask("vps-1"), shop.ask("vps-1", 1), shop.ask("vps-2")
    held = _eventually(one, name)
    assert held.number == 1 and held.is_good and 3.0 < held.until - time.monotonic() < Timing().lease_s
    assert beside.acquire(name) is None and other.acquire(name, 0.3) is None
    again = one.acquire(name)
    assert again is not None and again.number == 1, "asked twice it is the same"
    assert one.renew(held) and not beside.renew(Held(name, 1, 0.0)) and not other.renew(Held(name, 1, 0.0))
    one.release(held)
    after = beside.acquire(name, 5)
    assert after is not None and after.number > 1
    assert not one.renew(held), "a lost one stays lost"
    one.release(Held(name, after.number, 0.0))
    assert beside.renew(after), "nobody lets go of what is another's"
    beside.release(after)
    third = other.acquire(name, 5)
    assert third is not None and third.number > after.number
    other.release(third)


def test_who_waits_has_it_as_soon_as_it_is_free(shop: Shop, name: str) -> None:
    one, two = shop.ask("vps-1"), shop.ask("vps-2")
    held = _eventually(one, name)
    got: list[Held | None] = []
    waiting = threading.Thread(target=lambda: got.append(two.acquire(name, 20)))
    waiting.start()
    for _ in range(3):
        time.sleep(0.2)
        assert one.renew(held) and not got
    one.release(held)
    freed_s = time.monotonic()
    waiting.join(20)
    assert got[0] is not None and got[0].number > 1 and time.monotonic() - freed_s < 2.0
    two.release(got[0])


def test_who_does_not_ask_again_loses_it_when_it_was_told(shop: Shop, name: str) -> None:
    held = _eventually(shop.ask("vps-1"), name)
    after = shop.ask("vps-1", 1).acquire(name, 15)
    assert after is not None and after.number > 1 and not held.is_good
    assert time.monotonic() - held.until < 2.0
    shop.ask("vps-1", 1).release(after)


def test_watching_tells_who_has_it(shop: Shop, name: str) -> None:
    one, two = shop.ask("vps-1"), shop.ask("vps-2")
    assert two.watch(name, wait_s=0.0) == {"ok": True, "number": 0, "held": False, "host": "", "yours": False}
    told: list[dict[str, Any]] = []
    watching = threading.Thread(target=lambda: told.append(two.watch(name, wait_s=20)))
    watching.start()
    held = _eventually(one, name)
    watching.join(20)
    assert told == [{"ok": True, "number": 1, "held": True, "host": "vps-1", "yours": False}]
    assert one.watch(name)["yours"]
    one.release(held)
    assert two.watch(name, 1, True)["held"] is False


def test_what_is_not_understood_is_refused_and_harms_nothing(shop: Shop) -> None:
    for line in (b"", b"{}", b"[]", b"\xff", b'{"do": "steal"}', b'{"do": "acquire"}', b'{"do": "acquire", "lease": "a/b"}',
                 b'{"do": "acquire", "lease": "", "wait_s": 1}', b'{"do": "acquire", "lease": "a", "wait_s": 1e9}',
                 b'{"do": "acquire", "lease": "a", "more": 1}', b'{"do": "renew", "lease": "a", "number": -1}',
                 b'{"do": "renew", "lease": "a", "number": 1.5}', b"[" * 900,
                 b'{"do": "watch", "lease": "%s"}' % (b"a" * 41)):  # fmt: skip
        answer = _raw(shop, line + b"\n")
        assert json.loads(answer)["error"] == "not-understood", line
    assert json.loads(_raw(shop, b"x" * 5000))["error"] == "not-understood"
    with pytest.raises(LeaseError, match="not-understood"):
        shop.ask("vps-1").acquire("no good name")


def test_a_flood_of_one_container_costs_the_others_little(shop: Shop, name: str) -> None:
    path, stop = str(shop.sockets("vps-2")[0]), threading.Event()

    def flood(n: int) -> None:
        mine = Leases(path)
        while not stop.is_set():
            if (held := mine.acquire(f"flood-{n % 8}", 0.05)) is not None:
                mine.release(held)

    floods = [threading.Thread(target=flood, args=(n,)) for n in range(12)]
    for each in floods:
        each.start()
    try:
        one = shop.ask("vps-1")
        held = _eventually(one, name)
        for _ in range(8):
            time.sleep(0.5)
            assert one.renew(held), "who holds is renewed before anything new is asked"
        one.release(held)
        extra = [Leases(path) for _ in range(40)]
        with pytest.raises((LeaseError, OSError)):
            for each_one in extra:
                each_one.watch("x", wait_s=0.0)
        hosts = shop.aside.look(lambda: shop.aside.cloud.agents["vps-1"].loop.core.hosts())
        assert all(host.state == "up" for host in hosts)
    finally:
        stop.set()
        for each in floods:
            each.join(20)


def test_an_agent_that_starts_anew_answers_at_the_same_place(shop: Shop, name: str) -> None:
    cloud, aside = shop.aside.cloud, shop.aside
    held = _eventually(shop.ask("vps-2"), name)
    path = str(shop.sockets("vps-2")[0])
    aside.run(cloud.stop("vps-2"))
    with pytest.raises(OSError):
        Leases(path).renew(held)
    aside.run(cloud.start("vps-2"))
    assert not Leases(path).renew(held), "it knows nothing of what was held before"
    after = shop.ask("vps-1").acquire(name, 20)
    assert after is not None and after.number > 1 and time.monotonic() > held.until, "until it had run out"
    aside.wait("links", lambda: all(len(agent.mesh.neighbours()) == 2 for agent in cloud.agents.values()))


def test_a_container_that_ends_lets_go(shop: Shop, name: str) -> None:
    one = shop.ask("vps-3")
    _eventually(one, name)
    shop.end("vps-3")
    ended_s = time.monotonic()
    after = shop.ask("vps-1").acquire(name, 10)
    assert after is not None and after.number > 1
    assert time.monotonic() - ended_s < 3.0, "sooner than it would have run out"
    with pytest.raises((OSError, ConnectionError)):
        one.renew(Held(name, 1, 0.0))
    shop.aside.wait("its slot to run again", lambda: len(shop.aside.cloud.runtimes["vps-3"].disk.specs) == 2)
    shop.ask("vps-1").release(after)


def _eventually(by: Leases, name: str) -> Held:
    """Voters that have just begun are silent for the length of a lease."""
    held = by.acquire(name, 30)
    assert held is not None
    return held


def _raw(shop: Shop, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(shop.sockets("vps-1")[0]))
        asking.settimeout(5)
        asking.sendall(line)
        return asking.recv(4096)
