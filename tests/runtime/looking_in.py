"""Tools run on real containers in tests: a tree with Python for who is watched, and a tool from its beginning to its end."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.bench import OciBench
from skerry.runtime.contract import Tool, ToolSpec
from skerry.runtime.processes import wait_readable

WATCHER = Path(__file__).with_name("watcher.py")
ENDS_WITHIN_S = 20.0
NOT_NEEDED = shutil.ignore_patterns(
    *(
        "test",
        "idlelib",
        "ensurepip",
        "dist-packages",
        "config-*",
        "lib2to3",
        "pydoc_data",
        "__pycache__",
        "tkinter",
        "unittest",
    )
)


class Done(NamedTuple):
    code: int
    out: str
    errors: str
    why: str


async def run(bench: OciBench, id: str, argv: Sequence[str], root: Path, **more: object) -> Done:
    """A tool without input, to its end."""
    tool = await bench.runtime.look_in(id, ToolSpec(root=root, argv=tuple(argv), **more))  # type: ignore[arg-type]
    try:
        tool.close_input()
        out, errors = await asyncio.wait_for(asyncio.gather(said(tool.output), said(tool.errors)), ENDS_WITHIN_S)
        return Done(await tool.ended(), out, errors, tool.why())
    finally:
        await tool.close()


async def said(file: int | None) -> str:
    """All of it, until its end."""
    data = b""
    while file is not None:
        await wait_readable(file)
        try:
            piece = os.read(file, 1 << 16)
        except OSError:  # a terminal that nobody has open any more
            break
        if not piece:
            break
        data += piece
    return data.decode("utf-8", "replace")


async def wait_said(tool: Tool, words: str, file: int | None = None) -> str:
    """What it wrote to `file` (its output) until these words came."""
    text = ""
    async with asyncio.timeout(ENDS_WITHIN_S):
        while words not in text:
            await wait_readable(tool.output if file is None else file)
            piece = os.read(tool.output if file is None else file, 1 << 16)
            assert piece, f"it ended: {text!r}"
            text += piece.decode("utf-8", "replace")
    return text


def python_tree(tree: Path) -> Path:
    """A root with Python, the watcher, and what they need: no shell, nothing else."""
    program = Path(f"/usr/bin/python3.{sys.version_info.minor}").resolve()
    library = Path(f"/usr/lib/{program.name}")
    for name in ("app", "dev", "etc", "proc", "run", "sys", "tmp", "usr/bin"):
        (tree / name).mkdir(parents=True)
    shutil.copy(program, tree / "usr/bin/python")
    shutil.copytree(library, tree / str(library)[1:], ignore=NOT_NEEDED, symlinks=True)
    extensions = library / "lib-dynload"
    needed = [program, *extensions.glob("_ctypes.*.so"), *extensions.glob("_json.*.so")]
    libraries = subprocess.run(["ldd", *map(str, needed)], capture_output=True, text=True, check=True).stdout
    for path in sorted(set(re.findall(r"(/\S+\.so\S*)", libraries))):
        if not path.endswith(":"):
            (tree / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tree / path[1:])
    shutil.copy(WATCHER, tree / "app/watcher.py")
    return tree
