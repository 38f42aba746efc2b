"""`make bench-leases`: how long it takes to get a lease, and how many are got in a second, beside etcd on the same three hosts.

Three lab hosts, each with an agent that votes and an etcd of its own (Debian's 3.4), on the same disk. On the first host one Python
program asks the agent by a container's socket and etcd by its JSON gateway, both over connections that stay.
Whoever holds lets go at once, so a cycle is one lease got and let go. etcd: `lock` and `unlock` under a lease of each client's own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.cloud import Cloud
from bench.static_server import archive

APP = "leases"
COMPOSE = f"""\
name: {APP}
services:
  web:
    image: page.tar
    healthcheck: {{test: curl -f http://localhost/, interval: 5s, timeout: 1s}}
    x-skerry: {{leases: true, allow: {{shell: it is busybox}}}}
    deploy: {{replicas: 3}}
"""
SINGLE, PAUSE_S = 30, 0.2
CLIENTS, FIRST_S, LATER_S = 8, 2.0, 20.0

# Runs on a host. Says one JSON object: seconds of each single lease, cycles of eight clients in the first seconds and later.
ASKING = """
import base64, glob, http.client, json, socket, sys, threading, time
kind, single, pause_s, clients, first_s, later_s = sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:7])

class Skerry:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(sorted(glob.glob("/run/skerry/app-leases/*/leases.sock"))[0])
        self.lines = self.socket.makefile("rb")
    def ask(self, **what):
        self.socket.sendall(json.dumps(what).encode() + b"\\n")
        return json.loads(self.lines.readline())
    def lock(self, name):
        self.number = self.ask(do="acquire", lease=name, wait_s=30)["number"]
    def unlock(self, name):
        self.ask(do="release", lease=name, number=self.number)

class Etcd:
    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=30)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lease = self.ask("/v3/lease/grant", TTL=60)["ID"]
    def ask(self, path, **what):
        self.connection.request("POST", path, json.dumps(what))
        return json.loads(self.connection.getresponse().read())
    def lock(self, name):
        self.key = self.ask("/v3/lock/lock", name=base64.b64encode(name.encode()).decode(), lease=self.lease)["key"]
    def unlock(self, name):
        self.ask("/v3/lock/unlock", key=self.key)

make = {"skerry": Skerry, "etcd": Etcd}[kind]
one, alone = make(), []
for n in range(single):
    begun = time.perf_counter()
    one.lock("alone")
    alone.append(time.perf_counter() - begun)
    one.unlock("alone")
    time.sleep(pause_s)
begun = time.perf_counter()
counts = [[0, 0] for _ in range(int(clients))]
def cycles(n):
    mine = make()
    while (spent := time.perf_counter() - begun) < first_s + later_s:
        mine.lock(f"of-{n}")
        mine.unlock(f"of-{n}")
        counts[n][spent > first_s] += 1
threads = [threading.Thread(target=cycles, args=(n,)) for n in range(int(clients))]
for each in threads: each.start()
for each in threads: each.join()
print(json.dumps({"alone": alone, "first": sum(a for a, _ in counts) / first_s, "later": sum(b for _, b in counts) / later_s}))
"""


def measure(cloud: Cloud) -> dict[str, Any]:
    machines = cloud.lab.status()
    cloud.run("host", "voters", "set", *(machine.name for machine in machines), "--yes")
    (cloud.work / "page.tar").write_bytes(archive(1))
    (cloud.work / "leases.yaml").write_text(COMPOSE)
    cloud.run("deploy", str(cloud.work / "leases.yaml"))
    cloud.wait("a replica on each host", lambda: len({row["node"] for row in cloud.ps() if row["healthy"]}) == 3)
    etcd(cloud)
    found = {}
    for kind in ("skerry", "etcd"):
        told = inside(cloud, "python3", "-c", ASKING, kind, *map(str, (SINGLE, PAUSE_S, CLIENTS, FIRST_S, LATER_S)))
        asked = json.loads(told)
        alone = sorted(each * 1000 for each in asked["alone"])
        found |= {
            f"{kind}_lease_ms_p50": round(median(alone), 2),
            f"{kind}_lease_ms_p90": round(quantiles(alone, n=10, method="inclusive")[8], 2),
            f"{kind}_first_a_second": round(asked["first"], 1),
            f"{kind}_later_a_second": round(asked["later"], 1),
        }
        cloud.tell(f"{kind}: {found}")
    return found


def etcd(cloud: Cloud) -> None:
    """One on each host, as a unit of its systemd."""
    machines = cloud.lab.status()
    everybody = ",".join(f"{machine.name}=http://{machine.address}:2380" for machine in machines)
    for machine in machines:
        peer, own = f"http://{machine.address}:2380", "http://127.0.0.1:2379"
        inside(
            cloud, "systemd-run", "--collect", "--unit=bench-etcd", "etcd", "--name", machine.name,
            "--data-dir", "/var/lib/skerry/bench-etcd",
            "--initial-cluster", everybody, "--initial-advertise-peer-urls", peer, "--listen-peer-urls", peer,
            "--listen-client-urls", own, "--advertise-client-urls", own, host=machine.name,
        )  # fmt: skip
    asks = ["etcdctl", "--endpoints=http://127.0.0.1:2379", "endpoint", "health"]
    cloud.wait("etcd's members to meet", lambda: cloud.lab.exec(machines[0].name, asks).returncode == 0)


def inside(cloud: Cloud, *argv: str, host: str = "") -> str:
    done = cloud.lab.exec(host or cloud.lab.status()[0].name, argv, timeout_s=180)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, argv[:2], done.stdout, done.stderr)
    return done.stdout.decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("build/bench-leases.json"))
    given = parser.parse_args()
    with Cloud(3, lambda line: print(line, flush=True), "benchleases") as cloud:
        figures = measure(cloud)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
