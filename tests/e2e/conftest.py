"""One cloud of three lab hosts for the whole folder: joined by the command line over SSH, as a person would.

A test leaves the cloud as it found it: three hosts up, every replica of the guestbook healthy and claimed once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from demo.skerry import Skerry

from checkout import ROOT, lab_name, share_downloads
from skerry.client import views
from skerry.client.session import Session
from skerry.lab.lab import Lab, Machine

HOSTS = 3
PORT = 8080


@dataclass
class Cloud:
    """The lab, the command, and the guestbook's folder, which tests may change."""

    lab: Lab
    skerry: Skerry
    app: Path
    rounds: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def compose(self) -> str:
        return str(self.app / "compose.yaml")

    def ps(self, app: str = "guestbook") -> list[dict[str, Any]]:
        return [row for row in self.skerry.look(views.ps) if row["app"] == app]

    def up(self) -> list[str]:
        return [host["name"] for host in self.skerry.look(views.hosts) if host["state"] == "up"]

    def machines(self) -> list[Machine]:
        """The fixed ones; those that a pool has rented come and go beside them."""
        return [machine for machine in self.lab.status() if machine.name.startswith("vps-")]

    def names(self) -> list[str]:
        return [machine.name for machine in self.machines()]

    def addresses(self) -> dict[str, str]:
        """Host -> where the guestbook is published on it."""
        return {machine.name: f"{machine.address}:{PORT}" for machine in self.machines()}

    def of_store(self) -> str:
        return str(next(row["node"] for row in self.ps() if row["service"] == "store"))

    def others(self, *names: str) -> list[str]:
        return [name for name in self.names() if name not in names]

    def new_version(self) -> int:
        """Change one line of the compose file: another environment for web, the same image. Gives its number."""
        number = next(self.rounds)
        file = Path(self.compose)
        lines = [line for line in file.read_text().splitlines(True) if "ROUND:" not in line]
        at = next(n for n, line in enumerate(lines) if "STORE:" in line)
        lines.insert(at + 1, f'      ROUND: "{number}"\n')
        file.write_text("".join(lines))
        return number

    def inside(self, host: str, *argv: str, input: bytes | None = None) -> str:
        """What a command says on that host, as root. Raises AssertionError when it fails."""
        done = self.lab.exec(host, argv, input=input, timeout_s=120)
        assert done.returncode == 0, f"{argv} on {host}: {(done.stdout + done.stderr).decode(errors='replace')[-500:]}"
        return done.stdout.decode(errors="replace")

    def kill_agent(self, host: str) -> None:
        self.lab.exec(host, ["systemctl", "kill", "--signal=KILL", "skerry"])

    def containers(self, host: str, service: str = "*") -> set[str]:
        """What marks the containers of a host apart from any later ones: pids of their monitors."""
        say = f"for p in /run/skerry/containers/guestbook-{service}-*/conmon.pid; do test -e $p && cat $p && echo; done; true"
        return set(self.inside(host, "sh", "-c", say).split())

    def events(self, kind: str, since_s: float = 0.0, *, tail: int = 300) -> list[dict[str, Any]]:
        """Events of this kind on all hosts that answer, since a time of this machine's clock."""

        async def look(session: Session) -> list[dict[str, Any]]:
            return [row async for row in views.events(session, tail=tail)]

        return [row for row in self.skerry.look(look) if row.get("kind") == kind and row["time"] >= since_s]

    def well(self) -> bool:
        """All replicas, each healthy in the wanted version, each claimed by one node; no container beside theirs."""
        rows = self.ps()
        if len(rows) != 4 or not all(
            row["healthy"] and not row["outdated"] and len(row["claims"]) == 1 for row in rows
        ):
            return False
        return all(
            len(self.containers(machine.name)) == sum(row["node"] == machine.name for row in rows)
            for machine in self.machines()
            if machine.state != "off"
        )  # one that a rollout or a move left behind may be draining still, and would go in the midst of the next test

    def all_up(self) -> bool:
        """Each host answers and sees all of them up: an agent that was killed a moment ago is missed by nobody yet."""
        names = self.names()

        async def ask(session: Session) -> list[list[dict[str, Any]]]:
            return await asyncio.gather(*(session.request("hosts", node=f"node/{name}") for name in names))

        return all([host["state"] for host in hosts].count("up") == HOSTS for hosts in self.skerry.look(ask))

    def wait_well(self, timeout_s: float = 60) -> None:
        self.skerry.wait("three hosts up, as each of them sees it", self.all_up, timeout_s)
        self.skerry.wait("every replica healthy, claimed once", self.well, timeout_s)


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if os.geteuid() != 0:
        pytest.skip("whole machines need root")
    work = tmp_path_factory.mktemp("e2e")
    app = work / "guestbook"
    shutil.copytree(ROOT / "examples" / "guestbook", app)
    first = request.session.items[0].path.stem.removeprefix("test_")  # another lot beside this one has its own
    lab = Lab(lab_name(f"e2e-{first}"))
    lab.down()  # what an interrupted run of this checkout left
    skerry = Skerry(work / "home", lambda line: print(f"{datetime.now():%H:%M:%S.%f} {line}"))
    share_downloads(work / "home" / "images")
    made = Cloud(lab, skerry, app)
    try:
        lab.up(HOSTS)
        skerry.run("init", "e2e", "--recovery-file", str(work / "recovery.age"))
        for machine in lab.status():
            skerry.run(
                "host", "add", f"root@{machine.address}", "--name", machine.name, "--ssh-config", str(lab.ssh_config())
            )
        skerry.run("deploy", made.compose)
        made.wait_well()
        yield made
    finally:
        lab.down()
        assert not lab.leftovers()


@pytest.fixture(autouse=True)
def wait_well_after(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whoever breaks the shared cloud for the next test is the one that fails."""
    yield
    if "cloud" in request.fixturenames:
        cloud: Cloud = request.getfixturevalue("cloud")
        for machine in cloud.machines():
            if machine.state == "off":
                cloud.lab.boot(machine.name)
            else:
                cloud.lab.heal(machine.name)
        begun_s = time.monotonic()
        cloud.wait_well(90)
        print(f"well again after {time.monotonic() - begun_s:.1f} s")
