"""Tar files of others, opened so that no header of theirs takes what memory or stack there is.

`tarfile` reads a long name or a PAX header of any size into memory, follows chains of them by calling itself, believes the maps
of sparse files, and remembers every member. All four are bombs of some kilobytes once they are packed.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar

import zstandard

MAX_HEADER_BYTES = 1 << 20
HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
BROKEN = (
    tarfile.TarError, EOFError, ValueError, RecursionError, OverflowError, zlib.error, lzma.LZMAError, zstandard.ZstdError,
)  # fmt: skip  # what reading one raises that is none; of OSError see who reads


class _Info(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Info:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0:
            raise tarfile.ReadError("a size in it is negative")
        if info.type in HEADERS and info.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header in it has {info.size} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a file in it is sparse")
        return info

    def _no_sparse(self, *args: Any) -> None:
        raise tarfile.ReadError("a file in it is sparse")

    # The three ways of PAX to describe a sparse file. tarfile has no other place to say no before a map is read.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _no_sparse


class _Tar(tarfile.TarFile):
    OPEN_METH: ClassVar = {
        "tar": "taropen",
        "gz": "gzopen",
        "bz2": "bz2open",
    }  # not xz: its header may ask for gigabytes of memory


def open_tar(source: Path | IO[bytes], mode: str) -> tarfile.TarFile:
    """As tarfile.open. Raises what is in BROKEN, and OSError."""
    if isinstance(source, Path):
        return _Tar.open(source, mode, tarinfo=_Info)  # type: ignore[call-overload,no-any-return]
    return _Tar.open(fileobj=source, mode=mode, tarinfo=_Info)  # type: ignore[call-overload,no-any-return]


def members(tar: tarfile.TarFile, *, remember: bool = False) -> Iterator[tarfile.TarInfo]:
    """One after the other. `remember`: what `extractfile` needs to follow a link."""
    while (info := tar.next()) is not None:
        if info.size < 0:  # a PAX header may say so; the next member would be one before it
            raise tarfile.ReadError("a size in it is negative")
        if not remember:
            tar.members.clear()  # type: ignore[attr-defined]
        yield info
