"""Published ports, names and walls between three real hosts (namespaces), with real WireGuard, nftables and veths."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from net.conftest import Cloud
from skerry.agent.figures import Place
from skerry.net.flows import Open

pytestmark = pytest.mark.real
METADATA = "169.254.169.254"


def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end, why = time.monotonic() + limit_s, ""
    while True:
        try:
            if condition():
                return
        except RuntimeError as error:  # no route yet
            why = str(error)
        assert time.monotonic() < end, f"it never came to pass: {why}"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def all_healthy(cloud: Cloud) -> None:
    cloud.route("a1", "b1", "a2")


def servers(cloud: Cloud, to: str, *, tries: int = 4, **where: str) -> set[str]:
    """Which replicas answer on port 8000 of this address, asked from outside, a host, or a container."""
    place = next((h for h in cloud.hosts if h.name == where.get("host")), cloud.outside)
    netns = ""
    if container := where.get("container"):
        place = cloud.hosts[0] if container.endswith("1") else cloud.hosts[1]
        netns = cloud.netns[container]
    return {place.call("get", to=to, port=8000, netns=netns).split()[0] for _ in range(tries)}


def test_from_outside_every_host_answers_own_replicas_first(cloud: Cloud) -> None:
    one, two, three = cloud.hosts
    assert servers(cloud, one.address) == {"a1", "b1"}
    assert servers(cloud, two.address) == {"a2"}
    assert servers(cloud, three.address, tries=6) == {"a1", "b1", "a2"}


def test_a_host_without_healthy_own_replicas_takes_the_others(cloud: Cloud) -> None:
    cloud.route("a2")
    assert servers(cloud, cloud.hosts[0].address) == {"a2"}


def test_a_local_replica_sees_the_clients_address(cloud: Cloud) -> None:
    assert cloud.outside.call("get", to=cloud.hosts[1].address, port=8000) == "a2 10.93.0.254"


def test_a_remote_replica_sees_the_gateway_of_the_host_that_was_asked(cloud: Cloud) -> None:
    cloud.route("a2")
    assert cloud.outside.call("get", to=cloud.hosts[2].address, port=8000) == "a2 10.77.3.1"


def test_the_host_itself_by_its_own_address_and_by_loopback(cloud: Cloud) -> None:
    for host, expected in zip(cloud.hosts, ({"a1", "b1"}, {"a2"}, {"a1", "b1", "a2"}), strict=True):
        assert servers(cloud, host.address, host=host.name, tries=6) == expected
        assert servers(cloud, "127.0.0.1", host=host.name, tries=6) == expected


def test_a_container_through_any_hosts_port(cloud: Cloud) -> None:
    one, two, three = cloud.hosts
    assert servers(cloud, one.address, container="a1") == {"a1", "b1"}  # itself among them
    assert servers(cloud, two.address, container="a2") == {"a2"}  # itself alone
    assert servers(cloud, two.address, container="a1") == {"a2"}
    assert servers(cloud, three.address, container="a1", tries=6) == {"a1", "b1", "a2"}


def test_containers_reach_each_other_by_address_and_see_it(cloud: Cloud) -> None:
    one, two, _ = cloud.hosts
    there = one.call("get", to=cloud.address["a2"], port=80, netns=cloud.netns["a1"])
    back = two.call("get", to=cloud.address["b1"], port=80, netns=cloud.netns["a2"])
    assert (there, back) == (f"a2 {cloud.address['a1']}", f"b1 {cloud.address['a2']}")


def test_a_host_probes_replicas_everywhere(cloud: Cloud) -> None:
    assert cloud.hosts[2].call("get", to=cloud.address["a1"], port=80) == "a1 10.77.3.1"


def test_a_published_udp_port(cloud: Cloud) -> None:
    assert cloud.outside.call("udp", to=cloud.hosts[1].address, port=8002) == "a2"
    assert cloud.outside.call("udp", to=cloud.hosts[2].address, port=8002) in ("a1", "b1", "a2")


def test_nothing_healthy_is_refused_at_once(cloud: Cloud) -> None:
    cloud.route()
    with pytest.raises(RuntimeError, match="ConnectionRefused"):
        cloud.outside.call("get", to=cloud.hosts[0].address, port=8000)


def test_a_container_that_is_not_there_is_unreachable_at_once(cloud: Cloud) -> None:
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"OSError.*113"):
        cloud.hosts[0].call("get", to="10.77.2.200", port=80, netns=cloud.netns["a1"], timeout_s=15)
    assert time.monotonic() - began < 5


# Names


def test_names_by_udp_and_tcp_from_the_own_host_and_from_others(cloud: Cloud) -> None:
    expected = sorted(cloud.address[name] for name in ("a1", "b1", "a2"))
    for host in cloud.hosts:
        for tcp in (False, True):
            found = cloud.hosts[0].call(
                "ask", server=host.gateway, name="web.shop.internal", netns=cloud.netns["a1"], tcp=tcp
            )
            assert (found["rcode"], sorted(found["found"])) == (0, expected)


def test_known_but_idle_unknown_and_foreign_names(cloud: Cloud) -> None:
    def ask(name: str, kind: str = "A") -> dict:
        return cloud.hosts[0].call("ask", server="10.77.1.1", name=name, kind=kind, netns=cloud.netns["a1"])

    assert ask("idle.shop.internal") == {"rcode": 0, "found": []}
    assert ask("web.shop.internal", "AAAA") == {"rcode": 0, "found": []}
    assert ask("nobody.shop.internal")["rcode"] == 3
    assert ask("example.org") == {"rcode": 0, "found": ["192.0.2.1"]}


# Walls


def test_a_container_does_not_reach_the_agents_port_or_other_ports_of_the_gateway(cloud: Cloud) -> None:
    for port in (7077, 22):
        for address in (
            (cloud.hosts[0].address, "10.77.1.1", "10.77.2.1") if port == 7077 else ("10.77.1.1", "10.77.2.1")
        ):
            refused = "ConnectionRefusedError" if port == 7077 else "TimeoutError"
            with pytest.raises(RuntimeError, match=refused):
                cloud.hosts[0].call("get", to=address, port=port, netns=cloud.netns["a1"], timeout_s=0.2)


def test_from_outside_only_published_ports_lead_in(cloud: Cloud) -> None:
    one = cloud.hosts[0]
    cloud.outside.run("ip", "route", "replace", "10.77.1.0/24", "via", one.address)
    with pytest.raises(RuntimeError, match="TimeoutError"):
        cloud.outside.call("get", to=cloud.address["a1"], port=80, timeout_s=0.3)
    cloud.outside.run("ip", "route", "delete", "10.77.1.0/24")


@pytest.fixture(params=["on the link, as at DigitalOcean", "on the host itself"])
def metadata(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[Callable[..., str]]:
    """A service at the metadata address, from which the machine gets what nobody else should; asks it."""
    one, local = cloud.hosts[0], request.param.endswith("itself")
    place, device = (one, "lo") if local else (cloud.outside, "sknbr")
    place.run("ip", "addr", "add", f"{METADATA}/32", "dev", device)
    if not local:
        one.run("ip", "route", "replace", "169.254.0.0/16", "dev", "eth0")
    served = place.serve("user-data", "")
    yield lambda **more: one.call("get", to=METADATA, port=80, **more)
    served.kill()
    served.wait()
    place.run("ip", "addr", "delete", f"{METADATA}/32", "dev", device)
    one.run("ip", "route", "delete", "169.254.0.0/16", "dev", "eth0", check=False)


def test_the_providers_metadata_service_is_open_to_the_machine_and_closed_to_containers(
    cloud: Cloud, metadata: Callable[..., str]
) -> None:
    assert metadata().startswith("user-data ")
    for name in ("a1", "b1"):
        with pytest.raises(RuntimeError, match="ConnectionRefused"):
            metadata(netns=cloud.netns[name])
    with pytest.raises(RuntimeError):  # nor through a host beside it
        cloud.hosts[1].call("get", to=METADATA, port=80, netns=cloud.netns["a2"])
    cloud.route("a1", "a2")  # each change of the routes replaces the whole table
    with pytest.raises(RuntimeError, match="ConnectionRefused"):
        metadata(netns=cloud.netns["a1"])


def test_a_forged_source_is_dropped(cloud: Cloud) -> None:
    one, forged = cloud.hosts[0], "10.77.2.77"
    one.run("nft", "-f", "-", stdin=(
        f"table ip spy {{ chain before {{ type filter hook prerouting priority -310; ip saddr {forged} counter; }}\n"
        f"chain after {{ type filter hook prerouting priority -290; ip saddr {forged} counter; }}\n}}\n"
    ))  # fmt: skip
    netns = cloud.netns["b1"]
    one.run("ip", "addr", "add", f"{forged}/32", "dev", "lo", netns=netns)
    one.run("ping", "-c1", "-W0.2", "-I", forged, cloud.address["a1"], netns=netns, check=False)
    one.run("ip", "addr", "delete", f"{forged}/32", "dev", "lo", netns=netns)
    seen = [line.split()[5] for line in one.run("nft", "list", "table", "ip", "spy").splitlines() if "counter" in line]
    one.run("nft", "delete", "table", "ip", "spy")
    assert seen == ["1", "0"]


# Change under way


def test_replaces_under_load_fail_no_request(cloud: Cloud) -> None:
    cloud.outside.call("load", to=[h.address for h in cloud.hosts], port=8000)
    until(lambda: cloud.outside.call("loaded") > 20)
    for round_ in range(10):
        cloud.route(*(("a1", "a2"), ("b1", "a2"))[round_ % 2])
        seen = cloud.outside.call("loaded")
        until(lambda seen=seen: cloud.outside.call("loaded") > seen + 10)
    result = cloud.outside.call("unload")
    assert result["done"] > 100
    assert result["failed"] == []


def test_out_of_the_routes_first_then_ended_fails_no_request(cloud: Cloud) -> None:
    one = cloud.hosts[0]
    cloud.add(one, "late1")
    cloud.route("late1", "a2")
    cloud.outside.call("load", to=[one.address] * 3, port=8000)
    until(lambda: cloud.outside.call("loaded") > 20)
    cloud.route("a2")
    time.sleep(2.0)  # the drain time: 0.2 by default, more than which a server without a processor may need
    one.run("pkill", "-9", "-f", "container_server.py late1")  # in the host's own process namespace
    one.call("detach", id="late1")
    seen = cloud.outside.call("loaded")
    until(lambda: cloud.outside.call("loaded") > seen + 20)
    assert cloud.outside.call("unload")["failed"] == []


def test_a_flow_outlives_its_route_and_the_agent(cloud: Cloud) -> None:
    two, three = cloud.hosts[1:]
    cloud.route("a2")
    assert cloud.outside.call("flow", to=three.address, port=8001) == "a2 hello"
    cloud.route("a1")
    assert cloud.outside.call("say", text="still there?") == "a2 still there?"
    for host in (two, three):
        before = host.run("ip", "-o", "link", "show", "skn0").split()[0]
        host.restart_agent()
        assert cloud.outside.call("say", text="without agent") == "a2 without agent"
        assert host.call("start") == []
        assert host.run("ip", "-o", "link", "show", "skn0").split()[0] == before, "the tunnel was made anew"
        assert host.call("attach", id="fresh")["address"] not in cloud.address.values()
        host.call("detach", id="fresh")
        host.call("peers", peers=[other.peer() for other in cloud.hosts if other is not host])
        assert cloud.outside.call("say", text="new agent") == "a2 new agent"
    assert servers(cloud, two.address) == {"a1"}  # as before the restart


def test_while_an_agent_is_away_the_others_answer_its_containers(cloud: Cloud) -> None:
    one, two = cloud.hosts[:2]
    conf = one.call("resolv_conf", app="shop")
    assert conf.startswith("nameserver 10.77.1.1\nnameserver 10.77.2.1\nnameserver 10.77.3.1\nsearch shop.internal\n")
    one.kill_agent()
    script = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('10.77.1.1', 53)); s.settimeout(10)\n"
        "s.send(b'x' * 20)\ntry: s.recv(9)\nexcept ConnectionRefusedError: print('refused at once')"
    )
    assert one.run("python3", "-c", script, netns=cloud.netns["a1"]) == "refused at once\n"
    one.start_agent()
    one.call("new", directory=str(one.directory), subnet=one.subnet, key=one.key)
    asked = one.call("ask", server=two.gateway, name="web.shop.internal", netns=cloud.netns["a1"])
    assert len(asked["found"]) == 3
    one.call("start")
    asked = one.call("ask", server=one.gateway, name="web.shop.internal", netns=cloud.netns["a1"])
    assert len(asked["found"]) == 3, "known before anybody told the new agent"
    one.call("peers", peers=[other.peer() for other in cloud.hosts if other is not one])


def test_a_flow_to_a_lost_host_can_be_cut(cloud: Cloud) -> None:
    two, three = cloud.hosts[1:]
    cloud.route("a2")
    assert cloud.outside.call("flow", to=three.address, port=8001) == "a2 hello"
    two.run("ip", "link", "set", "eth0", "down")
    try:
        cloud.route("a1")
        three.call("forget", addresses=[cloud.address["a2"]])
        with pytest.raises(RuntimeError, match="ConnectionReset"):
            cloud.outside.call("say", text="anybody?")
    finally:
        two.run("ip", "link", "set", "eth0", "up")
        two.run("ip", "route", "add", "default", "via", "10.93.0.254")


def test_a_udp_client_that_keeps_its_port_goes_over_to_a_healthy_replica(cloud: Cloud) -> None:
    three = cloud.hosts[2]
    for name in ("a1", "a2", "b1"):
        cloud.route(name)
        assert cloud.outside.call("udp", to=three.address, port=8002, source=5555) == name


def test_what_others_take_away_comes_back(cloud: Cloud) -> None:
    three = cloud.hosts[2]
    three.run("nft", "flush", "ruleset")
    three.run("pkill", "-9", "wireguard-go")  # in the host's own process namespace
    until(lambda: "skn0" not in three.run("ip", "-o", "link"))
    three.run("ip", "addr", "delete", f"{three.gateway}/32", "dev", "lo")
    three.call("look_after", wider=True)
    until(lambda: servers(cloud, three.address, tries=6) == {"a1", "b1", "a2"})


def test_who_is_no_peer_any_more_is_cut_off(cloud: Cloud) -> None:
    one, two, three = cloud.hosts
    cloud.route("a2")
    one.call("peers", peers=[three.peer()])
    with pytest.raises(RuntimeError):
        two.call("get", to=cloud.address["a1"], port=80, timeout_s=0.3)
    with pytest.raises(RuntimeError):
        one.call("get", to=cloud.address["a2"], port=80, timeout_s=0.3)
    one.call("peers", peers=[two.peer(), three.peer()])
    until(lambda: servers(cloud, one.address) == {"a2"})
    one.restart_agent()
    one.call("start")
    assert "peer" in one.run("wg", "show"), "the tunnel works on while the new agent knows nobody yet"
    one.call("peers", peers=[])
    assert "peer" not in one.run("wg", "show"), "nor may those stay who went while no agent was there"
    one.call("peers", peers=[two.peer(), three.peer()])
    until(lambda: servers(cloud, one.address) == {"a2"})


def test_an_endpoint_that_does_not_answer_gives_way_to_the_next(cloud: Cloud) -> None:
    one, two, three = cloud.hosts
    one.call("peers", peers=[three.peer()])
    two.call("peers", peers=[{**one.peer(), "endpoints": []}, three.peer()])  # it waits to be called
    one.call("peers", peers=[{**two.peer(), "endpoints": ["10.93.0.99:7077", f"{two.address}:7077"]}, three.peer()])
    with pytest.raises(RuntimeError):
        one.call("get", to=cloud.address["a2"], port=80, timeout_s=0.3)
    one.call("look_after", wider=True)
    assert one.call("get", to=cloud.address["a2"], port=80, timeout_s=20) == "a2 10.77.1.1"


def counted(cloud: Cloud, *, established: bool = True) -> int:
    """Connections to port 81 of all replicas, as the hosts count them together."""
    subnets, total = [host.subnet for host in cloud.hosts], 0
    for host in cloud.hosts:
        place = Place(host.subnet, subnets)
        flows = [Open(*flow) for flow in host.call("flows", to=list(cloud.address.values()))]
        total += sum(place.counts(flow) and flow.port == 81 and (flow.established or not established) for flow in flows)
    return total


def test_a_connection_counts_once_whichever_way_it_goes_and_a_probe_never(cloud: Cloud) -> None:
    one, two, three = cloud.hosts
    known = counted(cloud, established=False)  # of tests before this one
    ways = [
        (cloud.outside, one.address, 8001, ""),  # to a replica of the host that was asked
        (cloud.outside, three.address, 8001, ""),  # through a host without a replica
        (one, one.address, 8001, ""),  # the host itself, as any client
        (one, cloud.address["b1"], 81, cloud.netns["a1"]),  # containers by name: on one host
        (one, cloud.address["a2"], 81, cloud.netns["a1"]),  # and between two
        (one, one.address, 8001, cloud.netns["a1"]),  # a container through its own host
    ]
    before = counted(cloud)
    for number, (who, to, port, netns) in enumerate(ways, 1):
        who.call("hold", to=to, port=port, netns=netns)
        until(lambda number=number: counted(cloud) == before + number)  # type: ignore[misc]
    cloud.route("a2")
    cloud.hosts[0].call("hold", to=one.address, port=8001, netns=cloud.netns["a1"])  # the same, to another host
    until(lambda: counted(cloud) == before + 7)
    for host in (one, two, three):
        for name in ("a1", "a2"):
            host.call("hold", to=cloud.address[name], port=81)  # as probes do
    assert counted(cloud) == before + 7
    for place in (*cloud.hosts, cloud.outside):
        place.call("let_go")
    until(lambda: counted(cloud) == before)
    assert counted(cloud, established=False) >= known + 7, "the kernel still knows those that have ended"
