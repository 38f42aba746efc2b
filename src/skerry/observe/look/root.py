"""Opening what lies in a container's file system, and nothing else, without its noticing.

Every path goes to the kernel once, by openat2, resolved as if the container's root were ours: an absolute link or `..` of
it stays in there, whatever it swaps meanwhile. Nothing is opened for reading before it is known to be a plain file or a
folder: opening a pipe or a device would be an act. The kernel's own file systems are not read: some of their
files hang, some are emptied by being read, some are about the host.
Sources: openat2(2), open(2) (O_PATH, O_NOATIME), statfs(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from skerry.errors import SkerryError
from skerry.observe.look.errors import NothingToSee, NotInThere, NotReadable, NotWritable

NO_MAGIC_LINKS, NO_LINKS, IN_ROOT = 0x02, 0x04, 0x10
READ = os.O_RDONLY | os.O_NOATIME | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
TRIES = 64  # while somebody moves folders about under us
_OPENAT2 = 437  # one number for all processors
_KERNELS_OWN = {
    0x9FA0: "proc", 0x62656572: "sysfs", 0x27E0EB: "cgroup", 0x63677270: "cgroup2", 0x1CD1: "devpts",
    0x19800202: "mqueue", 0x64626720: "debugfs", 0x74726163: "tracefs", 0x73636673: "securityfs", 0xCAFE4A11: "bpf",
    0x6165676C: "pstore", 0xDE5E81E4: "efivarfs", 0x42494E4D: "binfmt_misc", 0x62656570: "configfs",
    0x6E736673: "nsfs", 0xF97CFF8C: "selinuxfs", 0x50495045: "pipefs", 0x534F434B: "sockfs",
}  # fmt: skip
KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device", stat.S_IFCHR: "device",
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def kind_of(mode: int) -> str:
    return KINDS.get(stat.S_IFMT(mode), "unknown")


def openat2(root: int, path: str, flags: int, *, resolve: int = NO_MAGIC_LINKS) -> int:
    """Resolved within `root`. Raises OSError."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, IN_ROOT | resolve)
    for _ in range(TRIES):
        file: int = _libc.syscall(_OPENAT2, root, os.fsencode(path), how, ctypes.sizeof(how))
        if file >= 0:
            return file
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def locate(root: int, path: str) -> int:
    """What the path leads to, links followed: a descriptor that reads nothing. Raises NotInThere, NothingToSee."""
    try:
        return openat2(root, path or "/", os.O_PATH)
    except OSError as error:
        raise told(error, path) from error


def reopen(file: int, path: str, flags: int = READ) -> int:
    """For reading: the very same file that `locate` found, if it is a plain file or a folder. Raises NotReadable."""
    status = os.fstat(file)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise NotReadable(
            f"{path} can't be read", f"it is a {kind_of(status.st_mode)}: the application would notice", "see skerry ls"
        )
    if (own := kernels_own(file)) is not None:
        raise NotReadable(
            f"{path} is not read",
            f"it is the kernel's own ({own}), not the application's",
            "see skerry procs, skerry sockets",
        )
    try:
        return os.open(f"/proc/self/fd/{file}", flags)
    except OSError as error:
        raise told(error, path) from error


def kernels_own(file: int) -> str | None:
    """The name of the kernel's own file system that this is on, if it is on one."""
    answer = (ctypes.c_ulong * 32)()
    if _libc.fstatfs(file, answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return _KERNELS_OWN.get(answer[0] & 0xFFFFFFFF)


def told(error: OSError, path: str) -> SkerryError:
    """As an error for people."""
    why = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV, errno.EINVAL):
        return NotInThere(f"there is no {path} in the container", why, "see skerry ls; links are followed within it")
    if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR, errno.ENOTEMPTY):
        return NotWritable(f"{path} was not written", why, "see skerry files: where the application itself can write")
    if error.errno == errno.ENOSYS:
        return NothingToSee(
            f"{path} can't be opened safely", "this kernel has no openat2", "a kernel from 5.6 on has it"
        )
    return NothingToSee(f"{path} can't be read", why, "try again")
