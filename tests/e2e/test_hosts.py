"""The life of hosts on whole machines: joined, mended, drained, upgraded, expelled, taken out and left as they were."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from demo.clients import Clients
from demo.skerry import COMMAND

from e2e.machines import PORT, Hosts, another_bundle, differences, machines
from skerry.agent.files import HostFiles
from skerry.client.bundle import find_bundle, read_bundle
from skerry.client.home import Home
from skerry.client.session import Session
from skerry.client.upgrade import OneFile
from skerry.errors import Unreachable
from skerry.mesh.dial import Identity, dial
from skerry.mesh.streams import offer_objects

pytestmark = pytest.mark.e2e
OF_CLOUD = ("vps-1", "vps-2", "vps-3")
FREE = "vps-4"  # in no cloud before and after each test


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with machines("hosts-life", 4, tmp_path_factory.mktemp("hosts")) as made:
        for name in OF_CLOUD:
            made.add(name)
        made.deploy()
        made.skerry.wait("the app is well", made.well)
        yield made


def documents(hosts: Hosts) -> Any:
    return json.loads((hosts.skerry.home / "clouds" / "hosts-life" / "cloud.json").read_text())["documents"]


# --- joining ----------------------------------------------------------------------------------------------------------


BUSY = "systemd-run --quiet --collect --unit=squatter busybox httpd -f -p 7077"


@pytest.mark.parametrize(
    ("break_it", "mend_it", "code", "exit_code", "words"),
    [
        pytest.param(BUSY, "systemctl stop squatter", "host-port-taken", 1, "(pid", id="port taken"),
        pytest.param("mv /dev/net/tun /dev/tun-away", "mv /dev/tun-away /dev/net/tun", "host-lacks", 1, "TUN", id="no tun"),
        pytest.param("mount -t tmpfs -o size=8m tmpfs /opt", "umount /opt", "host-disk-full", 1, "MiB are free", id="full disk"),
    ],
)  # fmt: skip
def test_a_host_that_is_not_fit_is_refused_and_nothing_is_changed(
    hosts: Hosts, break_it: str, mend_it: str, code: str, exit_code: int, words: str
) -> None:
    held = documents(hosts)
    hosts.said(FREE, "sh", "-c", break_it)
    try:
        before = hosts.looks(FREE)
        got, error = hosts.refused("host", "add", f"root@{hosts.address(FREE)}", *hosts.ssh())
        assert (got, error["code"]) == (exit_code, code)
        assert words in error["why"] and error["fix"]
        assert differences(before, hosts.looks(FREE)) == []
    finally:
        hosts.said(FREE, "sh", "-c", mend_it)
    assert documents(hosts) == held


def test_a_host_that_ssh_does_not_reach_is_refused_with_the_reason(hosts: Hosts, tmp_path: Path) -> None:
    address = hosts.address(FREE)
    nobody = address.rpartition(".")[0] + ".250"
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    known = hosts.lab.directory / "ssh" / "known_hosts"
    wrong_key, unknown = tmp_path / "wrong", tmp_path / "unknown"
    common = "IdentitiesOnly yes\nBatchMode yes\nStrictHostKeyChecking yes\n"
    wrong_key.write_text(f"Host *\nIdentityFile {stranger}\nUserKnownHostsFile {known}\n{common}")
    unknown.write_text(
        f"Host *\nIdentityFile {hosts.lab.directory}/ssh/id_ed25519\nUserKnownHostsFile /dev/null\n{common}"
    )
    for config, target, code, exit_code in (
        (hosts.lab.ssh_config(), nobody, "ssh-unreachable", 4),
        (wrong_key, address, "ssh-wrong-key", 1),
        (unknown, address, "ssh-host-key-unknown", 3),
    ):
        got, error = hosts.refused("host", "add", f"root@{target}", "--ssh-config", str(config))
        assert (got, error["code"]) == (exit_code, code), error
        assert error["fix"]


def test_a_host_with_a_life_of_its_own_joins_and_leaves_as_it_was(hosts: Hosts, tmp_path: Path) -> None:
    """Docker with a container, nginx, ufw: listed, unchanged while it is a node, and as before when it is none any more."""
    hosts.said(FREE, "sh", "-c", LIFE_OF_ITS_OWN)
    hosts.skerry.wait("Docker answers", lambda: hosts.lab.exec(FREE, ["docker", "info"]).returncode == 0)
    image = hosts.work / "small" / "page.tar"
    assert hosts.lab.exec(FREE, ["docker", "load"], input=image.read_bytes()).returncode == 0
    name = hosts.said(FREE, "docker", "images", "-q").split()[0]
    hosts.said(FREE, "docker", "run", "-d", "--name", "mine", "-p", "8090:80", name)
    hosts.skerry.wait("Docker's addresses are final", lambda: "tentative" not in hosts.said(FREE, "ip", "-6", "addr"))
    before, theirs = hosts.looks(FREE), of_others(hosts)

    joined = hosts.add(FREE)
    found = "\n".join(joined["found"])
    for words in ("Docker is here", "nginx is here", "ufw is active", "taken TCP ports: 22, 80"):
        assert words in found
    assert joined["open_ports"] == ["7077/tcp", "7077/udp"] and joined["unreachable_from"] == []
    hosts.skerry.wait("it is up", lambda: FREE in hosts.up())
    assert differences(theirs, of_others(hosts)) == []

    removed = hosts.skerry.json("host", "rm", FREE, "--purge", *hosts.ssh())
    assert removed["kept"] == []
    assert differences(theirs, of_others(hosts)) == []
    assert differences(before, hosts.looks(FREE)) == []
    hosts.said(FREE, "sh", "-c", "docker rm -f mine; systemctl stop dockerd nginx-here; ufw --force disable")
    hosts.lab.kill(FREE)  # what Docker and ufw leave in the kernel goes, too
    hosts.lab.boot(FREE)


LIFE_OF_ITS_OWN = """
mkdir -p /var/log/nginx /var/lib/nginx
systemd-run --quiet --collect --unit=nginx-here nginx -g 'daemon off;'
systemd-run --quiet --collect --unit=dockerd dockerd --data-root /var/lib/skerry-test-docker --exec-root /run/docker \
  -H unix:///run/docker.sock --pidfile /run/docker.pid --oom-score-adjust 0
