"""Which of crun and runc really works on this host: found by starting a tiny container, never by looking for signs.

The container's only program is a few bytes of machine code that exit with a number, so that nothing of the host's is
needed: the bundle brings no shell. It is started by the very class that starts all others.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import struct
from pathlib import Path

import msgspec

from skerry.errors import SkerryError
from skerry.runtime.contract import ContainerSpec, RuntimeRefused
from skerry.runtime.oci import Binaries, OciRuntime

ANSWER = 42
ANSWER_WITHIN_S = 10.0
_LOAD_AT = 0x40_0000
_HEADERS = 64 + 56
# Source: System V ABI, ELF-64; exit is system call 60 on x86-64 and 93 on AArch64.
_CODE = {
    "x86_64": (62, b"\xbf" + struct.pack("<I", ANSWER) + b"\xb8" + struct.pack("<I", 60) + b"\x0f\x05"),
    "aarch64": (183, struct.pack("<III", 0xD2800000 | ANSWER << 5, 0xD2800000 | 93 << 5 | 8, 0xD4000001)),
}


class Tried(msgspec.Struct, frozen=True):
    """One runtime's trial; `why`: what went wrong, "" if it works."""

    runtime: str
    works: bool
    why: str = ""


def tiny_program(machine: str) -> bytes:
    """A static program that exits with ANSWER. Raises RuntimeRefused for a processor that we don't know."""
    if machine not in _CODE:
        raise RuntimeRefused("no runtime was tried", f"no trial program for {machine}", "use x86_64 or aarch64")
    return elf(*_CODE[machine])


def elf(number: int, code: bytes) -> bytes:
    """The smallest ELF file around `code`; `number`: the processor's, as in e_machine."""
    size = _HEADERS + len(code)
    entry = _LOAD_AT + _HEADERS
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, number, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_AT, _LOAD_AT, size, size, 0x1000)
    return header + segment + code


async def try_runtime(binaries: Binaries, directory: Path, run_dir: Path, cgroup_parent: str) -> Tried:
    """Start one container with `binaries.runtime` and see it end as it should. Leaves nothing."""
    base, name = directory / f"try-{binaries.runtime}", binaries.runtime
    tree = base / "tree"
    await asyncio.to_thread(_make_tree, tree)
    runtime = OciRuntime(base / "containers", run_dir / f"try-{name}", base / "logs", binaries, cgroup_parent)
    id = f"try-{name}"
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            # With limits, and a file that the tree lacks: cgroups and overlayfs are tried with it.
            files = (("/etc/hosts", b""),)
            spec = ContainerSpec(id=id, root=tree, args=("/tiny",), memory_bytes=32 << 20, pids=16, files=files)
            await runtime.start(spec)
            async for exited in runtime.exits():
                works = exited.exit_code == ANSWER
                return Tried(name, works, "" if works else f"its program ended with {exited.exit_code}")
        return Tried(name, False, "it told no end")
    except TimeoutError:
        return Tried(name, False, f"no end in {ANSWER_WITHIN_S:g} s")
    except SkerryError as error:
        return Tried(name, False, error.why or error.what)
    finally:
        await runtime.stop(id, signal="SIGKILL", grace_s=0)
        await runtime.close()
        await asyncio.to_thread(shutil.rmtree, base, True)
        await asyncio.to_thread(shutil.rmtree, run_dir / f"try-{name}", True)


async def find_runtime(
    binaries: Binaries, directory: Path, run_dir: Path, cgroup_parent: str = "/skerry"
) -> tuple[Binaries, list[Tried]]:
    """The same binaries with the runtime that works, crun first as it is three times faster; and what was tried.

    `directory` and `run_dir`: where OciRuntime will work, as it may be the place that doesn't work. Raises
    RuntimeRefused with both reasons if neither does.
    """
    tried = []
    for name in ("crun", "runc"):
        candidate = msgspec.structs.replace(binaries, runtime=name)
        tried.append(await try_runtime(candidate, directory, run_dir, cgroup_parent))
        if tried[-1].works:
            return candidate, tried
    why = "; ".join(f"{one.runtime}: {one.why}" for one in tried)
    raise RuntimeRefused("this host can't run containers", why, "see `skerry doctor` for what the kernel lacks")


def _make_tree(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("dev", "proc", "run", "sys", "tmp"):
        (tree / name).mkdir(parents=True)
    (tree / "tiny").write_bytes(tiny_program(platform.machine()))
    (tree / "tiny").chmod(0o755)
