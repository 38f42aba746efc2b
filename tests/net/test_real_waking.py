"""Who knocks at a service at zero: held on whatever host it knocks, led to the replica once there is one. Real namespaces."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from net.bench import Host, Place
from net.conftest import Cloud
from net.test_real_cloud import until

pytestmark = pytest.mark.real

PORTS = [{"target": 80, "published": 8000}, {"target": 81, "published": 8001}]
NAME = "sleeper.shop.internal"


@pytest.fixture(scope="module", autouse=True)
def waking(cloud: Cloud) -> None:
    for host in cloud.hosts:
        host.call("wake")


def route(cloud: Cloud, *names: str, only: int | None = None) -> None:
    """On all hosts (or one): these replicas of the sleeper are healthy; none: it is at zero."""
    addresses = [cloud.address[name] for name in names]
    for n, host in enumerate(cloud.hosts):
        if only in (None, n):
            host.call(
                "route",
                ports=[[port, addresses] for port in PORTS],
                names={NAME: addresses},
                members=[
                    *cloud.members(),
                    {"app": "shop", "service": "sleeper", "addresses": addresses, "names": [NAME]},
                ],
                dormant={"sleeper": {"ports": PORTS, "names": [NAME], "targets": addresses}},
            )


class Asking:
    """A request in a thread of its own: who asks from a host can't be told anything else meanwhile."""

    def __init__(self, ask: Any) -> None:
        self.answer = self.why = ""
        self._thread = threading.Thread(target=self._run, args=(ask,))
        self._thread.start()

    def _run(self, ask: Any) -> None:
        try:
            self.answer = ask()
        except Exception as error:
            self.why = str(error)

    def wait(self) -> str:
        self._thread.join(20)
        assert not self.why, self.why
        return self.answer


def curl(cloud: Cloud, place: str, to: str, port: int = 8000, netns: str = "") -> Asking:
    where = next((host for host in cloud.hosts if host.name == place), cloud.outside)
    return Asking(lambda: where.run("curl", "-s", "-S", "-m", "15", f"http://{to}:{port}/", netns=netns))


def knocked(cloud: Cloud, n: int) -> bool:
    told = cloud.hosts[n].call("knocks")
    return bool(told) and told[-1][1] > 0


def passing_on(cloud: Cloud) -> tuple[Host, Place, int]:
    """The third host's activator, by its pid, has held a connection from outside and passes it on."""
    route(cloud)
    host, outside = cloud.hosts[2], cloud.outside
    opened = Asking(lambda: outside.call("flow", to=host.address, port=8001))
    until(lambda: knocked(cloud, 2))
    route(cloud, "a1", only=2)
    assert opened.wait() == "a1 hello"
    (pid,) = host.call("activator")
    return host, outside, pid


@pytest.mark.parametrize("n", [0, 1, 2])
def test_from_outside_through_any_host(cloud: Cloud, n: int) -> None:
    """The replica is on host 1: its own host leads there directly, the others through the tunnel."""
    route(cloud)
    asking = curl(cloud, "outside", cloud.hosts[n].address)
    until(lambda: knocked(cloud, n))
    route(cloud, "a1", only=n)
    assert asking.wait() == f"a1 {cloud.hosts[n].gateway}", "held ones come from the gateway's address"
    assert cloud.hosts[n].call("knocks")[-1] == ["sleeper", 0]
    direct = cloud.outside.call("get", to=cloud.hosts[n].address, port=8000)
    assert direct == f"a1 {'10.93.0.254' if n == 0 else cloud.hosts[n].gateway}", "later ones never pass the activator"
    if n == 0:
        assert flows(cloud, n) == 0


def test_from_the_host_itself(cloud: Cloud) -> None:
    for to in ("127.0.0.1", cloud.hosts[1].address):
        route(cloud)
        asking = curl(cloud, cloud.hosts[1].name, to)
        until(lambda: knocked(cloud, 1))
        route(cloud, "a2", only=1)
        assert asking.wait() == "a2 10.77.2.1"


