"""Places where others' archives and answers of other programs come in: packages of Debian, PyPI and of ours, hosts that are set up.

Each with the good input that its fuzzing begins with. The invariant is that of targets.py.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from image.memory import deb_of, tar_of
from skerry.agent import upgrade
from skerry.client import adopt, bundle, looking
from skerry.image.building.pile import File
from skerry.image.building.recipes import node
from skerry.image.building.sources import markers, modules, sdists, unpack, wheels
from skerry.image.building.sources.lock import Sdist, Wheel
from skerry.image.building.suggest import NothingToBuild, suggest
from skerry.image.tars import BROKEN
from skerry.net import flows, netlink
from skerry.observe.look import perfdata
from trust.world import CLOUD, ROOT


def _cached(data: bytes, *below: str, named: str = "") -> tuple[tempfile.TemporaryDirectory[str], str]:
    """A cache that has these bytes, as what was fetched: their hash is what the lock or index says."""
    folder, sha256 = tempfile.TemporaryDirectory(), hashlib.sha256(data).hexdigest()
    path = Path(folder.name).joinpath(*below, sha256, named) if named else Path(folder.name) / f"{sha256}.deb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return folder, sha256


def debian_package(data: bytes) -> None:
    folder, sha256 = _cached(data)
    with folder as cache:
        for file in unpack.unpack_deb(Path(cache) / f"{sha256}.deb", Path(cache), "a package"):
            if file.kind == "f":
                file.load()


def wheel(data: bytes) -> None:
    folder, sha256 = _cached(data, "wheels", named="a-1-py3-none-any.whl")
    with folder as cache:
        named = Wheel("a", "1", sha256, len(data), "a-1-py3-none-any.whl")
        for file in wheels.unpack_wheel(named, Path(cache), "site"):
            file.load()


def package_of_npm(data: bytes) -> None:
    with contextlib.suppress(gzip.BadGzipFile, *BROKEN):  # which its caller tells
        modules._read_tarball(io.BytesIO(data))


def metadata_of_a_wheel(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a-1-py3-none-any.whl"
        path.write_bytes(data)
        with contextlib.suppress(zipfile.BadZipFile):
            markers._metadata(path)


def _sources(data: bytes, name: str) -> None:
    folder, sha256 = _cached(data, "sdists", named=name)
    with folder as cache:
        sdists.build_system(sdists.sources_of(Sdist("a", "1", sha256, len(data), name), Path(cache)))


def source_archive(data: bytes) -> None:
    _sources(data, "a-1.tar.gz")


def zipped_source_archive(data: bytes) -> None:
    _sources(data, "a-1.zip")


def build_of_a_source_archive(data: bytes) -> None:
    sdists.build_system([File("pyproject.toml", "f", "", "", len(data), "a", lambda: data)])


def manifest_of_a_module(data: bytes) -> None:
    path = "app/node_modules/a/package.json"
    file = File(path, "f", "", "", len(data), "a", lambda: data)
    node._told(path, type("_Closure", (), {"kept": {path: file}})(), set())


def bundle_of_the_agent(data: bytes) -> None:
    """Its hash is signed for. All the same it may put nothing elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.tar.gz"
        path.write_bytes(data)
        with contextlib.suppress(bundle.BadFormat):
            bundle.read_bundle(path)
        upgrade.unpack(path, "ab" * 32, Path(folder) / "home")


def folder_without_a_recipe(data: bytes) -> None:
    """The first byte says which of its files is strange."""
    names = ("package.json", "pyproject.toml", "Cargo.toml", "Dockerfile", "requirements.txt")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / names[(data[0] if data else 0) % len(names)]).write_bytes(data[1:])
        with contextlib.suppress(NothingToBuild):
            suggest(Path(folder))


def hand_over_of_a_host(data: bytes) -> None:
    adopt._old(adopt._read(data, "vps-1"))


def piece_of_a_look(data: bytes) -> None:
    """The first byte says of which kind."""
    looking._read(data[1:], dict[str, object] if data[:1] == b"\0" else list[dict[str, object]], "node/vps-1")


def records_of_perf(data: bytes) -> None:
    perfdata.counted(data)


def flow_of_the_kernel(data: bytes) -> None:
    list(netlink.attributes(data))
    flows.parse_open(data, (struct.unpack("=I", bytes([10, 77, 1, 2]))[0], 0))
    flows.parse(data)


def _zip(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _gz(*members: tuple[str, bytes | None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = (tarfile.DIRTYPE, 0) if content is None else (tarfile.REGTYPE, len(content))
            tar.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


PROJECT = b'[build-system]\nrequires = ["a>=1"]\nbuild-backend = "b.c"\nbackend-path = ["."]\n'
METADATA = b"Name: a\nVersion: 1\nRequires-Dist: b>=1; extra == 'x'\n"

PACKED: dict[Callable[[bytes], None], list[bytes]] = {
    debian_package: [deb_of(tar_of(("./usr", None), ("./usr/a", b"x"), ("./l", "usr/a")), compress) for compress in ("xz", "")],
    wheel: [_zip(**{"a/b.py": b"x", "a-1.dist-info/METADATA": METADATA, "a-1.data/purelib/c.py": b""})],
    metadata_of_a_wheel: [_zip(**{"a-1.dist-info/METADATA": METADATA})],
    source_archive: [_gz(("a-1", None), ("a-1/pyproject.toml", PROJECT), ("a-1/a.py", b""))],
    zipped_source_archive: [_zip(**{"a-1/pyproject.toml": PROJECT, "a-1/a.py": b""})],
    package_of_npm: [_gz(("package/package.json", b"{}"), ("package/a/b.js", b"x"))],
    build_of_a_source_archive: [PROJECT, b""],
    manifest_of_a_module: [b'{"name":"a","version":"1","scripts":{"install":"x"}}'],
    bundle_of_the_agent: [_gz(("1.0-0123abcd", None), ("1.0-0123abcd/bin", None), ("1.0-0123abcd/bin/skerry-agent", b"x"))],
    folder_without_a_recipe: [
        b'\0{"main":"a.js","scripts":{"start":"node a.js"},"dependencies":{"b":"1"}}', b'\1[project]\nname = "a"\n',
        b'\2[package]\nname = "a"\n', b"\3FROM x\nEXPOSE 80\nUSER 3\nENV A=b\nCMD [\"x\"]\n", b"\4flask\n",
    ],
    hand_over_of_a_host: [msgspec.json.encode({"cloud": CLOUD, "node": "node/vps-1", "records": [ROOT], "facts": [], "boxes": {}})],
    piece_of_a_look: [b'\0{"count":1}', b'\1[{"path":"/"}]'],
    records_of_perf: [struct.pack("<IHH", 9, 0, 8) + struct.pack("<IHHQQ", 2, 0, 24, 1, 7)],
    flow_of_the_kernel: [
        b"\2\0\0\0" + struct.pack("=HH", 52, 1) + b"\x14\0\1\0\x08\0\1\0\x0a\x4d\1\1\x08\0\2\0\x0a\x4d\1\2" + bytes(28),
    ],
}  # fmt: skip
