"""What the same would be as a Debian of its own: minbase and the packages, made by mmdebstrap, measured, thrown away.

A root takes half a minute to make, so its figures are kept in build/ and used again for a week.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bench.images.apps import WORK
from skerry.image.building.sources.mirrors import CODENAME, archives, keyring

KEPT_S = 7 * 86400.0
LIMIT_S = 600.0
SHELLS = {"sh", "bash", "dash", "rbash", "ash", "ksh", "mksh", "zsh", "fish", "yash", "rc", "busybox", "toybox"}


class Root(msgspec.Struct, frozen=True):
    """A tree as a container would get it. `megabytes`: of its files' contents, a hard link counted once."""

    megabytes: float
    files: int
    shells: int
    suid: int


def debian(packages: Sequence[str], tell: Callable[[str], None]) -> Root:
    """minbase with these packages, nothing recommended, package lists and caches not counted."""
    kept = WORK / "debian" / f"{'+'.join(['minbase', *packages])}.json"
    if kept.exists() and time.time() - kept.stat().st_mtime < KEPT_S:
        return msgspec.json.decode(kept.read_bytes(), type=Root)
    tell(f"making {' + '.join(['minbase', *packages])} for comparison")
    folder = kept.with_suffix(".root")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    sources = [
        f"deb [signed-by={keyring()}] {archive.url} {suite} main" for archive in archives() for suite in archive.suites
    ]
    include = [f"--include={','.join(packages)}"] if packages else []
    command = ["mmdebstrap", "--variant=minbase", "--mode=root", "--quiet", *include, CODENAME, str(folder), *sources]
    try:
        # In a mount namespace: what it mounts goes with it, however it ends.
        done = subprocess.run(["unshare", "--mount", *command], capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode:
            raise RuntimeError(f"mmdebstrap: {done.stderr[-500:]}")
        root = look(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    kept.write_bytes(msgspec.json.encode(root))
    return root


def look(folder: Path) -> Root:
    """Any root tree."""
    size = files = shells = suid = 0
    seen: set[int] = set()
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).as_posix()
        about = path.lstat()
        if inside.startswith(("var/lib/apt/lists/", "var/cache/", "var/log/")) or stat.S_ISDIR(about.st_mode):
            continue
        shells += path.name in SHELLS and inside.startswith(("bin/", "usr/bin/", "sbin/", "usr/sbin/"))
        if not stat.S_ISREG(about.st_mode):
            continue
        files += 1
        suid += bool(about.st_mode & (stat.S_ISUID | stat.S_ISGID))
        if about.st_ino not in seen:
            seen.add(about.st_ino)
            size += about.st_size
    return Root(round(size / 1e6, 2), files, shells, suid)