@pytest.mark.parametrize("container", ["b1", "a2"])
def test_a_container_by_the_services_name(cloud: Cloud, container: str) -> None:
    """Its name leads to an address of the host that asked the question, on which any port is held."""
    route(cloud)
    n = int(container[1]) - 1
    host, netns = cloud.hosts[n], cloud.netns[container]
    (address,) = host.call("ask", server=host.gateway, name=NAME, netns=netns)["found"]
    assert address not in cloud.address.values() and address.startswith(f"10.77.{n + 1}.")
    asking = curl(cloud, host.name, address, 80, netns)
    until(lambda: knocked(cloud, n))
    route(cloud, "a1", only=n)
    assert asking.wait() == f"a1 {host.gateway}"
    assert host.call("ask", server=host.gateway, name=NAME, netns=netns)["found"] == [cloud.address["a1"]]
    assert curl(cloud, host.name, address, 80, netns).wait() == f"a1 {host.gateway}", "who remembers it is led on"


def test_a_container_by_the_address_that_another_hosts_names_gave(cloud: Cloud) -> None:
    """While its own host's agent is away a container asks the next host's names."""
    route(cloud)
    one, two, _ = cloud.hosts
    (address,) = one.call("ask", server=two.gateway, name=NAME, netns=cloud.netns["b1"])["found"]
    asking = curl(cloud, one.name, address, 80, cloud.netns["b1"])
    until(lambda: knocked(cloud, 1))
    route(cloud, "a2", only=1)
    assert asking.wait() == f"a2 {two.gateway}"


def test_a_container_gets_at_no_other_port_of_the_gateway(cloud: Cloud) -> None:
    route(cloud)
    one = cloud.hosts[0]
    asked = f"curl -s -m 1 http://{one.gateway}:7079/; echo $?"
    assert one.run("sh", "-c", asked, netns=cloud.netns["b1"]).strip() == "28", (
        "dropped, as all that isn't served there"
    )


def test_there_is_no_moment_with_neither(cloud: Cloud) -> None:
    """Clients ask without a pause while the replica comes and goes: each is answered, by it or after it was held."""
    one = cloud.hosts[0]
    route(cloud, "a1")
    cloud.outside.call("load", to=[one.address] * 4, port=8000)
    for _ in range(15):
        for names in ((), ("a1",)):
            done = cloud.outside.call("loaded")
            route(cloud, *names, only=0)
            if names:
                until(lambda done=done: cloud.outside.call("loaded") > done + 8)
            else:
                until(lambda: knocked(cloud, 0))
    told = cloud.outside.call("unload")
    assert told["failed"] == [] and told["done"] > 100


def test_it_outlives_its_agent_and_is_found_again(cloud: Cloud) -> None:
    route(cloud)
    three = cloud.hosts[2]
    (pid,) = three.call("activator")
    asking = curl(cloud, "outside", three.address)
    until(lambda: knocked(cloud, 2))
    three.restart_agent()
    three.call("peers", peers=[other.peer() for other in cloud.hosts if other is not three])
    three.call("start")
    three.call("wake")
    route(cloud, only=2)
    assert three.call("activator") == [pid]
    until(lambda: knocked(cloud, 2))
    route(cloud, "a1", only=2)
    assert asking.wait() == "a1 10.77.3.1"


def anew(cloud: Cloud, n: int) -> None:
    """Another agent, of the same version, that has not been told yet who is where."""
    host = cloud.hosts[n]
    host.restart_agent()
    host.call("peers", peers=[other.peer() for other in cloud.hosts if other is not host])
    host.call("start")
    host.call("wake")


def test_an_agent_that_knows_of_no_service_yet_refuses_nobody_who_waits(cloud: Cloud) -> None:
    route(cloud)
    host = cloud.hosts[1]
    (pid,) = host.call("activator")
    asking = curl(cloud, "outside", host.address)
    until(lambda: knocked(cloud, 1))
    anew(cloud, 1)
    until(lambda: knocked(cloud, 1))
    assert host.call("activator") == [pid]
    later = curl(cloud, "outside", host.address)
    route(cloud, only=1)
    route(cloud, "a2", only=1)
    assert asking.wait() == "a2 10.77.2.1" and later.wait().startswith("a2 ") and host.call("activator") == [pid]