ufw allow 22; ufw allow 7077; ufw --force enable
"""


def of_others(hosts: Hosts) -> list[str]:
    """Docker's container, its rules and ufw's, nginx's page and pid."""
    address = hosts.address(FREE)
    pages = [
        subprocess.run(
            ["curl", "-sS", "--max-time", "2", f"http://{address}:{port}/"], capture_output=True
        ).stdout.decode()
        for port in (8090,)
    ]
    assert "page 1" in pages[0]
    look = (
        "docker ps --no-trunc --format '{{.ID}} {{.Names}}'; systemctl show -p MainPID --value nginx-here dockerd;"
        "busybox wget -q -O - http://127.0.0.1/; ufw status;"
        "iptables-save | grep -v '^#' | sed 's/\\[[0-9:]*\\]//' | grep -v -i skerry | sort"
    )
    return [*pages, *hosts.said(FREE, "sh", "-c", look).splitlines()]


def test_run_again_it_changes_nothing(hosts: Hosts) -> None:
    before, pid, held = hosts.looks("vps-2"), hosts.agent_pid("vps-2"), documents(hosts)
    again = hosts.add("vps-2")
    assert (again["new"], again["done"], again["unreachable_from"]) == (False, [], [])
    assert hosts.agent_pid("vps-2") == pid
    moving = ("records.sqlite", "events/", "objects/", "net/")
    changed = differences(before, hosts.looks("vps-2"))
    assert [line for line in changed if not line[2:].startswith(moving)] == []
    assert documents(hosts) == held


