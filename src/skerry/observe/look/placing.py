"""Files of the operator's put into a container, where the application itself could write: one, or a tree.

What comes is a plan (a length, then JSON: what each thing is) and then the bytes of its files, one after the other. The place is
found once, within the container's root. From there on one goes from folder to folder by descriptors, never through a link; so
whatever is swapped meanwhile, nothing leads out of the container. Each file is there whole or not at all, in place of what had
its name; all belongs to the user of the container's first process. Folders that are there stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.errors import BadFormat
from skerry.observe.look.errors import NotInThere, NotReadable, NotWritable, TooMuch
from skerry.observe.look.job import HEAD, PIECE_BYTES, PLAN_BYTES, Job, Plan, Thing
from skerry.observe.look.listing import row_of
from skerry.observe.look.procfs import parse_status, processes_of
from skerry.observe.look.root import kernels_own, locate, told
from skerry.outside import UNREADABLE

LEFT_FREE_BYTES = 64 << 20  # of a disk that the host's own things are on
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def would(job: Job) -> Iterator[dict[str, Any]]:
    """What `put` would write over, a row each, then where to. Changes nothing. Raises what `put` would before it writes."""
    plan = _plan()
    folder, name, to = _place(job, plan)
    found = 0
    with contextlib.closing(Tree(folder, name)) as tree:
        for thing in plan.things:
            status = tree.status(thing)
            if status is None:
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            path = "/".join((to, *thing.path))
            if is_folder != (thing.kind == "directory"):
                why = "a folder has that name" if is_folder else "what has that name is no folder"
                raise NotWritable(f"{path} was not written", f"{why}; nothing was changed", "give another name")
            if not is_folder:
                found += 1
                yield row_of(path, status)
    yield {"to": to, "found": found}


def put(job: Job) -> dict[str, Any]:
    """Raises NotInThere, NotWritable, TooMuch, BadFormat; what was written before stays, and is told."""
    plan = _plan()
    folder, name, to = _place(job, plan)
    uid, gid = _owner(job)
    written = 0
    with contextlib.closing(Tree(folder, name)) as tree:
        for thing in plan.things:
            path = "/".join((to, *thing.path))
            try:
                tree.make(thing, path, uid, gid)
            except OSError as error:
                raise _with(told(error, path), written, plan) from error
            except (NotWritable, NotInThere, NotReadable, TooMuch) as error:
                raise _with(error, written, plan) from error
            written += 1
    files = [thing for thing in plan.things if thing.kind == "file"]
    return {
        "to": to,
        "files": len(files),
        "directories": sum(thing.kind == "directory" for thing in plan.things),
        "links": sum(thing.kind == "link" for thing in plan.things),
        "size_bytes": sum(thing.size for thing in files),
        "uid": uid,
        "gid": gid,
    }


class Tree:
    """What lies below one name in one folder. Owns `folder`. Things come with whatever they lie in before them."""

    def __init__(self, folder: int, name: str) -> None:
        self._name = name
        self._way: list[tuple[str, int]] = [("", folder)]  # open folders, the outermost first

    def close(self) -> None:
        while self._way:
            os.close(self._way.pop()[1])

    def status(self, thing: Thing) -> os.stat_result | None:
        """Of what has its name now, None if nothing has. Raises NotWritable where a folder on the way is none."""
        with contextlib.suppress(FileNotFoundError):
            folder, name = self._above(thing)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        return None

    def make(self, thing: Thing, path: str, uid: int, gid: int) -> None:
        """Raises OSError, NotWritable, TooMuch."""
        folder, name = self._above(thing)
        if thing.kind == "directory":
            _folder(folder, name, thing.mode, uid, gid)
            return
        temporary = f".skerry-{secrets.token_hex(8)}"
        try:
            if thing.kind == "link":
                os.symlink(thing.target, temporary, dir_fd=folder)
                os.chown(temporary, uid, gid, dir_fd=folder, follow_symlinks=False)
            else:
                _file(folder, temporary, thing, path, uid, gid)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)

    def _above(self, thing: Thing) -> tuple[int, str]:
        """The open folder that it is to be in, and its name there."""
        *way, name = (self._name, *thing.path)
        same = 0
        while same < min(len(way), len(self._way) - 1) and self._way[same + 1][0] == way[same]:
            same += 1
        while len(self._way) > same + 1:
            os.close(self._way.pop()[1])
        for part in way[same:]:
            try:
                inner = os.open(part, FOLDER, dir_fd=self._way[-1][1])
            except NotADirectoryError:
                raise NotWritable(
                    f"{'/'.join(thing.path)} was not written", f"{part} is a link or a file", "see skerry ls"
                ) from None
            self._way.append((part, inner))
            if (own := kernels_own(inner)) is not None:
                raise NotReadable(f"{'/'.join(thing.path)} was not written", f"it is the kernel's own ({own})", "")
        return self._way[-1][1], name


def _plan() -> Plan:
    """Raises BadFormat."""
    try:
        (length,) = HEAD.unpack(_exactly(HEAD.size))
        if length > PLAN_BYTES:
            raise ValueError(f"a plan of {length} bytes")
        return parse_plan(_exactly(length))
    except (ValueError, EOFError) as error:
        raise BadFormat(
            "nothing was written", f"the plan is not understood: {error}", "see the client's version"
        ) from None


def parse_plan(encoded: bytes) -> Plan:
    """Raises ValueError: it comes from outside. Each thing lies in a folder that came before it, by a name that leads nowhere else."""
    try:
        plan = msgspec.json.decode(encoded, type=Plan)
    except UNREADABLE as error:
        raise ValueError(str(error)) from None
    folders: set[tuple[str, ...]] = set()
    known: set[tuple[str, ...]] = set()
    for thing in plan.things:
        parts = (plan.name, *thing.path)
        if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            raise ValueError(f"{'/'.join(thing.path)!r} is no path of a tree")
        if thing.path in known or (thing.path and thing.path[:-1] not in folders) or "\0" in thing.target:
            raise ValueError(f"{'/'.join(thing.path)!r} lies in nothing that came before it, or comes twice")
        known.add(thing.path)
        if thing.kind == "directory":
            folders.add(thing.path)
    if () not in known:
        raise ValueError("it has no beginning")
    return plan


def _place(job: Job, plan: Plan) -> tuple[int, str, str]:
    """The folder that it is to be in, for acting in it; its name there; and both as a path. In a folder that is there under its
    own name, else under the one that was asked for. Raises NotWritable where nobody can write, or there is no room.
    """
    asked = job.path.rstrip("/") or "/"
    size = sum(thing.size for thing in plan.things)
    if size > job.limit:
        raise TooMuch(f"{asked} was not written", f"{size} bytes come, {job.limit} are allowed", "--limit SIZE")
    place, name, to = _folder_at(job.root, asked), plan.name, f"{asked.rstrip('/')}/{plan.name}"
    if place is None:
        above, _, name = asked.rpartition("/")
        if job.path.endswith("/") or name in (".", ".."):
            raise NotWritable(f"{asked} was not written", "there is no such folder", "see skerry ls")
        place, to = locate(job.root, above or "/"), asked
    try:
        if (own := kernels_own(place)) is not None:
            raise NotReadable(f"{to} was not written", f"it is the kernel's own ({own})", "see skerry files")
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            raise NotWritable(f"{to} was not written", f"{to.rpartition('/')[0]} is no folder", "see skerry ls")
        _must_have_room(place, size, to)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), name, to
    except OSError as error:
        raise told(error, to) from error
    finally:
        os.close(place)


def _folder_at(root: int, path: str) -> int | None:
    with contextlib.suppress(NotInThere):
        place = locate(root, path)
        if stat.S_ISDIR(os.fstat(place).st_mode):
            return place
        os.close(place)
    return None


def _must_have_room(file: int, size: int, path: str) -> None:
    room = os.fstatvfs(file)
    if room.f_flag & os.ST_RDONLY:
        raise NotWritable(
            f"{path} was not written",
            "Read-only file system",
            "see skerry files: where the application itself can write",
        )
    free = room.f_bavail * room.f_frsize
    if size > free - (LEFT_FREE_BYTES if room.f_blocks * room.f_frsize > LEFT_FREE_BYTES * 16 else 0):
        raise NotWritable(f"{path} was not written", f"{free} bytes are free there", "make room")


def _folder(folder: int, name: str, mode: int, uid: int, gid: int) -> None:
    """What is there already stays as it is; that it is a folder is found by whoever goes into it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        made = os.open(name, FOLDER, dir_fd=folder)
        try:
            os.fchown(made, uid, gid)
            os.fchmod(made, mode)
        finally:
            os.close(made)


