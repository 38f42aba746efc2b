"""Real faults on whole machines: each gets its recovery, and loses nothing."""

from __future__ import annotations

import pytest
from demo.clients import Clients, ask, entries

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e


def test_an_agent_killed_at_once_leaves_containers_alone_and_comes_back(cloud: Cloud) -> None:
    host = next(row["node"] for row in cloud.ps() if row["service"] == "web")
    before = {row["slot"]: row["since"] for row in cloud.ps() if row["node"] == host}
    with Clients(list(cloud.addresses().values()), write=False) as clients:
        cloud.lab.exec(host, ["systemctl", "kill", "--signal=KILL", "skerry"])
        cloud.wait_well()
        count = clients.take()
    assert count.requests > 0 and count.failed == 0, count.whys
    assert {row["slot"]: row["since"] for row in cloud.ps() if row["node"] == host} == before, (
        "adopted, not started anew"
    )


def test_all_hosts_rebooted_at_once_come_back_with_every_entry(cloud: Cloud) -> None:
    address = next(iter(cloud.addresses().values()))
    ask(address, "before the whole cloud lost power")
    written = set(entries(address))
    for machine in cloud.machines():
        cloud.lab.kill(machine.name)
    cloud.lab.boot(*[machine.name for machine in cloud.machines()])
    cloud.wait_well(90)
    assert written <= set(entries(address))


def test_two_hosts_at_once_are_lost_and_the_third_serves_what_fits(cloud: Cloud) -> None:
    last = cloud.of_store()
    lost = [machine.name for machine in cloud.machines() if machine.name != last]
    for name in lost:
        cloud.lab.kill(name)
    cloud.skerry.wait(
        "three web replicas on the last host",
        lambda: len([r for r in cloud.ps() if r["service"] == "web" and r["healthy"] and r["node"] == last]) == 3,
    )
    assert ask(cloud.addresses()[last], "written with one host left")[1] == ""
    cloud.lab.boot(*lost)
    cloud.wait_well(90)


def test_a_partition_of_one_against_two_heals_without_lasting_duplicates(cloud: Cloud) -> None:
    store = cloud.of_store()
    alone = next(machine.name for machine in cloud.machines() if machine.name != store)
    others = [machine.name for machine in cloud.machines() if machine.name != alone]
    cloud.lab.partition([alone], others)
    served = [cloud.addresses()[name] for name in others]
    cloud.skerry.wait("the two serve", lambda: all(not ask(address)[1] for address in served))
    assert ask(cloud.addresses()[alone], path="/healthz")[1] == "", "the one that is alone goes on serving"
    for machine in cloud.machines():
        cloud.lab.heal(machine.name)
    cloud.wait_well(90)
