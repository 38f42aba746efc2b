"""Files of a container onto the operator's machine, and files of that into it.

Out comes a tar stream of a node that may be captured, of a container that may be hostile. It is unpacked
beside the place it is meant for and moved there when all has come: nothing half-made, nothing written elsewhere. tarfile's "data"
filter judges each entry; links are made last, when nothing is written any more, so that nothing is ever written through one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from skerry.client.looking import Answer, Place, opened
from skerry.client.session import Session
from skerry.errors import BadFormat, BadInput, Refusal, SkerryError
from skerry.image.tars import BROKEN, members, open_tar
from skerry.observe.look.job import DEPTH_MAX, HEAD, PIECE_BYTES, PLAN_BYTES, THINGS_MAX, Plan, Thing
from skerry.observe.look.root import kind_of
from skerry.store.disk import DiskFull, full_disk_told, told

ENTRIES_MAX = 250_000
HEADS_BYTES = 64 << 20  # beside the content
TOLD_MAX = 100

Progress = Callable[[int], None]


class InTheWay(Refusal):
    """A folder isn't copied over what is there already."""

    code = "in-the-way"
    exit_code = 2


async def fetch(
    session: Session,
    place: Place,
    path: str,
    local: Path,
    limit: int,
    progress: Progress = lambda bytes: None,
    *,
    crashed: bool = False,
) -> dict[str, Any]:
    """Copy a file or folder. Into `local` if that is a folder, else as `local`. Gives figures, what was left out, and `to`."""
    to = destination(path, local)
    with full_disk_told(to.parent), tempfile.TemporaryDirectory(prefix=".skerry-cp-", dir=to.parent) as scratch:
        unpacked = Unpacked(Path(scratch))
        figures = await _pour(session, place, {"path": path, "limit": limit, "crashed": crashed}, progress, unpacked)
        await asyncio.to_thread(unpacked.move, to)
    skipped = [*figures.pop("skipped", []), *unpacked.left_out][:TOLD_MAX]
    count = int(figures.pop("skipped_count", 0)) + unpacked.left_out_count
    return {**figures, "skipped": skipped, "skipped_count": count, "to": str(to)}


