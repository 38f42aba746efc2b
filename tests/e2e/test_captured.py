"""A captured host for real: a hostile agent in its place, in its network, with its keys, against honest agents on whole machines.

It plays all at once what tests/attacks plays one by one (docs/attacks.md). Meanwhile an app is used from outside. Then it is
expelled by an operator who reaches one host alone.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.static_server import archive
from demo.clients import Clients

from e2e.machines import PORT, Hosts, machines
from skerry.core.intent import Node

pytestmark = pytest.mark.e2e
CAPTURED = "vps-4"
HONEST = ("vps-1", "vps-2", "vps-3")
SECONDS = 20
GROWN_MIB = 64
APP = f"""\
name: small
services:
  web:
    image: page.tar
    ports: ["{PORT}:80"]
    healthcheck: {{test: curl -f http://localhost/, interval: 1s, timeout: 1s}}
    x-skerry: {{allow: {{shell: it is busybox}}}}
    deploy: {{replicas: 3, placement: {{constraints: ["node!={CAPTURED}"]}}}}
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with machines("captured", 4, tmp_path_factory.mktemp("captured")) as made:
        for name in (*HONEST, CAPTURED):
            made.add(name)
        folder = made.work / "small"
        folder.mkdir()
        (folder / "page.tar").write_bytes(archive(1))
        (folder / "compose.yaml").write_text(APP)
        made.skerry.run("deploy", str(folder / "compose.yaml"))
        made.skerry.wait("a healthy app", lambda: len(made.ps()) == 3 and all(row["healthy"] for row in made.ps()))
        made.said(CAPTURED, "systemctl", "stop", "skerry")
        yield made


def given(hosts: Hosts, seconds: float) -> dict[str, Any]:
    """All that its thief finds on its disk, and where the others are."""
    keys = hosts.lab.disk(CAPTURED) / "keys"
    with_documents = hosts.skerry.session()
    nodes = hosts.skerry.look(_nodes)
    rows = hosts.ps()
    return {
        "seed": (keys / "signing").read_text().strip(),
        "certificate": base64.b64encode((keys / "certificate.der").read_bytes()).decode(),
        "cloud": with_documents.file.id,
        "node": f"node/{CAPTURED}",
        "slots": [row["slot"] for row in rows],
        "image": rows[0]["image"],
        "seconds": seconds,
        "targets": [
            {"name": name, "address": nodes[name].addresses[0], "certificate": nodes[name].certificate}
            for name in HONEST
        ],
    }


async def _nodes(session: Any) -> dict[str, Node]:
    return {path.removeprefix("node/"): document.body for path, document in session.nodes.items()}


def hostile(hosts: Hosts, seconds: float) -> subprocess.Popen[str]:
    pid = next(machine.pid for machine in hosts.lab.status() if machine.name == CAPTURED)
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        ["nsenter", f"--target={pid}", "--net", "--", sys.executable, "-m", "e2e.hostile", json.dumps(given(hosts, seconds))],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root / 'tests'}"},
    )  # fmt: skip


