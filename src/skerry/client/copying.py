"""Files of a container onto the operator's machine, and one into it.

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
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any

from skerry.client.looking import Answer, Place, opened
from skerry.client.session import Session
from skerry.errors import BadFormat, BadInput, Refusal
from skerry.observe.look.job import PIECE_BYTES
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


async def send(
    session: Session, place: Place, local: Path, path: str, limit: int, progress: Progress = lambda bytes: None
) -> dict[str, Any]:
    """Put one file into the container, as `path`, or into it if that ends with a slash."""
    path = path + local.name if path.endswith("/") else path
    file = _plain(local, limit)
    with file:
        status = os.fstat(file.fileno())
        args = {"path": path, "limit": status.st_size, "mode": stat.S_IMODE(status.st_mode) & 0o777, "write": True}
        async with opened(session, place, "put", **args) as answer:
            sending = asyncio.ensure_future(_give(answer, file, progress))
            try:
                figures = await answer.done()
            finally:
                sending.cancel()
    return {"slot": place.slot, "path": path, **figures}


async def _give(answer: Answer, file: IO[bytes], progress: Progress) -> None:
    gave = 0
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        await answer.give(piece)
        gave += len(piece)
        progress(gave)
    await answer.give(b"")


def _plain(local: Path, limit: int) -> IO[bytes]:
    """Raises BadInput for what is no file, or too large."""
    if not local.is_file():
        raise BadInput(
            f"{local} was not copied", "it is no file", "name a file; a folder is copied as an archive of it"
        )
    if local.stat().st_size > limit:
        raise BadInput(
            f"{local} was not copied", f"it has {local.stat().st_size} bytes, {limit} are allowed", "--limit SIZE"
        )
    return local.open("rb")


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
            with contextlib.closing(source), tarfile.open(fileobj=source, mode="r|") as tar:
                for number, entry in enumerate(tar):
                    if number >= ENTRIES_MAX:
                        raise BadFormat(
                            "the copy was ended", f"more than {ENTRIES_MAX} entries came", "copy a part of it"
                        )
                    self._take(tar, entry)
                    tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        except tarfile.TarError as error:
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
        place.symlink_to(entry.linkname)

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
