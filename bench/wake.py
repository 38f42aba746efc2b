"""What waking costs beyond the application's own start: one request to a service at zero, through each host in turn.

Overhead of a wake = time to the first byte of the answer − the application's own start, which is measured on the same hosts:
the same program, executed by itself, until its port takes a connection.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from demo.skerry import Skerry

from bench.cloud import Cloud
from bench.static_server import archive
from skerry.lab.lab import Lab

WAKES = 60
OWN_STARTS = 15
APP, PORT = "wake", 8089
SERVER = ("busybox", "httpd", "-f", "-p", "8990", "-h", "/")
ANSWER_S = 30.0
COMPOSE = f"""\
name: {APP}
services:
  web:
    image: page.tar
    ports: ["{PORT}:80"]
    healthcheck: {{test: curl -f http://localhost/, interval: 5s, timeout: 1s}}
    x-skerry:
      allow: {{shell: "busybox is the smallest server there is, and up at once"}}
      scale: {{min: 0, max: 2, target: {{connections: 50}}, step: 1s, down: 2s, idle: 2s}}
"""
# Runs on a host: executes a program and says after how many seconds its port took a connection.
OWN_START = """
import socket, subprocess, sys, time
port, argv = int(sys.argv[1]), sys.argv[2:]
begun = time.perf_counter()
process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while True:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        break
    except OSError:
        assert process.poll() is None and time.perf_counter() < begun + 20, "it did not start"
        time.sleep(0.0002)
print(time.perf_counter() - begun)
process.kill()
process.wait()
"""


def measure(cloud: Cloud) -> dict[str, Any]:
    (cloud.work / "page.tar").write_bytes(archive(1))
    compose = cloud.work / "wake.yaml"
    compose.write_text(COMPOSE)
    cloud.run("deploy", str(compose))
    addresses = [machine.address for machine in cloud.lab.status()]
    own = [own_start_s(cloud.lab, SERVER, 8990) for _ in range(OWN_STARTS)]
    times = wakes(lambda: is_asleep(cloud.lab, cloud.skerry), addresses, PORT, WAKES)
    figures = overhead(times, median(own))
    cloud.tell(f"{len(times)} wakes: {figures}")
    cloud.run("rm", APP)
    return figures


def wakes(asleep: Callable[[], bool], addresses: Sequence[str], port: int, count: int, path: str = "/") -> list[float]:
    """Seconds from each first request, through the hosts in turn, to the first byte of its answer. Every one is answered."""
    times = []
    for n in range(count):
        end_s = time.monotonic() + 120
        while not asleep():
            if time.monotonic() > end_s:
                raise TimeoutError("it did not fall asleep")
            time.sleep(0.1)
        times.append(first_byte_s(addresses[n % len(addresses)], port, path))
    return times


def first_byte_s(address: str, port: int, path: str = "/") -> float:
    begun_s = time.perf_counter()
    with socket.create_connection((address, port), ANSWER_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        if not connection.recv(12).startswith(b"HTTP/"):
            raise OSError(f"{address}:{port} closed the connection without an answer")
    return time.perf_counter() - begun_s


def overhead(times: Sequence[float], own_start_s: float) -> dict[str, Any]:
    """In milliseconds, beyond the application's own start."""
    beyond = sorted((each - own_start_s) * 1000 for each in times)
    return {
        "wake_overhead_ms_p50": round(median(beyond), 1),
        "wake_overhead_ms_p99": round(quantiles(beyond, n=100, method="inclusive")[98], 1),
        "wake_overhead_ms_max": round(beyond[-1], 1),
        "wake_own_start_ms": round(own_start_s * 1000, 1),
        "wakes": len(beyond),
    }


def own_start_s(lab: Lab, argv: Sequence[str], port: int) -> float:
    """How long a program takes by itself, on one of the hosts, from its execution until its port takes a connection."""
    host = lab.status()[0].name
    done = lab.exec(host, ["python3", "-c", OWN_START, str(port), *argv], timeout_s=30)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
    return float(done.stdout)


def is_asleep(lab: Lab, skerry: Skerry, app: str = APP) -> bool:
    """On every host: each knows that nothing of it is wanted, and no container of it is left."""
    for machine in lab.status():
        rows = [row for row in skerry.ask("ps", {"subject": ""}, node=machine.name) if row["app"] == app]
        if not rows or any(row["state"] != "asleep" for row in rows):
            return False
    return True


if __name__ == "__main__":
    import json
    import sys

    with Cloud(3, lambda line: print(line, flush=True)) as made:
        found = measure(made)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(found, indent=2) + "\n")
