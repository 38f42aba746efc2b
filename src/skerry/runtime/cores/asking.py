"""Which container a process belongs to, and whether that one asked for its cores: by its cgroup and by what its runtime was told.

Nobody inside can move to another cgroup, nor write the files that are read here: both are the host's root's alone.
"""

from __future__ import annotations

import os

UNLIMITED = (1 << 64) - 1  # RLIM_INFINITY, as the kernel prints it and an OCI runtime takes it
CONFIG_BYTES = 1 << 20
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Asked:
    """A container that asked. `limit_bytes`: of one core."""

    def __init__(self, id: str, slot: str, limit_bytes: int) -> None:
        self.id, self.slot, self.limit_bytes = id, slot, limit_bytes


def asked_by(containers: str, cgroups: str) -> Asked | None:
    """Of the text of /proc/PID/cgroup (a line is `4:memory:/skerry/web-1`, in a v2 tree `0::/skerry/web-1`)."""
    for line in cgroups.splitlines():
        parts = line.partition(":")[2].partition(":")[2].split("/")
        for at, part in enumerate(parts):
            if _is_id(part) and (found := asked(containers, part, "/".join(parts[: at + 1]))) is not None:
                return found
    return None


def asked(containers: str, id: str, cgroup: str = "") -> Asked | None:
    """What the files of that container say. `cgroup`: which must be its own ("": not looked at)."""
    folder = os.path.join(containers, id)
    if not os.path.exists(os.path.join(folder, "config.json")):
        return None
    import json

    try:
        with open(os.path.join(folder, "config.json"), "rb") as file:
            config = json.loads(file.read(CONFIG_BYTES))
        with open(os.path.join(folder, "record.json"), "rb") as file:
            slot = json.loads(file.read(CONFIG_BYTES))["labels"]["slot"]
        if cgroup and config["linux"]["cgroupsPath"] != cgroup:
            return None
        limits = [int(row["hard"]) for row in config["process"]["rlimits"] if row["type"] == "RLIMIT_CORE"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Asked(id, str(slot), limits[0]) if limits and limits[0] else None


def _is_id(part: str) -> bool:
    return 0 < len(part) <= 127 and part[0] not in "_.-" and _LETTERS.issuperset(part)
