"""Archives that are made to hurt: as an image's layer, as the archive around it, as packages of Debian, npm and Python.

Each is refused in words, in little memory and in a moment. Bombs are built as they come: packed, some kilobytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from image.memory import SimpleObjects, deb_of, tar_of
from image.test_layers import docker_archive, laid
from skerry.errors import SkerryError
from skerry.image.archive import import_archive
from skerry.image.building.sources.lock import Module, Sdist, Wheel
from skerry.image.building.sources.modules import module_path, unpack_module
from skerry.image.building.sources.sdists import sdist_path, sources_of
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.building.sources.wheels import unpack_wheel, wheel_path
from skerry.image.contract import BadImage, DownloadRefused
from skerry.image.layers import Layers

MOST_BYTES = 40 << 20
MOST_CPU_S = 5.0


@contextmanager
def little_memory_and_time() -> Iterator[None]:
    began_s = time.process_time()
    tracemalloc.start()
    try:
        yield
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most_bytes < MOST_BYTES, most_bytes
    assert time.process_time() - began_s < MOST_CPU_S


def header(name: str, kind: bytes, size: int, linkname: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, linkname
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(**said: object) -> bytes:
    """A PAX header that says this of the next member."""
    body = b""
    for key, value in said.items():
        line = f" {key.replace('_', '.')}={value}\n".encode()
        size = len(line)
        while len(str(size)) + len(line) != size:
            size = len(str(size)) + len(line)
        body += str(size).encode() + line
    return header("pax", tarfile.XHDTYPE, len(body)) + padded(body)


END = bytes(1024)
FILE = header("a", tarfile.REGTYPE, 1) + padded(b"1")
LARGE = 64 << 20  # enough to be seen; the bound is a hundredth of it

TRICKS: dict[str, Callable[[], bytes]] = {
    "a name of 64 MiB": lambda: header("x", tarfile.GNUTYPE_LONGNAME, LARGE) + bytes(LARGE) + FILE,
    "a link of 64 MiB": lambda: header("x", tarfile.GNUTYPE_LONGLINK, LARGE) + bytes(LARGE) + FILE,
    "a PAX header of 64 MiB": lambda: header("x", tarfile.XHDTYPE, LARGE) + bytes(LARGE) + FILE,
    "a global header of 64 MiB": lambda: header("x", tarfile.XGLTYPE, LARGE) + bytes(LARGE) + FILE,
    "a header on a header, 5000 times": lambda: (header("x", tarfile.GNUTYPE_LONGNAME, 2) + padded(b"a\0")) * 5000 + FILE,
    "PAX on PAX, 5000 times": lambda: pax(path="b") * 5000 + FILE,
    "a negative size": lambda: pax(size=-1024) + FILE,
    "a size of 2^63": lambda: pax(size=1 << 63) + FILE,
    "a size of 2^70": lambda: pax(size=1 << 70) + FILE,
    "more than it has": lambda: pax(size=5000) + FILE,
    "a sparse giant, old way": lambda: header("big", tarfile.GNUTYPE_SPARSE, 0) + FILE,
    "a sparse giant, PAX 0.0": lambda: pax(GNU_sparse_size=1 << 50, GNU_sparse_numblocks=0) + FILE,
    "a sparse giant, PAX 0.1": lambda: pax(GNU_sparse_map="0,1", GNU_sparse_realsize=1 << 50) + FILE,
    "a sparse giant, PAX 1.0": lambda: (
        pax(GNU_sparse_major=1, GNU_sparse_minor=0, GNU_sparse_realsize=1 << 50)
        + header("big", tarfile.REGTYPE, LARGE)
        + b"99999999\n"
        + b"1\n" * (LARGE // 2)
    ),
    "two dots": lambda: header("../x", tarfile.REGTYPE, 0),
    "a hard link outside": lambda: header("x", tarfile.LNKTYPE, 0, "../../etc/shadow"),
    "a hard link to nothing": lambda: header("x", tarfile.LNKTYPE, 0, "etc/shadow"),
}  # fmt: skip


@pytest.fixture(params=TRICKS.values(), ids=TRICKS)
def trick(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param()) + END


def test_a_layer(tmp_path: Path, trick: bytes) -> None:
    objects = SimpleObjects(tmp_path / "objects")
    with little_memory_and_time(), pytest.raises(BadImage) as refused:
        Layers(objects).add(io.BytesIO(trick))
    assert refused.value.why


def test_an_archive_around_an_image(tmp_path: Path, trick: bytes) -> None:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(trick, 1))
    objects = SimpleObjects(tmp_path / "objects")
    with little_memory_and_time(), pytest.raises(BadImage) as refused:
        import_archive(path, objects)
    assert str(path) in refused.value.what or "archive" in refused.value.what
    assert not list(objects)


def test_a_package_of_debian(tmp_path: Path, trick: bytes) -> None:
    packed = deb_of(trick, "")
    deb = tmp_path / f"{hashlib.sha256(packed).hexdigest()}.deb"
    deb.write_bytes(packed)
    with little_memory_and_time_besides(packed), pytest.raises(DownloadRefused) as refused:
        unpack_deb(deb, tmp_path / "cache", "app 1")
    assert "app 1 was refused" in refused.value.what and "not a Debian package" in refused.value.why
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@contextmanager
def little_memory_and_time_besides(packed: bytes) -> Iterator[None]:
    """A package is checked by its hash before anything else, so it is in memory once, as it was fetched."""
    if len(packed) > MOST_BYTES // 4:
        began_s = time.process_time()
        yield
        assert time.process_time() - began_s < MOST_CPU_S
        return
    with little_memory_and_time():
        yield


def test_a_source_of_python_and_a_package_of_npm(tmp_path: Path, trick: bytes) -> None:
    packed = gzip.compress(trick, 1)
    sdist = Sdist("x", "1", hashlib.sha256(packed).hexdigest(), len(packed), "x-1.tar.gz")
    module = Module(
        "x", "1", "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode(), ("node_modules/x",)
    )
    for place in (sdist_path(sdist, tmp_path), module_path(module, tmp_path)):
        place.parent.mkdir(parents=True)
        place.write_bytes(packed)
    with little_memory_and_time():
        for read in (lambda: sources_of(sdist, tmp_path), lambda: unpack_module(module, tmp_path, "app")):
            try:
                found = read()
            except DownloadRefused as refused:
                assert refused.why
            else:  # npm takes nothing but plain files in a folder, a source no file outside of its own
                assert not found


def test_layers_of_more_entries_than_any_image_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million names of nothing: 512 MB of headers, of which no more is read than up to the bound (a tenth of the real one)."""
    monkeypatch.setattr("skerry.image.layers.MAX_ENTRIES", 20_000)
    one = header("nnnnnnn", tarfile.DIRTYPE, 0)

    class Million(io.RawIOBase):
        def __init__(self) -> None:
            self.count, self.rest = 0, b""

        def read(self, size: int = -1, /) -> bytes:
            while len(self.rest) < size and self.count < 1_000_000:
                for _ in range(40):
                    self.rest += renamed(one, self.count)
                    self.count += 1
            data, self.rest = self.rest[:size], self.rest[size:]
            return data

    source = Million()
    with pytest.raises(BadImage, match="20000 entries"):
        Layers(SimpleObjects(tmp_path / "objects")).add(source)  # type: ignore[arg-type]
    assert source.count < 21_000


