"""What tests of real containers stand on: places of their own, a tree with one static program, a look at leftovers."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from runtime.contract import Play
from skerry.runtime.cgroups import MOUNTINFO, Cgroups
from skerry.runtime.contract import ContainerSpec
from skerry.runtime.oci import Binaries, OciRuntime

TOOLS_WITH = os.environ.get(
    "SKERRY_TEST_TOOLS_WITH", "runc"
)  # the runtime that tests of tools run on: test_crun.py says crun
BUSYBOX = Path("/usr/bin/busybox")
BINARIES = Binaries(conmon=Path("/usr/bin/conmon"), crun=Path("/usr/bin/crun"), runc=Path("/usr/sbin/runc"))
PLAYS: dict[Play, str] = {
    "runs": "trap 'exit 0' TERM; while :; do sleep 0.05; done",
    "exits with 3": "exit 3",
    "has no program": "",
    "is stubborn": "trap '' TERM; while :; do sleep 1; done",
}


class OciBench:
    """`own`: a folder with a short name (of sockets), on a tmpfs as a host's /run is."""

    def __init__(self, runtime: str) -> None:
        self.own = Path(tempfile.mkdtemp(prefix="skr-", dir="/dev/shm"))
        self.cgroup = f"/{self.own.name}"
        self.binaries = msgspec.structs.replace(BINARIES, runtime=runtime)
        self.tree = make_tree(self.own / "tree")
        self.runtime = self.make()

    def make(self) -> OciRuntime:
        return OciRuntime(self.own / "c", self.own / "run", self.own / "logs", self.binaries, self.cgroup)

    def spec(self, id: str, play: Play) -> ContainerSpec:
        if play == "has no program":
            return ContainerSpec(id=id, root=self.tree, args=("/bin/no-such-program",))
        return self.shell(id, PLAYS[play])

    def shell(self, id: str, script: str) -> ContainerSpec:
        return ContainerSpec(id=id, root=self.tree, args=("/bin/sh", "-c", script))

    async def restart(self) -> None:
        await self.runtime.close()
        self.runtime = self.make()

    async def finish(self) -> None:
        """Stop all, and hold that nothing is left."""
        try:
            for container in await self.runtime.list_containers():
                await self.runtime.stop(container.id, signal="SIGKILL", grace_s=0)
            await self.runtime.close()
            assert self.leftovers() == []
        finally:
            await asyncio.to_thread(Cgroups().remove, self.cgroup)
            shutil.rmtree(self.own)

    def leftovers_of_tools(self) -> list[str]:
        return [each for each in self.leftovers() if "tools" in each]

    def leftovers(self) -> list[str]:
        """Mounts, cgroups, processes, folders and files that a container had and that are still there."""
        own = str(self.own)
        left = [f"mount {line.split()[4]}" for line in MOUNTINFO.read_text().splitlines() if f" {own}" in line]
        for tree in Cgroups().trees:
            parent = tree / self.cgroup.strip("/")
            left += [f"cgroup {path}" for path in parent.glob("*/") if path.name not in ("mon", "tools")]
            left += [f"cgroup {path}" for path in parent.glob("tools/*/")]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(os.getpid()):
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if f"\0{own}".encode() in words:
                    left.append(f"process {entry.name} {words[:80]!r}")
        for folder in ("c", "run/exits", "run/oci/crun", "run/oci/runc", "run/tools"):
            left += [f"file {path}" for path in (self.own / folder).glob("*")]
        return left


def make_tree(tree: Path) -> Path:
    """An image's tree with busybox and the mount points that every container needs."""
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
        (tree / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    for name in ("sh", "sleep", "cat", "mount", "touch", "head", "id", "ls", "dd", "tail", "hostname", "nc"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0::/root:/\napp:x:1000:1000::/srv/app:/\n")
    (tree / "etc/group").write_text("root:x:0:\napp:x:1000:\nextra:x:2000:app\n")
    return tree
