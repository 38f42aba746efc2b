"""Running the machine's own programs for the lab, and telling which of them are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from skerry.lab.errors import LabFailed, LabNeedsLinux, LabNeedsPackages, LabNeedsRoot

PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ssh-keygen": "openssh-client",
}
OF_THE_HOST_BASE = {"/usr/sbin/sshd": "openssh-server", "/lib/systemd/systemd": "systemd"}
OF_THE_MINIMAL_BASE = {"mmdebstrap": "mmdebstrap"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def check_machine() -> None:
    """Raises LabNeedsLinux or LabNeedsRoot."""
    if not sys.platform.startswith("linux"):
        raise LabNeedsLinux(sys.platform)
    if os.geteuid() != 0:
        raise LabNeedsRoot()


def check_programs(more: dict[str, str]) -> None:
    """Raises LabNeedsPackages with everything that is missing at once. `more`: program -> Debian package."""
    wanted = PACKAGES | more
    missing = [program for program in wanted if shutil.which(program, path=PATH) is None]
    if missing:
        raise LabNeedsPackages(missing, sorted({wanted[program] for program in missing}))


def run(argv: Sequence[str], *, input: str = "", what: str = "", timeout_s: float = 30.0) -> str:
    """Run to the end and return standard output. Raises LabFailed with the program's own words.

    `what`: what the user wanted by it, for the message.
    """
    what = what or f"{argv[0]} failed"
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            list(argv), input=input.encode(), capture_output=True, timeout=timeout_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabFailed(what, f"{' '.join(argv)} had not ended after {timeout_s:.0f} s") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-2000:] or f"exit code {done.returncode}"
        raise LabFailed(what, f"{' '.join(argv)}: {words}", "skerry lab down removes what is there")
    return done.stdout.decode(errors="replace")
