"""Names in a folder of a container, and what lies under each: read in the order in which the kernel gives them, never all at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

from skerry.observe.look.job import Job
from skerry.observe.look.root import kind_of, locate, reopen, told

TARGET_MAX = 4096


def text_of(name: str | bytes) -> str:
    """A name as JSON can carry it. What is no UTF-8 comes as \\xNN, and a backslash doubled with it, so that no two look alike."""
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def row_of(name: str | bytes, status: os.stat_result) -> dict[str, Any]:
    row = {
        "name": text_of(name),
        "kind": kind_of(status.st_mode),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size_bytes": status.st_size,
        "disk_bytes": status.st_blocks * 512,
        "modified": status.st_mtime,
    }
    if row["kind"] in ("device", "block device"):
        row |= {"size_bytes": 0, "device": f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"}
    return row


def ls(job: Job) -> Iterator[dict[str, Any]]:
    """A row for each name in a folder, or one for what isn't a folder. Ends with a summary: how many, and whether there are more."""
    place = locate(job.root, job.path)
    status = os.fstat(place)
    if not stat.S_ISDIR(status.st_mode):
        yield row_of(job.path, status)
        yield {"shown": 1, "more": False}
        return
    folder = reopen(place, job.path)
    shown, more = 0, False
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if shown == job.limit:
                    more = True
                    break
                try:
                    row = row_of(entry.name, entry.stat(follow_symlinks=False))
                except FileNotFoundError:
                    continue  # removed meanwhile
                if row["kind"] == "link" and job.untouched:  # else asking where it leads would leave an access time
                    row["target"] = _target(folder, entry.name)
                shown += 1
                yield row
    except OSError as error:
        raise told(error, job.path) from error
    yield {"shown": shown, "more": more}


def _target(folder: int, name: str) -> str:
    try:
        return text_of(os.readlink(name, dir_fd=folder))[:TARGET_MAX]
    except OSError:
        return ""
