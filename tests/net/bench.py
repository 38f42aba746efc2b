"""Hosts made of namespaces: network, mounts, processes, an own /run. One more, `outside`, has the bridge and the clients.

A host is one process (pid 1 of its process namespace); its end is the end of all that runs in it. Nothing is made outside
of these namespaces, so nothing can be left behind.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Place:
    """`outside`, or a host. `run` runs a command there; `worker` is the agent's process (host_worker.py)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.processes: list[subprocess.Popen[str]] = []
        self.holder = subprocess.Popen(
            ["unshare", "-n", "-m", "-u", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c",
             f"mount --make-rprivate / && mount -t tmpfs {name} /run && mkdir -p /run/wireguard && hostname {name}"
             " && ip link set lo up && echo ready && while :; do sleep 1000; done"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.holder.stdout is not None and self.holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        self.pid = int(children[0])
        self.worker: subprocess.Popen[str] | None = None

    def enter(self, *command: str, netns: str = "") -> list[str]:
        entered = [
            "nsenter",
            "-t",
            str(self.pid),
            "-n",
            "-m",
            "-u",
            "-p",
            "--",
            *(["nsenter", f"--net={netns}", "--"] if netns else []),
        ]
        return [*entered, *command]

    def run(self, *command: str, stdin: str = "", check: bool = True, netns: str = "") -> str:
        entered = self.enter(*command, netns=netns)
        done = subprocess.run(entered, input=stdin, capture_output=True, text=True, timeout=20, check=False)
        assert not check or done.returncode == 0, f"{self.name}: {command}: {done.stderr}"
        return done.stdout

    def start_agent(self) -> None:
        self.worker = subprocess.Popen(
            self.enter(sys.executable, str(HERE / "host_worker.py")),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kill_agent(self) -> None:
        assert self.worker is not None
        self.worker.kill()  # nsenter with -p forks: end its child too
        inner = self.run("pgrep", "-f", "host_worker.py", check=False).split()  # in the host's own process namespace
        if inner:
            self.run("kill", "-9", *inner)
        self.worker.wait()
        self.worker = None

    def call(self, call: str, answer_s: float = 20.0, **arguments: Any) -> Any:
        """Ask the agent's process; raises RuntimeError with its error."""
        assert self.worker is not None and self.worker.stdin is not None and self.worker.stdout is not None
        self.worker.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
        self.worker.stdin.flush()
        assert select.select([self.worker.stdout], [], [], answer_s)[0], f"{self.name}: no answer to {call}"
        answer = json.loads(self.worker.stdout.readline() or '{"ok": false, "error": "it died"}')
        if not answer["ok"]:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def serve(self, name: str, netns: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.enter(sys.executable, str(HERE / "container_server.py"), name, netns=netns),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        self.processes.append(process)
        return process

    def end(self) -> None:
        subprocess.run(["kill", "-9", str(self.pid)], check=False)
        for process in [self.holder, self.worker, *self.processes]:
            if process is not None:
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()


class Host(Place):
    """A machine of the cloud: number i has 10.93.0.i outside and 10.77.i.0/24 for its containers."""

    def __init__(self, number: int, directory: Path, outside: Place) -> None:
        super().__init__(f"skn{number}")
        self.number = number
        self.address, self.subnet, self.gateway = f"10.93.0.{number}", f"10.77.{number}.0/24", f"10.77.{number}.1"
        self.directory = directory
        self.key = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout.strip()
        self.public = subprocess.run(
            ["wg", "pubkey"], input=self.key, capture_output=True, text=True, check=True
        ).stdout.strip()
        # By nsenter -n alone: the host's pid means nothing in the process namespace of `outside`.
        subprocess.run(
            ["nsenter", "-t", str(outside.pid), "-n", "ip", "-batch", "-"], text=True, check=True,
            input=f"link add sknb{number} type veth peer name eth0 netns {self.pid}\n"
            f"link set sknb{number} master sknbr up\n",
        )  # fmt: skip
        self.run("ip", "-batch", "-", stdin=(
            f"addr add {self.address}/24 dev eth0\nlink set eth0 up\nroute add default via 10.93.0.254\n"
        ))  # fmt: skip
        directory.mkdir(parents=True)
        (directory / "resolv.conf").write_text("nameserver 10.93.0.254\n")
        self.run("mount", "--bind", str(directory / "resolv.conf"), "/etc/resolv.conf")
        self.start_agent()
        self.call("new", directory=str(directory), subnet=self.subnet, key=self.key)

    def peer(self) -> dict[str, Any]:
        return {"public_key": self.public, "endpoints": [f"{self.address}:7077"], "subnet": self.subnet}

    def container(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.call("attach", id=name)
        self.serve(name, found["netns"])
        return found

    def restart_agent(self) -> None:
        self.kill_agent()
        self.start_agent()
        self.call("new", directory=str(self.directory), subnet=self.subnet, key=self.key)


def outside_place() -> Place:
    place = Place("skn-out")
    place.run(
        "ip", "-batch", "-", stdin="link add sknbr type bridge\naddr add 10.93.0.254/24 dev sknbr\nlink set sknbr up\n"
    )
    place.start_agent()
    return place
