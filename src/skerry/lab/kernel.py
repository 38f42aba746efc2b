"""The few system calls that Python 3.11 does not offer: mounts, namespaces, pivot_root, capabilities.

By ctypes rather than by starting `mount` and `unshare` thirty times for each host: a host boots in a fifth of the time.
Only thin calls live here; which of them, and in what order, is told in lab/inside.py. Every call raises OSError.
"""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

NEW_MOUNTS = 0x00020000
NEW_CGROUPS = 0x02000000
NEW_NAMES = 0x04000000
NEW_IPC = 0x08000000
NEW_PIDS = 0x20000000
NEW_NET = 0x40000000

READ_ONLY = 1
NO_SUID = 2
NO_DEVICES = 4
NO_EXEC = 8
REMOUNT = 32
BIND = 4096
RECURSIVE = 16384
PRIVATE = 1 << 18

_CAP_SYS_MODULE = 16
_CAP_SYS_TIME = 25

_DETACH = 2
_PR_CAPBSET_DROP = 24
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}  # the C library has no name for it

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount {target}")


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show `source` at `target`. Read-only needs a second call: the first one ignores that flag."""
    mount(source, target, flags=BIND)
    if read_only:
        mount("", target, flags=BIND | REMOUNT | READ_ONLY)


def unmount(target: str) -> None:
    """umount2(2), lazily: what is busy goes when its last user does."""
    _check(_libc.umount2(target.encode(), _DETACH), f"unmount {target}")


def unshare(flags: int) -> None:
    """unshare(2). With NEW_PIDS only children are in the new namespace."""
    _check(_libc.unshare(flags), "unshare")


def enter_net(namespace: Path) -> None:
    """setns(2), for this thread alone: what it opens from here on is in that network namespace."""
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(handle, NEW_NET), f"enter {namespace}")
    finally:
        os.close(handle)


def enter_root(root: str) -> None:
    """Make `root` the root of this mount namespace and let the old one go.

    pivot_root(".", ".") stacks the old root over the new one, so that no directory is needed for it (pivot_root(2)).
    """
    os.chdir(root)
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"pivot_root is not known on {platform.machine()}")
    _check(_libc.syscall(number, b".", b"."), "pivot_root")
    unmount(".")
    os.chdir("/")


def give_up_the_machine() -> None:
    """Take from this process and all that it starts, root or not, what no namespace holds back: clock and modules.

    From the bounding set: nothing that is executed from here on can ever have them.
    """
    for number in (_CAP_SYS_MODULE, _CAP_SYS_TIME):
        _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"drop capability {number}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
