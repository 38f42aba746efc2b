"""What runs is killed: the agent, one machine after the other, two at once, all. Each time all comes back and nothing is lost."""

from __future__ import annotations

import random
import threading
import time

import pytest
from demo.clients import Clients, ask, entries
from demo.skerry import CommandFailed

from e2e.conftest import Cloud
from late import Late

pytestmark = pytest.mark.e2e


def test_an_agent_killed_at_once_leaves_containers_alone_and_comes_back(cloud: Cloud) -> None:
    host = next(row["node"] for row in cloud.ps() if row["service"] == "web")
    before = {row["slot"]: row["since"] for row in cloud.ps() if row["node"] == host}
    pids = cloud.containers(host)
    with Clients(list(cloud.addresses().values()), write=False, path="/healthz") as clients:
        cloud.kill_agent(host)
        cloud.wait_well()
        count = clients.take()
    assert count.requests > 0 and count.failed == 0, count.whys
    assert pids and cloud.containers(host) == pids, "adopted, not started anew"
    assert {row["slot"]: row["since"] for row in cloud.ps() if row["node"] == host} == before


def test_agents_killed_at_random_moments_of_a_rollout_lose_nothing_and_leave_no_duplicate(cloud: Cloud) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # the moments; what the machine does between them can't be repeated
    moments = random.Random(seed)
    number = cloud.new_version()
    over = threading.Event()

    def kill() -> None:
        while not over.wait(moments.uniform(0.1, 1.5)):
            cloud.kill_agent(moments.choice(cloud.names()))

    killer = threading.Thread(target=kill, daemon=True)
    with Clients(list(cloud.addresses().values()), write=False, path="/healthz") as clients:
        killer.start()
        try:
            _deploy_until_it_works(cloud)
            time.sleep(3)  # the kills go on while the rollout does
        finally:
            over.set()
            killer.join()
        cloud.wait_well()
        count = clients.take()
    assert count.requests > 100 and count.failed == 0, count.whys
    _every_container_is_the_one_that_is_shown(cloud, number)


def _deploy_until_it_works(cloud: Cloud) -> None:
    """As a person would: the agent that was asked may be killed before it has answered."""

    def once() -> bool:
        cloud.skerry.run("deploy", cloud.compose, "--detach")
        return True

    cloud.skerry.wait("the deploy to be accepted", once)


def _every_container_is_the_one_that_is_shown(cloud: Cloud, number: int) -> None:
    shown = cloud.ps()
    for host in cloud.names():
        assert len(cloud.containers(host)) == sum(row["node"] == host for row in shown), f"containers of {host}"
        here = [row for row in shown if row["node"] == host and row["service"] == "web"]
        pids = "sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' /run/skerry/containers/guestbook-web-*/made.json"
        say = f"for p in $({pids}); do tr '\\0' '\\n' </proc/$p/environ; done"
        seen = cloud.inside(host, "sh", "-c", say) if here else ""
        assert seen.count(f"ROUND={number}\n") == len(here), f"web on {host} runs with the new environment"


def test_whoever_accepted_a_version_dies_at_once_and_the_others_go_on_with_it(cloud: Cloud) -> None:
    cloud.new_version()
    kept_by = cloud.skerry.json("deploy", cloud.compose, "--detach")["kept_by"]
    first = kept_by[0]
    cloud.lab.kill(first)
    assert len(kept_by) == 2, "two have it on their disks before it is called accepted"
    others = cloud.others(first)
    cloud.skerry.wait(
        "the new version to run on the others",
        lambda: (
            len(web := [row for row in cloud.ps() if row["service"] == "web"]) == 3
            and all(row["healthy"] and not row["outdated"] and row["node"] in others for row in web)
        ),
    )
    cloud.lab.boot(first)


def test_each_other_machine_in_turn_is_lost_and_its_replicas_return_elsewhere(cloud: Cloud) -> None:
    """Clients are answered all along by hosts with a replica of their own; one without may lead to the dead one at first."""
    for victim in cloud.names()[1:]:
        keeps = cloud.of_store() == victim
        rest = [address for name, address in cloud.addresses().items() if name != victim]
        spread = set(cloud.others(victim)) <= {row["node"] for row in cloud.ps() if row["service"] == "web"}
        with Clients(list(cloud.addresses().values()), write=False, path="/healthz") as clients:
            cloud.lab.kill(victim)
            died_s, late = time.monotonic(), Late()
            cloud.skerry.wait("three healthy elsewhere", lambda victim=victim: _web_elsewhere(cloud, victim))
            took_s = time.monotonic() - died_s
            count = clients.take()
            assert count.failed == 0 or not spread, count.whys
        assert took_s < 10 + 10 * late.most_s, f"{took_s:.1f} s"
        if keeps:
            assert victim in _store_waits(cloud)
            assert ask(rest[0])[1] == "HTTP 503", "web says that its store is missing"
        cloud.lab.boot(victim)
        cloud.wait_well()


def _store_waits(cloud: Cloud) -> str:
    """What ps says it waits for."""
    row = cloud.skerry.wait(
        "ps to say why store waits",
        lambda: [row for row in cloud.ps() if row["service"] == "store" and row["state"] == "waiting"],
    )[0]
    assert not row["healthy"]
    return str(row["why"])


def _web_elsewhere(cloud: Cloud, victim: str) -> bool:
    return sum(row["service"] == "web" and row["healthy"] and row["node"] != victim for row in cloud.ps()) == 3


def test_two_hosts_at_once_are_lost_and_the_third_serves_what_fits(cloud: Cloud) -> None:
    last = cloud.of_store()
    lost = cloud.others(last)
    for name in lost:
        cloud.lab.kill(name)
    cloud.skerry.wait("all on the last host", lambda: cloud.well() and {row["node"] for row in cloud.ps()} == {last})
    assert ask(cloud.addresses()[last], "written with one host left")[1] == ""
    cloud.new_version()
    assert cloud.skerry.json("deploy", cloud.compose)["kept_by"] == [last], "the last host takes a version, and runs it"
    cloud.lab.boot(*lost)
    cloud.wait_well(90)


def test_two_hosts_at_once_are_lost_and_the_third_says_what_is_missing(cloud: Cloud) -> None:
    last = cloud.others(cloud.of_store())[0]
    lost = cloud.others(last)
    for name in lost:
        cloud.lab.kill(name)
    why = _store_waits(cloud)
    assert any(name in why for name in lost), why
    cloud.skerry.wait(
        "three web replicas on the last host",
        lambda: sum(row["service"] == "web" and row["healthy"] and row["node"] == last for row in cloud.ps()) == 3,
    )
    assert ask(cloud.addresses()[last], path="/healthz")[1] == ""
    cloud.lab.boot(*lost)
    cloud.wait_well(90)


def test_all_hosts_rebooted_at_once_come_back_with_every_entry_and_every_record(cloud: Cloud) -> None:
    address = next(iter(cloud.addresses().values()))
    assert ask(address, "before the whole cloud lost power")[1] == ""
    written = entries(address)
    number = cloud.new_version()
    cloud.skerry.run("deploy", cloud.compose, "--detach")
    for name in cloud.names():
        cloud.lab.kill(name)
    with pytest.raises(CommandFailed, match="ended with 4"):
        cloud.skerry.json("ps")
    cloud.lab.boot(*cloud.names())
    cloud.wait_well(90)
    assert entries(address) == written
    _every_container_is_the_one_that_is_shown(cloud, number)
