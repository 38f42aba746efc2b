"""A small cloud whose first host has real containers, and in its store a tools image of one static busybox."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from agent.small import SmallCloud
from runtime.bench import BINARIES, BUSYBOX
from skerry.agent.host import Parts
from skerry.core.intent import Service, Tools
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.oci import OciRuntime
from skerry.runtime.probe import elf

# For x86-64: pause(2) for ever. What runs in the target can't do anything, least of all help who looks in.
PAUSES = elf(62, b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7")
SLOT = "quiet.quiet/0"


class CloudBeside(SmallCloud):
    """`own`: a folder with a short name (of sockets), on a tmpfs as a host's /run is. `others`: hosts with containers in memory."""

    def __init__(self, directory: Path, hosts: int = 1, **more: Any) -> None:
        super().__init__(directory, hosts, **more)
        self.own = Path(tempfile.mkdtemp(prefix="skrt-", dir="/dev/shm"))
        self.cgroup = f"/{self.own.name}"
        self.real: OciRuntime | None = None

    def changed(self, name: str, parts: Parts) -> Parts:
        if name != "vps-1":
            return parts

        async def real(_: object) -> OciRuntime:
            binaries = msgspec.structs.replace(BINARIES, runtime="runc")
            self.real = OciRuntime(self.own / "c", self.own / "run", self.own / "logs", binaries, self.cgroup)
            return self.real

        return msgspec.structs.replace(parts, runtime=real)

    async def start(self, *names: str) -> None:
        await super().start(*names)
        if not names:
            image = self.give_files({"usr/bin/app": PAUSES})
            self.deploy("quiet", Service(constraints=("node==vps-1",)), image)
            kit = self.give_files({"usr/bin/busybox": BUSYBOX.read_bytes()})
            raw = self.sign("tools/base", Tools(image=kit), 1)
            self.agents["vps-1"].door.offer(raw, from_client=True)

    def running(self) -> list[str]:
        """Slots of the first host whose containers have begun: the agent knows of one before it is made."""
        if self.real is None:
            return []
        known = self.agents["vps-1"].containers.running()
        return [slot for id, slot in known.items() if self.real.pids(id)]

    async def stop(self, *names: str) -> None:
        if not names and self.real is not None:
            for container in await self.real.list_containers():
                await self.real.stop(container.id, signal="SIGKILL", grace_s=0)
        await super().stop(*names)
        if not names:
            await asyncio.to_thread(Cgroups().remove, self.cgroup)
            shutil.rmtree(self.own)

    def tools_left(self) -> list[str]:
        """Folders and cgroups of tools that are there now."""
        left = [str(path) for path in (self.own / "run/tools").glob("*")]
        return left + [str(path) for tree in Cgroups().trees for path in (tree / self.cgroup[1:]).glob("tools/*/")]
