"""A disk of a few megabytes for tests of full ones. What a test that was killed left mounted goes with the next one's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = "skerry-test-"
UNMOUNT = ("umount", "--lazy")  # at once, though a test that failed may still have a file open on it


@contextmanager
def disk_of(path: Path, size: str) -> Iterator[Path]:
    """`size`: as mount(8) has it, "2m", or with more options of tmpfs after it."""
    _sweep()
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", f"{SOURCE}{os.getpid()}", path], check=True)
    try:
        yield path
    finally:
        subprocess.run([*UNMOUNT, path], check=True)


def _sweep() -> None:
    for line in Path("/proc/mounts").read_text().splitlines():
        source, path, *_ = line.split()
        if source.startswith(SOURCE) and not Path(f"/proc/{source.removeprefix(SOURCE)}").exists():
            subprocess.run([*UNMOUNT, path], check=False)  # another run may be quicker