def memory_mib(hosts: Hosts, host: str) -> float:
    """What the agent alone takes (PSS)."""
    said = hosts.said(host, "cat", f"/proc/{hosts.agent_pid(host).strip()}/smaps_rollup")
    found = re.search(r"^Pss: +(\d+) kB", said, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def starts(hosts: Hosts) -> dict[str, tuple[str, list[str]]]:
    """The agent and the containers of each honest host: what began anew has another pid."""
    programs = hosts.programs(*HONEST)
    return {host: (hosts.agent_pid(host), programs[host]) for host in HONEST}


def misdeeds(hosts: Hosts) -> list[dict[str, Any]]:
    return [row for row in hosts.skerry.json("events", "--kind", "misdeed", "--tail", "1000") if "kind" in row]


def test_a_captured_host_that_does_all_it_can_stops_nobody_fills_nothing_and_is_named(hosts: Hosts) -> None:
    before, began = {host: memory_mib(hosts, host) for host in HONEST}, starts(hosts)
    where = [
        address for address, machine in zip(hosts.web(), hosts.lab.status(), strict=True) if machine.name in HONEST
    ]
    grown = dict.fromkeys(HONEST, 0.0)
    with Clients(where, write=False, path="/") as clients:
        thief = hostile(hosts, SECONDS)
        while thief.poll() is None:
            for host in HONEST:
                grown[host] = max(grown[host], memory_mib(hosts, host) - before[host])
            time.sleep(0.5)
        said = thief.communicate()[0]
        assert thief.returncode == 0
        sent = json.loads(said)
        count = clients.take()
    print(
        f"\nsent {sent}; {count.requests} requests, {count.retried} retried, {count.failed} failed; grown by MiB {grown}"
    )
    assert count.requests > 200 and not count.failed, count.whys
    assert starts(hosts) == began, "no agent and no container began anew"
    assert all(mib < GROWN_MIB for mib in grown.values()), (before, grown)
    for ways in sent.values():
        assert {"others_names", "lies", "frames", "silent", "datagrams"} <= set(ways), "each was played"
    named = hosts.skerry.wait("each honest host names it", lambda: _named(hosts))
    print({host: sorted(deeds) for host, deeds in named.items()})
    shown = (
        hosts.skerry.run("events", "--tail", "2000")
        + hosts.skerry.run("ps")
        + hosts.skerry.run("explain", "small.web/0")
    )
    assert "\x1b" not in shown and "\u202e" not in shown and "\r" not in shown
    assert len(misdeeds(hosts)) <= 8 * len(HONEST) * (1 + SECONDS // 60 + 1), (
        "and doesn't fill the diary by what it does"
    )
    assert all(row["healthy"] and row["node"] in HONEST and len(row["claims"]) == 1 for row in hosts.ps())


def _named(hosts: Hosts) -> dict[str, set[str]]:
    """Host -> what it says that the captured one did; {}: not all say enough yet."""
    found: dict[str, set[str]] = {host: set() for host in HONEST}
    for row in misdeeds(hosts):
        if CAPTURED in row["subject"] and row["node"].removeprefix("node/") in found:
            found[row["node"].removeprefix("node/")] |= set(re.findall(r"([a-z][a-z ,]+): \d+", row["reason"]))
    enough = all(
        any("false signature" in d for d in deeds) and any("frames" in d for d in deeds) for deeds in found.values()
    )
    return found if enough else {}


def test_who_is_expelled_through_the_only_host_in_reach_is_cut_off_everywhere_within_seconds(hosts: Hosts) -> None:
    lab = [machine.address for machine in hosts.lab.status()]
    others = HONEST[1:]
    for host in others:  # the operator, who is no host, reaches the first one alone
        rules = (
            "table inet operator { chain in { type filter hook input priority -10; "
            f"tcp dport 7077 ip saddr != {{ {', '.join(lab)}, 127.0.0.1 }} ip saddr != 10.77.0.0/16 drop; }}; }}"
        )
        hosts.said(host, "nft", rules)
    own = hosts.skerry.look(_nodes)[CAPTURED].wireguard
    thief = hostile(hosts, 12)
    try:
        began_s = time.time()
        told = hosts.skerry.json("host", "expel", CAPTURED)
        took_s = time.time() - began_s
        assert told["state"] == "expelled"
        assert (sorted(told["known_to"]), told["not_yet_known_to"]) == (sorted(HONEST), []), "all know when it ends"
        hosts.skerry.wait(
            "no tunnel to it anywhere",
            lambda: all(own not in hosts.said(h, "wg", "show", "all", "peers") for h in HONEST),
            10,
        )
        gone_s = time.time() - began_s
        print(f"\nexpelled after {took_s:.1f} s, out of every tunnel after {gone_s:.1f} s")
        assert gone_s < took_s + 8
        sent = json.loads(thief.communicate(timeout=60)[0])
    finally:
        thief.kill()
        for host in others:
            hosts.said(host, "nft", "delete table inet operator")
    for host, ways in sent.items():
        assert ways.get("lies refused", 0) > 3, f"{host} lets it in no more: {ways}"
    since_s = began_s + took_s + 8
    rows = hosts.skerry.json("events", "--tail", "1000")
    for host in HONEST:
        of = [row for row in rows if row.get("node", "").removeprefix("node/") == host]
        (at_s,) = {row["time"] for row in of if row["kind"] == "expelled" and row["subject"] == CAPTURED}
        assert at_s < since_s, "each heard of it within seconds, from the others"
        assert not [r for r in of if r["kind"] == "up" and r["subject"] == CAPTURED and r["time"] > since_s]
    assert all(row["healthy"] for row in hosts.ps())
