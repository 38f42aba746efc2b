"""The lab's places in this machine's cgroup trees: `sklab-<lab>/<host>` in each v1 tree, or in the one v2 tree.

They are the truth about what belongs to a lab: a process that a host started can't leave them (its cgroup namespace
begins there), so ending and finding leftovers never trusts a number that was written down.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

PREFIX = "sklab-"
V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


class Tree(NamedTuple):
    """One mounted hierarchy. `options`: what mounts it again inside a host; version 1 or 2."""

    path: Path
    version: int
    options: str


def trees(mountinfo: str | None = None) -> list[Tree]:
    """The hierarchies that hosts get: all of v1, or else v2 alone.

    On a hybrid machine the v2 tree has no controllers and is left out: crun refuses hosts that have both.
    """
    text = mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text()
    found: dict[Path, Tree] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        path = Path(left.split()[4])
        kind, _, options = right.split(" ", 2)
        if not path.is_relative_to("/sys/fs/cgroup"):
            continue
        if kind == "cgroup":
            ours = [o for o in options.split(",") if o not in ("rw", "ro") and not o.startswith("release_agent=")]
            found[path] = Tree(path, 1, ",".join(["none", *ours] if ours[:1] == ["name=systemd"] else ours))
        elif kind == "cgroup2":
            found[path] = Tree(path, 2, "")
    v1 = [tree for tree in found.values() if tree.version == 1]
    return v1 or list(found.values())


def make(lab: str, host: str) -> None:
    """Make the host's cgroup in every tree. May be repeated."""
    for tree in trees():
        outer = tree.path / f"{PREFIX}{lab}"
        inner = outer / host
        if tree.version == 2:
            _pass_controllers(tree.path)
            outer.mkdir(exist_ok=True)
            _pass_controllers(outer)
            inner.mkdir(exist_ok=True)
            continue
        for place in (outer, inner):
            place.mkdir(exist_ok=True)
            if "cpuset" in tree.options.split(","):  # v1: nothing can enter before these two are set
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (place / name).write_text((place.parent / name).read_text())


def join(lab: str, host: str) -> None:
    """Move this process into the host's cgroups."""
    for tree in trees():
        (tree.path / f"{PREFIX}{lab}" / host / "cgroup.procs").write_text("0")


def entrances(lab: str, host: str) -> list[int]:
    """Open file descriptors; a "0" written to each moves the writer into the host. The caller closes them."""
    return [
        os.open(tree.path / f"{PREFIX}{lab}" / host / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for tree in trees()
    ]


def processes(lab: str, host: str | None = None) -> set[int]:
    """Everything that runs in the host, or in all hosts of the lab, by this machine's pids."""
    found: set[int] = set()
    for place in places(lab, host):
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (place / "cgroup.procs").read_text().split()}
    return found - {0}


def places(lab: str, host: str | None = None) -> list[Path]:
    """All cgroup directories of the lab or host, the deepest first."""
    found: list[Path] = []
    for tree in trees():
        top = tree.path / f"{PREFIX}{lab}"
        top = top / host if host else top
        if top.is_dir():
            found += [Path(path) for path, _, _ in os.walk(top, topdown=False)]
    return found


def remove(lab: str, host: str | None = None) -> list[Path]:
    """Remove the cgroups, as far as nothing runs in them. Returns those that stayed."""
    for place in places(lab, host):
        with contextlib.suppress(OSError):
            place.rmdir()
    return places(lab, host)


def labs() -> set[str]:
    """Names of all labs that have a cgroup here."""
    return {place.name.removeprefix(PREFIX) for tree in trees() for place in tree.path.glob(f"{PREFIX}*")}


def _pass_controllers(place: Path) -> None:
    """v2: let children have those controllers that `place` has and doesn't pass on yet (cgroup-v2.rst)."""
    have = (place / "cgroup.controllers").read_text().split()
    passed = (place / "cgroup.subtree_control").read_text().split()
    for name in V2_CONTROLLERS:
        if name in have and name not in passed:
            with contextlib.suppress(OSError):  # a controller that can't be had here is missing in the host, too
                (place / "cgroup.subtree_control").write_text(f"+{name}")
