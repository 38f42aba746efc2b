"""What a host's disk is a layer over: this machine's own root, or a fresh small Debian, fetched once and kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from skerry.lab.errors import LabBadInput, LabFailed
from skerry.lab.programs import OF_THE_HOST_BASE, OF_THE_MINIMAL_BASE, check_programs, run
from skerry.lab.state import locked

BASES = ("host", "minimal")
SUITE = "bookworm"
INCLUDE = ("systemd-sysv", "openssh-server", "iproute2")
FETCH_LIMIT_S = 900.0


def check(base: str) -> None:
    """Raises LabBadInput, or LabNeedsPackages if this machine lacks what the base needs."""
    if base not in BASES:
        raise LabBadInput(f"there is no base {base!r}", "a base is host or minimal", "--base minimal")
    check_programs(OF_THE_HOST_BASE if base == "host" else OF_THE_MINIMAL_BASE)


def lower(base: str, cache: Path) -> Path:
    """The directory to put layers over. Builds the minimal base in `cache` at its first use (about half a minute)."""
    return Path("/") if base == "host" else _minimal(cache)


def _minimal(cache: Path) -> Path:
    """Debian's essential packages, systemd, sshd and iproute2, and nothing else: what the cheapest VPS comes with."""
    tree = cache / f"minimal-{SUITE}"
    with locked(cache, timeout_s=FETCH_LIMIT_S):
        if tree.is_dir():
            return tree
        fresh = cache / f"minimal-{SUITE}.new"
        shutil.rmtree(fresh, ignore_errors=True)  # of an interrupted fetch: plain files, mounts are in a namespace
        argv = ["mmdebstrap", "--variant=minbase", f"--include={','.join(INCLUDE)}", "--mode=root", SUITE, str(fresh)]
        # In a mount namespace: what it mounts goes with it, however it ends.
        run(["unshare", "--mount", *argv], what="the minimal base could not be made", timeout_s=FETCH_LIMIT_S)
        if not (fresh / "usr/sbin/sshd").exists():
            raise LabFailed("the minimal base could not be made", "it has no SSH server", "skerry lab down, and again")
        for key in (fresh / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        os.sync()
        fresh.rename(tree)
    return tree
