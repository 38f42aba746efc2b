"""A keeper that rents through libvirt: one lab host keeps the pool, another one is the hypervisor, which the keeper reaches by SSH
with a key that is sealed to it. What it rents is behind that host's NAT.

The hypervisor's host is in no cloud: it has libvirt, and a line in `authorized_keys`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.clients import ask
from demo.skerry import Skerry

from skerry.lab.errors import LabNotInTime
from skerry.lab.lab import Lab
from skerry.lab.programs import run

HOST = "vps-3"
KEEPER = "vps-1"
STORAGE = "/var/lib/libvirt/images"
START_LIMIT_S = 60.0
GONE_S = 300.0
LOOK_S = 5.0  # between two looks: each costs CPU, which the emulated guest needs
PORT = 8093
COMPOSE = f"""\
name: kept
x-skerry: {{pools: [kept]}}
services:
  web:
    x-skerry: {{image: {{recipe: python, context: web, entrypoint: [python3, -m, uvicorn, guestbook:app, --host, 0.0.0.0]}}}}
    ports: ["{PORT}:8000"]
    healthcheck: {{test: curl -f http://localhost:8000/healthz, interval: 5s, timeout: 5s, start_period: 180s}}
    deploy:
      replicas: 1
      placement: {{constraints: [node.labels.kind == kept]}}
      resources: {{limits: {{memory: 160M, pids: 64}}}}
"""


class Kept:
    """`join_s`: so long a machine may take. `app`: a guestbook's folder, for a compose file of its own."""

    def __init__(self, lab: Lab, skerry: Skerry, work: Path, join_s: float, image: str, cache: Path) -> None:
        self.lab, self.skerry, self.work, self.join_s, self.image, self.cache = lab, skerry, work, join_s, image, cache

    def steps(self) -> list[tuple[str, Callable[[], Any]]]:
        return [
            (f"libvirt on {HOST}, and a key for it", self._hypervisor),
            (f"image made and sent to {HOST} by SSH", self._image),
            ("pool with a keeper signed, its key sealed", self._pool),
            ("the keeper rents a guest, and lets it in", self._joined),
            ("a container runs in the kept guest and answers", self._deploy),
            ("the kept app is taken away", lambda: self.skerry.run("rm", "kept")),
            ("min 0: the keeper returns it, and nothing is left", self._returned),
        ]

    def _inside(self, host: str, *argv: str, timeout_s: float = 120.0) -> str:
        done = self.lab.exec(host, argv, timeout_s=timeout_s)
        assert done.returncode == 0, f"{argv} on {host}: {(done.stdout + done.stderr).decode(errors='replace')[-500:]}"
        return done.stdout.decode(errors="replace")

    def _wait(self, what: str, condition: Callable[[], bool], timeout_s: float) -> None:
        def later() -> bool:
            if condition():
                return True
            time.sleep(LOOK_S)
            return False

        self.skerry.wait(what, later, timeout_s)

    def _address(self, host: str) -> str:
        return next(machine.address for machine in self.lab.status() if machine.name == host)

    @property
    def _endpoint(self) -> str:
        return f"qemu+ssh://root@{self._address(HOST)}/system"

    @property
    def _key(self) -> Path:
        return self.work / "hypervisor-key"

    def _virsh(self, *argv: str) -> str:
        return self._inside(HOST, "virsh", "--quiet", "-c", "qemu:///system", *argv)

    def _hypervisor(self) -> None:
        self._inside(
            HOST, "mkdir", "-p", "/var/log/libvirt/qemu"
        )  # as its package has it; a lab host's /var/log is empty
        for program in ("virtlogd", "libvirtd"):
            self._inside(HOST, "systemd-run", "--quiet", f"--unit=own-{program}", program)
        end_s = time.monotonic() + START_LIMIT_S
        while self.lab.exec(HOST, ["virsh", "-c", "qemu:///system", "uri"], timeout_s=60).returncode:
            if time.monotonic() > end_s:
                raise LabNotInTime(f"libvirt on {HOST} does not answer", "see journalctl there", "")
            time.sleep(0.5)
        self._virsh("pool-define-as", "default", "dir", "--target", STORAGE)
        self._virsh("pool-build", "default")
        self._virsh("pool-start", "default")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pool kept", "-f", str(self._key)])
        public = self._key.with_suffix(".pub").read_text()
        self._inside(HOST, "sh", "-c", f"echo '{public.strip()}' >> /root/.ssh/authorized_keys")

    def _image(self) -> None:
        """By the operator's own way of SSH, which the lab's configuration is here."""
        programs = self.work / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.lab.ssh_config()} "$@"\n')
        (programs / "ssh").chmod(0o700)
        before = self.skerry.environment
        self.skerry.environment = {**before, "PATH": f"{programs}:{before['PATH']}"}
        try:
            self.skerry.run("machine", "image", self._endpoint, "--name", self.image, "--folder", str(self.cache))
        finally:
            self.skerry.environment = before

    def _pool(self) -> None:
        known = (self.lab.directory / "ssh/known_hosts").read_text().splitlines()
        options = {
            "host_key": next(line for line in known if self._address(HOST) in line.split()[0].split(",")),
            "network": "user",
            "outside": self._address(HOST),
            "sizes": "small=1,1g,6g,0",
        }
        self.skerry.run(
            *("machine", "pool", "add", "kept", "--provider", "libvirt", "--endpoint", self._endpoint),
            *(word for key, value in options.items() for word in ("--option", f"{key}={value}")),
            *("--token-file", str(self._key), "--size", "small", "--image", self.image, "--label", "kind=kept"),
            *("--min", "1", "--max", "1", "--keepers", KEEPER, "--join", f"{self.join_s:g}s"),
            *("--age", "1s", "--down", "30s", "--drain", "60s"),
        )  # fmt: skip
        secret = self._key.read_text().splitlines()[2]
        found = self.lab.exec(KEEPER, ["grep", "-rlF", secret, "/var/lib/skerry"], timeout_s=120)
        assert found.returncode == 1, f"the key stands in clear: {found.stdout!r}"

    def _joined(self) -> None:
        self._wait("the guest to join", self._is_joined, self.join_s)
        (domain,) = self._virsh("list", "--all", "--name").split()
        events = [row["reason"] for row in self.skerry.json("events", "--tail", "300") if row["subject"] == "kept/0"]
        assert any(reason.startswith(f"enrolled at {self._address(HOST)}, ") for reason in events), events
        assert domain.endswith("-kept-0"), domain

    def _is_joined(self) -> bool:
        (row,) = self.skerry.json("machine", "ls", "kept")
        return (row["state"], row["up"], row["keeper"], row["address"]) == (
            "joined", True, KEEPER, self._address(HOST),
        )  # fmt: skip

    def _deploy(self) -> None:
        app = self.work / "kept-app"
        shutil.copytree(self.work / "app", app)
        (app / "compose.yaml").write_text(COMPOSE)
        self.skerry.run("deploy", str(app / "compose.yaml"), "--detach")
        self._wait("a replica in the kept guest", self._healthy, self.join_s)
        for host in (KEEPER, "vps-2"):
            self.skerry.wait(f"an answer through {host}", lambda h=host: self._answers(h), 120)  # type: ignore[misc]

    def _healthy(self) -> bool:
        rows = [row for row in self.skerry.json("ps") if row["app"] == "kept"]
        return len(rows) == 1 and rows[0]["healthy"] and rows[0]["node"] == "kept/0"

    def _answers(self, host: str) -> bool:
        return not ask(f"{self._address(host)}:{PORT}", path="/healthz")[1]

    def _returned(self) -> None:
        self.skerry.run("machine", "pool", "set", "kept", "--min", "0")
        self.skerry.wait("no machine any more", lambda: self.skerry.json("machine", "ls", "kept") == [], GONE_S)
        assert self._virsh("list", "--all", "--name").split() == []
        left = sorted(self._inside(HOST, "ls", STORAGE).split())
        assert left == [f"{self.image}.{part}" for part in ("initrd", "qcow2", "vmlinuz")], left
        assert "kept/0" not in [row["name"] for row in self.skerry.json("host", "ls")]
        keys = self._inside(KEEPER, "sh", "-c", "ls -d /tmp/skerry-* 2>/dev/null || true").split()
        assert keys == [], f"what the calls to libvirt needed is left on {KEEPER}: {keys}"
        self.skerry.run("machine", "pool", "rm", "kept")
