"""A container's file system as it sees it itself, in one descriptor: a copy of its mount tree, read-only, without access times.

Links in it lead into it, never to the host, as long as paths are opened by openat2 with RESOLVE_IN_ROOT. The copy shares the
content, so it shows what is there now; it outlives the container, whose tmpfs would else be gone with its last process.
To be copied it must be named from within the mount namespace: a thread of ours goes in for that one call and ends. It
reads nothing there and runs nothing of it, and in the container's mount table nothing changes (decision 20).
Sources: open_tree(2), mount_setattr(2), mount_namespaces(7).
"""

from __future__ import annotations

import os
import threading

from skerry.runtime import syscalls


def open_view(pid: int) -> int | None:
    """Of the process's mount namespace. None: it is gone, or this kernel (before 5.12) can't. The caller closes it. Blocks 1 ms."""
    found: list[int] = []

    def inside() -> None:
        try:
            space = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.unshare(syscalls.CLONE_FS)  # of this thread alone, which ends with it
                syscalls.setns(space, syscalls.CLONE_NEWNS)
                tree = syscalls.clone_tree("/")
            finally:
                os.close(space)
        except OSError:
            return
        try:
            syscalls.set_attributes(
                tree, syscalls.MOUNT_UNTOUCHED | syscalls.MOUNT_ATTR_RDONLY, syscalls.MOUNT_ATTR_ATIME
            )
        except OSError:
            os.close(tree)
            return
        found.append(tree)

    thread = threading.Thread(target=inside, name=f"view of {pid}")
    thread.start()
    thread.join()
    return found[0] if found else None