def renamed(head: bytes, number: int) -> bytes:
    """With another name, and the sum that goes with it."""
    whole = bytearray(b"%07d" % number + head[7:])
    whole[148:156] = b" " * 8
    whole[148:156] = b"%06o\0 " % sum(whole)
    return bytes(whole)


def test_a_tree_deeper_than_a_stack_is_laid_hidden_and_replaced(tmp_path: Path) -> None:
    deep = "/".join("d" * 1500)
    objects = SimpleObjects(tmp_path / "objects")
    lower = tar_of((f"{deep}/file", b"1"))
    assert len(laid(objects, lower)) == 1501
    assert laid(objects, lower, tar_of((".wh.d", b""))) == {}
    assert laid(objects, lower, tar_of(("d", b"2"))) == {"d": "2"}
    with pytest.raises(BadImage, match="longer than 4096"):
        laid(objects, tar_of(("/".join("d" * 300_000), None)))


def test_names_that_differ_in_case_alone_and_names_that_come_twice(tmp_path: Path) -> None:
    """Objects are known by hashes, so it doesn't matter whether this machine's disk knows cases; of two the later one counts."""
    objects = SimpleObjects(tmp_path / "objects")
    members = [("etc/Conf", b"1"), ("etc/conf", b"2"), ("ETC/conf", b"3"), ("etc/conf", b"4"), ("./etc//conf", b"5")]
    found = laid(objects, tar_of(*members))
    assert found == {"ETC": "/", "ETC/conf": "3", "etc": "/", "etc/Conf": "1", "etc/conf": "5"}


