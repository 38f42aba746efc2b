"""The files of a Debian package, without dpkg, without root rights and without unpacking it into a directory.

The archive's data is decompressed once into the cache as one plain tar; what is in it is remembered beside it. A
file is then read by its offset, and only if an image keeps it. Maintainer scripts are never even looked at. Source:
deb(5).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Literal

import msgspec
import zstandard

from skerry.image.building.pile import File, merged
from skerry.image.contract import DownloadRefused
from skerry.image.kept import half_made, keep, kept, part_of, read_checked
from skerry.image.tars import BROKEN, members, open_tar

MAX_TAR_BYTES = 4 << 30
MAX_MEMBERS = 200_000
BLOCK_BYTES = 1 << 20
MAX_MEMORY_BYTES = 1 << 27  # to decompress; the most that xz -9 asks for is half of that


class _Member(msgspec.Struct, array_like=True):
    path: str
    kind: Literal["f", "d", "l"]
    link: str
    sha256: str
    size: int
    offset: int


def unpack_deb(deb: Path, cache: Path, origin: str) -> list[File]:
    """The files of the package at `deb` (named by its hash). Raises DownloadRefused when it is not a package, CacheDamaged."""
    tar = cache / "unpacked" / f"{deb.stem}.tar"
    listing = tar.with_suffix(".msgpack")
    found = kept(listing, list[_Member])
    if found is None or not tar.is_file():
        tar.parent.mkdir(parents=True, exist_ok=True)
        package = io.BytesIO(read_checked(deb, deb.stem, origin))
        part = part_of(tar)
        try:
            with half_made(part):
                with part.open("wb") as sink:
                    _decompress(*_data_member(package), sink)
                with part.open("rb") as plain:
                    found = list(_members(plain))
                part.replace(tar)
        except (gzip.BadGzipFile, *BROKEN) as error:
            raise DownloadRefused(f"{origin} was refused", f"it is not a Debian package: {error}") from error
        keep(listing, found)
    return [_file(member, tar, origin) for member in found]


def _file(member: _Member, tar: Path, origin: str) -> File:
    def load() -> bytes:
        return read_checked(tar, member.sha256, origin, offset=member.offset, size=member.size)

    return File(member.path, member.kind, member.link, member.sha256, member.size, origin, load)


def _data_member(source: BinaryIO) -> tuple[str, bytes]:
    """The `data.tar.*` member of an ar archive: its name and its bytes."""
    if source.read(8) != b"!<arch>\n":
        raise tarfile.ReadError("it has no ar header")
    while header := source.read(60):
        if len(header) != 60 or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise tarfile.ReadError("an ar header is damaged")
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return name, source.read(size)
        source.seek(size + size % 2, io.SEEK_CUR)
    raise tarfile.ReadError("it has no data")


def _decompress(name: str, data: bytes, sink: BinaryIO) -> None:
    """Write the plain tar, never more than MAX_TAR_BYTES."""
    written = 0
    for block in _blocks(name, data):
        written += len(block)
        if written > MAX_TAR_BYTES:
            raise tarfile.ReadError(f"it unpacks to more than {MAX_TAR_BYTES} bytes")
        sink.write(block)


def _blocks(name: str, data: bytes) -> Iterator[bytes]:
    source = io.BytesIO(data)
    reader: IO[bytes] | gzip.GzipFile
    if name.endswith(".xz"):
        yield from _unpacked_xz(data)
        return
    if name.endswith(".zst"):
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_MEMORY_BYTES).stream_reader(source)
    elif name.endswith(".gz"):
        reader = gzip.GzipFile(fileobj=source)
    elif name == "data.tar":
        reader = source
    else:
        raise tarfile.ReadError(f"{name} is compressed in an unknown way")
    while block := reader.read(BLOCK_BYTES):
        yield block


def _unpacked_xz(data: bytes) -> Iterator[bytes]:
    """One stream after the other. `lzma.LZMAFile` would give a dictionary as much memory as it asks for."""
    while data:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY_BYTES)
        while not decoder.eof:
            block = decoder.decompress(data, BLOCK_BYTES)
            data = b""
            if not block and not decoder.eof and decoder.needs_input:
                raise EOFError("it is cut")
            yield block
        data = decoder.unused_data.lstrip(b"\0")


def _members(plain: BinaryIO) -> Iterator[_Member]:
    seen: dict[str, _Member] = {}
    with open_tar(plain, "r:") as tar:
        for count, info in enumerate(members(tar)):
            if count > MAX_MEMBERS:
                raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} members")
            path = _clean(info.name)
            if not path:
                continue
            if info.isdir():
                member = _Member(path, "d", "", "", 0, 0)
            elif info.issym():
                member = _Member(path, "l", info.linkname, "", 0, 0)
            elif info.islnk():
                target = seen.get(_clean(info.linkname))
                if target is None or target.kind != "f":
                    raise tarfile.ReadError(f"{path} is a hard link to nothing")
                member = _Member(path, "f", "", target.sha256, target.size, target.offset)
            elif info.isreg():
                plain.seek(info.offset_data)
                digest, left = hashlib.sha256(), info.size
                while left and (block := plain.read(min(left, BLOCK_BYTES))):
                    digest.update(block)
                    left -= len(block)
                if left:
                    raise tarfile.ReadError(f"{path} is cut")
                member = _Member(path, "f", "", digest.hexdigest(), info.size, info.offset_data)
            else:
                continue  # devices and pipes: no image has any
            seen[path] = member
            yield member


def _clean(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise tarfile.ReadError(f"{name!r} leaves the tree")
    return merged("/".join(parts))
