"""Laying a skeleton over an image's tree, read-only, and taking it away again, also what an earlier agent left."""

from __future__ import annotations

import errno
from pathlib import Path

from skerry.runtime import syscalls

MOUNTINFO = Path("/proc/self/mountinfo")
LAYERS_MAX = 64  # of mounts upon each other at one place


def mount_over(skeleton: Path, tree: Path, target: Path) -> None:
    """Show `tree` with `skeleton` over it at `target`. Nobody can write through it."""
    layers = f"lowerdir={_escape(skeleton)}:{_escape(tree)}"
    flags = syscalls.MS_RDONLY | syscalls.MS_NODEV | syscalls.MS_NOSUID
    syscalls.mount("skerry", str(target), "overlay", flags, layers)


def unmount_all(target: Path) -> None:
    """Unmount until nothing is mounted at `target`. Nothing there, or no such place, is well."""
    for _ in range(LAYERS_MAX):
        try:
            syscalls.unmount(str(target))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return
            if error.errno != errno.EBUSY:
                raise
            # Somebody looks into it (a debugging session): it goes when they go.
            syscalls.unmount(str(target), syscalls.UMOUNT_NOFOLLOW | syscalls.MNT_DETACH)


def mounts_below(directory: Path, mountinfo: str) -> list[Path]:
    """Mount points in or below `directory`, the latest first. Pure; `mountinfo`: the text of /proc/self/mountinfo."""
    inside = str(directory) + "/"
    points = [_unescape(line.split(" ", 5)[4]) for line in mountinfo.splitlines() if line.count(" ") >= 5]
    return [Path(point) for point in reversed(points) if point.startswith(inside) or point == str(directory)]


def unmount_below(directory: Path) -> None:
    """Take away all mounts in or below `directory`."""
    for point in mounts_below(directory, MOUNTINFO.read_text()):
        unmount_all(point)


def _escape(path: Path) -> str:
    """Overlayfs separates layers by colons, mount(2) options by commas; the path may hold either."""
    return "".join("\\" + c if c in "\\:," else c for c in str(path))


def _unescape(text: str) -> str:
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, plain)
    return text
