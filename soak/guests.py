"""`make guests`: machines of one's own hypervisor. libvirt and QEMU for real (by emulation), from a base image of mmdebstrap's to a
container that runs in a guest of a lab cloud, and back until nothing is left: rented by an operator, then by a keeper (kept.py).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from demo.clients import ask
from demo.skerry import Skerry
from rich.console import Console

from skerry.lab.lab import Lab, Machine
from soak import alone
from soak.cloud import ROOT
from soak.hypervisor import Hypervisor
from soak.kept import HOST, Kept

CACHE = Path("/var/lib/skerry-lab/.base/machines")
IMAGE = "debian-12"
PORT = 8092
ADDRESS = 210  # the last byte of the first guest's address in the lab's network
JOIN_S = 1800.0  # by emulation; on a machine that others keep busy 15 minutes were too few
COMPOSE = """\
name: inside
x-skerry: {pools: [guests]}
services:
  web:
    x-skerry: {image: {recipe: python, context: web, entrypoint: [python3, -m, uvicorn, guestbook:app, --host, 0.0.0.0]}}
    ports: ["8092:8000"]
    healthcheck: {test: curl -f http://localhost:8000/healthz, interval: 5s, timeout: 5s, start_period: 180s}
    deploy:
      replicas: 1
      placement: {constraints: [node.labels.kind == guest]}
      resources: {limits: {memory: 160M, pids: 64}}
"""


class Steps:
    def __init__(self, name: str, console: Console) -> None:
        self.console = console
        self.work = ROOT / "build" / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.lab = Lab(name)
        self.folder = Path(tempfile.mkdtemp(prefix="skerry-guests-", dir="/var/tmp"))
        self.folder.chmod(0o755)  # QEMU runs as a user of its own
        self.hypervisor = Hypervisor(self.folder, str(self.lab.directory / "wires"))
        self.skerry = Skerry(self.work / "home", self._hear)
        self.figures: dict[str, Any] = {}

    def _hear(self, line: str) -> None:
        self.console.print(f"      {line}", style="dim", markup=False)

    def run(self) -> None:
        self.lab.down()
        self.lab.up(3)
        self._step("libvirt is up", self.hypervisor.__enter__)
        self._step("image made and sent", self._image)
        self._step("what QEMU would be told", self._argv)
        self._step("two lab hosts join", self._lab_hosts)
        self._step("pool signed, KVM tried", self._pool)
        self._step(
            "a guest is rented and joins",
            lambda: self.skerry.run("machine", "up", "guests", "--timeout", f"{JOIN_S:g}s"),
        )
        self._step("what it is", self._facts)
        self._step("a container runs in it and answers", self._deploy)
        self._step("the app is taken away", lambda: self.skerry.run("rm", "inside"))
        self._step("drained and returned", lambda: self.skerry.run("machine", "rm", "guests/0", "--timeout", "300s"))
        self._step("nothing is left of it", self._nothing_left)
        for what, act in Kept(self.lab, self.skerry, self.work, JOIN_S, IMAGE, CACHE).steps():
            self._step(what, act)

    def _step(self, what: str, act: Any) -> None:
        begun_s = time.monotonic()
        self.console.print(f"[bold]{what}[/]")
        act()
        self.figures[what] = round(time.monotonic() - begun_s, 1)
        self.console.print(f"      done in {self.figures[what]} s")

    def _image(self) -> None:
        self.skerry.run("machine", "image", self.hypervisor.endpoint, "--name", IMAGE, "--folder", str(CACHE))

    def _argv(self) -> None:
        """What libvirt would say to QEMU."""
        argv = self.hypervisor.virsh(
            "domxml-to-native", "qemu-argv", "--xml", str(ROOT / "tests/machines/golden/qemu.xml")
        )
        assert "virtio-blk-pci" in argv and "virtio-net-pci" in argv and "tcg" in argv, argv

    def _hosts(self) -> list[Machine]:
        """Of the cloud; the other one is a hypervisor."""
        return [machine for machine in self.lab.status() if machine.name != HOST]

    def _lab_hosts(self) -> None:
        self.skerry.run("init", "guests", "--recovery-file", str(self.work / "recovery.age"))
        for machine in self._hosts():
            target = ("host", "add", f"root@{machine.address}", "--name", machine.name)
            self.skerry.run(*target, "--ssh-config", str(self.lab.ssh_config()), quiet=True)

    def _pool(self) -> None:
        network = self.lab.status()[0].address.rpartition(".")[0]
        options = {
            "network": "bridge:bridge0",
            "address": f"{network}.{ADDRESS}/24",
            "sizes": "small=1,1g,6g,0",
        }
        self.skerry.run(
            *("machine", "pool", "add", "guests", "--provider", "libvirt", "--endpoint", self.hypervisor.endpoint),
            *(word for key, value in options.items() for word in ("--option", f"{key}={value}")),
            *("--size", "small", "--image", IMAGE, "--max", "2", "--label", "kind=guest"),
            *("--keepers", "none", "--meeting", "vps-1", "--join", f"{JOIN_S:g}s"),
        )  # fmt: skip

    def _facts(self) -> None:
        (row,) = self.skerry.json("machine", "ls", "guests")
        domains = self.hypervisor.virsh("list", "--all", "--name").split()
        xml = self.hypervisor.virsh("dumpxml", domains[0])
        self.figures["facts"] = {"kind": xml.split("type='", 1)[1].split("'")[0], "disk_mb": self._disk_mb(domains[0])}
        assert len(domains) == 1 and row["address"].endswith(f".{ADDRESS}"), (domains, row)
        host = next(row for row in self.skerry.json("host", "ls") if row["name"] == "guests/0")
        assert host["state"] == "up", host

    def _disk_mb(self, name: str) -> int:
        return (self.hypervisor.images / f"{name}.qcow2").stat().st_blocks * 512 >> 20

    def _deploy(self) -> None:
        app = self.work / "app"
        shutil.copytree(ROOT / "examples" / "guestbook", app)
        (app / "compose.yaml").write_text(COMPOSE)
        self.skerry.run("deploy", str(app / "compose.yaml"), "--detach")
        self.skerry.wait("a replica in the guest", self._healthy, JOIN_S)
        for machine in self._hosts():
            self.skerry.wait(f"an answer through {machine.name}", lambda m=machine: self._answers(m.address), 60)  # type: ignore[misc]
        network = self.lab.status()[0].address.rpartition(".")[0]
        self.skerry.wait("an answer of the guest itself", lambda: self._answers(f"{network}.{ADDRESS}"), 60)

    def _healthy(self) -> bool:
        rows = [row for row in self.skerry.json("ps") if row["service"] == "web"]
        return len(rows) == 1 and rows[0]["healthy"] and rows[0]["node"] == "guests/0"

    def _answers(self, address: str) -> bool:
        return not ask(f"{address}:{PORT}", path="/healthz")[1]

    def _nothing_left(self) -> None:
        assert self.hypervisor.virsh("list", "--all", "--name").split() == []
        left = sorted(path.name for path in self.hypervisor.images.iterdir())
        assert left == [f"{IMAGE}.{part}" for part in ("initrd", "qcow2", "vmlinuz")], left
        assert "guests/0" not in [row["name"] for row in self.skerry.json("host", "ls")]

    def close(self) -> list[str]:
        for consoles in (self.folder, self.lab.directory / "layers" / HOST / "up"):
            if (consoles / "var/log/libvirt/qemu").is_dir():
                shutil.copytree(consoles / "var/log/libvirt/qemu", self.work / "consoles", dirs_exist_ok=True)
        self.hypervisor.__exit__()
        self.lab.down()
        shutil.rmtree(self.folder)
        return self.lab.leftovers()


if __name__ == "__main__":
    sys.exit(
        alone.main(
            Steps, prog="soak.guests", words=__doc__, name="guests", held="guests of one's own hypervisor: all held"
        )
    )
