"""The system calls that Python has no word for: mounts, unshare, setns, prctl, fallocate, inotify. Nothing is decided here.

Each raises OSError with the path that it was about. Sources: mount(2), umount(2), unshare(2), setns(2), prctl(2), inotify(7),
fallocate(2); the header linux/mount.h for open_tree, move_mount and mount_setattr, which the C library has no word for either.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x0000_0200, 0x0002_0000, 0x4000_0000

PR_SET_CHILD_SUBREAPER = 36
FALLOC_FL_KEEP_SIZE = 1
IN_MOVED_TO, IN_Q_OVERFLOW, IN_ONLYDIR = 0x80, 0x4000, 0x0100_0000

# The same numbers on all processors.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME = 0x70, 0x10
MOUNT_UNTOUCHED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount `source` at `target`. `kind`: file system; `data`: its options, comma-separated."""
    words = (os.fsencode(word) or None for word in (source, target, kind))
    _check(_libc.mount(*words, flags, os.fsencode(data) or None), target)


def unmount(target: str, flags: int = UMOUNT_NOFOLLOW) -> None:
    """Unmount what is uppermost at `target`."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` (of this thread only) for new ones."""
    _check(_libc.unshare(flags), "unshare")


def setns(file: int, kind: int) -> None:
    """Join (this thread only) the namespace that `file` is open on."""
    _check(_libc.setns(file, kind), "setns")


def clone_tree(path: str) -> int:
    """A copy of the mounts at and below `path`, which must be of this mount namespace: a descriptor, mounted nowhere yet."""
    flags = _CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    file: int = _libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)
    _check(min(file, 0), path)
    return file


def set_attributes(tree: int, add: int, clear: int = 0) -> None:
    """Of all mounts of a copy. Linux 5.12."""
    words = struct.pack("=QQQQ", add, clear, 0, 0)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    _check(_libc.syscall(_MOUNT_SETATTR, tree, b"", flags, words, len(words)), "mount_setattr")


def mount_tree(tree: int, target: str) -> None:
    """Mount a copy at `target`."""
    _check(_libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH), target)


def become_subreaper() -> None:
    """What our children leave behind becomes our child, to be waited for."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def reserve(file: int, at: int, size: int) -> None:
    """Room on the disk for that part of a file, which doesn't grow by it. Raises OSError where there is none."""
    _check(_libc.fallocate(file, FALLOC_FL_KEEP_SIZE, at, size), "fallocate")


def watch_moves() -> int:
    """A descriptor that tells what is moved into the folders given to `add_moves`. Not inherited, and reading it never waits."""
    file = int(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    _check(min(file, 0), "inotify")
    return file


def add_moves(file: int, folder: str) -> int:
    """The number by which `moves` calls the folder."""
    number = int(_libc.inotify_add_watch(file, os.fsencode(folder), IN_MOVED_TO | IN_ONLYDIR))
    _check(min(number, 0), folder)
    return number


def moves(file: int) -> list[tuple[int, str]]:
    """What came since the last call: (folder's number, name); number -1: more than the kernel could keep."""
    found = []
    with contextlib.suppress(BlockingIOError):
        data = os.read(file, 1 << 16)
        at = 0
        while at < len(data):
            number, mask, _, length = struct.unpack_from("iIII", data, at)
            at += 16 + length
            if mask & (IN_MOVED_TO | IN_Q_OVERFLOW):
                found.append((number, os.fsdecode(data[at - length : at].rstrip(b"\0"))))
    return found


def _check(answer: int, about: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
