"""Three hosts that form a cloud's network, for the tests that need real ones. Made once, in half a second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from net.bench import Host, Place, outside_place


class Cloud:
    """Replicas a1 and b1 on host 1, a2 on host 2, none on host 3. Published: 8000 -> 80, 8001 -> 81 (echo), 8002/udp -> 82."""

    def __init__(self, outside: Place, hosts: list[Host]) -> None:
        self.outside, self.hosts = outside, hosts
        self.netns: dict[str, str] = {}
        self.address: dict[str, str] = {}

    def add(self, host: Host, name: str) -> None:
        found = host.container(name)
        self.netns[name], self.address[name] = found["netns"], found["address"]

    def route(self, *names: str) -> None:
        """On all hosts: these replicas are healthy."""
        addresses = [self.address[name] for name in names]
        ports = [
            [{"target": 80, "published": 8000}, addresses],
            [{"target": 81, "published": 8001}, addresses],
            [{"target": 82, "published": 8002, "protocol": "udp"}, addresses],
        ]
        for host in self.hosts:
            names = {"web.shop.internal": addresses, "idle.shop.internal": []}
            host.call("route", ports=ports, names=names, members=self.members())

    def members(self) -> list[dict[str, Any]]:
        """All containers are of one app."""
        every = sorted(self.address.values())
        return [
            {"app": "shop", "service": "web", "addresses": every, "names": ["web.shop.internal"]},
            {"app": "shop", "service": "idle", "names": ["idle.shop.internal"]},
        ]


def make_cloud(directory: Path, count: int = 3) -> Cloud:
    outside = outside_place()
    hosts: list[Host] = []
    cloud = Cloud(outside, hosts)
    try:
        outside.call("upstream", address="10.93.0.254")
        for number in range(1, count + 1):
            hosts.append(Host(number, directory / f"host{number}", outside))
        for host in hosts:
            assert host.call("start") == ["switched IPv4 forwarding on (net.ipv4.ip_forward)"]
        for host in hosts:
            host.call("peers", peers=[other.peer() for other in hosts if other is not host])
    except BaseException:
        end(cloud)
        raise
    return cloud


def end(cloud: Cloud) -> None:
    for place in [*cloud.hosts, cloud.outside]:
        place.end()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if os.geteuid():
        pytest.skip("needs root")
    made = make_cloud(tmp_path_factory.mktemp("skn"))
    try:
        one, two, _ = made.hosts
        made.add(one, "a1")
        made.add(one, "b1")
        made.add(two, "a2")
        yield made
    finally:
        end(made)


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Cloud]:
    """One host by itself, not started: for tests of what `start` meets and `purge` leaves."""
    if os.geteuid():
        pytest.skip("needs root")
    made = Cloud(outside_place(), [])
    try:
        made.hosts.append(Host(1, tmp_path / "host1", made.outside))
        yield made
    finally:
        end(made)
