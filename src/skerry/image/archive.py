"""Images that others made: an OCI layout (a folder or a tar) or a docker-archive, into the local store as one of ours.

What comes out is one tree with one layer, known by its own digest; every blob is checked against the digest that names it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import msgspec
import zstandard

from skerry.image.contract import BadImage, ImageNotFound, Objects
from skerry.image.kept import is_full
from skerry.image.layers import MAX_TOTAL_BYTES, Layers
from skerry.image.lint.judge import judge
from skerry.image.lint.verdicts import look
from skerry.image.oci import MAX_JSON_BYTES, assemble, hash_of, parse_config, parse_manifest
from skerry.image.tars import BROKEN, members, open_tar
from skerry.outside import UNREADABLE

_T = TypeVar("_T")
MAX_MEMBERS = 10_000
_SLACK_BYTES = 1 << 30  # headers and padding of a layer's tar, beside its files
MAX_ARCHIVE_BYTES = MAX_TOTAL_BYTES + _SLACK_BYTES


class Imported(msgspec.Struct, frozen=True):
    """`digest` of the image in the local store; `findings`: what was left out, and what the lint said. It is kept whatever
    was found: whether it may run is for whoever deploys it, and for each host, to say."""

    digest: str
    findings: tuple[str, ...]


class _Platform(msgspec.Struct):
    os: str = "linux"
    architecture: str = "amd64"


class _Descriptor(msgspec.Struct):
    digest: str
    mediaType: str = ""
    platform: _Platform | None = None


class _Index(msgspec.Struct):
    manifests: list[_Descriptor]


class _DockerImage(msgspec.Struct):
    Config: str
    Layers: list[str]


class _Roots(msgspec.Struct):
    diff_ids: list[str]


class _Config(msgspec.Struct):
    rootfs: _Roots


Open = Callable[[str], IO[bytes]]
"""Opens a file of the archive by its name in it; raises KeyError when there is none."""


def import_archive(path: Path, objects: Objects) -> Imported:
    """Read the image at `path` into `objects`. Raises ImageNotFound, BadImage."""
    try:
        with _opener(path) as open_part:
            return _import(open_part, objects)
    except KeyError as error:
        raise BadImage(f"{path} can't be imported", f"{error.args[0]} is missing in it") from error
    except (OSError, *BROKEN) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise BadImage(f"{path} can't be imported", str(error)) from error


def _import(open_part: Open, objects: Objects) -> Imported:
    try:
        images = _json(open_part, "manifest.json", list[_DockerImage])
    except KeyError:
        config, blobs = _oci_parts(open_part)
    else:
        if len(images) != 1:
            raise BadImage("the archive can't be imported", f"it holds {len(images)} images", "save one image alone")
        config, blobs = _read(open_part, images[0].Config), [(name, "") for name in images[0].Layers]
    try:
        diff_ids = msgspec.json.decode(config, type=_Config).rootfs.diff_ids
    except UNREADABLE as error:
        raise BadImage("the archive can't be imported", f"its config is not one: {error}") from error
    if len(diff_ids) != len(blobs) or not 1 <= len(blobs) <= 128:
        raise BadImage("the archive can't be imported", f"{len(blobs)} layers, and {len(diff_ids)} names for them")
    layers = Layers(objects)
    for (name, blob_hash), diff_id in zip(blobs, diff_ids, strict=True):
        if blob_hash:
            with open_part(name) as raw:
                if hashlib.file_digest(raw, "sha256").hexdigest() != blob_hash:  # type: ignore[arg-type]
                    raise BadImage("the archive can't be imported", f"{name} is not what its name says")
        with open_part(name) as raw:
            plain = _Plain(raw)
            layers.add(plain)  # type: ignore[arg-type]
            if plain.finish() != hash_of(diff_id):
                raise BadImage("the archive can't be imported", f"layer {name} has another hash than its config says")
    tree, run = layers.tree(), parse_config(config)
    image = assemble(tree, run, objects.read)
    for data in (tree.encode(), image.config, image.manifest):
        objects.put(data)
    found = judge(tree, run, lambda hash: look(objects, hash), objects.read)
    return Imported(image.digest, tuple(str(finding) for finding in (*layers.findings, *found)))


def _oci_parts(open_part: Open) -> tuple[bytes, list[tuple[str, str]]]:
    """Config bytes and layer blobs (name, hash) of the layout's one image for Linux on x86-64."""
    index = _json(open_part, "index.json", _Index)
    for _ in range(2):  # an index may name an index
        fitting = [one for one in index.manifests if one.platform in (None, _Platform())]
        if len(fitting) != 1:
            raise BadImage(
                "the layout can't be imported",
                f"it holds {len(fitting)} images for linux/amd64",
                "copy one image into a layout of its own",
            )
        if "index" not in fitting[0].mediaType and "manifest.list" not in fitting[0].mediaType:
            break
        try:
            index = msgspec.json.decode(_blob(open_part, hash_of(fitting[0].digest)), type=_Index)
        except UNREADABLE as error:
            raise BadImage("the archive can't be imported", f"its inner index is not one: {error}") from error
    refs = parse_manifest(_blob(open_part, hash_of(fitting[0].digest)))
    return _blob(open_part, refs.config), [(f"blobs/sha256/{hash}", hash) for hash in refs.layers]


