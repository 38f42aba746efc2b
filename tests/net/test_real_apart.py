"""Two apps on two real hosts (namespaces): what a container of one reaches of the other, of the hosts, and of what is beside them."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from net.bench import Host
from net.conftest import Cloud, end, make_cloud
from net.test_real_cloud import until

pytestmark = pytest.mark.real
SHOP, BANK = ("shop1", "shop2"), ("bank1", "bank2")
BEGAN = {"shop1": "shop.web", "shop2": "shop.web", "bank1": "bank.store", "bank2": "bank.store"}
REFUSED = r"ConnectionRefused|OSError.*113|ConnectionReset"


class Apps:
    """A container of each app on either host; host 1 and 2 have a server of their own at 2222. Published: 9000 of the bank."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def host(self, name: str) -> Host:
        return self.cloud.hosts[int(name[-1]) - 1]

    def call(self, who: str, what: str, /, **more: Any) -> Any:
        """From inside that container."""
        return self.host(who).call(what, netns=self.cloud.netns[who], **more)

    def get(self, name: str, to: str, port: int = 80, timeout_s: float = 3.0) -> str:
        answer: str = self.call(name, "get", to=self.cloud.address.get(to, to), port=port, timeout_s=timeout_s)
        return answer.split()[0]

    def ask(self, name: str, of: str, server: int = 0) -> tuple[int, list[str]]:
        gateway = self.cloud.hosts[(server or int(name[-1])) - 1].gateway
        found = self.call(name, "ask", server=gateway, name=f"{of}.internal")
        return found["rcode"], sorted(found["found"])

    def members(self, callers: list[str], agents: bool = False) -> list[dict[str, Any]]:
        of = self.cloud.address
        return [
            {"app": "bank", "service": "store", "addresses": [of[name] for name in BANK], "callers": callers,
             "names": ["store.bank.internal", "both.bank.internal"]},
            {"app": "bank", "service": "vault", "names": ["vault.bank.internal", "both.bank.internal"]},
            {"app": "shop", "service": "web", "addresses": [of[name] for name in SHOP], "names": ["web.shop.internal"],
             "agents": agents},
        ]  # fmt: skip

    def route(self, *callers: str, agents: bool = False) -> None:
        of = self.cloud.address
        bank, shop = [of[name] for name in BANK], [of[name] for name in SHOP]
        names = {"store.bank.internal": bank, "0.store.bank.internal": bank[:1], "web.shop.internal": shop,
                 "vault.bank.internal": [], "both.bank.internal": bank}  # fmt: skip
        for host in self.cloud.hosts:
            members = self.members(list(callers), agents)
            host.call("route", ports=[[{"target": 80, "published": 9000}, bank]], names=names, members=members)


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apps]:
    if os.geteuid():
        pytest.skip("needs root")
    cloud = make_cloud(tmp_path_factory.mktemp("skn-apart"), 2)
    try:
        for name, of in BEGAN.items():
            host = cloud.hosts[int(name[-1]) - 1]
            found = host.call("attach", id=name, of=of)
            host.serve(name, found["netns"])
            cloud.netns[name], cloud.address[name] = found["netns"], found["address"]
        for host in cloud.hosts:
            host.call("python", expression="globals().update(own=socket.create_server(('0.0.0.0', 2222)))")
            host.call("python", expression="globals().update(agent=socket.create_server(('0.0.0.0', 7077)))")
        made = Apps(cloud)
        made.route()
        until(lambda: made.get("shop1", "shop2") == "shop2")  # the tunnel is there
        yield made
    finally:
        end(cloud)


@pytest.fixture(autouse=True)
def closed(apps: Apps) -> None:
    apps.route()


def test_an_apps_own_containers_reach_each_other_here_and_elsewhere(apps: Apps) -> None:
    for one, other in (SHOP, BANK, SHOP[::-1]):
        assert apps.get(one, other) == other
        assert apps.call(one, "udp", to=apps.cloud.address[other], port=82) == other
        apps.host(one).run("ping", "-c1", "-W3", apps.cloud.address[other], netns=apps.cloud.netns[one])
    apps.host("shop1").call("attach", id="shop3", of="shop.web")
    apps.host("shop1").call("detach", id="shop3")


