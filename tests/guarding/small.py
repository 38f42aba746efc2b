"""A host and containers small enough for the guard alone: network namespaces, wires, cgroups; each container says every 10 ms that it
lives, and the host notes when it last heard it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from skerry.guarding.words import Answer, Ask, Kept, socket_path
from skerry.runtime.cgroups import Cgroups

HOST = "10.77.9.1"
SPEAK = f"""
import socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try: out.sendto(sys.argv[1].encode(), ("{HOST}", 7999))
    except OSError: pass
    time.sleep(0.01)
"""
LISTEN = """
import json, select, socket, sys, time
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); ear.bind(("0.0.0.0", 7999))
heard = {}
print("ready", flush=True)
while True:
    for each in select.select([ear, sys.stdin], [], [])[0]:
        if each is ear:
            heard[ear.recv(99).decode()] = time.clock_gettime(time.CLOCK_BOOTTIME)
        elif not sys.stdin.readline(): sys.exit()
        else: print(json.dumps(heard), flush=True)
"""


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)


class Host:
    def __init__(self, run: Path) -> None:
        self.run, self.name = run, f"grd{os.getpid()}"
        self.cgroups = Cgroups()
        self.containers: dict[str, subprocess.Popen[bytes]] = {}
        self.guard: subprocess.Popen[bytes] | None = None
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        ip("-n", self.name, "addr", "add", f"{HOST}/24", "dev", "lo")
        self.ear = subprocess.Popen(
            [*self.inside(), sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.ear.stdout is not None and self.ear.stdout.readline() == "ready\n"

    def inside(self, netns: str = "") -> list[str]:
        """Not by `ip netns exec`: that would hide the cgroups."""
        return ["nsenter", f"--net=/run/netns/{netns or self.name}", "--"]

    def said(self, *argv: str) -> str:
        return subprocess.run([*self.inside(), *argv], check=True, capture_output=True, text=True).stdout

    def cgroup(self, id: str) -> str:
        return f"/{self.name}/{id}"

    def kept(self, id: str, lease_s: float, number: int = 1) -> Kept:
        n = int(id[1:])
        return Kept(
            id=id, cgroup=self.cgroup(id), interface=f"skv{n}", address=f"10.77.9.{10 + n}", number=number,
            until_s=now_s() + lease_s,
        )  # fmt: skip

    def wire(self, id: str) -> None:
        """Its network, without a process in it."""
        n = int(id[1:])
        netns, address = f"{self.name}{id}", f"10.77.9.{10 + n}"
        ip("netns", "add", netns)
        ip("-n", self.name, "link", "add", f"skv{n}", "type", "veth", "peer", "name", "eth0", "netns", netns)
        ip("-n", self.name, "link", "set", f"skv{n}", "up")
        ip("-n", self.name, "route", "add", f"{address}/32", "dev", f"skv{n}", "src", HOST)
        ip("-n", netns, "addr", "add", f"{address}/32", "dev", "eth0")
        ip("-n", netns, "link", "set", "eth0", "up")
        ip("-n", netns, "route", "add", HOST, "dev", "eth0")

    def start(self, id: str) -> None:
        """A container on its wire, in its cgroup."""
        argv = [*self.inside(f"{self.name}{id}"), sys.executable, "-c", SPEAK, id]
        self.containers[id] = subprocess.Popen(argv)
        self.cgroups.move(self.containers[id].pid, self.cgroup(id))

    def make(self, id: str) -> None:
        self.wire(id)
        self.start(id)
        self.until(lambda: id in self.heard(), f"{id} is heard")

    def heard(self) -> dict[str, float]:
        """When each container was last heard."""
        assert self.ear.stdin is not None and self.ear.stdout is not None
        self.ear.stdin.write("?\n")
        self.ear.stdin.flush()
        heard: dict[str, float] = json.loads(self.ear.stdout.readline())
        return heard

    def lives(self, id: str) -> bool:
        return self.containers[id].poll() is None

    def has_wire(self, id: str) -> bool:
        return f"skv{id[1:]}@" in self.said("ip", "-o", "link")

    def until(self, true: object, what: str, within_s: float = 5.0) -> None:
        end_s = time.monotonic() + within_s
        while not true():  # type: ignore[operator]
            assert time.monotonic() < end_s, f"not within {within_s:g} s: {what}"
            time.sleep(0.01)

    def begin_guard(self) -> None:
        argv = [*self.inside(), sys.executable, "-m", "skerry.guarding.guard", "--run", str(self.run)]
        before = self.run / "leases" / "socket"
        before.unlink(missing_ok=True)
        self.guard = subprocess.Popen(argv)
        self.until(before.exists, "the guard listens")

    def kill_guard(self) -> None:
        assert self.guard is not None
        self.guard.kill()
        self.guard.wait()

    def stop_guard(self) -> None:
        """SIGSTOP: it stands still."""
        assert self.guard is not None
        self.guard.send_signal(signal.SIGSTOP)

    def packet(self, packet: bytes) -> Answer:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            caller.settimeout(3)
            caller.connect(str(socket_path(self.run)))
            caller.send(packet)
            return msgspec.json.decode(caller.recv(1 << 17), type=Answer)

    def want(self, *kept: Kept) -> Answer:
        answer = self.packet(msgspec.json.encode(Ask(wanted=kept)))
        assert not answer.refused, answer.refused
        return answer

    def end(self) -> None:
        if self.guard is not None:
            self.kill_guard()
        self.ear.kill()
        self.ear.wait()
        for process in self.containers.values():
            process.kill()
            process.wait()
        for name in sorted(path.name for path in Path("/run/netns").glob(f"{self.name}*")):
            ip("netns", "del", name)
        assert self.cgroups.remove(f"/{self.name}")