def _blob(open_part: Open, hash: str) -> bytes:
    data = _read(open_part, f"blobs/sha256/{hash}")
    if hashlib.sha256(data).hexdigest() != hash:
        raise BadImage("the layout can't be imported", f"blob {hash} is not what its name says")
    return data


def _json(open_part: Open, name: str, type: type[_T]) -> _T:
    try:
        return msgspec.json.decode(_read(open_part, name), type=type)
    except UNREADABLE as error:
        raise BadImage("the archive can't be imported", f"{name}: {error}") from error


def _read(open_part: Open, name: str) -> bytes:
    with open_part(name) as source:
        data = source.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise BadImage("the archive can't be imported", f"{name} has more than {MAX_JSON_BYTES} bytes")
    return data


@contextmanager
def _opener(path: Path) -> Iterator[Open]:
    if path.is_dir():
        yield lambda name: _open_inside(path, name)
        return
    if not path.is_file():
        raise ImageNotFound(f"{path} can't be imported", "there is no such file or folder")
    with open_tar(path, "r:*") as tar:
        found: dict[str, tarfile.TarInfo] = {}
        for count, info in enumerate(members(tar, remember=True)):
            if (
                count > MAX_MEMBERS or info.offset_data + info.size > MAX_ARCHIVE_BYTES
            ):  # which gzip makes of very little
                most = f"{MAX_MEMBERS} members or {MAX_ARCHIVE_BYTES >> 30} GiB"
                raise BadImage(f"{path} can't be imported", f"it has more than {most}")
            found[info.name.removeprefix("./")] = info

        def open_member(name: str) -> IO[bytes]:
            info = found[name]
            source = tar.extractfile(info) if info.isreg() or info.issym() or info.islnk() else None
            if source is None:
                raise KeyError(name)
            return source

        yield open_member


def _open_inside(folder: Path, name: str) -> IO[bytes]:
    part = folder / name
    # A layout that somebody gave may hold links to anything on this machine.
    if not part.is_file() or not part.resolve().is_relative_to(folder.resolve()):
        raise KeyError(name)
    return part.open("rb")


class _Plain(io.RawIOBase):
    """A layer's plain bytes, whatever it is packed in, hashed on the way and bounded."""

    def __init__(self, raw: IO[bytes]) -> None:
        start = raw.read(4)
        raw.seek(0)
        if start[:2] == b"\x1f\x8b":
            self._source: IO[bytes] = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
        elif start == b"\x28\xb5\x2f\xfd":
            self._source = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw)
        else:
            self._source = raw
        self._digest = hashlib.sha256()
        self._left_bytes = MAX_ARCHIVE_BYTES

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise BadImage("the archive can't be imported", "a layer unpacks to too much")
        self._digest.update(data)
        return data

    def finish(self) -> str:
        """Read what is left; the hash of everything."""
        while self.read(1 << 20):
            pass
        return self._digest.hexdigest()