@pytest.mark.parametrize("to", BANK)
@pytest.mark.parametrize("name", SHOP)
def test_containers_of_another_app_can_not_be_reached(apps: Apps, name: str, to: str) -> None:
    address = apps.cloud.address[to]
    began = time.monotonic()
    for port in (80, 81, 6379):
        with pytest.raises(RuntimeError, match=REFUSED):
            apps.get(name, to, port)
    assert time.monotonic() - began < 3.0, "at once"
    assert "113" in _datagram(apps, name, address, 82)
    ping = apps.host(name).run("ping", "-c1", "-W1", address, netns=apps.cloud.netns[name], check=False)
    assert "1 received" not in ping and "packets transmitted" in ping


def test_published_ports_of_other_apps_can(apps: Apps) -> None:
    for name in SHOP:
        for host in apps.cloud.hosts:
            assert apps.get(name, host.address, 9000) in BANK
            assert apps.get(name, host.gateway, 9000) in BANK


def test_hosts_are_closed_but_for_published_ports_and_names(apps: Apps) -> None:
    one, two = apps.cloud.hosts
    for name in (*SHOP, *BANK):
        for host in (one, two):
            for port in (2222, 7077, 7078, 22):
                with pytest.raises(RuntimeError, match=REFUSED):
                    apps.get(name, host.address, port)
            for port in (2222, 22):
                with pytest.raises(RuntimeError, match="Timeout"):
                    apps.get(name, host.gateway, port, 0.3)
            with pytest.raises(RuntimeError, match="ConnectionRefused"):
                apps.get(name, host.gateway, 7077)
    assert "113" in _datagram(apps, "shop1", two.address, 7077), "WireGuard's port neither"
    for host in (one, two):
        ping = one.run("ping", "-c1", "-W1", host.address, netns=apps.cloud.netns["shop1"], check=False)
        assert "0 received" in ping
    assert one.run("curl", "-s", "-m", "5", f"http://{two.address}:9000/").split()[0] in BANK, (
        "hosts themselves go on as before"
    )


def test_only_who_is_let_reaches_other_hosts_agents(apps: Apps) -> None:
    two = apps.cloud.hosts[1]
    script = f"import socket; socket.create_connection(('{two.address}', 7077), 3); print('in')"
    assert "111" in _python(apps, "shop1", script)
    apps.route(agents=True)
    assert _python(apps, "shop1", script) == "in\n"
    assert "111" in _python(apps, "bank1", script)
    assert "111" in _python(apps, "shop2", script), "its own host's"


def test_names_of_another_app_do_not_exist(apps: Apps) -> None:
    bank = sorted(apps.cloud.address[name] for name in BANK)
    for server in (1, 2):
        assert apps.ask("bank1", "store.bank", server) == (0, bank)
        assert apps.ask("bank1", "0.store.bank", server) == (0, [apps.cloud.address["bank1"]])
        assert apps.ask("shop1", "web.shop", server)[0] == 0
        for name in ("store.bank", "0.store.bank", "vault.bank", "both.bank", "nobody.bank"):
            assert apps.ask("shop1", name, server) == (3, [])
    host = apps.cloud.hosts[0].call("ask", server="10.77.1.1", name="store.bank.internal")
    assert sorted(host["found"]) == bank, "a host may know"
    assert apps.call("shop1", "ask", server="10.77.1.1", name="example.org")["found"] == ["192.0.2.1"]


def test_a_service_lets_others_in_and_shuts_them_out_again(apps: Apps) -> None:
    for callers in (["shop"], ["shop.web"]):
        apps.route(*callers)
        for name in SHOP:
            for to in BANK:
                assert apps.get(name, to) == to
        assert apps.ask("shop1", "store.bank")[0] == 0
        assert apps.ask("shop1", "vault.bank") == (3, []), "the service that lets them in, and no other"
        assert len(apps.ask("shop1", "both.bank")[1]) == 2, "a name that is also the open one's"
        with pytest.raises(RuntimeError, match=REFUSED):
            apps.get("bank1", "shop1")  # not the other way round
    apps.route("shop.job", "other")
    with pytest.raises(RuntimeError, match=REFUSED):
        apps.get("shop1", "bank2")


