"""What a stage leaves behind: the declared outputs, by content, kept in the cache; everything else is thrown away.

The folder was filled by foreign code: no link in it is followed, and only files, folders and links that stay inside are taken.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from skerry.image.building.pile import File
from skerry.image.building.stage.contract import StageFailed
from skerry.image.kept import read_checked, write_whole

MAX_FILES = 50_000
MAX_BYTES = 2 << 30
ORIGIN = "build"


class Output(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One path below PLACE: `sha256` and `size` of a file, `link` of a link."""

    path: str
    kind: Literal["f", "l"]
    link: str = ""
    sha256: str = ""
    size: int = 0


def collect(folder: Path, patterns: Sequence[str], cache: Path) -> tuple[Output, ...]:
    """Put what `patterns` name into the cache, sorted by path. Raises StageFailed for one that matches nothing."""
    wanted = [(pattern, _pattern(pattern)) for pattern in patterns]
    used: set[str] = set()
    found: list[Output] = []
    total_bytes = 0
    for path in _walk(folder, ""):
        matching = {pattern for pattern, want in wanted if want.match(path)}
        if not matching:
            continue
        used |= matching
        output = _take(folder, path, cache)
        total_bytes += output.size
        found.append(output)
        if len(found) > MAX_FILES or total_bytes > MAX_BYTES:
            raise StageFailed(
                "the outputs of the build were refused",
                f"they are more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB",
                "name only what the image needs in `build: outputs`",
            )
    for pattern, _ in wanted:
        if pattern not in used:
            there = ", ".join(sorted(path.name for path in folder.iterdir())[:20])
            raise StageFailed(
                f"the build left no {pattern!r}",
                f"`build: outputs` names it, and it was not there when the last command ended; there are: {there}",
                "write its path as seen from the project's folder",
            )
    return tuple(sorted(found))


def files_of(outputs: Sequence[Output], cache: Path) -> list[File]:
    """The outputs as files for an image; paths as they were below PLACE."""
    return [
        File(one.path, one.kind, one.link, one.sha256, one.size, ORIGIN, functools.partial(_load, one, cache))
        for one in outputs
    ]


def _load(output: Output, cache: Path) -> bytes:
    return read_checked(kept(output, cache), output.sha256, f"{output.path}, an output of the build")


def kept(output: Output, cache: Path) -> Path:
    return cache / "stage" / "outputs" / output.sha256[:2] / output.sha256


def _take(folder: Path, path: str, cache: Path) -> Output:
    at = folder / path
    mode = at.lstat().st_mode
    if stat.S_ISLNK(mode):
        link = at.readlink().as_posix()
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        if link.startswith("/") or inside.split("/")[0] == "..":
            raise StageFailed("the outputs of the build were refused", f"{path} is a link out of the folder, to {link}")
        return Output(path, "l", link)
    if not stat.S_ISREG(mode):
        raise StageFailed("the outputs of the build were refused", f"{path} is neither a file, a folder nor a link")
    size = at.lstat().st_size
    if size > MAX_BYTES:
        raise StageFailed("the outputs of the build were refused", f"{path} has {size >> 20} MiB")
    try:
        data = at.read_bytes()
    except PermissionError:  # built without root rights, and its maker took ours away
        at.chmod(0o600)
        data = at.read_bytes()
    output = Output(path, "f", "", hashlib.sha256(data).hexdigest(), len(data))
    if not kept(output, cache).is_file():
        write_whole(kept(output, cache), data)
    return output


def _walk(folder: Path, inside: str) -> Iterator[str]:
    for name in sorted(path.name for path in (folder / inside).iterdir()):
        path = f"{inside}/{name}" if inside else name
        if stat.S_ISDIR((folder / path).lstat().st_mode):
            yield from _walk(folder, path)
        else:
            yield path


def _pattern(glob: str) -> re.Pattern[str]:
    """A glob, and all that is below what it names."""
    parts = [
        ".*" if part == "**" else fnmatch.translate(part)[4:-3].replace(".*", "[^/]*")
        for part in posixpath.normpath(glob).split("/")
    ]
    return re.compile("/".join(parts) + r"(?:/.*)?\Z", re.DOTALL)