def _file(folder: int, name: str, thing: Thing, path: str, uid: int, gid: int) -> None:
    """Made of the next `thing.size` bytes that come."""
    made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        _must_have_room(made, thing.size, path)
        left = thing.size
        while left and (piece := os.read(0, min(PIECE_BYTES, left))):
            left -= len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(made, view) :]
        if left:
            raise TooMuch(f"{path} was not written", f"{thing.size - left} of {thing.size} bytes came", "try again")
        os.fchown(made, uid, gid)
        os.fchmod(made, thing.mode & 0o777)
    finally:
        os.close(made)


def _exactly(count: int) -> bytes:
    read = bytearray()
    while len(read) < count:
        piece = os.read(0, min(PIECE_BYTES, count - len(read)))
        if not piece:
            raise EOFError(f"{len(read)} of {count} bytes came")
        read += piece
    return bytes(read)


def _with(error: Any, written: int, plan: Plan) -> Any:
    """The same error, which says what stays."""
    if written:
        error.why = f"{error.why}; {written} of {len(plan.things)} were written before it"
    return error


def _owner(job: Job) -> tuple[int, int]:
    for process in processes_of(job.pids):
        status = parse_status(process.read("status"))
        return int(status["Uid"].split()[1]), int(status["Gid"].split()[1])
    return 0, 0