class Sending:
    """A file, or a folder and what is in it, on its way into a container. Links are copied as links; what is no file, folder or
    link is left out, and told. Raises BadInput for what is none, is too much, or isn't here.
    """

    def __init__(self, local: Path, limit: int) -> None:
        self.skipped: list[dict[str, str]] = []
        self._local = local
        things = tuple(islice(self._walk(local, ()), THINGS_MAX + 1))
        if len(things) > THINGS_MAX:
            raise BadInput(f"{local} was not copied", f"it has more than {THINGS_MAX} files", "copy a part of it")
        self._size = sum(thing.size for thing in things)
        if not things:
            why = self.skipped[0]["why"] if self.skipped else "there is nothing of that name"
            raise BadInput(f"{local} was not copied", why, "name a file or a folder")
        if self._size > limit:
            raise BadInput(f"{local} was not copied", f"it has {self._size} bytes, {limit} are allowed", "--limit SIZE")
        encoded = msgspec.json.encode(Plan(name=local.resolve().name, things=things))
        if len(encoded) > PLAN_BYTES:
            raise BadInput(f"{local} was not copied", "the names in it are too long together", "copy a part of it")
        self._things, self._plan = things, HEAD.pack(len(encoded)) + encoded

    async def would(self, session: Session, place: Place, path: str) -> list[dict[str, Any]]:
        """What lies there under the same names, and would be written over. Raises what `send` would before it writes."""
        async with opened(session, place, "would", path=path, limit=self._size) as answer:
            giving = asyncio.ensure_future(self._give_plan(answer))
            try:
                async with aclosing(answer.rows()) as rows:
                    return [row async for row in rows]
            finally:
                giving.cancel()

    async def send(
        self, session: Session, place: Place, path: str, progress: Progress = lambda bytes: None
    ) -> dict[str, Any]:
        """Put it into the folder `path`, or, where there is none, put it there as `path`."""
        async with opened(session, place, "put", path=path, limit=self._size, write=True) as answer:
            giving = asyncio.ensure_future(self._give(answer, progress))
            try:
                figures = await answer.done()
            except SkerryError:
                if giving.done() and (ours := giving.exception()) is not None:
                    raise ours from None  # why it came to its end
                raise
            finally:
                giving.cancel()
        return {"slot": place.slot, **figures, "skipped": self.skipped[:TOLD_MAX], "skipped_count": len(self.skipped)}

    async def _give_plan(self, answer: Answer) -> None:
        for at in range(0, len(self._plan), PIECE_BYTES):
            await answer.give(self._plan[at : at + PIECE_BYTES])

    async def _give(self, answer: Answer, progress: Progress) -> None:
        gave = 0
        try:
            await self._give_plan(answer)
            for thing in self._things:
                if thing.kind != "file":
                    continue
                with self._opened(thing) as file:
                    left = thing.size
                    while left and (piece := await asyncio.to_thread(file.read, min(left, PIECE_BYTES))):
                        await answer.give(piece)
                        left -= len(piece)
                        gave += len(piece)
                        progress(gave)
                if left:
                    path = self._local.joinpath(*thing.path)
                    raise BadInput(f"{path} was not copied", "it became shorter meanwhile", "try again")
        finally:
            await answer.give(b"")

    def _opened(self, thing: Thing) -> IO[bytes]:
        path = self._local.joinpath(*thing.path)
        try:
            return open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NOFOLLOW if thing.path else 0)), "rb")
        except OSError as error:
            raise BadInput(f"{path} was not copied", error.strerror or str(error), "") from None

    def _walk(self, path: Path, way: tuple[str, ...]) -> Iterator[Thing]:
        """Itself, and in a folder whatever lies in it, in the order of names."""
        try:
            status = path.lstat() if way else path.stat()
            mode = stat.S_IMODE(status.st_mode) & 0o777
            if stat.S_ISREG(status.st_mode):
                yield Thing(way, "file", mode, status.st_size)
            elif stat.S_ISLNK(status.st_mode):
                yield Thing(way, "link", target=str(path.readlink()))
            elif stat.S_ISDIR(status.st_mode) and len(way) < DEPTH_MAX:
                names = sorted(below.name for below in path.iterdir())
                yield Thing(way, "directory", mode)
                for name in names:
                    try:
                        name.encode()
                    except UnicodeEncodeError:
                        self._skip(path / name, "its name is no UTF-8")
                        continue
                    yield from self._walk(path / name, (*way, name))
            else:
                self._skip(path, f"a {kind_of(status.st_mode)}" if len(way) < DEPTH_MAX else "too deep")
        except OSError as error:
            self._skip(path, error.strerror or str(error))

    def _skip(self, path: Path, why: str) -> None:
        self.skipped.append({"path": str(path).encode("utf-8", "backslashreplace").decode()[:1000], "why": why})


def destination(path: str, local: Path) -> Path:
    """Where a copy of `path` is to be. Raises InTheWay."""
    name = path.rstrip("/").rpartition("/")[2]
    to = local / (name if name not in ("", ".", "..") else "root") if local.is_dir() else local
    if not to.parent.is_dir():
        raise InTheWay(f"{to} was not made", f"there is no folder {to.parent}", "make it first")
    return to


