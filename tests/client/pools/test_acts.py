"""What operators do to one machine of a pool that hosts keep: rebooted, resized, rebuilt, returned. By the command line, with real
keepers and droplets that join by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.rented import RentingCloud, Sea
from agent.small import Aside, archive
from client.conftest import commands_beside
from client.test_roles import Person
from skerry.errors import TrustRefusal
from skerry.machines.digitalocean import DigitalOcean
from skerry.machines.userdata import MeetingPoint
from skerry.mesh.tls import fingerprint

pytestmark = pytest.mark.usefixtures("quick_age")
LEAST, MORE = "dop_v1_least", "dop_v1_more"
COMPOSE = """\
services:
  web:
    image: web.tar
    command: ["/app"]
    deploy:
      replicas: {replicas}
      update_config: {{order: start-first}}
      placement: {{constraints: [{where}]}}
x-skerry: {{pools: [burst]}}
"""
ALONE, EITHER, FIXED = (
    '"node.hostname==burst/0"',
    '"node.hostname!=vps-1","node.hostname!=vps-2"',
    '"node.hostname!=burst/0"',
)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    with commands_beside(RentingCloud(tmp_path / "hosts", 3), tmp_path, monkeypatch) as aside:
        yield aside


@pytest.fixture
def sea(small: Aside, tmp_path: Path) -> Iterator[Sea]:
    least = set(DigitalOcean.least_scopes)
    made = Sea(small, tmp_path / "droplets", {LEAST: least, MORE: {*least, *DigitalOcean.update_scopes}})
    yield made
    made.end()


@pytest.fixture
def burst(small: Aside, sea: Sea, ann: Person, bundle: Path, tmp_path: Path) -> Callable[[], Any]:
    """The pool has one machine, which has joined; gives its enrolment."""
    for token in (LEAST, MORE):
        (tmp_path / token).write_text(token)
    ann.run(
        "machine", "pool", "add", "burst", "--provider", "digitalocean", "--endpoint", sea.endpoint, "--size", "s-1vcpu-1gb",
        "--min", "1", "--max", "1", "--keepers", "vps-1,vps-2", "--age", "1s", "--drain", "20s", "--token-file", LEAST,
    )  # fmt: skip
    at = small.cloud.agents["vps-1"].trusted
    small.wait("the machine", lambda: is_up(small))
    return lambda: small.look(lambda: at.document("node/burst/0"))


def is_up(small: Aside) -> bool:
    """All fixed hosts take it for alive."""
    return "burst/0" in small.cloud.agents and all(
        any(host.name == "burst/0" and host.state == "up" for host in small.cloud.agents[name].loop.core.hosts())
        for name in ("vps-1", "vps-2", "vps-3")
    )


def deploy(ann: Person, where: str, replicas: int) -> None:
    archive(Path("web.tar"), b"one")
    Path("compose.yaml").write_text(COMPOSE.format(where=where, replicas=replicas))
    ann.run("deploy", "compose.yaml", "--name", "web", "--timeout", "40s")


def runs_on(ann: Person) -> list[str]:
    return sorted(row["node"] for row in ann.run("ps") if row["healthy"])


def test_rebooted_and_resized_by_its_keeper_it_stays_the_same_machine(
    small: Aside, sea: Sea, ann: Person, burst: Callable[[], Any]
) -> None:
    before = burst()
    deploy(ann, EITHER, 2)
    error = ann.run("machine", "reboot", "burst/0", code=1)
    assert error["code"] == "machine-act-refused" and "droplet:update" in error["why"]
    ann.run("machine", "pool", "set", "burst", "--token-file", MORE)
    (droplet,) = sea.there()
    for words in (("reboot", "burst/0"), ("resize", "burst/0", "s-1vcpu-2gb")):
        agent = small.cloud.agents["burst/0"]
        answer = ann.run("machine", *words, "--timeout", "30s")
        assert answer["done"] == words[0] and small.cloud.agents["burst/0"] is not agent
    (after,) = sea.there()
    assert (after["id"], after["size"]) == (droplet["id"], "s-1vcpu-2gb")
    assert burst().body.signing == before.body.signing, "the same machine, and its keys"
    small.wait(
        "both to be healthy somewhere",
        lambda: len([c for r in small.cloud.runtimes.values() for c in r.disk.specs]) == 2,
    )


def test_rebuilt_it_is_drained_first_and_another_machine_and_the_old_one_is_refused(
    small: Aside, sea: Sea, ann: Person, burst: Callable[[], Any]
) -> None:
    before, at = burst(), small.cloud.agents["vps-3"]
    old = small.look(lambda: at.trusted.raw("node/burst/0"))
    assert old is not None
    deploy(ann, ALONE, 1)
    deploy(ann, '"node.hostname!=vps-1"', 1)
    assert runs_on(ann) == ["burst/0"], "it may go elsewhere, and has no reason to"
    (droplet,) = sea.there()
    answer = ann.run("machine", "rebuild", "burst/0", "--timeout", "60s")
    assert answer == {"slot": "burst/0", "done": "rebuild", "size": ""}
    assert sea.droplets.ended == {droplet["id"]: []}, "what ran there had left before"
    small.wait("the new one", lambda: is_up(small))
    (anew,) = sea.there()
    after = burst()
    assert anew["id"] != droplet["id"] and after.version > before.version
    assert after.body.signing != before.body.signing
    assert {before.body.signing, before.body.sealing, before.body.wireguard} <= set(after.body.barred)
    with pytest.raises(TrustRefusal) as refusal:
        small.look(lambda: at.door.offer(old, "node/vps-2"))
    assert refusal.value.code == "stale"
    thief = sea.droplets.guests[droplet["id"]]
    files = small.cloud.files["vps-1"]
    point = MeetingPoint(f"127.0.0.1:{small.cloud.enrol_ports['vps-1']}", fingerprint(files.certificate))
    assert thief.enrol(point, "burst/0", "its token was good once")["error"]["code"] == "token-refused"


def test_returned_it_is_drained_first_and_gone_and_the_last_replica_stays_where_it_can_t_go(
    small: Aside, sea: Sea, ann: Person, burst: Callable[[], Any]
) -> None:
    burst()
    deploy(ann, ALONE, 1)
    for words in (("reboot", "burst/0"), ("resize", "burst/0", "s-1vcpu-2gb")):
        error = ann.run("machine", *words, code=1)
        assert error["code"] == "holds-last-replica" and "web.web" in error["why"] and "--now" in error["fix"]
    ann.run("machine", "pool", "set", "burst", "--min", "0")
    error = ann.run("machine", "rm", "burst/0", "--timeout", "1s", code=5)
    assert "web.web/0 still run there" in error["why"] and len(sea.there()) == 1 and runs_on(ann) == ["burst/0"]
    deploy(ann, FIXED, 1)
    assert ann.run("machine", "rm", "burst/0", "--timeout", "30s") == {"slot": "burst/0", "state": "gone"}
    assert sea.there() == [] and list(sea.droplets.ended.values()) == [[]]
    assert ann.run("machine", "ls") == [] and burst().body.state == "expelled"
