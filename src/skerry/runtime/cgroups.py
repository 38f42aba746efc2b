"""Cgroups that containers and their monitors live in: moving a process, ending all in one, removing one.

The OCI runtime makes a container's cgroup itself (from `cgroupsPath`); this file only handles what it doesn't: the
monitors' cgroup, and what was left behind. cgroup v1, hybrid and v2 alike: a "tree" is one mounted hierarchy, and v2 is
the case of exactly one. Figures are read elsewhere (observe/cgroups.py).
Source: Linux, Documentation/admin-guide/cgroup-v1/cgroups.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
ROOT = "/sys/fs/cgroup"
EMPTY_WITHIN_S = 2.0


def parse_trees(mountinfo: str) -> tuple[Path, ...]:
    """Where cgroup hierarchies are mounted below /sys/fs/cgroup. Pure; `mountinfo`: of /proc/self/mountinfo."""
    trees = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if after.split(" ", 1)[0] in ("cgroup", "cgroup2") and len(fields) > 4 and (fields[4] + "/").startswith(ROOT):
            trees.append(Path(fields[4]))
    return tuple(dict.fromkeys(trees))


class Cgroups:
    """All hierarchies of this host. Paths are those of `cgroupsPath`: "/skerry/ID"."""

    def __init__(self, trees: tuple[Path, ...] | None = None) -> None:
        self.trees = parse_trees(MOUNTINFO.read_text()) if trees is None else trees

    def can_limit_swap(self) -> bool:
        """Whether the kernel accounts for swap; where it doesn't, asking for a limit fails the container's start."""
        v1 = any((tree / "memory.memsw.limit_in_bytes").exists() for tree in self.trees)
        return v1 or self._is_v2()

    def move(self, pid: int, path: str) -> None:
        """Put a process (with all its threads) into `path` in every hierarchy; makes it where it is missing.

        A process that is gone is no error: its end is seen elsewhere.
        """
        for tree in self.trees:
            at = self._make(tree, path)
            try:
                (at / "cgroup.procs").write_text(str(pid))
            except ProcessLookupError:
                return
            except OSError as error:
                # A v2 tree beside v1 may refuse (threaded, or controllers elsewhere): limits are v1's there.
                if not (error.errno in (errno.EOPNOTSUPP, errno.EBUSY) and len(self.trees) > 1):
                    raise

    def pids(self, path: str) -> set[int]:
        """Processes in `path` itself, in any hierarchy, as this pid namespace numbers them."""
        found: set[int] = set()
        for tree in self.trees:
            with contextlib.suppress(OSError):
                found.update(int(word) for word in (self._at(tree, path) / "cgroup.procs").read_text().split())
        return found - {0}

    def killed_for_memory(self, path: str) -> bool:
        """Whether the kernel has killed something in `path` for memory; also after it has emptied, until it is removed."""
        for tree in self.trees:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError, ValueError):
                    lines = (self._at(tree, path) / name).read_text("ascii", "replace").splitlines()
                    if any(int(line.split()[1]) for line in lines if line.startswith("oom_kill ")):
                        return True
        return False

    def kill(self, path: str) -> None:
        """SIGKILL everything in `path`, once; whoever forks meanwhile needs another call."""
        for tree in self.trees:
            with contextlib.suppress(OSError):
                (self._at(tree, path) / "cgroup.kill").write_text("1")
        for pid in self.pids(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self, path: str) -> bool:
        """Kill what is in it and remove it everywhere, with what is below. Blocks up to EMPTY_WITHIN_S.

        False: something in it can't be killed (it hangs in the kernel); call again later.
        """
        end_s = time.monotonic() + EMPTY_WITHIN_S
        pause_s = 0.001
        while True:
            left = [at for tree in self.trees for at in _inner_first(self._at(tree, path)) if not _rmdir(at)]
            if not left:
                return True
            if time.monotonic() > end_s:
                return False
            self.kill(path)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.05)

    def _is_v2(self) -> bool:
        return len(self.trees) == 1 and (self.trees[0] / "cgroup.controllers").exists()

    def _at(self, tree: Path, path: str) -> Path:
        return tree / path.lstrip("/")

    def _make(self, tree: Path, path: str) -> Path:
        at = tree
        for part in path.strip("/").split("/"):
            parent, at = at, at / part
            with contextlib.suppress(FileExistsError):
                at.mkdir()
            # v1 cpuset: a new group has no cpu and takes no process until it is given some. Somebody else (the runtime)
            # may have made it a moment ago and not have given it any yet, hence not only for those that we made.
            for name in ("cpuset.cpus", "cpuset.mems"):
                with contextlib.suppress(FileNotFoundError):
                    if not (at / name).read_text().strip():
                        (at / name).write_text((parent / name).read_text())
        return at


def _inner_first(at: Path) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(at, topdown=False)]


def _rmdir(at: Path) -> bool:
    try:
        at.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
