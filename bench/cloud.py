"""A cloud of lab hosts, joined by the command line over SSH, and taken down at the end whatever happens."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from demo.skerry import COMMAND, Skerry

from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.lab.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
POLL_S = 0.02


@dataclass
class Ran:
    """A command that ended well. `lines`: (seconds since its start, line of its standard error)."""

    seconds: float
    lines: list[tuple[float, str]]

    def when(self, words: str) -> float:
        """When it first said this, in seconds since its start."""
        return next(at_s for at_s, line in self.lines if words in line)


class Cloud:
    """Use as `with Cloud(hosts)`. `work`: for compose files and images."""

    def __init__(self, hosts: int, tell: Callable[[str], None], name: str = "") -> None:
        self.hosts = hosts
        self.tell = tell
        self.work = ROOT / "build" / (name or f"bench{hosts}")
        self.lab = Lab(name or f"bench{hosts}")
        self.skerry = Skerry(self.work / "home", lambda line: None)
        # As installed: with bytecode beside the source, whatever the shell says that `make bench` is called from.
        self.skerry.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def __enter__(self) -> Cloud:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.lab.down()
        try:
            self.lab.up(self.hosts)
            self.skerry.run("init", "bench", "--recovery-file", str(self.work / "recovery.age"))
            config = str(self.lab.ssh_config())
            for machine in self.lab.status():
                self.skerry.run(
                    "host", "add", f"root@{machine.address}", "--name", machine.name, "--ssh-config", config
                )
            self.wait("every host up", lambda: len(self.up()) == self.hosts)
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lab.down()
        left = self.lab.leftovers()
        if left and error is None:
            raise RuntimeError(f"left behind on this machine: {', '.join(left)}")

    # -- as a person does it

    def run(self, *args: str) -> Ran:
        """`skerry …` with the time of each line that it says. Raises CalledProcessError with its words."""
        begun_s = time.monotonic()
        with subprocess.Popen(
            [COMMAND, *args], env=self.skerry.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            lines = [(time.monotonic() - begun_s, line.rstrip()) for line in process.stderr]
        seconds = time.monotonic() - begun_s
        if process.returncode:
            raise subprocess.CalledProcessError(
                process.returncode, ["skerry", *args], stderr="\n".join(line for _, line in lines)
            )
        return Ran(seconds, lines)

    # -- asked in this process: a command's own start would be the coarsest part of a figure

    def ask(self, verb: str, args: Any = None, *, node: str = "") -> Any:
        return self.skerry.ask(verb, args, node=node)

    def session(self) -> Session:
        return self.skerry.session()

    def ps(self, node: str = "") -> list[dict[str, Any]]:
        return list(self.ask("ps", {"subject": ""}, node=node))

    def up(self) -> list[str]:
        return [host["name"] for host in self.ask("hosts") if host["state"] == "up"]

    def well(self, replicas: int) -> bool:
        """As many replicas, each healthy in the wanted version, each claimed by one node, and nothing else."""
        rows = self.ps()
        return len(rows) == replicas and all(r["healthy"] and not r["outdated"] and len(r["claims"]) == 1 for r in rows)

    def wait(self, what: str, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Until `condition` gives something true; its value. A host that can't be asked counts as not yet."""
        deadline_s = time.monotonic() + timeout_s
        last = ""
        while time.monotonic() < deadline_s:
            try:
                if value := condition():
                    return value
            except SkerryError as error:
                last = str(error)
            time.sleep(POLL_S)
        raise TimeoutError(f"waited {timeout_s:.0f} s for {what}. {last}")
