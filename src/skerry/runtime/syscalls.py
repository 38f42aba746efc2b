"""The system calls that Python has no word for: mount, umount2, unshare, setns, prctl, inotify. Nothing is decided here.

Each raises OSError with the path that it was about. Sources: mount(2), umount(2), unshare(2), setns(2), prctl(2), inotify(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_NEWNS, CLONE_NEWNET = 0x0002_0000, 0x4000_0000

PR_SET_CHILD_SUBREAPER = 36
IN_MOVED_TO, IN_Q_OVERFLOW, IN_ONLYDIR = 0x80, 0x4000, 0x0100_0000

_libc = ctypes.CDLL(None, use_errno=True)
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


def become_subreaper() -> None:
    """What our children leave behind becomes our child, to be waited for."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


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
