"""Where replicas go, on four whole machines in two zones: rules kept, a host drained and back, advice that is true when followed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from bench.static_server import archive
from demo.clients import Clients
from demo.skerry import COMMAND

from e2e.machines import PORT, Hosts, machines
from skerry.client import views

pytestmark = pytest.mark.e2e
ZONES = {"vps-1": "a", "vps-2": "a", "vps-3": "b", "vps-4": "b"}
PAGE = "{image: page.tar, healthcheck: *check, x-skerry: *allowed"
FAST = f"  fast: {PAGE}, deploy: {{placement: {{constraints: [node.labels.disk == ssd]}}}}}}\n"


def compose(more: str = "", *, replicas: int = 3, most: int = 1) -> str:
    return f"""\
name: small
x-check: &check {{test: curl -f http://localhost/, interval: 1s, timeout: 1s}}
x-allowed: &allowed {{allow: {{shell: it is busybox}}}}
services:
  web:
    image: page.tar
    ports: ["{PORT}:80"]
    healthcheck: *check
    x-skerry: *allowed
    deploy:
      replicas: {replicas}
      placement: {{max_replicas_per_node: {most}, preferences: [{{spread: zone}}]}}
  store: {PAGE}}}
  batch: {{image: page.tar, healthcheck: *check, x-skerry: {{allow: {{shell: it is busybox}}, apart: [store]}}}}
  agent: {PAGE}, deploy: {{mode: global}}}}
{more}"""


class Placed(Hosts):
    def command(self, *argv: str) -> tuple[Any, list[str]]:
        """The answer of a command as --json has it, and the lines that it said meanwhile."""
        done = subprocess.run(
            [COMMAND, *argv, "--json"], env=self.skerry.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (argv, done.stderr, done.stdout)
        print(f"$ skerry {' '.join(argv)}\n{done.stderr}")
        return json.loads(done.stdout), done.stderr.splitlines()

    def deploy_file(self, text: str, *options: str) -> list[str]:
        (self.work / "small" / "compose.yaml").write_text(text)
        return self.command("deploy", str(self.work / "small" / "compose.yaml"), *options)[1]

    def held(self, count: int) -> dict[str, str]:
        """Slot -> host, once so many are healthy, each claimed by one host, and no other is there."""

        def settled() -> dict[str, str]:
            rows = self.ps()
            well = len(rows) == count and all(row["healthy"] and len(row["claims"]) == 1 for row in rows)
            return {row["slot"].removeprefix("small."): row["node"] for row in rows} if well else {}

        return dict(self.skerry.wait(f"{count} replicas well", settled))

    def explained(self, slot: str) -> dict[str, Any]:
        name = f"small.{slot}"
        return dict(self.skerry.look(lambda session: views.explain(session, name))[name])

    def is_first(self, slot: str) -> bool:
        told = self.explained(slot)
        return bool(told["holder"]) and told["order"][0]["node"] == told["holder"]

    def claims_since(self, since_s: float) -> list[dict[str, Any]]:
        rows = self.skerry.json("events", "--kind", "claimed", "--tail", "300")
        return [row for row in rows if row["time"] >= since_s]


def of(held: dict[str, str], service: str) -> dict[str, str]:
    return {slot: host for slot, host in held.items() if slot.startswith(f"{service}/")}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    with machines("placement", len(ZONES), tmp_path_factory.mktemp("placement")) as made:
        for name, zone in ZONES.items():
            made.add(name, "--zone", zone)
        placed = Placed(made.lab, made.skerry, made.work)
        (made.work / "small").mkdir()
        (made.work / "small" / "page.tar").write_bytes(archive(1))
        said = placed.deploy_file(compose())
        assert not [line for line in said if "warning" in line], said
        yield placed


def test_replicas_are_spread_over_zones_one_on_a_host_apart_and_one_on_every_host(hosts: Placed) -> None:
    held = hosts.held(9)
    web = of(held, "web")
    assert len(set(web.values())) == 3, "max_replicas_per_node: 1"
    assert sorted(Counter(ZONES[host] for host in web.values()).values()) == [1, 2]
    assert held["store/0"] != held["batch/0"]
    assert sorted(of(held, "agent").values()) == sorted(ZONES)
    assert "one on every host" in hosts.explained(next(iter(of(held, "agent"))))["because"]


def test_a_drained_host_is_left_without_a_failed_request_and_its_share_comes_back_with_a_gain(hosts: Placed) -> None:
    hosts.skerry.wait("web where it is best placed", lambda: all(hosts.is_first(f"web/{n}") for n in range(3)))
    before = hosts.held(9)
    host = before["web/0"]
    mine = {slot for slot, node in before.items() if node == host}
    (agent,) = mine & of(before, "agent").keys()
    with Clients(hosts.web(), write=False, path="/") as clients:
        drained, said = hosts.command("host", "drain", host)
        assert drained["left"] == [] and set(drained["moved"]) == {f"small.{slot}" for slot in mine}
        moved = {slot.removeprefix("small."): to for slot, to in drained["moved"].items()}
        after = hosts.held(8)
        assert {slot: node for slot, node in after.items() if slot in mine} == {s: to for s, to in moved.items() if to}
        assert moved[agent] == "" and agent not in after and host not in after.values()
        assert {slot: after[slot] for slot in before.keys() - mine} == {
            slot: before[slot] for slot in before.keys() - mine
        }
        assert len(set(of(after, "web").values())) == 3 and after["store/0"] != after["batch/0"]
        told = "\n".join(said)
        assert f"0 replicas left on {host}" in told and f"small.web/0 is on {moved['web/0']} now" in told
        assert f"small.{agent} has stopped" in told

        back_s = time.time()
        hosts.command("host", "undrain", host)
        hosts.skerry.wait("its share is back", lambda: hosts.held(9) == before)
        count = clients.take()
    assert count.requests > 100 and count.failed == 0, (count.requests, count.whys)
    reasons = [row["reason"] for row in hosts.claims_since(back_s) if row["subject"] == "small.web/0"]
    gain = rf"rank 0 instead of {moved['web/0']}'s rank \d"
    assert any(re.search(gain, reason) for reason in reasons), reasons


def test_who_does_what_explain_advises_sees_the_slot_held(hosts: Placed) -> None:
    said = hosts.deploy_file(compose(FAST), "--detach")
    assert any(
        "1 of 1 replicas of fast will stay without a host: no host fits its constraints" in line for line in said
    )
    told = hosts.skerry.wait("it is seen to be nowhere", lambda: (t := hosts.explained("fast/0"))["advice"] and t)
    commands = [advice["command"] for advice in told["advice"]]
    assert commands[:4] == [f"skerry host label {host} disk=ssd" for host in ZONES]
    begun_s = time.monotonic()
    hosts.command(*shlex.split(commands[2])[1:])
    assert hosts.held(10)["fast/0"] == "vps-3"
    print(f"held {time.monotonic() - begun_s:.1f} s after the advice was followed")
    hosts.deploy_file(compose())
    hosts.held(9)


def test_what_exceeds_a_rule_waits_is_told_of_before_and_is_held_when_the_rule_allows_it(hosts: Placed) -> None:
    before = hosts.held(9)
    said = hosts.deploy_file(compose(replicas=5), "--detach")
    assert any("1 of 5 replicas of web will stay without a host: 4 hosts fit" in line for line in said), said

    def nowhere() -> list[str]:
        rows = [row for row in hosts.ps() if row["service"] == "web"]
        held = [row["node"] for row in rows if row["healthy"]]
        return [row["slot"] for row in rows if not row["node"]] if sorted(held) == sorted(ZONES) else []

    (slot,) = hosts.skerry.wait("four of five held", nowhere)
    told = hosts.skerry.wait("advice", lambda: hosts.explained(slot.removeprefix("small."))["advice"])
    assert "write max_replicas_per_node: 2" in [advice["what"] for advice in told]
    said = hosts.deploy_file(compose(replicas=5, most=2))
    assert not [line for line in said if "warning" in line], said
    after = hosts.held(11)
    assert max(Counter(of(after, "web").values()).values()) == 2
    assert {slot: after[slot] for slot in before} == before, "nobody moves for it"