async def _pour(
    session: Session, place: Place, args: dict[str, Any], progress: Progress, unpacked: Unpacked
) -> dict[str, Any]:
    """The stream through a pipe into the unpacking thread: whichever is slower holds up the other."""
    ours, its = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as source:
        unpacking = asyncio.ensure_future(asyncio.to_thread(unpacked.read, source))
        came = 0
        try:
            async with (
                opened(session, place, "tree", **args) as answer,
                aclosing(answer.data()) as pieces,
            ):
                async for piece in pieces:
                    came += len(piece)
                    if came > args["limit"] + HEADS_BYTES:
                        raise BadFormat(
                            f"{place.slot}:{args['path']} was not copied",
                            "more came than was asked for",
                            "look at the host",
                        )
                    await asyncio.to_thread(_write, its, piece)
                    progress(came)
        except BrokenPipeError:
            pass  # the unpacking has failed, and says why
        finally:
            os.close(its)
            await asyncio.wait({unpacking})
            unpacking.exception()  # of a stream that has failed it is no news that it came to an end too soon
        unpacking.result()
        return answer.summary


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


class Unpacked:
    """The entries of one tar stream below `folder`, which is ours alone."""

    def __init__(self, folder: Path) -> None:
        self.left_out: list[dict[str, str]] = []
        self.left_out_count = 0
        self._folder = folder
        self._links: list[tarfile.TarInfo] = []

    def read(self, source: IO[bytes]) -> None:
        """To its end. Raises BadFormat for what is no tar, or has too many entries."""
        try:
            with contextlib.closing(source), open_tar(source, "r|") as tar:
                for number, entry in enumerate(members(tar)):
                    if number >= ENTRIES_MAX:
                        raise BadFormat(
                            "the copy was ended", f"more than {ENTRIES_MAX} entries came", "copy a part of it"
                        )
                    self._take(tar, entry)
        except BROKEN as error:
            raise BadFormat("the copy was ended", f"what came is no tar: {error}", "look at the host") from None
        for entry in self._links:
            self._link(entry)

    def _take(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        if not set(entry.name.split("/")).isdisjoint(("", ".", "..")):
            self._leave_out(entry.name, "no name that a file of a folder has")
            return
        try:
            safe = tarfile.data_filter(entry, str(self._folder))
            if entry.issym():
                self._links.append(safe)
            elif entry.isreg() or entry.isdir():
                tar.extract(safe, self._folder, filter="data")
            else:
                self._leave_out(entry.name, "neither a file, a folder nor a link")
        except tarfile.FilterError as error:
            self._leave_out(entry.name, str(error))
        except OSError as error:
            if isinstance(told(error), DiskFull):
                raise
            self._leave_out(
                entry.name, error.strerror or str(error)
            )  # a name that this machine can't have, or two of one

    def _link(self, entry: tarfile.TarInfo) -> None:
        place = self._folder / entry.name
        above = [self._folder.joinpath(*place.relative_to(self._folder).parts[:n]) for n in range(1, len(place.parts))]
        parents = [parent for parent in above if parent != place and place.is_relative_to(parent)]
        if any(not parent.exists() or parent.is_symlink() for parent in parents) or os.path.lexists(place):
            self._leave_out(entry.name, "a link in the place of something else")
            return
        try:
            place.symlink_to(entry.linkname)
        except (OSError, ValueError) as error:  # a name that is too long, or no name at all
            self._leave_out(entry.name, getattr(error, "strerror", "") or str(error))

    def move(self, to: Path) -> None:
        """What was unpacked, to where it belongs. A file replaces a file; a folder replaces nothing. Raises InTheWay."""
        found = next(self._folder.iterdir(), None)
        if found is None:
            raise BadFormat(f"{to} was not made", "nothing came", "look at the host")
        if os.path.lexists(to) and (stat.S_ISDIR(to.lstat().st_mode) or stat.S_ISDIR(found.lstat().st_mode)):
            raise InTheWay(f"{to} was not made", "there is something of that name already", "give another name")
        if found.is_dir():
            shutil.move(found, to)
        else:
            found.replace(to)

    def _leave_out(self, name: str, why: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < TOLD_MAX:
            self.left_out.append({"path": name[:1000].encode("utf-8", "backslashreplace").decode(), "why": why[:1000]})