@pytest.mark.parametrize(
    ("break_it", "done"),
    [
        pytest.param(
            "rm /opt/skerry/current/bin/python3.11; systemctl kill -s KILL skerry", "sent", id="program deleted"
        ),
        pytest.param("rm -rf /opt/skerry; systemctl stop skerry", "sent", id="all of it deleted"),
        pytest.param(
            "rm /etc/systemd/system/skerry.service; systemctl mask --now skerry", "written", id="stopped and masked"
        ),
    ],
)
def test_a_broken_agent_is_mended_and_containers_run_on(hosts: Hosts, break_it: str, done: str) -> None:
    hosts.skerry.wait("the app is well", hosts.well)
    programs = hosts.programs("vps-1")
    hosts.said("vps-1", "sh", "-c", break_it)
    mended = hosts.add("vps-1")
    assert not mended["new"] and any(done in line for line in mended["done"]), mended["done"]
    assert hosts.said("vps-1", "systemctl", "is-enabled", "skerry") == "enabled\n"
    hosts.skerry.wait("the hosts are up", lambda: set(OF_CLOUD) <= set(hosts.up()))
    hosts.skerry.wait("the app is well", hosts.well)
    assert set(programs["vps-1"]) <= set(hosts.programs("vps-1")["vps-1"])
    assert hosts.add("vps-1")["done"] == []


def test_a_port_that_is_closed_between_hosts_is_named(hosts: Hosts) -> None:
    other = hosts.address("vps-2")
    for protocol in ("tcp", "udp"):
        chain = "add table ip closed; add chain ip closed in { type filter hook input priority -10; };"
        block = f"{chain} add rule ip closed in ip saddr {other} {protocol} dport 7077 drop"
        hosts.said("vps-3", "nft", block)
        try:
            if protocol == "udp":  # the tunnel's session would live on for minutes
                hosts.said("vps-2", "sh", "-c", "ip link show skerry0 && conntrack -F 2>/dev/null || true")
            closed = hosts.add("vps-3")["unreachable_from"]
            assert [line for line in closed if line.startswith(f"vps-2 by 7077/{protocol}")], closed
            assert not [line for line in closed if line.startswith("vps-1")], closed
        finally:
            hosts.said("vps-3", "nft", "delete table ip closed")


def test_the_smallest_debian_joins(tmp_path: Path) -> None:
    with machines("hosts-small", 1, tmp_path, base="minimal") as small:
        assert small.add("vps-1")["new"]
        assert small.up() == ["vps-1"]
        small.skerry.run("host", "rm", "vps-1", "--purge", *small.ssh())
        for place in ("/opt/skerry", "/var/lib/skerry/keys", "/etc/systemd/system/skerry.service", "/run/skerry"):
            assert small.lab.exec("vps-1", ["test", "-e", place]).returncode == 1, place


# --- moving replicas, changing agents ---------------------------------------------------------------------------------


def test_drain_moves_replicas_without_a_failed_request_and_names_what_stays(hosts: Hosts) -> None:
    hosts.skerry.wait("the app is well", hosts.well)
    keeper = next(iter(hosts.where("keep")))
    for name in OF_CLOUD:
        with Clients(hosts.web()[:3], write=False, path="/") as clients:
            drained = hosts.skerry.json("host", "drain", name)
            assert drained["left"] == (["small.keep/0"] if name == keeper else [])
            assert name not in hosts.where("web")
            hosts.skerry.run("host", "undrain", name)
            count = clients.take()
        assert count.requests > 0 and count.failed == 0, count.whys
        hosts.skerry.wait("the app is well", hosts.well)


@pytest.fixture(scope="module")
def bundles(hosts: Hosts) -> dict[str, Path]:
    folder = hosts.work / "bundles"
    folder.mkdir()
    own = find_bundle()
    return {
        "next": another_bundle(own.path, folder, f"{own.version.partition('-')[0]}-0000beef"),
        "broken": another_bundle(own.path, folder, f"{own.version.partition('-')[0]}-dead0000", "#!/bin/sh\nexit 1\n"),
    }


def bundle_of(hosts: Hosts, name: str) -> str:
    """Which one its agent runs from; "" while it does not answer."""
    return str(hosts.skerry.json("status")["agents"].get(name, {}).get("bundle", ""))


