"""A small agent for test_kill.py: starts and stops containers of a bench for ever, until somebody kills it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from skerry.runtime.contract import ContainerSpec
from skerry.runtime.oci import Binaries, OciRuntime


async def main(own: Path, cgroup: str, prefix: str) -> None:
    binaries = msgspec.json.decode(
        (own / "binaries.json").read_bytes(), type=Binaries, dec_hook=lambda kind, v: kind(v)
    )
    runtime = OciRuntime(own / "c", own / "run", own / "logs", binaries, cgroup)
    await runtime.list_containers()
    print("ready", flush=True)
    for n in range(1000):
        script = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
        files = (("/etc/hosts", b"x"),)
        id = f"{prefix}-{n}"
        spec = ContainerSpec(id=id, root=own / "tree", args=("/bin/sh", "-c", script), files=files, labels={"n": id})
        await runtime.start(spec)
        if n % 2:
            await runtime.stop(id, signal="SIGTERM", grace_s=1)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
