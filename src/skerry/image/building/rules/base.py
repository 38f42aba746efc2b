"""What every image has: the merged /usr, mount points of the runtime, and who the app's user is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.image.building.pile import MERGED

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

EMPTY_FILES = ("etc/hosts", "etc/resolv.conf", "etc/hostname")  # the runtime binds the real ones over them
DIRECTORIES = ("dev", "proc", "sys", "tmp", "run")
STICKY = ("tmp", "run")  # become tmpfs: runc gives such a mount the mode of the directory below


def mount_points(closure: Closure) -> None:
    """The merged /usr, and what the runtime mounts over."""
    for old, new in MERGED.items():
        if any(path.startswith(new + "/") for path in closure.kept):
            closure.link(old, new)
    for path in EMPTY_FILES:
        closure.write(path, b"")
    for path in DIRECTORIES:
        closure.directory(path)


def apply(closure: Closure, user: str) -> None:
    mount_points(closure)
    uid, _, gid = user.partition(":")
    named = uid.isdigit() and uid not in ("0", "65534")
    passwd = ["root:x:0:0:root:/:/nonexistent", "nobody:x:65534:65534:nobody:/:/nonexistent"]
    group = ["root:x:0:", "nogroup:x:65534:"]
    if named:
        passwd.insert(1, f"app:x:{uid}:{gid or uid}:app:/:/nonexistent")
        group.insert(1, f"app:x:{gid or uid}:")
    closure.write("etc/passwd", "\n".join(passwd).encode() + b"\n")
    closure.write("etc/group", "\n".join(group).encode() + b"\n")
    # Some package's own link there (to ../run, ../usr/…) would take the place of what is written above.
    closure.link("var/run", "/run")