def shipped(bundles: dict[str, Path], version: str) -> Path:
    """The bundle of this version."""
    return next(path for path in (*bundles.values(), find_bundle().path) if read_bundle(path).version == version)


@contextmanager
def shipping(hosts: Hosts, bundle: Path) -> Iterator[None]:
    """The operator's skerry ships this bundle."""
    hosts.skerry.environment["SKERRY_BUNDLE"] = str(bundle)
    try:
        yield
    finally:
        del hosts.skerry.environment["SKERRY_BUNDLE"]


def test_upgrade_swaps_agents_one_by_one_and_leaves_containers_alone(hosts: Hosts, bundles: dict[str, Path]) -> None:
    hosts.skerry.wait("the app is well", hosts.well)
    programs, before, after = hosts.programs(*OF_CLOUD), find_bundle().version, read_bundle(bundles["next"]).version
    with shipping(hosts, bundles["next"]), Clients(hosts.web()[:3], write=False, path="/") as clients:
        rows = hosts.skerry.json("host", "upgrade", "--all")
        count = clients.take()
    assert [(row["name"], row["from"], row["to"]) for row in rows] == [(name, before, after) for name in OF_CLOUD]
    assert {bundle_of(hosts, name) for name in OF_CLOUD} == {after}
    assert count.requests > 0 and count.failed == 0, count.whys
    assert hosts.programs(*OF_CLOUD) == programs
    assert f"/opt/skerry/{after}/" in hosts.said("vps-1", "cat", "/etc/systemd/system/skerry.service")
    assert set(hosts.said("vps-1", "ls", "/opt/skerry").split()) == {before, after, "current"}


def test_an_agent_that_does_not_rejoin_is_turned_back(hosts: Hosts, bundles: dict[str, Path]) -> None:
    programs, own = hosts.programs("vps-1"), bundle_of(hosts, "vps-1")
    with shipping(hosts, bundles["broken"]):
        code, error = hosts.refused("host", "upgrade", "vps-1", "--limit", "2s")
    assert (code, error["code"]) == (1, "upgrade-turned-back")
    assert "had not rejoined after 2 s" in error["why"]
    assert bundle_of(hosts, "vps-1") == own
    assert hosts.programs("vps-1") == programs
    with shipping(hosts, shipped(bundles, own)):
        assert hosts.add("vps-1")["done"] == [], "the enrolment names the old agent again"


def test_a_host_goes_back_by_itself_when_the_operator_is_gone(hosts: Hosts, bundles: dict[str, Path]) -> None:
    own = bundle_of(hosts, "vps-2")
    command = [COMMAND, "host", "upgrade", "vps-2", "--limit", "2s"]
    trial = ["test", "-e", "/run/skerry/trial.json"]
    with shipping(hosts, bundles["broken"]), subprocess.Popen(command, env=hosts.skerry.environment) as operator:
        hosts.skerry.wait("the trial has begun", lambda: hosts.lab.exec("vps-2", trial).returncode == 0)
        operator.send_signal(signal.SIGKILL)
    (hosts.skerry.home / "clouds" / "hosts-life" / "lock").unlink(missing_ok=True)
    hosts.skerry.wait("it is decided", lambda: hosts.lab.exec("vps-2", trial).returncode != 0)
    hosts.skerry.wait("vps-2 is back", lambda: bundle_of(hosts, "vps-2") == own)
    assert "had not rejoined after 2 s; back to" in hosts.skerry.run("events", "--tail", "200")
    with shipping(hosts, shipped(bundles, own)):
        assert hosts.add("vps-2")["done"] == []


