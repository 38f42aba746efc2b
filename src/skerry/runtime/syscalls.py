"""System calls that Python has no word for: mount, umount2, open_tree, mount_setattr, unshare, setns, prctl. Decides nothing.

Each raises OSError with the path that it was about. Sources: mount(2), umount(2), open_tree(2), mount_setattr(2), unshare(2),
setns(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import os

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x0000_0200, 0x0002_0000, 0x4000_0000
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE = 1
# MOUNT_ATTR_: RDONLY, NOSUID, NODEV, NOEXEC, NOATIME; and which bits these are.
MOUNT_READ_ONLY_UNTOUCHED = (0x1 | 0x2 | 0x4 | 0x8 | 0x10, 0x70)
_OPEN_TREE, _MOUNT_SETATTR = 428, 442  # one number for all processors

PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount `source` at `target`. `kind`: file system; `data`: its options, comma-separated."""
    words = (os.fsencode(word) or None for word in (source, target, kind))
    _check(_libc.mount(*words, flags, os.fsencode(data) or None), target)


def unmount(target: str, flags: int = UMOUNT_NOFOLLOW) -> None:
    """Unmount what is uppermost at `target`."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def open_tree(path: str, flags: int) -> int:
    """A descriptor of what is mounted at `path`, closed at exec."""
    file: int = _libc.syscall(_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags | os.O_CLOEXEC)
    _check(min(file, 0), path)
    return file


def mount_setattr(tree: int, attributes: tuple[int, int]) -> None:
    """Set these (bits, and the field among them that they replace) on an open tree and all that is mounted below it."""
    bits, replaced = attributes
    wanted = (ctypes.c_uint64 * 4)(bits, replaced, 0, 0)
    _check(_libc.syscall(_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH | AT_RECURSIVE, wanted, 32), "mount_setattr")


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` (of this thread only) for new ones."""
    _check(_libc.unshare(flags), "unshare")


def setns(file: int, kind: int) -> None:
    """Join (this thread only) the namespace that `file` is open on."""
    _check(_libc.setns(file, kind), "setns")


def become_subreaper() -> None:
    """What our children leave behind becomes our child, to be waited for."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def _check(answer: int, about: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
