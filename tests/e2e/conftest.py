"""One cloud of three lab hosts for the whole folder: joined by the command line over SSH, as a person would.

A test leaves the cloud as it found it: three hosts up, every replica of the guestbook healthy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo.skerry import Skerry

from skerry.lab.lab import Lab, Machine

ROOT = Path(__file__).resolve().parents[2]
HOSTS = 3
PORT = 8080
LAB = f"e2e-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"  # each checkout its own: several may run at once


@dataclass
class Cloud:
    lab: Lab
    skerry: Skerry
    app: Path

    def ps(self, app: str = "guestbook") -> list[dict[str, Any]]:
        return [row for row in self.skerry.json("ps") if row["app"] == app]

    def up(self) -> list[str]:
        return [host["name"] for host in self.skerry.json("host", "ls") if host["state"] == "up"]

    def addresses(self) -> dict[str, str]:
        return {machine.name: f"{machine.address}:{PORT}" for machine in self.machines()}

    def machines(self) -> list[Machine]:
        return self.lab.status()

    def of_store(self) -> str:
        return str(next(row["node"] for row in self.ps() if row["service"] == "store"))

    def well(self) -> bool:
        """All four replicas, each healthy, each claimed by one node."""
        rows = self.ps()
        return len(rows) == 4 and all(
            row["healthy"] and not row["outdated"] and len(row["claims"]) == 1 for row in rows
        )

    def wait_well(self, timeout_s: float = 60) -> None:
        self.skerry.wait("three hosts up", lambda: len(self.up()) == HOSTS, timeout_s)
        self.skerry.wait("every replica healthy, claimed once", self.well, timeout_s)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if os.geteuid() != 0:
        pytest.skip("whole machines need root")
    work = tmp_path_factory.mktemp("e2e")
    app = work / "guestbook"
    shutil.copytree(ROOT / "examples" / "guestbook", app)
    lab = Lab(LAB)
    lab.down()  # what an interrupted run of this checkout left
    skerry = Skerry(work / "home", print)
    made = Cloud(lab, skerry, app)
    try:
        lab.up(HOSTS)
        skerry.run("init", "e2e", "--recovery-file", str(work / "recovery.age"))
        for machine in lab.status():
            skerry.run(
                "host", "add", f"root@{machine.address}", "--name", machine.name, "--ssh-config", str(lab.ssh_config())
            )
        skerry.run("deploy", str(app / "compose.yaml"))
        made.wait_well()
        yield made
    finally:
        lab.down()
        assert not lab.leftovers()
