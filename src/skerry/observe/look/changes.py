"""What a container has changed since it started: what lies in its memory file systems, and what is newer in its volumes.

Its root is the image's tree, read-only: there nothing can change. A memory file system began empty, so all in it was added. In a
volume, older files stay; what was removed is known by what was noted at the start (beginning.py). The times are the kernel's
(change, birth): a program can't set them.
Sources: proc(5) (mountinfo); statx(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from skerry.observe.look.beginning import Was, noted
from skerry.observe.look.errors import NothingToSee, NotInThere
from skerry.observe.look.job import DEPTH_MAX, Job
from skerry.observe.look.listing import row_of, text_of
from skerry.observe.look.procfs import parse_stat, processes_of
from skerry.observe.look.root import NO_LINKS, READ, kernels_own, kind_of, locate, openat2, reopen

RUNTIMES = ("/proc/", "/sys/")  # what is mounted there, the runtime has filled
VISITED_MAX = 1_000_000
_BIRTH, _NO_FOLLOW = 0x800, 0x100
_libc = ctypes.CDLL(None, use_errno=True)


class MountPoint(NamedTuple):
    path: str
    kind: str  # of file system
    writable: bool


class Place(NamedTuple):
    """Somewhere that the container can write. `began_s`: when it started, by the clock that files have."""

    path: str
    kind: Literal["memory", "disk"]
    device: int
    began_s: float


def parse_mounts(text: str) -> list[MountPoint]:
    """Of /proc/PID/mountinfo; lines that are none are left out."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words, more = before.split(" "), after.split(" ")
        if len(words) > 5 and len(more) > 2:
            writable = "rw" in words[5].split(",") and "rw" in more[2].split(",")
            found.append(MountPoint(_unescaped(words[4]), more[0], writable))
    return found


def files(job: Job) -> Iterator[dict[str, Any]]:
    """A row for each file that was added or changed, at most `job.limit`, then a summary with the places that were looked at."""
    began_s, mounts = (0.0, [MountPoint(path, "tmpfs", True) for path in job.places]) if job.places else _first(job)
    shown = visited = 0
    more = False
    places = []
    for mount in mounts:
        if not mount.writable or mount.path.startswith(RUNTIMES):
            continue
        try:
            at = locate(job.root, mount.path)
        except NotInThere:
            continue  # of a place that is kept, there was nothing
        try:
            if not stat.S_ISDIR(os.fstat(at).st_mode) or kernels_own(at) is not None:
                continue
            kind: Literal["memory", "disk"] = "memory" if mount.kind == "tmpfs" else "disk"
            place = Place(mount.path, kind, os.fstat(at).st_dev, began_s)
            places.append(_figures(place, at) if not job.places else {"path": place.path, "kind": "kept"})
            for row in _walk(place, reopen(at, mount.path)):
                visited += 1
                if visited > VISITED_MAX or (row and shown == job.limit):
                    more = True
                    break
                if row:
                    shown += 1
                    yield row
        finally:
            os.close(at)
        if more:
            break
    was = _was(job, places)
    for row in removed(job.root, was or []):
        if shown == job.limit:
            more = True
            break
        shown += 1
        yield row
    told = {"shown": shown, "more": more, "places": places, "began": began_s}
    yield told if was is not None else told | {"removed_unknown": True}


def _was(job: Job, places: list[dict[str, Any]]) -> list[Was] | None:
    """What its volumes held at its start; None: it has some, and that is not known."""
    if job.began >= 0:
        with open(job.began, "rb", closefd=False) as file:
            return noted(file.read())
    return None if any(place["kind"] == "disk" for place in places) else []


def removed(root: int, was: list[Was]) -> Iterator[dict[str, Any]]:
    """A row for each that isn't there under its name any more; of a folder that is gone with all in it, one row."""
    gone = ""
    for each in was:
        if gone and each.path.startswith(gone):
            continue
        try:
            os.close(openat2(root, each.path, os.O_PATH | os.O_NOFOLLOW, resolve=NO_LINKS))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                continue
            if stat.S_ISDIR(each.mode):
                gone = f"{each.path}/"
            yield {
                "name": text_of(each.path),
                "kind": kind_of(each.mode),
                "size_bytes": each.size_bytes,
                "modified": each.modified,
                "change": "removed",
            }


def _first(job: Job) -> tuple[float, list[MountPoint]]:
    """When its first process began, and what that sees mounted."""
    boot_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for process in processes_of(job.pids):
        stat_ = parse_stat(process.read("stat"))
        return boot_s + stat_.start_ticks / os.sysconf("SC_CLK_TCK"), parse_mounts(process.read("mountinfo", 1 << 20))
    raise NothingToSee("nothing can be seen of what it changed", "its processes are gone", "see skerry ps")


def _figures(place: Place, at: int) -> dict[str, Any]:
    """Only what is its own: of a disk that all share, nothing."""
    told: dict[str, Any] = {"path": place.path, "kind": place.kind}
    if place.kind == "memory":
        room = os.fstatvfs(at)
        told |= {
            "used_bytes": (room.f_blocks - room.f_bfree) * room.f_frsize,
            "limit_bytes": room.f_blocks * room.f_frsize,
        }
    return told


def _walk(place: Place, folder: int) -> Iterator[dict[str, Any] | None]:
    """What is in there, as rows, depth first; None for what it did not change. Owns `folder`. Follows no link, crosses no mount."""
    stack = [(place.path.rstrip("/"), folder)]
    try:
        while stack:
            path, folder = stack[-1]
            inner: list[str] = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        inner.append(entry.name)
                    yield _changed(place, folder, f"{path}/{text_of(entry.name)}", entry.name, status)
            stack.pop()
            for name in inner:
                if path.count("/") < DEPTH_MAX and (below := _inner(place, folder, name)) >= 0:
                    stack.append((f"{path}/{text_of(name)}", below))
            os.close(folder)
    finally:
        for _, folder in stack:
            os.close(folder)


def _inner(place: Place, folder: int, name: str) -> int:
    """A folder in it, -1 for one that is another mount, or gone."""
    try:
        below = os.open(name, READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return -1
    if os.fstat(below).st_dev == place.device:
        return below
    os.close(below)
    return -1


def _changed(place: Place, folder: int, path: str, name: str, status: os.stat_result) -> dict[str, Any] | None:
    kind = stat.S_IFMT(status.st_mode)
    if place.path == "/dev" and kind != stat.S_IFREG:
        return None  # the runtime made it
    change = "added"
    if place.kind == "disk":
        if status.st_ctime < place.began_s:
            return None
        born_s = _birth(folder, name)
        change = "added" if born_s is not None and born_s >= place.began_s else "changed"
    return row_of(path, status) | {"change": change, "place": place.path}


def _birth(folder: int, name: str) -> float | None:
    """None where the file system doesn't keep it."""
    answer = ctypes.create_string_buffer(256)
    if _libc.statx(folder, os.fsencode(name), _NO_FOLLOW, _BIRTH, answer) != 0:
        return None
    if not struct.unpack_from("@I", answer, 0)[0] & _BIRTH:
        return None
    seconds, nanoseconds = struct.unpack_from("@qI", answer, 80)
    return int(seconds) + int(nanoseconds) / 1e9


def _unescaped(text: str) -> str:
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, plain)
    return text
