"""The example of an election on whole machines: one replica leads, and when it is gone another does, under a higher number."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest

from checkout import ROOT
from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e
PORT = 8090
LEADS = re.compile(r"(\S+) leads with number (\d+)")


@pytest.fixture(scope="module")
def election(cloud: Cloud) -> Iterator[Cloud]:
    run = cloud.skerry.run
    run("host", "voters", "set", *cloud.names(), "--yes")
    run("deploy", str(ROOT / "examples" / "leases"))
    yield cloud
    run("rm", "election")
    run("host", "voters", "set", "--none", "--yes")


def leaders(cloud: Cloud) -> dict[str, int]:
    """Who says that it leads -> its number; each host is asked for its own replica."""
    found = {}
    for machine in cloud.machines():
        try:
            page = httpx.get(f"http://{machine.address}:{PORT}/", timeout=3, trust_env=False).text
        except httpx.HTTPError:
            continue
        if (told := LEADS.match(page)) is not None:
            found[told[1]] = int(told[2])
    return found


def test_one_leads_and_another_follows_it_when_it_is_killed(election: Cloud) -> None:
    election.skerry.wait("three replicas", lambda: sum(row["healthy"] for row in election.ps("election")) == 3)
    election.skerry.wait("one that leads", lambda: leaders(election), 30)
    for _ in range(20):
        assert len(leaders(election)) <= 1
    ((first, number),) = leaders(election).items()
    slot = int(first.rpartition("-")[2])
    host = next(row["node"] for row in election.ps("election") if row["slot"].endswith(f"/{slot}"))
    killed_s = time.monotonic()
    election.inside(host, "pkill", "-9", "-f", "^[^ ]*python3 -m election$")

    def another() -> bool:
        found = leaders(election)
        assert len(found) <= 1, found
        return any(now > number for now in found.values())

    election.skerry.wait("another that leads", another, 20)
    assert time.monotonic() - killed_s < 15
