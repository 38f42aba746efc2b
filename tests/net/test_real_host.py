"""One real host: what `start` meets there, what `purge` leaves, what an interrupted agent left."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from net.bench import Host
from net.conftest import Cloud
from net.test_real_cloud import until

pytestmark = pytest.mark.real

ROUTES = [{"target": 80, "published": 8000}]


def state(host: Host) -> dict[str, object]:
    """All of the host's network that a purge could leave behind."""
    links = json.loads(host.run("ip", "-j", "addr"))
    return {
        "addresses": {link["ifname"]: sorted(a["local"] for a in link["addr_info"]) for link in links},
        "routes": host.run("ip", "route"),
        "rules": host.run("nft", "list", "ruleset"),
        "legacy": host.run("iptables-legacy", "-S"),
        "forward": host.run("cat", "/proc/sys/net/ipv4/ip_forward"),
        # Those of other tests were copied with this mount namespace, and go from it when their files are removed.
        "mounts": [line for line in host.run("cat", "/proc/mounts").splitlines() if line.startswith("nsfs /run/skn")],
        "processes": host.run("pgrep", "-x", "wireguard-go", check=False),
        "sockets": host.run("ls", "/run/wireguard", check=False),  # gone with the last socket in it
        "files": sorted(p.name for p in host.directory.iterdir()),
    }


def published(lone: Cloud, name: str = "web") -> str:
    """Start, attach, publish, and ask from outside: the whole way."""
    host = lone.hosts[0]
    if name not in lone.address:
        lone.add(host, name)
    host.call("route", ports=[[ROUTES[0], [lone.address[name]]]], names={"web.shop.internal": [lone.address[name]]},
              members=lone.members())  # fmt: skip
    answer: str = lone.outside.call("get", to=host.address, port=8000)
    found = host.call("ask", server=host.gateway, name="web.shop.internal", netns=lone.netns[name])
    assert found["found"] == [lone.address[name]]
    return answer.split()[0]


def woken(lone: Cloud) -> str:
    """The same with a service at zero: who knocks from outside is let in to where it is held. Then no trace of it."""
    host, address = lone.hosts[0], lone.address["web"]
    host.call("wake")
    sleeper = {"ports": ROUTES, "targets": []}
    host.call("route", ports=[[ROUTES[0], []]], dormant={"sleeper": sleeper})
    with ThreadPoolExecutor() as beside:
        asking = beside.submit(lone.outside.run, "curl", "-s", "-m", "15", f"http://{host.address}:8000/")
        until(lambda: bool(host.call("knocks")))
        host.call("route", ports=[[ROUTES[0], [address]]], dormant={"sleeper": {**sleeper, "targets": [address]}})
        answer = asking.result(20)
    (pid,) = host.call("activator")
    host.call("sleep")
    host.call("route", ports=[[ROUTES[0], [address]]])
    until(lambda: not host.run("pgrep", "-F", "/dev/stdin", stdin=f"{pid}\n", check=False))
    return answer.split()[0]


def test_purge_leaves_nothing(lone: Cloud) -> None:
    host = lone.hosts[0]
    before = state(host)
    host.call("start")
    host.call("attach", id="unused")
    assert published(lone) == "web"
    assert state(host) != before
    host.call("purge")
    assert state(host) == before
    host.call("purge")
    assert state(host) == before, "twice, and on a host where nothing is"


def test_forwarding_that_was_on_stays_on(lone: Cloud) -> None:
    host = lone.hosts[0]
    host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    before = state(host)
    assert host.call("start") == []
    host.call("purge")
    assert state(host) == before