def test_only_the_bundle_that_the_enrolment_names_is_taken(hosts: Hosts, bundles: dict[str, Path]) -> None:
    """An operator's key that can ask for things, but signs no enrolment, brings no agent in."""

    async def try_it() -> Any:
        async with Session(Home(hosts.skerry.home).cloud("hosts-life"), lambda what: "") as session:
            await session.sync(1)
            other = read_bundle(bundles["broken"])
            stream, _ = await session.open("/objects/put", "node/vps-3")
            await offer_objects(stream, [other.sha256], OneFile(other))
            await stream.close()
            return await session.request("upgrade", {"limit_s": 3}, node="node/vps-3")

    own = bundle_of(hosts, "vps-3")
    assert asyncio.run(try_it()) == {"trying": ""}, "it runs what its enrolment names, and tries nothing else"
    assert bundle_of(hosts, "vps-3") == own


# --- leaving ----------------------------------------------------------------------------------------------------------


async def dials(hosts: Hosts, name: str, other: str) -> bool:
    """Whether whoever has the keys of host `name` gets a link to `other`."""
    thief, target = HostFiles(hosts.lab.disk(name)), HostFiles(hosts.lab.disk(other))
    own = Identity(thief.certificate, thief.private_pem())
    try:
        stream = await dial([f"{hosts.address(other)}:7077"], target.certificate, own, "/image", 3.0)
    except Unreachable:
        return False
    await stream.close()
    return True


def test_an_expelled_host_is_cut_off_and_comes_back_only_if_it_is_let_in(hosts: Hosts) -> None:
    hosts.skerry.wait("the app is well", hosts.well)
    name = next(name for name in OF_CLOUD if name not in hosts.where("keep"))
    others = [other for other in OF_CLOUD if other != name]
    key = hosts.said(name, "sh", "-c", "/opt/skerry/current/bin/wg show skerry0 public-key").strip()
    assert [asyncio.run(dials(hosts, name, other)) for other in others] == [True, True]
    expelled = hosts.skerry.json("host", "expel", name)
    assert expelled["secrets_it_could_read"] == ["small"]
    hosts.skerry.wait("the others have its replicas", lambda: hosts.well() and name not in hosts.where("web"))
    for other in others:
        assert key not in hosts.said(other, "/opt/skerry/current/bin/wg", "show", "skerry0", "peers")
    assert name not in [host["name"] for host in hosts.skerry.json("host", "ls")]
    hosts.skerry.wait(
        "its agent has ended", lambda: hosts.lab.exec(name, ["systemctl", "is-failed", "skerry"]).returncode == 0
    )
    assert "was expelled" in hosts.said(name, "journalctl", "-u", "skerry", "-o", "cat", "-n", "5")

    # A captured host doesn't care what it was told, and has its keys: the others refuse its links all the same.
    assert [asyncio.run(dials(hosts, name, other)) for other in others] == [False, False]

    code, error = hosts.refused("host", "add", f"root@{hosts.address(name)}", *hosts.ssh())
    assert (code, error["code"]) == (3, "host-barred")
    assert hosts.add(name, "--readmit")["new"]
    hosts.skerry.wait("the hosts are up", lambda: set(OF_CLOUD) <= set(hosts.up()))
    hosts.skerry.run("host", "expel", name)  # once let in, it can be expelled again
    code, error = hosts.refused("host", "add", f"root@{hosts.address(name)}", *hosts.ssh())
    assert (code, error["code"]) == (3, "host-barred")
    hosts.add(name, "--readmit")
    hosts.skerry.wait("the app is well", hosts.well)


def test_a_host_with_a_broken_agent_is_removed_cleanly_and_its_volumes_are_kept(hosts: Hosts) -> None:
    hosts.skerry.wait("the app is well", hosts.well)
    keeper = next(iter(hosts.where("keep")))
    hosts.said(
        keeper, "sh", "-c", "echo kept > /var/lib/skerry/volumes/small/data/mark; rm -r /opt/skerry/current/bin; sync"
    )
    removed = hosts.skerry.json("host", "rm", keeper, *hosts.ssh())
    assert any("small/data" in line for line in removed["kept"]) and any("keys" in line for line in removed["kept"])
    look = hosts.looks(keeper)
    for gone in ("httpd", "conmon", "skerry0", "table ip skerry", "skv", "skerry.service", "wireguard-go"):
        assert not [line for line in look if gone in line], gone
    assert hosts.said(keeper, "cat", "/var/lib/skerry/volumes/small/data/mark") == "kept\n"
    assert removed["without_their_data"] == ["small.keep/0"]
    assert hosts.add(keeper, "--readmit")["new"]
    hosts.skerry.wait("the app is well", hosts.well)
    assert hosts.said(keeper, "cat", "/var/lib/skerry/volumes/small/data/mark") == "kept\n"


