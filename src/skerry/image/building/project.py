"""The files of a user's project, as they go into an image: what is code goes, what is a tool's litter or a secret stays."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from skerry.image.building.pile import File, file_of, link_to
from skerry.image.contract import BuildRefused
from skerry.image.manifest import CONTROL

MAX_FILES = 50_000
MAX_BYTES = 512 << 20
_LEAVE_OUT = "name what doesn't belong there in .dockerignore, or in the recipe's `exclude`"
ALWAYS_OUT = (
    ".*",  # .git, .venv, .env, caches: hidden files are tools' or secrets (but .well-known is a part of sites)
    "__pycache__",
    "*.pyc",
    "*.egg-info",
    "venv",
    "node_modules",
    "image.toml",
    "skerry.lock",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "Dockerfile",
)


def project_files(context: Path, below: str, exclude: Iterable[str] = ()) -> list[File]:
    """Every file and link of the project, to be placed at `below` in the image, sorted by path.

    Left out: `ALWAYS_OUT`, the lines of .dockerignore, and `exclude`. A pattern without a slash is about names at any depth,
    one with a slash about paths from the project's folder. Raises BuildRefused for links that leave the project, for files
    that are neither, and beyond the bounds.
    """
    patterns = (*ALWAYS_OUT, *_ignored(context), *exclude)
    files: list[File] = []
    total_bytes = 0
    for path, place in _walk(context, "", patterns):
        target = f"{below}/{place}"
        if path.is_symlink():
            link = path.readlink().as_posix()
            inside = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
            if link.startswith("/") or inside.startswith(".."):
                raise BuildRefused(
                    f"{path} can't be put into an image", f"it is a link out of the project, to {link}", _LEAVE_OUT
                )
            files.append(link_to(target, link, "project"))
        elif path.is_file():
            data = content_of(path)
            total_bytes += len(data)
            files.append(file_of(target, data, "project"))
        else:
            raise BuildRefused(f"{path} can't be put into an image", "it is neither a file nor a link", _LEAVE_OUT)
        if len(files) > MAX_FILES or total_bytes > MAX_BYTES:
            raise BuildRefused(
                f"the project {context} can't be put into an image",
                f"it has more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB",
                _LEAVE_OUT,
            )
    return sorted(files, key=lambda file: file.path)


def content_of(path: Path) -> bytes:
    """Raises BuildRefused for a file that is too large or can't be read."""
    try:
        if path.stat().st_size > MAX_BYTES:  # a sparse one is not even read
            raise BuildRefused(
                f"{path} can't be put into an image", f"it has more than {MAX_BYTES >> 20} MiB", _LEAVE_OUT
            )
        return path.read_bytes()
    except OSError as error:
        raise BuildRefused(
            f"{path} can't be put into an image", f"it can't be read: {error.strerror}", _LEAVE_OUT
        ) from None


def _walk(folder: Path, inside: str, patterns: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    try:
        there = sorted(folder.iterdir())
    except OSError as error:
        raise BuildRefused(
            f"{folder} can't be put into an image", f"it can't be read: {error.strerror}", _LEAVE_OUT
        ) from None
    for path in there:
        place = f"{inside}{path.name}"
        if CONTROL.search(path.name):
            raise BuildRefused(
                f"{place!a} can't be put into an image", "its name is no text", f"rename it, or {_LEAVE_OUT}"
            )
        if path.name != ".well-known" and any(
            fnmatch.fnmatchcase(place if "/" in p else path.name, p) for p in patterns
        ):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, place + "/", patterns)
        else:
            yield path, place


def _ignored(context: Path) -> list[str]:
    path = context / ".dockerignore"
    lines = path.read_text("utf-8", "replace").splitlines()[:1000] if path.is_file() else []
    patterns = [line.strip().strip("/").removeprefix("**/") for line in lines if line.strip() and line[0] not in "#!"]
    if any(line.startswith("!") for line in lines):
        raise BuildRefused(
            f"{path} can't be honoured", "exceptions (lines with !) are not supported", "write it without them"
        )
    return patterns
