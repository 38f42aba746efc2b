"""The cloud under test, through the same doors that people use: lab hosts, the command `skerry`, signed requests."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.skerry import CommandFailed, Skerry

from skerry.client.home import Head, Home
from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.lab.lab import Lab, Machine

ROOT = Path(__file__).resolve().parent.parent
PORT = 8080
STORE_PORT = 6379
# What a host that is on its way up may answer, or a view that lacks a row; final faults show when the time is over.
NOT_YET = (CommandFailed, OSError, SkerryError, subprocess.SubprocessError, LookupError, ValueError)
INSIDE_S = 60.0  # a program inside a host may take so long on a busy machine

# Reads the whole list straight from the store (RESP): the page shows only the newest ones.
ENTRIES = """
import json, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as s, s.makefile("rb") as f:
    s.sendall(b"*4\\r\\n$6\\r\\nLRANGE\\r\\n$7\\r\\nentries\\r\\n$1\\r\\n0\\r\\n$2\\r\\n-1\\r\\n")
    def line():
        text = f.readline()
        if not text.endswith(b"\\r\\n"):
            raise OSError("cut off")
        return text[:-2]
    count = line()
    if count[:1] != b"*":
        raise OSError(count)
    found = []
    for _ in range(int(count[1:])):
        size = int(line()[1:])
        found.append(f.read(size).decode()); f.read(2)
    json.dump(found, sys.stdout)
"""


class Cloud:
    """`say` gets a line for what is done."""

    def __init__(self, work: Path, name: str, say: Callable[[str], None]) -> None:
        self.work, self.name = work, name
        self.lab = Lab(name)
        self.skerry = Skerry(work / "home", lambda line: None)
        self.app = work / "guestbook"
        self._say = say

    def make(self, hosts: int) -> None:
        """Machines, keys, joined hosts, and the guestbook running on them."""
        shutil.copytree(ROOT / "examples" / "guestbook", self.app)
        self.lab.down()
        self._say(f"{hosts} machines")
        self.lab.up(hosts)
        self.skerry.run("init", self.name, "--recovery-file", str(self.work / "recovery.age"))
        config = str(self.lab.ssh_config())
        for machine in self.machines():
            self._say(f"host add {machine.name}")
            self.skerry.run("host", "add", f"root@{machine.address}", "--name", machine.name, "--ssh-config", config)
        self._say("first deploy")
        self.skerry.run("deploy", str(self.app / "compose.yaml"))

    def machines(self) -> list[Machine]:
        return self.lab.status()

    def names(self) -> list[str]:
        return [machine.name for machine in self.machines()]

    def addresses(self) -> list[str]:
        return [f"{machine.address}:{PORT}" for machine in self.machines()]

    def dead(self) -> frozenset[str]:
        """Addresses at which nobody can answer."""
        return frozenset(f"{machine.address}:{PORT}" for machine in self.machines() if machine.state != "on")

    def ps(self) -> list[dict[str, Any]]:
        return list(self.skerry.json("ps"))

    def inside(self, host: str, script: str, *args: str) -> Any:
        """What a Python program inside that host prints as JSON. Raises OSError when it failed."""
        done = self.lab.exec(host, ["python3", "-", *args], input=script.encode(), timeout_s=INSIDE_S)
        if done.returncode:
            raise OSError(f"{host}: {done.stderr.decode(errors='replace')[-300:]}")
        return json.loads(done.stdout)

    def entries(self, store: dict[str, Any]) -> list[str]:
        """All that the store holds. `store`: its row of ps."""
        return list(self.inside(store["node"], ENTRIES, store["address"], str(STORE_PORT)))

    def ask_all(self, verb: str, args: Any = None) -> dict[str, Any]:
        """host -> its answer, or the error."""

        async def ask() -> dict[str, Any]:
            async with Session(Home(self.skerry.home).cloud(self.name), lambda what: "") as session:
                return await session.everywhere(verb, args)

        return {node.removeprefix("node/"): answer for node, answer in asyncio.run(ask()).items()}

    def accepted(self) -> dict[str, Head]:
        """The newest of each path that this operator handed over and was told is accepted, or has seen."""
        return Home(self.skerry.home).cloud(self.name).heads()

    def wait(self, what: str, condition: Callable[[], str], timeout_s: float) -> str:
        """Until `condition` says "" (what is wrong otherwise). Gives its last words, "" when it came true."""
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                wrong = condition()
            except NOT_YET as error:
                wrong = f"{type(error).__name__}: {error}"
            if not wrong:
                return ""
            if time.monotonic() > end_s:
                return f"{what}: not within {timeout_s:.0f} s: {wrong}"
            time.sleep(0.5)