@pytest.mark.parametrize("to", BANK)
def test_connections_that_exist_are_cut_when_it_is_closed(apps: Apps, to: str) -> None:
    apps.route("shop")
    address = apps.cloud.address[to]
    apps.call("shop1", "python", expression=f"globals().update(kept=socket.create_connection(('{address}', 81), 5))")
    say = "(kept.sendall(b'hello'), kept.recv(100))[1].decode()"
    assert apps.call("shop1", "python", expression=say) == f"{to} hello"
    apps.route()
    with pytest.raises(RuntimeError, match=r"ConnectionReset|BrokenPipe|Timeout"):
        apps.call("shop1", "python", expression=f"kept.settimeout(1) or {say}")


def test_either_host_alone_refuses(apps: Apps) -> None:
    """One that has not heard of the other end yet, or doesn't care, gets nowhere."""
    one, two = apps.cloud.hosts
    knows_nothing = [{"app": "shop", "service": "web", "addresses": [apps.cloud.address["shop1"]]}]
    one.call("route", ports=[], names={}, members=knows_nothing)
    with pytest.raises(RuntimeError, match=REFUSED):
        apps.get("shop1", "bank2")  # the receiver
    with pytest.raises(RuntimeError, match=REFUSED):
        apps.get("shop1", "bank1")  # its own containers it knows for certain
    apps.route()
    two.call("route", ports=[], names={}, members=[])
    with pytest.raises(RuntimeError, match=REFUSED):
        apps.get("shop1", "bank2")  # the sender
    assert apps.get("shop1", "shop2") == "shop2", "and who belongs together is not kept apart by it"


def test_walls_stand_while_no_agent_is_there_and_when_a_new_one_comes(apps: Apps) -> None:
    one = apps.cloud.hosts[0]
    one.kill_agent()
    script = "import socket; socket.create_connection(('{}', {}), 3); print('in')"
    to_bank = script.format(apps.cloud.address["bank1"], 80)
    assert "111" in _python(apps, "shop1", to_bank)
    one.start_agent()
    one.call("new", directory=str(one.directory), subnet=one.subnet, key=one.key)
    one.call("start")
    assert "111" in _python(apps, "shop1", to_bank), "before anybody told it what is whose"
    assert "111" in _python(apps, "shop1", script.format(apps.cloud.hosts[1].address, 7077)), "nor who is a host"
    assert apps.ask("shop1", "store.bank") == (3, [])
    one.call("peers", peers=[apps.cloud.hosts[1].peer()])


def test_a_sleeping_service_is_woken_by_its_own_app_alone(apps: Apps) -> None:
    one, name = apps.cloud.hosts[0], "sleeper.bank.internal"
    one.call("wake")
    sleeper = {"names": [name], "app": "bank"}
    members = [*apps.members([]), {"app": "bank", "service": "sleeper", "names": [name]}]
    ports = [[{"target": 80, "published": 9000}, []]]
    one.call("route", ports=ports, names={name: []}, members=members, dormant={"sleeper": sleeper})
    (stand_in,) = apps.ask("bank1", "sleeper.bank")[1]
    assert apps.ask("shop1", "sleeper.bank") == (3, [])
    for who in SHOP:  # across hosts too: a container may have heard of the address
        with pytest.raises(RuntimeError, match=REFUSED):
            apps.get(who, stand_in, 80)
    assert not one.call("knocks")
    for who in BANK:
        with pytest.raises(RuntimeError, match="Timeout"):
            apps.get(who, stand_in, 80, 0.5)
    until(lambda: bool(one.call("knocks")))
    one.call("sleep")


# What only whoever has more rights than a container can try: whole packets. The host doesn't rely on what is inside.


def _packet(source: str, to: str, port: int) -> bytes:
    """UDP over IPv4, the words "forged"."""
    data = b"forged"
    udp = struct.pack(">HHHH", 4000, port, 8 + len(data), 0) + data
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(to)
    )
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:] + udp


def _python(apps: Apps, name: str, script: str) -> str:
    done = apps.host(name).run("sh", "-c", f'python3 -c "{script}" 2>&1; true', netns=apps.cloud.netns[name])
    return done.replace("Errno 104", "Errno 111")


