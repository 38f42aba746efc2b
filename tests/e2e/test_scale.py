"""Replicas that follow the load, from the compose file to real containers: counted by the kernels of three hosts."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.test_apps import PORT, Puppet, puppet

__all__ = ["puppet"]
pytestmark = pytest.mark.e2e

WORK = PORT + 1
SCALED = f"""
  web:
    <<: *puppet
    ports: ["{PORT}:8000"]
    healthcheck: {{test: curl -f http://localhost:8000/healthz || exit 1, interval: 1s}}
    x-skerry:
      image: {{recipe: python, entrypoint: [python3, puppet.py]}}
      scale: {{min: 1, max: 3, target: {{connections: 10}}, step: 1s, down: 3s}}
  work:
    <<: *puppet
    ports: ["{WORK}:8000"]
    deploy: {{resources: {{limits: {{cpus: "0.2"}}}}}}
    x-skerry:
      image: {{recipe: python, entrypoint: [python3, puppet.py]}}
      scale: {{min: 1, max: 3, target: {{cpu: 50%}}, step: 2s, down: 6s}}
"""
BURN_S = 3


def numbers(puppet: Puppet) -> dict[str, int]:
    """Service -> how many of its replicas are healthy."""
    rows = puppet.cloud.ps(puppet.name)
    return {name: sum(row["healthy"] for row in rows if row["service"] == name) for name in ("web", "work")}


def held(puppet: Puppet, count: int, stack: contextlib.ExitStack) -> None:
    """So many connections through the published ports of all hosts by turns, on which nothing is said."""
    machines = puppet.cloud.machines()
    for n in range(count):
        stack.enter_context(socket.create_connection((machines[n % len(machines)].address, PORT), timeout=5))


@contextlib.contextmanager
def burning(puppet: Puppet) -> Iterator[None]:
    """Each replica burns all that its limit lets it, those that come meanwhile too: however little of it the machine gives."""
    ended = threading.Event()

    def burn() -> None:
        machines = itertools.cycle(puppet.cloud.machines())
        while not ended.wait(0.5):
            connection = http.client.HTTPConnection(next(machines).address, WORK, timeout=5)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", f"/burn/{BURN_S}")
                connection.getresponse().read()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(burn)
        try:
            yield
        finally:
            ended.set()
            done.result()


def test_replicas_follow_connections_and_cpu_up_and_down_without_one_failed_request(puppet: Puppet) -> None:
    skerry = puppet.cloud.skerry
    puppet.deploy(SCALED)
    # A start on a busy machine may have cost so much that there are two for a moment.
    skerry.wait("one of each", lambda: numbers(puppet) == {"web": 1, "work": 1}, 60)
    with puppet.clients() as clients:
        with contextlib.ExitStack() as load:
            held(puppet, 24, load)
            with burning(puppet):
                skerry.wait("three of each", lambda: numbers(puppet) == {"web": 3, "work": 3}, 60)
            told = skerry.json("explain", "--scale", f"{puppet.name}.web")[f"{puppet.name}.web"]
            counted = sum(ring["connections"][-1] for ring in told["figures"] if ring["counts"])
            # Each host looks at a moment of its own: one of the four clients may be met at every one. Not twice 24.
            assert 24 <= counted <= 24 + 3 * 4, told["figures"]
            told = skerry.json("explain", "--scale", f"{puppet.name}.work")[f"{puppet.name}.work"]
            there = Counter(row["node"] for row in puppet.cloud.ps(puppet.name) if row["service"] == "work")
            for ring in told["figures"]:
                least = 0.2 * max(0, there[ring["node"]] - 1)  # of those beside the first
                assert max(ring["cpu"]) <= 0.3 + least, "as much as its limit lets it"
            assert {wish["node"] for wish in told["wishes"]} == set(puppet.cloud.names())
        began_s = time.time()
        skerry.wait("one of each again", lambda: numbers(puppet) == {"web": 1, "work": 1}, 60)
        count = clients.take()
    assert count.failed == 0 and count.requests > 100, (count.requests, count.whys)
    assert any("3 -> 2 replicas" in reason for reason in puppet.events("scaled", began_s - 1))
