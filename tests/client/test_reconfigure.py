"""A machine that is restarted, resized or rebuilt: drained first, back in the cloud afterwards, within what its pool allows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import skerry
from agent.small import Aside
from client import test_machine_up as machines
from client.test_roles import Person
from skerry.client.machines import NoSuchMachine
from skerry.client.pools import NoSuchSize
from skerry.machines.contract import Server

pytestmark = pytest.mark.usefixtures("quick_age", "pool")
ann, bundle, folder, small = machines.ann, machines.bundle, machines.folder, machines.small
yard, pool = machines.yard, machines.pool


@pytest.fixture
def calls(small: Aside, yard: machines.Yard, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the provider was asked; a machine that it restarts really starts its agent anew."""
    told: list[str] = []
    rented = sys.modules["folder"].Rented
    resize = rented.resize

    def again(what: str) -> None:
        told.append(what)
        state = small.look(lambda: small.cloud.agents["vps-1"].trusted.document("node/burst/0").body.state)  # type: ignore[union-attr]
        told.append(state)
        small.run(small.cloud.stop("burst/0"))
        small.run(small.cloud.start("burst/0"))

    def rebooted(self: object, server: Server) -> None:
        again(f"reboot {server.name.rpartition('-')[2]}")

    def resized(self: object, server: Server, size: str) -> None:
        resize(self, server, size)
        again(f"resize to {size}")

    destroy = rented.destroy

    def destroyed(self: object, server: Server) -> None:
        destroy(self, server)
        small.run(small.cloud.stop("burst/0"))

    monkeypatch.setattr(rented, "destroy", destroyed)
    monkeypatch.setattr(rented, "reboot", rebooted)
    monkeypatch.setattr(rented, "resize", resized)
    return told


@pytest.fixture
def cloud(tmp_path: Path, ann: Person) -> Iterator[skerry.Client]:
    with skerry.Client(home=tmp_path / "ann") as client:
        yield client


def test_a_machine_is_emptied_restarted_and_takes_replicas_again(
    ann: Person, small: Aside, calls: list[str], cloud: skerry.Client
) -> None:
    ann.run("machine", "up", "burst")
    done = ann.run("machine", "reboot", "burst/0")
    assert done["did"] == "restarted"
    assert calls == ["reboot 0", "draining"]
    assert cloud.hosts.wait("burst/0", "up").pool == "burst"
    assert cloud.machines.reboot("burst/0", now=True).did == "restarted"
    assert calls[2:] == ["reboot 0", "active"], "not drained where that is not wanted"
    ann.run("machine", "rm", "burst/0", "--now")


def test_a_machine_gets_another_size_once_and_none_that_costs_more_than_its_pool_may(
    ann: Person, calls: list[str], cloud: skerry.Client
) -> None:
    ann.run("machine", "up", "burst")
    assert ann.run("machine", "resize", "burst/0", "--size", "s-9", code=2)["code"] == "no-such-size"
    cloud.pools.set("burst", changes={"spend_usd_month": 10.0})
    assert ann.run("machine", "resize", "burst/0", "--size", "s-2", code=2)["code"] == "size-not-allowed"
    assert calls == []
    cloud.pools.set("burst", changes={"spend_usd_month": 100.0}, prev=cloud.pools.get("burst").etag)
    assert cloud.machines.resize("burst/0", "s-2").size == "s-2"
    assert cloud.machines.resize("burst/0", "s-2").did == "nothing: it has that size"
    assert calls == ["resize to s-2", "draining"]
    with pytest.raises(NoSuchSize):
        cloud.machines.resize("burst/0", "s-9")
    ann.run("machine", "rm", "burst/0", "--now")


def test_a_machine_is_rebuilt_with_other_keys(
    small: Aside, yard: machines.Yard, calls: list[str], cloud: skerry.Client, tmp_path: Path
) -> None:
    assert cloud.machines.add("burst").slot == "burst/0"
    before = machines.pools.held(small, "node/burst/0").signing
    with pytest.raises(NoSuchMachine):
        cloud.machines.rebuild("burst/1")
    yard.place = tmp_path / "anew"
    assert cloud.machines.rebuild("burst/0", timeout_s=20, progress=print).did == "rebuilt"
    assert [(machine.slot, machine.state) for machine in cloud.machines.ls("burst")] == [("burst/0", "joined")]
    assert machines.pools.held(small, "node/burst/0").signing != before
    cloud.machines.rm("burst/0", now=True)
    assert cloud.machines.ls() == []


def test_where_operators_rent_cost_and_pools_are_told(cloud: skerry.Client) -> None:
    assert [pool.name for pool in cloud.pools.ls()] == ["burst"]
    assert [(cost.pool, cost.machines) for cost in cloud.pools.cost()] == [("burst", 0)]
    cloud.pools.rm("burst")
    assert cloud.pools.ls() == []
