"""`skerry core`: what a container's first process has in memory, as a core file here. It stands still while gdb writes it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skerry.client.cores import CoreFile, new_file
from skerry.client.shortcuts.running import Complaints, Look, failed
from skerry.mesh import terminals as t
from skerry.sizes import size

CORE_BYTES = 256 << 20  # what a tools container has for files
LIMIT_S = 600.0
SCRIPT = ("sh", "/usr/share/skerry/core", "{pid}", "gdb")


class Core(msgspec.Struct, frozen=True):
    """`file`: here; or `name`: of the one that `node` keeps."""

    slot: str
    visibility: str
    file: str = ""
    size_bytes: int = 0
    name: str = ""
    node: str = ""


async def core(look: Look, file: Path) -> Core:
    """Write it to `file`, which must not be there yet: whole, or not at all. Raises BadInput, ToolFailed, BadFormat, OSError, and what
    `debugging.opened` raises."""
    complaints = Complaints()
    with new_file(file) as out:
        unpacking = CoreFile(out, CORE_BYTES)

        def take(channel: bytes, payload: bytes) -> None:
            if channel == t.STDERR:
                complaints.take(payload)
            else:
                unpacking.take(payload)

        end = await look.run("base", SCRIPT, take, limit_s=LIMIT_S)
        if end.code or not unpacking.whole:
            fix = f"up to {size(CORE_BYTES)} are taken; without a file: skerry debug {look.slot} -it -- gdb -p {{pid}}"
            raise failed(f"no core of {look.slot} was made", end, complaints, fix)
        unpacking.finish()
    return Core(look.slot, look.visibility, str(file), unpacking.size_bytes)


async def kept(look: Look) -> Core:
    """Have its host make one and keep it. Raises as `core` does."""
    complaints = Complaints()

    def take(channel: bytes, payload: bytes) -> None:
        complaints.take(payload)

    end = await look.run("base", SCRIPT, take, limit_s=LIMIT_S, keep=True)
    if end.code or not look.core:
        raise failed(f"no core of {look.slot} was kept", end, complaints, f"up to {size(CORE_BYTES)} are taken")
    return Core(look.slot, look.visibility, name=look.core, node=look.node.removeprefix("node/"))
