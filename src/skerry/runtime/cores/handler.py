"""`skerry-core`: what the kernel starts, as root, for each process of this host that dies of a signal, its core on standard input.

`skerry-core CONTAINERS CORES PID SIGNAL TIME LIMIT MODE`, in the words of core(5): %P %s %t %c %d. No name of the process is among
them: older kernels split what it calls itself at its spaces. Of a container that asked the core is kept within bounds (shelf.py);
of any other process it is written as the kernel itself does where the pattern is `core`. It begins by giving way to all else.
"""

from __future__ import annotations

import contextlib
import os
import sys

from skerry.runtime.cores.asking import UNLIMITED, Asked, asked_by

TEXT_BYTES = 64 << 10
PIECE_BYTES = 64 << 10
PATH_MAX = 1000
ORDINARY = 1  # of PR_GET_DUMPABLE: whoever it belonged to may read it


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    containers, cores = words[:2]
    pid, signal, time_s, limit_bytes, mode = (int(word) for word in words[2:7])
    os.umask(0o077)
    with contextlib.suppress(OSError):
        os.nice(10)
    try:
        found = asked_by(containers, _read(pid, "cgroup"))
        if found is None:
            _as_the_kernel(pid, limit_bytes, mode)
        else:
            _keep(found, cores, pid, signal, time_s, limit_bytes)
    except OSError as error:  # it is gone, or its disk is full: nothing that anybody could mend from here
        print(f"skerry-core: {error}", file=sys.stderr)
        return 1
    return 0


def _keep(found: Asked, cores: str, pid: int, signal: int, time_s: int, limit_bytes: int) -> None:
    import time

    from skerry.runtime.cores.shelf import CORE_BYTES, NotKept, Shelf, compress

    inside = _status(pid).get("NSpid", "0").split()[-1]
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(time_s))}-{inside}"
    record = {
        "slot": found.slot,
        "container": found.id,
        "by": "crash",
        "time": time_s,
        "signal": signal,
        "pid": int(inside),
        "exe": _exe(pid),
        "comm": _read(pid, "comm").strip()[:16],
    }
    with contextlib.suppress(NotKept), Shelf(cores).one_more(found.slot, name) as draft:
        size_bytes, cut = compress(0, draft, min(limit_bytes, found.limit_bytes, CORE_BYTES))
        if size_bytes:
            draft.finish({**record, "size_bytes": size_bytes, "cut": cut})


def _as_the_kernel(pid: int, limit_bytes: int, mode: int) -> None:
    """`core` in its current directory, with its own rights. Source: Linux, fs/coredump.c, do_coredump."""
    if mode != ORDINARY:
        return
    status = _status(pid)
    with open("/proc/sys/kernel/core_uses_pid", "rb") as file:
        name = f"core.{status['NSpid'].split()[-1]}" if file.read(2)[:1] == b"1" else "core"
    folder = os.open(f"/proc/{pid}/cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    uid, gid = int(status["Uid"].split()[3]), int(status["Gid"].split()[3])
    os.setgroups([int(group) for group in status["Groups"].split()])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file_ = os.open(name, flags, 0o600, dir_fd=folder)
    import stat

    found = os.fstat(file_)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != uid:
        return
    os.ftruncate(file_, 0)
    left = limit_bytes if limit_bytes < UNLIMITED else 1 << 62
    while left and (piece := os.read(0, min(PIECE_BYTES, left))):
        left -= len(piece)
        if piece.count(0) == len(piece):
            os.lseek(file_, len(piece), os.SEEK_CUR)  # what isn't there takes no room
            continue
        view = memoryview(piece)
        while view:
            view = view[os.write(file_, view) :]
    os.ftruncate(file_, os.lseek(file_, 0, os.SEEK_CUR))


def _read(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read(TEXT_BYTES).decode("utf-8", "backslashreplace")


def _status(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in _read(pid, "status").splitlines() if ":\t" in line)


def _exe(pid: int) -> str:
    with contextlib.suppress(OSError):
        return (
            os.readlink(f"/proc/{pid}/exe")
            .encode("utf-8", "surrogateescape")
            .decode("utf-8", "backslashreplace")[:PATH_MAX]
        )
    return ""


if __name__ == "__main__":
    sys.exit(main())
