"""What the image room's tests share: an object store that is a folder without ceremony, and small trees, debs and tars."""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

from skerry.image.manifest import Entry


class SimpleObjects:
    """Keeps `image.contract.Objects`: a folder of files. `store.objects` is the real one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        hash = hashlib.sha256(data).hexdigest()
        if not self.has(hash):
            self.path(hash).write_bytes(data)
            self.path(hash).chmod(0o444)
        return hash

    def has(self, hash: str) -> bool:
        return self.path(hash).exists()

    def read(self, hash: str) -> bytes:
        return self.path(hash).read_bytes()

    def verify(self, hash: str) -> bool:
        if self.has(hash) and hashlib.sha256(self.read(hash)).hexdigest() != hash:
            self.path(hash).unlink()
        return self.has(hash)

    def remove(self, hash: str) -> None:
        self.path(hash).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter([path.name for path in self.directory.iterdir()])

    def path(self, hash: str) -> Path:
        return self.directory / hash


def file_entry(path: str, data: bytes = b"x", mode: int = 0o644) -> Entry:
    return Entry(path, "f", mode, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def tar_of(*members: tuple[str, object], **changes: object) -> bytes:
    """A tar: (name, bytes) is a file, (name, None) a folder, (name, "target") a link, (name, TarInfo) itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, what in members:
            info = what if isinstance(what, tarfile.TarInfo) else tarfile.TarInfo(name)
            for key, value in changes.items():
                setattr(info, key, value)
            data = b""
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what
            elif isinstance(what, bytes):
                data, info.size = what, len(what)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def deb_of(data_tar: bytes, compress: str = "xz") -> bytes:
    """A Debian package with this data."""
    packed = {"xz": lzma.compress, "": bytes}[compress](data_tar)
    name = "data.tar" + (f".{compress}" if compress else "")
    members = [("debian-binary", b"2.0\n"), ("control.tar.xz", b""), (name, packed)]
    ar = b"!<arch>\n"
    for member, content in members:
        ar += (
            f"{member:<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )
    return ar


def elf_of(
    needed: tuple[str, ...] = (), interpreter: str = "", runpath: str = "", calls: tuple[str, ...] = ()
) -> bytes:
    """A tiny x86-64 ELF file with just a dynamic section: enough for whoever reads what it needs."""
    strings = b"\0"
    offsets = {}
    for text in (*needed, runpath, *calls):
        offsets[text] = len(strings)
        strings += text.encode() + b"\0"
    tags = [(1, offsets[name]) for name in needed]
    if runpath:
        tags.append((29, offsets[runpath]))
    interp = interpreter.encode() + b"\0" if interpreter else b""
    count = 2 + bool(interp)
    start = 64 + 56 * count
    strings_at = start + len(interp)
    dynamic_at = strings_at + len(strings)
    tags += [(5, strings_at), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    total = dynamic_at + len(dynamic)
    headers = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, total, total, 4096)
    headers += struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8)
    if interp:
        headers += struct.pack("<IIQQQQQQ", 3, 4, start, start, start, len(interp), len(interp), 1)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, count, 64, 0, 0)
    return head + headers + interp + strings + dynamic
