"""What joins the hosts fails: a cable, a line between two parts of the cloud, a bad line. Healthy replicas serve on."""

from __future__ import annotations

import time

import pytest
from demo.clients import Clients, ask

from e2e.conftest import Cloud
from late import Late

pytestmark = pytest.mark.e2e

SILENT_S = 3.0  # a machine that says nothing is called down by then
SPARE_S = 1.5  # on two cores that many tests share


def test_a_host_that_falls_silent_is_called_down_within_three_seconds(cloud: Cloud) -> None:
    victim = cloud.others(cloud.of_store())[0]
    pids = cloud.containers(victim)
    cut_s, late = time.time(), Late()
    cloud.lab.cut(victim)

    def told() -> list[float]:
        falls = [row for row in cloud.events("down", cut_s) if row["subject"] == victim]
        return [row["time"] - cut_s for row in falls] if len(falls) == 2 else []

    after_s = cloud.skerry.wait("both others to call it down", told)
    assert all(1.0 < each < SILENT_S + SPARE_S + 3 * late.most_s for each in after_s), after_s
    assert cloud.containers(victim) >= pids, "it runs on what it ran"
    cloud.lab.heal(victim)
    cloud.wait_well()


def test_a_slow_and_lossy_line_is_not_called_dead(cloud: Cloud) -> None:
    begun_s = time.time()
    slow = cloud.others(cloud.of_store())[0]
    cloud.lab.slow(slow, rate="1mbit", loss="3%")
    time.sleep(8)  # more than twice the time in which silence is death
    assert not cloud.events("down", begun_s)
    assert len(cloud.up()) == 3


def test_a_partition_of_one_against_two_heals_without_lasting_duplicates(cloud: Cloud) -> None:
    store = cloud.of_store()
    alone = cloud.others(store)[0]
    others = cloud.others(alone)
    addresses = cloud.addresses()
    with Clients([addresses[name] for name in others], write=False) as clients:
        cloud.lab.partition([alone], others)
        cloud.skerry.wait("the two to serve", lambda: all(not ask(addresses[name])[1] for name in others))
        cloud.skerry.wait("the one that is alone to serve", lambda: not ask(addresses[alone], path="/healthz")[1])
        cloud.skerry.wait("the one that is alone to run all it can", lambda: len(cloud.containers(alone)) == 3)
        healed_s = time.time()
        clients.take()
        for name in cloud.names():
            cloud.lab.heal(name)
        cloud.wait_well(90)
        count = clients.take()
    assert count.failed == 0, count.whys
    released = cloud.events("released", healed_s)
    assert released and all("healthy" in row["reason"] for row in released), "losers stop once the winner is healthy"
    assert sum(len(cloud.containers(name)) for name in cloud.names()) == 4