# --- machines of a pool that people bring -----------------------------------------------------------------------------

BROUGHT = f"""\
name: there
services:
  web:
    image: ../small/page.tar
    ports: ["{PORT + 1}:80"]
    healthcheck: {{test: curl -f http://localhost/, interval: 1s, timeout: 1s}}
    x-skerry: {{allow: {{shell: it is busybox}}}}
    deploy: {{replicas: 1, placement: {{constraints: [node.labels.kind == brought]}}}}
x-skerry: {{pools: [brought]}}
"""


def test_a_machine_that_people_bring_is_asked_for_by_the_command_that_joins_it_and_given_back_by_another(
    hosts: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {hosts.lab.ssh_config()} "$@"\n')
    (tmp_path / "ssh").chmod(0o700)  # this machine's own configuration of ssh, as far as the command sees
    path = f"{tmp_path}:{COMMAND.parent}:{os.environ['PATH']}"

    def listed() -> Any:
        return hosts.skerry.json("machine", "ls", "brought")

    def asked(what: str) -> str:
        """The one request, as `status` has it; `machine ls` and `events` tell the same."""
        (row,) = hosts.skerry.wait(what, lambda: hosts.skerry.json("status")["asked"], 60)
        hosts.skerry.wait("all to tell it alike", lambda: [one["asks"] for one in listed()] == [row["command"]])
        events = [
            event for event in hosts.skerry.json("events", "--tail", "100") if event.get("kind") == "machine-asked"
        ]
        assert events[-1]["reason"] == row["why"] and row["why"].endswith(f": {row['command']}")
        return str(row["command"])

    def run(command: str) -> None:
        done = subprocess.run(
            ["sh", "-c", command], env={**hosts.skerry.environment, "PATH": path}, capture_output=True
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    of = ("--provider", "manual", "--size", "any", "--min", "1", "--max", "1", "--label", "kind=brought")
    hosts.skerry.run("machine", "pool", "add", "brought", *of, "--keepers", "vps-1,vps-2")
    command = asked("a machine to be asked for")
    assert command == "skerry host add root@ADDRESS --slot brought/0"
    assert f"asked of you: brought/0: a machine is wanted: bring one, and run: {command}" in hosts.skerry.run("status")
    run(command.replace("ADDRESS", hosts.address(FREE)))

    (tmp_path / "there").mkdir()
    (tmp_path / "there/compose.yaml").write_text(BROUGHT.replace("../small", str(hosts.work / "small")))
    hosts.skerry.run("deploy", str(tmp_path / "there/compose.yaml"), "--timeout", "60s")
    (row,) = [row for row in hosts.skerry.json("ps") if row["app"] == "there"]
    assert (row["node"], row["healthy"]) == ("brought/0", True)
    with urllib.request.urlopen(f"http://{hosts.address(FREE)}:{PORT + 1}/", timeout=5) as answer:
        assert answer.status == 200
    hosts.skerry.wait("its keeper to know", lambda: [one["state"] for one in listed()] == ["joined"])
    assert [(one["address"], one["asks"]) for one in listed()] == [(hosts.address(FREE), "")]

    hosts.skerry.run("rm", "there")
    code, error = hosts.refused("machine", "pool", "rm", "brought")
    command = asked("somebody to be asked to take it away")
    assert command == "skerry host rm brought/0 --purge"
    assert (code, error["fix"]) == (5, f"{command}; then: skerry machine pool rm brought")
    run(command)
    hosts.skerry.run("machine", "pool", "rm", "brought", "--timeout", "30s")
    assert hosts.skerry.json("machine", "pool", "ls") == [] and hosts.skerry.json("status")["asked"] == []
