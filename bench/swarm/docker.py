"""Docker Swarm on the lab's hosts: Debian's Docker Engine as a unit of each host's systemd; two manage, the third is a worker until it
is promoted, as a leader's loss is survived by three managers only.

The engine's programs are copied into each host: of one file that three hosts share, memory would be counted by thirds. Images are
loaded, never pulled. The routing mesh needs IPVS, which this kernel may lack, so replicas have ports of their hosts.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.cloud import Cloud
from bench.static_server import archive
from bench.swarm.sides import APP, CHANGE_S, REPLICAS

DOCKER = "/usr/bin/docker"
PORT = 2375
LIMIT_S = 120.0
PROGRAMS = (
    "/usr/sbin/dockerd",
    "/usr/bin/containerd",
    "/usr/bin/containerd-shim-runc-v2",
    "/usr/sbin/runc",
    "/usr/sbin/docker-proxy",
)
OWN = "/opt/bench-docker"
UNIT = f"""\
[Unit]
Description=Docker Engine

[Service]
Environment=PATH={OWN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1
ExecStart={OWN}/dockerd --data-root /var/lib/skerry/bench-docker --exec-root /run/bench-docker --oom-score-adjust 0 \\
  -H unix:///run/docker.sock -H tcp://0.0.0.0:{PORT}
Delegate=yes
KillMode=process
LimitNOFILE=20000

[Install]
WantedBy=multi-user.target
"""
INSTALL = f"""
mkdir -p {OWN}
cp -L {" ".join(PROGRAMS)} {OWN}/
cat >/etc/systemd/system/bench-docker.service
systemctl daemon-reload
systemctl enable --now bench-docker
"""


class OfSwarm:
    name = "swarm"

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.address = {machine.name: machine.address for machine in cloud.lab.status()}
        self.hosts = list(self.address)
        self._turns = itertools.count()

    # -- the engines

    def up(self) -> None:
        for host in self.hosts:
            done = self.cloud.lab.exec(host, ["sh", "-ec", INSTALL], input=UNIT.encode(), timeout_s=60)
            if done.returncode:
                raise subprocess.CalledProcessError(done.returncode, "install", done.stdout, done.stderr)
        for version in (1, 2):
            path = self.cloud.work / f"docker-{version}.tar"
            path.write_bytes(archive(version, tag=f"page:{version}", named=True))
            for host in self.hosts:
                self.wait(f"{host}'s engine", lambda host=host: self.ask(host, "GET", "/_ping") is not None)
                self.run(host, "load", "-i", str(path))
        first = self.hosts[0]
        self.run(first, "swarm", "init", "--advertise-addr", self.address[first])
        for host, role in zip(self.hosts[1:], ("manager", "worker"), strict=True):
            self._join(host, role, first)
        self.wait("all three", lambda: len(self.ready()) == len(self.hosts))

    def run(self, host: str, *args: str) -> str:
        """`docker …` against the engine of one host. Raises CalledProcessError with its words."""
        return subprocess.run(
            [*self._command(host), *args], check=True, capture_output=True, text=True, timeout=LIMIT_S
        ).stdout

    def _command(self, host: str) -> list[str]:
        return [DOCKER, "-H", f"tcp://{self.address[host]}:{PORT}"]

    def ask(self, host: str, method: str, path: str, body: Any = None, *, timeout_s: float = 1.0) -> Any:
        """The engine's API. Raises OSError, also for what it refuses."""
        connection = http.client.HTTPConnection(self.address[host], PORT, timeout=timeout_s)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise OSError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()

    def wait(self, what: str, condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
        deadline_s = time.monotonic() + limit_s
        last = ""
        while time.monotonic() < deadline_s:
            try:
                if value := condition():
                    return value
            except (OSError, subprocess.CalledProcessError) as error:
                last = f"{error} {getattr(error, 'stderr', '')}"
            time.sleep(0.1)
        raise TimeoutError(f"waited {limit_s:.0f} s for {what}. {last}")

    # -- who is what

    def nodes(self) -> dict[str, dict[str, Any]]:
        """By host, as the first manager says that answers."""
        last: OSError = OSError("no host")
        for host in self.hosts:
            try:
                return {node["Description"]["Hostname"]: node for node in self.ask(host, "GET", "/nodes")}
            except OSError as error:
                last = error
        raise last

    def ready(self) -> list[str]:
        """Hosts whose engine takes replicas, and votes if it is a manager."""
        return [
            host
            for host, node in self.nodes().items()
            if node["Status"]["State"] == "ready"
            and (node["Spec"]["Role"] == "worker" or node.get("ManagerStatus", {}).get("Reachability") == "reachable")
        ]

    def leader(self) -> str:
        return next(host for host, node in self.nodes().items() if node.get("ManagerStatus", {}).get("Leader"))

    def promote(self, host: str) -> None:
        """A worker becomes a manager, by leaving and joining anew: `docker node promote` took 30 s."""
        self.run(host, "swarm", "leave")
        leader = self.leader()
        node = self.nodes()[host]["ID"]
        self.wait(f"{host} to be gone", lambda: self.run(leader, "node", "rm", "--force", node))
        self._join(host, "manager", leader)
        self.wait("three managers", lambda: self.managers() == len(self.hosts))

    def managers(self) -> int:
        return sum(node.get("ManagerStatus", {}).get("Reachability") == "reachable" for node in self.nodes().values())

    def _join(self, host: str, role: str, leader: str) -> None:
        token = self.run(leader, "swarm", "join-token", "-q", role).strip()
        self.run(host, "swarm", "join", "--token", token, "--advertise-addr", self.address[host],
                 f"{self.address[leader]}:2377")  # fmt: skip

    def tune(self, heartbeat: str) -> None:
        self.run(self.leader(), "swarm", "update", "--dispatcher-heartbeat", heartbeat)

    # -- the app

    def doors(self, host: str) -> Sequence[str]:
        found = []
        for container in self.ask(host, "GET", "/containers/json"):
            if container["Labels"].get("com.docker.swarm.service.name") == APP:
                found += [
                    f"{self.address[host]}:{port['PublicPort']}"
                    for port in container["Ports"]
                    if port.get("PublicPort") and ":" not in port["IP"]
                ]
        return found

    def create(self) -> list[str]:
        return [
            *self._command(self.leader()), "service", "create", "--name", APP, "--no-resolve-image",
            "--replicas", str(REPLICAS), "--publish", "mode=host,target=80",
            "--hostname", "web-{{.Task.Slot}}", "page:1",
        ]  # fmt: skip

    def update(self, version: int, parallelism: int, monitor: str = "5s") -> list[str]:
        return [
            *self._command(self.leader()), "service", "update", "--no-resolve-image", "--image", f"page:{version}",
            "--update-order", "start-first", "--update-delay", "0s", "--update-monitor", monitor,
            "--update-parallelism", str(parallelism), APP,
        ]  # fmt: skip

    def remove(self) -> None:
        self.run(self.leader(), "service", "rm", APP)
        self.wait("all of it gone", lambda: not any(self.doors(host) for host in self.hosts))

    def held(self) -> dict[str, int]:
        return {host: len(self.doors(host)) for host in self.hosts}

    async def change(self, hosts: Sequence[str]) -> None:
        turn = next(self._turns)
        body = {"Name": f"mark-{turn}", "Labels": {}, "Data": "bWFyaw=="}
        host = hosts[turn % len(hosts)]
        await asyncio.to_thread(self.ask, host, "POST", "/configs/create", body, timeout_s=CHANGE_S)

    async def leave(self) -> None:
        pass
