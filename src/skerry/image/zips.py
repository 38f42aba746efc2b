"""Zip files of others: `zipfile` looks at little in them before it uses it."""

from __future__ import annotations

import io
import struct
import zipfile

from skerry.image.tars import BROKEN

# What reading one raises; of OSError see who reads.
NO_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, LookupError, struct.error, *BROKEN)


def files_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Without folders. Raises what is in NO_ZIP, also for what would take gigabytes of memory: a file is read in one go, so as many
    bytes as it says are asked for at once; LZMA gives its dictionary what it asks for.
    """
    found = [info for info in archive.infolist() if not info.is_dir()]
    size_bytes = archive.fp.seek(0, io.SEEK_END) if archive.fp is not None else 0
    if any(info.compress_size > size_bytes for info in found):
        raise zipfile.BadZipFile("a file in it is larger than the whole")
    if any(info.compress_type == zipfile.ZIP_LZMA for info in found):
        raise zipfile.BadZipFile("a file in it is compressed by LZMA")
    return found