def _datagram(apps: Apps, name: str, to: str, port: int) -> str:
    """What comes of it."""
    script = f"s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('{to}', {port})); s.settimeout(1); s.send(b'?'); s.recv(9)"
    return _python(apps, name, f"import socket; {script}")


def _send(apps: Apps, name: str, packet: bytes, kind: int = 0x0800) -> None:
    script = (
        f"import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, {kind});"
        f"s.sendto(bytes.fromhex('{packet.hex()}'), ('eth0', {kind}, 0, 0, bytes.fromhex('02736b000001')))"
    )
    assert _python(apps, name, script) == ""


def _heard(host: Host, netns: str = "") -> list[str]:
    script = "[d.decode() for d in iter(lambda: (sink.setblocking(False), sink.recv(99))[1] if __import__('select').select([sink], [], [], 0.3)[0] else b'', b'')]"  # noqa: E501
    found: list[str] = host.call("python", expression=script, netns=netns)
    return found


def _listen(host: Host, address: str, netns: str = "", family: str = "AF_INET") -> None:
    listening = f"(sink.bind(('{address}', 4444)), globals().update(sink=sink))"
    host.call(
        "python",
        expression=f"[{listening} for sink in [socket.socket(socket.{family}, socket.SOCK_DGRAM)]] and None",
        netns=netns,
    )


def test_forged_sources_and_the_hosts_loopback(apps: Apps) -> None:
    one, two = apps.cloud.hosts
    address, netns = apps.cloud.address, apps.cloud.netns
    _listen(two, address["shop2"], netns["shop2"])
    _send(apps, "shop1", _packet(address["shop1"], address["shop2"], 4444))
    assert _heard(two, netns["shop2"]) == ["forged"], "the way itself works"
    _send(apps, "bank1", _packet(address["shop1"], address["shop2"], 4444))  # a neighbour's
    _send(apps, "bank1", _packet(address["shop2"], address["shop2"], 4444))
    _send(apps, "bank1", _packet(one.gateway, address["shop2"], 4444))  # the host's
    _send(apps, "bank1", _packet("10.77.1.200", address["shop2"], 4444))  # nobody's
    _send(apps, "bank1", _packet(two.gateway, address["shop2"], 4444))
    assert _heard(two, netns["shop2"]) == []
    _listen(one, "127.0.0.1")
    _send(apps, "shop1", _packet(address["shop1"], "127.0.0.1", 4444))
    _send(apps, "shop1", _packet("127.0.0.1", "127.0.0.1", 4444))
    assert _heard(one) == []


def test_there_is_no_way_by_ipv6(apps: Apps) -> None:
    """Not even once somebody has switched it on for every interface of the host."""
    one = apps.cloud.hosts[0]
    assert one.run("ip", "-6", "addr", "show", "dev", "eth0", netns=apps.cloud.netns["shop1"]) == ""
    one.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    one.run("ip", "-6", "addr", "add", "fd00:ec2::254/128", "dev", "lo", "nodad")
    try:
        _listen(one, "fd00:ec2::254", family="AF_INET6")
        udp = struct.pack(">HHHH", 4000, 4444, 14, 0) + b"forged"
        ends = socket.inet_pton(socket.AF_INET6, "fe80::73") + socket.inet_pton(socket.AF_INET6, "fd00:ec2::254")
        sums = (*struct.unpack(">23H", ends + udp), 14, 17)
        total = sum(sums)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        udp = udp[:6] + struct.pack(">H", ~total & 0xFFFF) + udp[8:]
        _send(apps, "shop1", struct.pack(">IHBB", 6 << 28, 14, 17, 64) + ends + udp, 0x86DD)
        assert _heard(one) == []
        one.run("nft", "delete", "table", "ip6", "skerry")
        _send(apps, "shop1", struct.pack(">IHBB", 6 << 28, 14, 17, 64) + ends + udp, 0x86DD)
        assert _heard(one) == ["forged"], "it is our rule that held it"
    finally:
        one.run("ip", "-6", "addr", "delete", "fd00:ec2::254/128", "dev", "lo")
        one.restart_agent()
        one.call("start")
        one.call("peers", peers=[apps.cloud.hosts[1].peer()])
