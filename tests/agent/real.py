"""One agent whose containers are real ones, by runc, and an operator's machine beside it: what is seen of them from outside.

The containers have networks of their own, into which tests can reach, but none between them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agent.small import Aside, NoNetwork, SmallCloud
from runtime.bench import BINARIES, BUSYBOX
from skerry.agent.files import HostFiles
from skerry.agent.host import Parts
from skerry.cli import main
from skerry.core.intent import App, Release, Restart, Service, VolumeMount
from skerry.net.veth import Attachment, Veths
from skerry.runtime import processes, syscalls
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.contract import Runtime
from skerry.runtime.cores.pattern import CorePattern
from skerry.runtime.oci import OciRuntime

SUBNET, GATEWAY = "10.77.1.0/24", "10.77.1.1"
PROGRAMS = (
    "sh", "sleep", "cat", "mkdir", "touch", "ln", "head", "mkfifo", "dd", "mv", "rm", "nc", "truncate", "seq", "kill", "printf",
)  # fmt: skip


class Wires(NoNetwork):
    """Each container has a network of its own, at the end of a wire as hosts make it; no rules, no tunnel, no names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SUBNET)
        self._veths = Veths(folder, prefix="lkv", gateway=GATEWAY, mtu=1420)

    async def attach(self, container_id: str, of: str = "") -> Attachment:
        return await self._veths.attach(container_id, (await super().attach(container_id)).address)

    async def detach(self, container_id: str) -> None:
        await self._veths.detach(container_id)

    async def purge(self) -> None:
        await self._veths.purge()

    def interface(self, container_id: str) -> str:
        return self._veths.name(container_id)


class RealCloud(SmallCloud):
    """`own`: where its containers are."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 1)
        self.own = Path(tempfile.mkdtemp(prefix="lk-", dir="/dev/shm"))
        self.network = Wires(self.own / "run")
        self.core_handler = self.own / "skerry-core"  # a test that needs it writes it
        for files in self.files.values():  # the kernel takes short paths only
            files.containers, files.cores = self.own / "c", self.own / "k"

    def changed(self, name: str, parts: Parts) -> Parts:
        async def own(files: HostFiles) -> Runtime:
            binaries = msgspec.structs.replace(BINARIES, runtime="runc")
            return OciRuntime(self.own / "c", self.own / "run", self.own / "logs", binaries, f"/{self.own.name}")

        parts.runtime = own
        parts.core_pattern = lambda files: CorePattern(self.core_handler, files.containers, files.cores)
        parts.network = lambda files, node: self.network  # type: ignore[assignment, return-value]
        return parts


class Output(io.TextIOWrapper):
    """Standard output, of which a command may ask what it is."""

    def __init__(self, terminal: bool) -> None:
        super().__init__(io.BytesIO(), "utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class Seen(NamedTuple):
    """What a command printed and ended with."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class RealHost:
    """`cloud` runs beside, in a thread."""

    def __init__(self, cloud: RealCloud, aside: Aside) -> None:
        self.cloud, self.aside = cloud, aside
        self.home = cloud.directory / "home"
        self._apps = 0
        cloud.home(self.home)

    @property
    def agent(self) -> Any:
        return self.cloud.agents["vps-1"]

    def run(
        self,
        script: str,
        *,
        app: str = "",
        user: str = "",
        writable: tuple[str, ...] = (),
        volume: str = "",
        stays: bool = True,
        core_bytes: int = 0,
    ) -> str:
        """Deploy an app of one service `web`, a shell script by busybox; gives its slot, once it runs if it `stays`."""
        self._apps += 1
        app = app or f"app{self._apps}"
        program = BUSYBOX.read_bytes()
        image = self.aside.look(lambda: self.cloud.give_files({f"usr/bin/{name}": program for name in PROGRAMS}))
        service = Service(
            entrypoint=("/usr/bin/sh", "-c", script),
            user=user,
            writable=writable,
            volumes=(VolumeMount(volume=volume, target="/data"),) if volume else (),
            restart=Restart(delay_s=0.1),
            stop_grace_s=0.1,
            core_bytes=core_bytes,
        )
        body = App(services={"web": service}, volumes={volume: False} if volume else {})
        release = Release(images={"web": image}, fits=1)
        raws = [self.cloud.sign(f"release/{app}", release, 1), self.cloud.sign(f"app/{app}", body, 1)]
        self.aside.look(lambda: [self.agent.door.offer(raw, from_client=True) for raw in raws])
        slot = f"{app}.web/0"
        if stays:
            self.aside.wait(f"{slot} to run", lambda: bool(self.pid(slot)))
        return slot

    def id(self, slot: str) -> str:
        return next((id for id, of in self.agent.containers.running().items() if of == slot), "")

    def pid(self, slot: str) -> int:
        """Of its first process."""
        pids = self.agent.runtime.pids(self.id(slot))
        return next((pid for pid in pids if processes.numbers(pid)[-1:] == (1,)), 0)

    def file(self, slot: str, path: str) -> Path:
        """A path of the container as this test, from outside, names it; the last link is not to be followed."""
        return Path(f"/proc/{self.pid(slot)}/root{path}")

    def skerry(self, *args: str, at_terminal: bool = False) -> Seen:
        """A command as people type it, here in this process."""
        out, err = Output(at_terminal), io.StringIO()
        before = dict(os.environ)
        os.environ |= {"SKERRY_HOME": str(self.home), "SKERRY_PASSPHRASE": ""}
        asked, sys.stdin = sys.stdin, io.StringIO()  # there is nobody to answer
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main.run(list(args))
        finally:
            sys.stdin = asked
            os.environ.clear()
            os.environ.update(before)
        return Seen(code, out.buffer.getvalue(), err.getvalue())  # type: ignore[attr-defined]


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread, and all that it starts meanwhile, in a network namespace of its own with the gateway's address."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    try:
        for words in ("link set lo up", f"address add {GATEWAY}/32 dev lo"):
            subprocess.run(["ip", *words.split()], check=True)
        yield
    finally:
        syscalls.setns(before, syscalls.CLONE_NEWNET)
        os.close(before)


@contextlib.contextmanager
def real_host(directory: Path) -> Iterator[RealHost]:
    cloud = RealCloud(directory)
    try:
        with own_network(), Aside(cloud) as aside:
            try:
                yield RealHost(cloud, aside)
            finally:

                async def end() -> None:
                    await cloud.agents["vps-1"].runtime.purge()  # type: ignore[attr-defined]
                    await cloud.network.purge()

                aside.run(end())
    finally:
        Cgroups().remove(f"/{cloud.own.name}")
        shutil.rmtree(cloud.own)


def wait_for(what: str, see: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not see():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        time.sleep(0.02)