def test_an_archive_of_zeros_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """One member that says it has a terabyte: gzip would take hours to find its end."""
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(pax(size=1 << 40) + header("zeros", tarfile.REGTYPE, 0) + bytes(1 << 20)))
    with little_memory_and_time(), pytest.raises(BadImage, match="GiB"):
        import_archive(path, SimpleObjects(tmp_path / "objects"))


def test_a_layer_of_zeros_is_refused_at_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gzip in gzip stays gzip: a layer is unpacked once, and what is in it is a file like others."""
    monkeypatch.setattr("skerry.image.archive.MAX_ARCHIVE_BYTES", 8 << 20)
    bomb = gzip.compress(tar_of(("a", b"1")) + bytes(64 << 20), 9)
    path = tmp_path / "image.tar"
    path.write_bytes(docker_archive([tar_of(("a", b"1"))], [bomb]))
    with little_memory_and_time(), pytest.raises(BadImage, match="unpacks to too much"):
        import_archive(path, SimpleObjects(tmp_path / "objects"))
    nested = docker_archive([tar_of(("b.gz", gzip.compress(bomb)))])
    path.write_bytes(nested)
    with little_memory_and_time():
        import_archive(path, SimpleObjects(tmp_path / "objects"))


@pytest.mark.parametrize("cut", [lambda data: data[:200], lambda data: data[:10] + b"\xff" * 50 + data[60:]])
def test_a_packed_layer_that_is_cut_or_damaged(tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    layer = tar_of(("a", bytes(range(256)) * 100))
    path = tmp_path / "image.tar"
    path.write_bytes(docker_archive([layer], [cut(gzip.compress(layer))]))
    with pytest.raises(BadImage):
        import_archive(path, SimpleObjects(tmp_path / "objects"))


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def with_flag(data: bytes, flag: int) -> bytes:
    """A bit of the flags of the first member, in both places."""
    whole = bytearray(data)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = whole.index(mark) + at
        whole[place : place + 2] = struct.pack("<H", flag)
    return bytes(whole)


def with_size(data: bytes, size: int) -> bytes:
    whole = bytearray(data)
    place = whole.index(b"PK\x01\x02") + 24
    whole[place : place + 4] = struct.pack("<I", size)
    return bytes(whole)


def with_method(data: bytes, method: int) -> bytes:
    whole = bytearray(data)
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = whole.index(mark) + at
        whole[place : place + 2] = struct.pack("<H", method)
    return bytes(whole)


GOOD = zipped(("a.py", b"x = 1\n" * 100))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PK", GOOD[:-30], GOOD[:60] + bytes(20) + GOOD[80:], with_flag(GOOD, 1), with_method(GOOD, 99), with_method(GOOD, 14),
        with_size(GOOD, 3 << 30), with_size(GOOD, 10), zipped(("../a.py", b"1")), zipped(("/a.py", b"1")),
    ],
    ids=["empty", "a mark alone", "cut", "damaged", "encrypted", "packed in no known way", "of another way of packing",
         "3 GiB by its own word", "larger than it says", "two dots", "absolute"],
)  # fmt: skip
def test_a_wheel(tmp_path: Path, data: bytes) -> None:
    wheel = Wheel("a", "1", hashlib.sha256(data).hexdigest(), len(data), "a-1-py3-none-any.whl")
    wheel_path(wheel, tmp_path).parent.mkdir(parents=True)
    wheel_path(wheel, tmp_path).write_bytes(data)
    with little_memory_and_time(), pytest.raises(DownloadRefused) as refused:
        unpack_wheel(wheel, tmp_path, "site")
    assert wheel.file in refused.value.what
    assert not list((tmp_path / "unpacked").glob("*")) if (tmp_path / "unpacked").exists() else True


def test_a_wheel_that_the_disk_has_changed_is_told_apart_and_fetched_again(tmp_path: Path) -> None:
    wheel = Wheel("a", "1", hashlib.sha256(GOOD).hexdigest(), len(GOOD), "a-1-py3-none-any.whl")
    place = wheel_path(wheel, tmp_path)
    for at in range(0, len(GOOD), 7):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(GOOD)
        (before,) = unpack_wheel(wheel, tmp_path, "site")
        assert before.load() == b"x = 1\n" * 100
        place.write_bytes(GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :])
        (file,) = unpack_wheel(wheel, tmp_path, "site")
        try:
            assert file.load() == b"x = 1\n" * 100, "either it is right all the same"
        except SkerryError as error:
            assert error.code == "cache-damaged" and error.fix and not place.exists(), "or gone, to be fetched again"
