"""Droplets as lab hosts: rented through the API, booted, told by user data what to do, given back. Real parts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkout import lab_name
from skerry.lab import Lab
from skerry.lab.errors import LabBadInput, LabHostState, LabUnknownHost
from skerry.lab.ocean import Pace
from skerry.lab.ocean.process import Place, start
from skerry.machines.contract import Order, Server
from skerry.machines.digitalocean import DigitalOcean

pytestmark = pytest.mark.real

LIMIT_S = 60.0
PACE = Pace(boot_s=0.2, lists_s=0.05, tags_s=0.1, gone_s=0.1, action_s=0.1)


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Lab, Place]]:
    lab = Lab(lab_name("ocean-t"))
    lab.down()
    lab.up(1)
    try:
        yield lab, start(lab, pace=PACE, tls=True)
    finally:
        lab.down()
    assert lab.leftovers() == []


@pytest.fixture
def provider(place: tuple[Lab, Place]) -> DigitalOcean:
    return DigitalOcean(place[1].token, place[1].endpoint, {"ca": place[1].ca}, pause=lambda seconds: time.sleep(0.1))


def wait(what: str, condition: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < end_s, f"{what}: not within {LIMIT_S:.0f} s"
        time.sleep(0.05)
    return found


def order(name: str, user_data: str) -> Order:
    return Order(
        name=name, size="s-1vcpu-1gb", region="ams3", image="debian-12-x64", user_data=user_data, tags=("skerry:t",)
    )


def active(provider: DigitalOcean, id: str) -> Server:
    def look() -> Server | None:
        found = provider.get(id)
        return found if found.state == "active" and found.tags else None

    server: Server = wait(f"droplet {id} to be active", look)
    return server


def said(lab: Lab, host: str, path: str) -> str:
    """A file of the host, once cloud-init has written it."""
    return wait(f"{path} of {host}", lambda: lab.exec(host, ["cat", path]).stdout.decode())


def test_a_script_runs_once_with_the_machines_own_name_and_address(
    place: tuple[Lab, Place], provider: DigitalOcean
) -> None:
    lab = place[0]
    script = "#!/bin/sh\nhostname -I >>/root/boots; curl -s http://169.254.169.254/metadata/v1/id >/root/id; hostname >/root/name\n"
    made = provider.create(order("sk-t-burst-0", script))
    server = active(provider, made.id)
    assert said(lab, server.name, "/root/name") == "sk-t-burst-0\n"
    assert said(lab, server.name, "/root/id") == server.id
    assert said(lab, server.name, "/root/boots").split() == list(server.addresses)
    (machine,) = [machine for machine in lab.status() if machine.name == server.name]
    assert (machine.state, machine.address) == ("on", server.addresses[0])
    reached = lab.exec("vps-1", ["ping", "-c", "1", "-W", "2", server.addresses[0]])
    assert reached.returncode == 0

    provider.reboot(server)  # the same instance: what was to be done at first is done
    wait(
        "cloud-init to end",
        lambda: lab.exec(server.name, ["systemctl", "is-active", "lab-cloud-init"]).stdout.strip() == b"active",
    )
    assert said(lab, server.name, "/root/boots").count("\n") == 1

    provider.destroy(server)
    wait("its host to be gone", lambda: [machine.name for machine in lab.status()] == ["vps-1"])
    assert lab.exec("vps-1", ["ping", "-c", "1", "-W", "1", server.addresses[0]]).returncode != 0


def test_cloud_config_writes_files_and_runs_commands_and_two_may_have_one_name(
    place: tuple[Lab, Place], provider: DigitalOcean
) -> None:
    lab = place[0]
    config = {
        "write_files": [{"path": "/root/greeting", "content": "hello\n", "permissions": "0600"}],
        "runcmd": [["sh", "-c", "stat -c %a /root/greeting >/root/ran"]],
    }
    user_data = "#cloud-config\n" + json.dumps(config)
    ids = [provider.create(order("sk-t-burst-1", user_data)).id for _ in range(2)]
    first, second = (active(provider, id) for id in ids)
    assert first.addresses != second.addresses
    hosts = sorted(machine.name for machine in lab.status() if machine.name != "vps-1")
    assert len(hosts) == 2 and "sk-t-burst-1" in hosts
    for host in hosts:
        assert said(lab, host, "/root/ran") == "600\n"
        assert lab.exec(host, ["hostname"]).stdout == b"sk-t-burst-1\n"
    for server in (first, second):
        provider.destroy(server)
    wait("their hosts to be gone", lambda: [machine.name for machine in lab.status()] == ["vps-1"])


def test_hosts_reach_the_api_and_this_machine_listens_for_nothing(place: tuple[Lab, Place]) -> None:
    lab, where = place
    asked = [
        "curl",
        "-s",
        "--cacert",
        "/dev/stdin",
        "-H",
        f"authorization: Bearer {where.token}",
        f"{where.endpoint}/v2/account",
    ]
    done = lab.exec("vps-1", asked, input=where.ca.encode())
    assert json.loads(done.stdout)["account"]["status"] == "active", done.stderr
    listening = Path("/proc/net/tcp").read_text()
    assert "FEA9FEA9:0050" not in listening  # 169.254.169.254:80, as the kernel writes it here
    said = subprocess.run(
        [Path(sys.executable).with_name("skerry"), "lab", "ocean", "--lab", lab.name, "--json"],
        capture_output=True,
        timeout=30,
    )
    assert msgspec.json.decode(said.stdout, type=Place) == where, said.stderr  # who asks twice gets no second one


def test_a_host_that_can_not_be_added_changes_nothing(place: tuple[Lab, Place]) -> None:
    lab = place[0]
    for name, error in (("vps-1", LabHostState), ("../up", LabBadInput), ("", LabBadInput), ("a" * 64, LabBadInput)):
        with pytest.raises(error):
            lab.add_host(name)
    with pytest.raises(LabUnknownHost):
        lab.remove_host("nobody")
    assert [machine.name for machine in lab.status()] == ["vps-1"]


def test_a_host_that_is_added_is_one_of_the_lab_and_its_address_is_given_again(place: tuple[Lab, Place]) -> None:
    lab = place[0]
    first = lab.add_host("guest-1")
    assert lab.exec("guest-1", ["hostname"]).stdout == b"guest-1\n"
    lab.kill("guest-1")
    lab.boot("guest-1")
    lab.remove_host("guest-1")
    second = lab.add_host("guest-2")
    assert second.address == first.address
    assert lab.exec("guest-2", ["ls", "/root"]).stdout == b""
    lab.remove_host("guest-2")
    assert [machine.name for machine in lab.status()] == ["vps-1"]
