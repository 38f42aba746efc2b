"""A file of the operator's put into a container, where the application itself could write, whole or not at all.

The folder is opened once, within the container's root; all that follows happens in that folder by name alone, so nothing that is
swapped meanwhile leads elsewhere. The file belongs to the user of the container's first process.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import Any

from skerry.observe.look.errors import NotReadable, NotWritable, TooMuch
from skerry.observe.look.job import PIECE_BYTES, Job
from skerry.observe.look.procfs import parse_status, processes_of
from skerry.observe.look.root import kernels_own, locate, told

LEFT_FREE_BYTES = 64 << 20  # of a disk that the host's own things are on


def put(job: Job) -> dict[str, Any]:
    """Read standard input to its end, `job.limit` bytes, into `job.path`. Raises NotInThere, NotWritable, TooMuch."""
    folder, name = _folder(job)
    uid, gid = _owner(job)
    temporary = f".skerry-{secrets.token_hex(8)}"
    try:
        file = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
        )
        try:
            came = _pour(job, file)
            os.fchown(file, uid, gid)
            os.fchmod(file, job.mode & 0o777)
            if came == job.limit:
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                return {"size_bytes": came, "uid": uid, "gid": gid}
            raise TooMuch(f"{job.path} was not written", f"{came} of {job.limit} bytes came", "try again")
        finally:
            os.close(file)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
    except OSError as error:
        raise told(error, job.path) from error
    finally:
        os.close(folder)


def _folder(job: Job) -> tuple[int, str]:
    """Where it is to be, for acting in it; and its name there."""
    above, _, name = job.path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise NotWritable(f"{job.path} was not written", "that is a folder", "name the file")
    place = locate(job.root, above or "/")
    try:
        if (own := kernels_own(place)) is not None:
            raise NotReadable(f"{job.path} was not written", f"it is the kernel's own ({own})", "see skerry files")
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            raise NotWritable(f"{job.path} was not written", f"{above} is no folder", "see skerry ls")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), name
    except OSError as error:
        raise told(error, job.path) from error
    finally:
        os.close(place)


def _pour(job: Job, file: int) -> int:
    room = os.fstatvfs(file)
    free = room.f_bavail * room.f_frsize
    if job.limit > free - (LEFT_FREE_BYTES if room.f_blocks * room.f_frsize > LEFT_FREE_BYTES * 16 else 0):
        raise NotWritable(f"{job.path} was not written", f"{free} bytes are free there", "make room")
    came = 0
    while came <= job.limit and (piece := os.read(0, min(PIECE_BYTES, job.limit + 1 - came))):
        came += len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(file, view) :]
    return came


def _owner(job: Job) -> tuple[int, int]:
    for process in processes_of(job.pids):
        status = parse_status(process.read("status"))
        return int(status["Uid"].split()[1]), int(status["Gid"].split()[1])
    return 0, 0