def test_a_host_with_dockers_and_ufws_kind_of_firewall(lone: Cloud) -> None:
    host = lone.hosts[0]
    host.run("sh", "-c", (
        "iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN;"
        "iptables -A FORWARD -j DOCKER-USER; iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT;"
        "iptables -A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT"
    ))  # fmt: skip
    before = state(host)
    changed = host.call("start")
    assert changed[1:] == [
        "let containers and tunnel through the firewall chain ip filter FORWARD",
        "let containers and tunnel through the firewall chain ip filter INPUT",
    ]
    assert published(lone) == "web"
    shown = host.run("iptables", "-S")
    assert "-A FORWARD -i sknv+" in shown and "-P FORWARD DROP" in shown, "iptables itself must still read its chains"
    assert host.call("start") == [], "run twice it changes nothing"
    assert woken(lone) == "web"
    host.call("look_after")  # all is right: from now on only changes are looked at
    host.run("iptables", "-F", "FORWARD")  # a firewall that is reloaded
    host.call("look_after")
    assert published(lone) == "web"
    host.run("iptables", "-A", "FORWARD", "-j", "DOCKER-USER")
    host.call("purge")
    after = state(host)
    assert after == before


def test_a_firewall_that_rejects_at_its_end(lone: Cloud) -> None:
    host = lone.hosts[0]
    host.run("nft", "-f", "-", stdin=(
        "table inet firewalld {\n chain filter_FORWARD { type filter hook forward priority 10; policy accept;\n"
        " ct state established,related accept\n iifname lo accept\n reject with icmpx admin-prohibited\n}\n"
        " chain filter_INPUT { type filter hook input priority 10; policy accept;\n"
        " ct state established,related accept\n iifname lo accept\n reject with icmpx admin-prohibited\n}\n}\n"
    ))  # fmt: skip
    before = state(host)
    assert len(host.call("start")) == 3
    assert published(lone) == "web"
    host.call("purge")
    assert state(host) == before


def test_an_old_hosts_iptables(lone: Cloud) -> None:
    host = lone.hosts[0]
    host.run("sh", "-c", "iptables-legacy -P FORWARD DROP; iptables-legacy -P INPUT DROP;"
             " iptables-legacy -A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT")  # fmt: skip
    before = state(host)
    assert host.call("start")[1:] == [
        "let containers and tunnel through iptables' chain FORWARD",
        "let containers and tunnel through iptables' chain INPUT",
    ]
    assert host.call("start") == []
    assert published(lone) == "web"
    assert woken(lone) == "web"
    host.call("purge")
    assert state(host) == before


def test_half_an_attachment_of_a_killed_agent_is_made_whole(lone: Cloud) -> None:
    host = lone.hosts[0]
    host.call("start")
    found = host.call("attach", id="web")
    host.kill_agent()
    host.run("umount", found["netns"])  # as if it had been killed between one step and the next
    host.start_agent()
    host.call("new", directory=str(host.directory), subnet=host.subnet, key=host.key)
    host.call("start")
    assert published(lone) == "web"
    assert lone.address["web"] == found["address"]
    host.call("detach", id="web")
    host.call("detach", id="web")
    assert "sknv" not in host.run("ip", "-o", "link")


def test_an_adopted_address_is_not_given_to_another(lone: Cloud) -> None:
    host = lone.hosts[0]
    host.call("start")
    first = host.call("attach", id="a")["address"]
    (host.directory / "addresses.json").unlink()
    host.restart_agent()
    host.call("adopt", id="a", address=first)
    host.call("start")
    assert host.call("attach", id="b")["address"] != first
    with pytest.raises(RuntimeError, match="bad-input"):
        host.call("adopt", id="c", address="192.0.2.1")


def test_another_name_server_on_the_host_is_told(lone: Cloud) -> None:
    host = lone.hosts[0]
    host.call("python", expression="globals().update(held=socket.create_server(('0.0.0.0', 53)))")
    with pytest.raises(
        RuntimeError, match=r"names-taken: names can't be served on 10.77.1.1:53: .*address already in use"
    ):
        host.call("start")


def test_ids_that_are_no_plain_names_are_refused(lone: Cloud) -> None:
    for wrong in ("", "../x", "a/b", "a b", "-x", "x" * 200):
        with pytest.raises(RuntimeError, match="bad-input"):
            lone.hosts[0].call("attach", id=wrong)
