"""A trial without root: the command begins again as root of a user namespace, where it may make what a container needs.

Its numbers 1 to 65535 are those that this machine set aside for the user (/etc/subuid), so that the image's own user is one there,
too. Only cgroups are out of reach: nothing limits how many processes it starts. Source: user_namespaces(7), subuid(5).
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from skerry.client.trial.container import IN_USER_NAMESPACE, NoTrial

TOOLS = {"unshare": "util-linux", "newuidmap": "uidmap", "newgidmap": "uidmap"}


def enter() -> None:
    """Does not return where it begins again; returns at once for root, and where it has. Raises NoTrial."""
    if platform.system() != "Linux" or os.geteuid() == 0:
        return
    what = "the image was not started"
    if lacking := [tool for tool in TOOLS if not shutil.which(tool)]:
        why = f"without root it needs {lacking[0]}, which is not installed"
        raise NoTrial(what, why, f"apt-get install {TOOLS[lacking[0]]}, or use sudo")
    if not _has_numbers() or os.environ.get(IN_USER_NAMESPACE):
        why = "without root it needs numbers set aside for this user in /etc/subuid and /etc/subgid"
        raise NoTrial(what, why, "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, or use sudo")
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--map-auto",
        "--mount",
        "--",
        sys.executable,
        *sys.orig_argv[1:],
    ]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe("unshare", command, os.environ | {IN_USER_NAMESPACE: "1"})


def _has_numbers() -> bool:
    """Lines are NAME:FIRST:COUNT or UID:FIRST:COUNT."""
    import pwd

    try:
        names = {pwd.getpwuid(os.getuid()).pw_name, str(os.getuid())}
    except KeyError:
        names = {str(os.getuid())}
    files = [Path(f"/etc/{name}") for name in ("subuid", "subgid")]
    return all(
        path.is_file()
        and any(line.partition(":")[0] in names for line in path.read_text("utf-8", "replace").splitlines())
        for path in files
    )
