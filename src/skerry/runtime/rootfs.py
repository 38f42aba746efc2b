"""The image's tree as a container's root: which mount points it lacks, and who its users are. Never leaves the tree.

The tree came from outside and may hold any symlink, so no path in it is ever given to the kernel unresolved: `find`
walks it one name at a time as if the tree were /. The tree itself is shared and never written: what it lacks stands in
a skeleton that is laid over it read-only (overlay.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from skerry.runtime.contract import RuntimeRefused
from skerry.runtime.spec import MountPoint, User

LINKS_MAX = 40  # as the kernel
PATH_MAX = 4096
USERS_MAX_BYTES = 1 << 20


class Found(NamedTuple):
    """`path`: absolute inside the tree and free of symlinks; what of it is missing stands in it as it was asked."""

    path: str
    kind: Literal["directory", "file", "missing"]


def find(tree: Path, path: str) -> Found:
    """Where `path` leads inside the tree. Raises RuntimeRefused for a loop or a path through something else."""
    left = [part for part in reversed(path.split("/")) if part]
    done: list[str] = []
    kind: Literal["directory", "file", "missing"] = "directory"
    links = 0
    while left:
        part = left.pop()
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            kind = _kind(tree, done)
            continue
        if kind == "missing":
            done.append(part)
            continue
        if kind == "file":
            raise _refused(tree, path, f"/{'/'.join(done)} is no directory")
        here = "/".join([*done, part])
        try:
            status = (tree / here).lstat()
        except FileNotFoundError:
            kind = "missing"
            done.append(part)
            continue
        except OSError as error:
            raise _refused(tree, path, error.strerror or str(error)) from error
        if stat.S_ISLNK(status.st_mode):
            target = str((tree / here).readlink())
            links += 1
            if links > LINKS_MAX or sum(map(len, left)) + len(target) > PATH_MAX:
                raise _refused(tree, path, "too many symlinks")
            if target.startswith("/"):
                done = []
            left += [name for name in reversed(target.split("/")) if name]
            continue
        kind = "directory" if stat.S_ISDIR(status.st_mode) else "file"
        done.append(part)
    return Found("/" + "/".join(done), kind)


def lacking(tree: Path, points: Iterable[MountPoint]) -> list[MountPoint]:
    """Those mount points that the tree lacks, or has with another mode; resolved.

    Raises RuntimeRefused where there is a file and a directory is asked for, or the other way round.
    """
    lacks = []
    for point in points:
        found = find(tree, point.path)
        if found.kind != "missing" and (found.kind == "directory") != point.directory:
            raise _refused(tree, point.path, f"it is a {found.kind} in the image")
        if found.kind == "missing" or point.mode not in (None, stat.S_IMODE(_at(tree, found).lstat().st_mode)):
            lacks.append(point._replace(path=found.path))
    return lacks


def make_skeleton(tree: Path, skeleton: Path, lacks: Iterable[MountPoint]) -> None:
    """Directories and empty files to be laid over the tree. Parents that the tree has keep its modes and owners.

    Safe to repeat. `lacks` comes from `lacking`, so no symlink of the tree is on the way.
    """
    skeleton.mkdir(mode=0o755, exist_ok=True)
    _like(tree, skeleton)
    for point in lacks:
        parts = point.path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            at = "/".join(parts[:depth])
            place = skeleton / at
            if depth == len(parts) and not point.directory:
                place.touch(mode=0o644, exist_ok=True)
            elif not place.exists():
                place.mkdir(mode=0o755)
                if (tree / at).is_dir():
                    _like(tree / at, place)
        if point.mode is not None:
            (skeleton / point.path.strip("/")).chmod(point.mode)


def link_over(tree: Path, skeleton: Path, path: str, to: str) -> None:
    """A symlink in the skeleton, over whatever the tree has there."""
    folder, _, name = path.rpartition("/")
    found = find(tree, folder)
    if found.kind == "file":
        raise _refused(tree, folder, "it is a file in the image")
    make_skeleton(tree, skeleton, [MountPoint(found.path, True)])
    (skeleton / found.path.strip("/") / name).symlink_to(to)


def find_user(tree: Path, user: str) -> User:
    """Numbers for "uid", "uid:gid", "name" or "name:group" by the image's /etc/passwd and /etc/group.

    A uid that passwd doesn't know has group 0, as in Docker. Raises RuntimeRefused for unknown names.
    """
    name, _, group = (user or "0:0").partition(":")
    users = [line for line in _table(tree, "/etc/passwd") if len(line) >= 6]
    entry = next((u for u in users if name in (u[0], u[2])), None)
    if name.isdigit():
        uid = _number(tree, name)
    elif entry is not None:
        uid = _number(tree, entry[2])
    else:
        raise _refused(tree, "/etc/passwd", f"it has no user {name!r}")
    gid = _number(tree, entry[3]) if entry is not None else 0
    groups: tuple[int, ...] = ()
    table = [line for line in _table(tree, "/etc/group") if len(line) >= 4]
    if group:
        gid = _group(tree, table, group)
    elif entry is not None:
        groups = tuple(sorted({_number(tree, g[2]) for g in table if entry[0] in g[3].split(",")} - {gid})[:64])
    home = entry[5] if entry is not None and entry[5].startswith("/") else "/"
    return User(uid, gid, groups, home)


def _group(tree: Path, table: list[list[str]], group: str) -> int:
    if group.isdigit():
        return _number(tree, group)
    for line in table:
        if line[0] == group:
            return _number(tree, line[2])
    raise _refused(tree, "/etc/group", f"it has no group {group!r}")


def _number(tree: Path, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**32 - 1):
        raise _refused(tree, "/etc/passwd", f"{text[:20]!r} is no user or group number")
    return int(text)


def _table(tree: Path, path: str) -> list[list[str]]:
    found = find(tree, path)
    if found.kind != "file":
        return []
    # O_NONBLOCK: it might be a pipe or a device, which then is no regular file and is not read.
    file = os.open(str(tree) + found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return []
        text = os.pread(file, USERS_MAX_BYTES, 0).decode("utf-8", "replace")
    finally:
        os.close(file)
    return [line.split(":") for line in text.splitlines()]


def _at(tree: Path, found: Found) -> Path:
    return tree / found.path.lstrip("/")


def _kind(tree: Path, parts: list[str]) -> Literal["directory", "missing"]:
    return "directory" if (tree / "/".join(parts)).is_dir() else "missing"


def _like(model: Path, place: Path) -> None:
    status = model.lstat()
    os.chown(place, status.st_uid, status.st_gid)
    place.chmod(stat.S_IMODE(status.st_mode))


def _refused(tree: Path, path: str, why: str) -> RuntimeRefused:
    return RuntimeRefused(f"{path} of the image can't be used", why, "mend the image, or mount it elsewhere")