@pytest.mark.parametrize("ends", ["killed", "told to end"])
def test_an_agent_that_has_not_heard_yet_who_passes_does_not_say_that_nobody_does(cloud: Cloud, ends: str) -> None:
    host, outside, pid = passing_on(cloud)
    host.run("kill", "-STOP", str(pid))  # it gets no processor for a while
    if ends == "told to end":
        host.call("let_be")
    anew(cloud, 2)
    assert host.call("passing", service="sleeper") is None
    host.run("kill", "-CONT", str(pid))
    told: list[int | None] = [None]
    until(lambda: told.append(host.call("passing", service="sleeper")) or told[-1] is not None)
    assert told[-1] == 1, "and not what has passed in all"
    outside.call("hang_up")
    until(lambda: host.call("passing", service="sleeper") == 0)


def test_one_that_listens_no_more_is_not_taken_for_one_that_does(cloud: Cloud) -> None:
    """Nothing may sleep any more, so it was to retire, and passes somebody on; then something may again."""
    host, outside, old = passing_on(cloud)
    anew(cloud, 2)
    host.call("known")
    until(lambda: host.call("activator") == [old])
    until(lambda: not host.run("sh", "-c", "ss -Hltn sport = :7079 || netstat -ltn | grep 7079", check=False))
    anew(cloud, 2)
    until(lambda: host.call("activator") == [old])
    route(cloud, only=2)
    asking = curl(cloud, "outside", host.address)
    until(lambda: knocked(cloud, 2))
    route(cloud, "a1", only=2)
    assert asking.wait() == "a1 10.77.3.1" and outside.call("say", text="here") == "a1 here"
    outside.call("hang_up")
    until(lambda: old not in host.call("activator"))


def test_one_that_is_killed_is_replaced(cloud: Cloud) -> None:
    route(cloud)
    two = cloud.hosts[1]
    (pid,) = two.call("activator")
    two.run("kill", "-9", str(pid))
    until(lambda: two.call("activator") not in ([], [pid]))
    asking = curl(cloud, "outside", two.address)
    until(lambda: knocked(cloud, 1))
    route(cloud, "a2", only=1)
    assert asking.wait() == "a2 10.77.2.1"


def flows(cloud: Cloud, n: int) -> int:
    """Connections that the activator of a host has: neither its line to the agent nor what it listens on."""
    (pid,) = cloud.hosts[n].call("activator")
    end = time.monotonic() + 5
    while True:
        found = cloud.hosts[n].run("sh", "-c", f"ls -l /proc/{pid}/fd | grep -c socket:").strip()
        if found == "2" or time.monotonic() > end:
            return int(found) - 2
        time.sleep(0.02)


def test_an_upgrade_of_the_agent_cuts_no_connection_that_its_activator_passes(cloud: Cloud) -> None:
    """The new agent starts an activator of its own; the old one listens no more, passes on what it has, is counted, and ends."""
    host, outside, old = passing_on(cloud)
    host.restart_agent()
    host.call("peers", peers=[other.peer() for other in cloud.hosts if other is not host])
    host.call("start")
    host.call("wake", version="v2")
    route(cloud, "a1", only=2)
    until(lambda: len(host.call("activator")) == 2)
    until(lambda: host.call("passing", service="sleeper") == 1)
    assert outside.call("say", text="still here") == "a1 still here"
    route(cloud, only=2)  # and who knocks now is held by the new one
    asking = curl(cloud, "outside", host.address)
    until(lambda: knocked(cloud, 2))
    route(cloud, "a1", only=2)
    assert asking.wait() == "a1 10.77.3.1" and outside.call("say", text="here") == "a1 here"
    outside.call("hang_up")
    until(lambda: old not in host.call("activator"))
    until(lambda: not host.run("sh", "-c", f"cat /proc/{old}/cmdline", check=False))  # ended, whoever reaps it
