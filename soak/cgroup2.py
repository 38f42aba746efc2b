"""`make guest`: a host with its own kernel, pure cgroup v2 and kernel WireGuard joins a lab cloud, carries replicas,
is looked into from outside, and leaves.

The lab's own hosts share this machine's kernel, which may have cgroup v1 and no WireGuard; a rented VPS has what this has.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from demo.clients import ask
from demo.skerry import Skerry
from rich.console import Console

from skerry.lab.lab import Lab
from soak import alone
from soak.cloud import ROOT
from soak.guest import Guest
from soak.outside import Outside

CACHE = Path("/var/lib/skerry-lab/.base")
PORT = 8090
WAIT_S = 300.0
COMPOSE = """\
name: v2
services:
  web:
    x-skerry: {image: {recipe: python, context: web, entrypoint: [python3, -m, uvicorn, guestbook:app, --host, 0.0.0.0]}}
    ports: ["8090:8000"]
    healthcheck: {test: curl -f http://localhost:8000/healthz, interval: 5s, timeout: 5s, start_period: 180s}
    deploy:
      replicas: 2
      placement: {constraints: [node.labels.kernel == own]}
      resources: {limits: {memory: 160M, pids: 64, cpus: "0.8"}}
  hungry:
    x-skerry: {image: {recipe: python, context: web, entrypoint: [python3, -m, uvicorn, guestbook:app, --host, 0.0.0.0]}}
    entrypoint: [python3, -c, "import time; time.sleep(2); x = [bytes([1]) * (1 << 20) for _ in range(200)]; time.sleep(999)"]
    deploy:
      replicas: 1
      placement: {constraints: [node.labels.kernel == own]}
      resources: {limits: {memory: 64M}}
      restart_policy: {condition: on-failure, delay: 5s}
"""
# Runs in the guest by its own shell alone: it has no Python.
FACTS = (
    "echo cgroup=$(stat -fc %T /sys/fs/cgroup); echo wireguard=$(ls -d /sys/module/wireguard 2>/dev/null);"
    "echo user_space=$(cat /proc/[0-9]*/comm | grep -c wireguard-go);"
    "echo device=$(ip -details link show type wireguard | head -1 | cut -d: -f2);"
    "for d in /sys/fs/cgroup/skerry/v2-web-*; do echo limit=$(cat $d/memory.max) $(cat $d/pids.max) $(cat $d/cpu.max); done;"
    "echo agent=$(systemctl is-active skerry)"
)
LEFT = "ls -d /opt/skerry /var/lib/skerry /run/skerry /sys/fs/cgroup/skerry /etc/systemd/system/skerry.service 2>/dev/null; ip -o link"


class Steps:
    def __init__(self, name: str, console: Console) -> None:
        self.console = console
        self.work = ROOT / "build" / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.lab = Lab(name)
        self.guest = Guest(self.lab, self.work)
        self.told: list[str] = []
        self.skerry = Skerry(self.work / "home", self._hear)
        self.figures: dict[str, Any] = {}

    def _hear(self, line: str) -> None:
        self.told.append(line)
        self.console.print(f"      {line}", style="dim", markup=False)

    def run(self) -> None:
        self.lab.down()
        self.lab.up(2)
        self._step("disk", lambda: self.guest.make_disk(CACHE))
        self._step("boot to SSH", lambda: self.guest.boot(CACHE))
        self._step("two lab hosts join", self._lab_hosts)
        self._step("host add over SSH", self._join)
        self._step("deploy", self._deploy)
        self._step("what it is", self._facts)
        self._step("out of memory is told", self._hungry)
        self._step("the other way round: from the guest to a lab host", self._from_guest)
        for what, act in Outside(self.skerry, self.guest, self.work, self.figures).steps():
            self._step(what, act)
        self._step("agent killed, containers adopted", self._adopted)
        self._step("host rm --purge", self._leave)

    def _step(self, what: str, act: Any) -> None:
        begun_s = time.monotonic()
        self.console.print(f"[bold]{what}[/]")
        act()
        self.figures[what] = round(time.monotonic() - begun_s, 1)
        self.console.print(f"      done in {self.figures[what]} s")

    def _lab_hosts(self) -> None:
        self.skerry.run("init", "guest", "--recovery-file", str(self.work / "recovery.age"))
        for machine in self.lab.status():
            self.skerry.run(
                "host", "add", f"root@{machine.address}", "--name", machine.name, "--ssh-config", str(self.lab.ssh_config()),
                quiet=True,
            )  # fmt: skip

    def _join(self) -> None:
        self.skerry.run(
            "host", "add", f"root@{self.guest.address}", "--name", "guest", "--label", "kernel=own", "--timeout", f"{WAIT_S:g}s",
            "--ssh-config", str(self.guest.ssh_config),
        )  # fmt: skip
        assert not any("no WireGuard" in line for line in self.told), (
            "its kernel has WireGuard, and host add says it hasn't"
        )
        self.skerry.wait("the guest to be up", lambda: self._host("guest")["state"] == "up", WAIT_S)

    def _host(self, name: str) -> dict[str, Any]:
        return dict(next(row for row in self.skerry.json("host", "ls") if row["name"] == name))

    def _rows(self, service: str) -> list[dict[str, Any]]:
        return [row for row in self.skerry.json("ps") if row["service"] == service]

    def _deploy(self) -> None:
        app = self.work / "app"
        shutil.copytree(ROOT / "examples" / "guestbook", app)
        (app / "compose.yaml").write_text(COMPOSE)
        self.skerry.run("deploy", str(app / "compose.yaml"), "--detach")
        self.skerry.wait("two replicas on the guest", self._both_healthy, WAIT_S)
        for machine in self.lab.status():
            _, page = self.skerry.wait("an answer", lambda m=machine: self._answer(f"{m.address}:{PORT}"), 60)  # type: ignore[misc]
            assert page == "", page

    def _both_healthy(self) -> bool:
        rows = self._rows("web")
        return len(rows) == 2 and all(row["healthy"] and row["node"] == "guest" for row in rows)

    def _answer(self, address: str) -> tuple[str, str] | None:
        found = ask(address, path="/healthz")
        return None if found[1] else ("", "")

    def _facts(self) -> None:
        told = self.guest.ssh(FACTS)
        self.console.print(told, style="dim", markup=False)
        lines = told.split("\n")
        facts = dict(line.partition("=")[::2] for line in lines if "=" in line)
        self.figures["facts"] = facts
        assert facts["cgroup"] == "cgroup2fs", told
        assert facts["wireguard"] and facts["device"].strip() and facts["user_space"] == "0", told
        assert lines.count(f"limit={160 << 20} 64 80000 100000") == 2, told

    def _hungry(self) -> None:
        def told() -> str:
            rows = self.skerry.json("events", "--tail", "300")
            return next(
                (r["reason"] for r in rows if r["subject"].endswith("hungry/0") and "memory" in r["reason"]), ""
            )

        self.figures["oom"] = self.skerry.wait("the kernel's kill to be told", told, WAIT_S)

    def _from_guest(self) -> None:
        """A replica on a lab host, asked through the guest's own published port: over kernel WireGuard, outwards."""
        app = self.work / "app"
        (app / "compose.yaml").write_text(COMPOSE.replace("name: v2", "name: back").replace("8090:", "8091:")
                                          .replace("kernel == own", "kernel != own").split("  hungry:")[0])  # fmt: skip
        self.skerry.run("deploy", str(app / "compose.yaml"), "--timeout", "120s")
        self.skerry.wait("an answer through the guest", lambda: self._answer(f"{self.guest.address}:8091"), WAIT_S)

    def _adopted(self) -> None:
        before = {row["slot"]: row["address"] for row in self._rows("web") if row["node"] == "guest"}
        self.guest.ssh("systemctl kill --kill-who=main --signal=KILL skerry")
        self.skerry.wait("the agent to be back", lambda: self._started() >= 2, WAIT_S)
        self.skerry.wait("both healthy", self._all_of(before), WAIT_S)

    def _started(self) -> int:
        return int(self.guest.ssh("systemctl show skerry -p NRestarts --value").strip()) + 1

    def _all_of(self, before: dict[str, str]) -> Any:
        """The very containers of before: one that was started anew has another address."""

        def same() -> bool:
            rows = [row for row in self._rows("web") if row["healthy"] and row["slot"] in before]
            return {row["slot"]: row["address"] for row in rows} == before

        return same

    def _leave(self) -> None:
        self.skerry.run("host", "rm", "guest", "--purge", "--ssh-config", str(self.guest.ssh_config))
        left = self.guest.ssh(f"{LEFT}; true")
        self.console.print(left, style="dim", markup=False)
        assert "skerry" not in left and "wireguard" not in left and " sk" not in left, left
        assert "guest" not in [row["name"] for row in self.skerry.json("host", "ls")]

    def close(self) -> list[str]:
        self.guest.stop()
        self.lab.down()
        return self.lab.leftovers()


if __name__ == "__main__":
    sys.exit(
        alone.main(
            Steps, prog="soak.cgroup2", words=__doc__, name="guest", held="cgroup v2 and kernel WireGuard: all held"
        )
    )
