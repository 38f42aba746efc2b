"""A tar stream that a captured host sends to `skerry cp`: whatever it says, nothing is written beside its own folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from skerry.client.copying import InTheWay, Unpacked, destination
from skerry.errors import BadFormat, BadInput


def entry(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=kind, linkname=target)


FOLDER = entry("d", type=tarfile.DIRTYPE, mode=0o755)
HOSTILE = {
    "above": [entry("../victim", b"x")],
    "absolute": [entry("/tmp/skerry-victim", b"x")],
    "deep above": [FOLDER, entry("d/../../victim", b"x")],
    "a link out": [link("l", "../outside"), entry("l/victim", b"x")],
    "an absolute link": [link("l", "/"), entry("l/tmp/skerry-victim", b"x")],
    "a link, then a file through it": [FOLDER, link("d/l", "."), entry("d/l/../../victim", b"x")],
    "a chain of links": [FOLDER, link("a", "d"), link("b", "a/.."), link("c", "b/.."), entry("c/victim", b"x")],
    "a link in the place of a folder": [FOLDER, entry("d/f", b"1"), link("d", ".."), link("d/x", "victim")],
    "a link below a link": [link("l", "."), link("l/m", "../..")],
    "a hard link": [link("h", "../outside/victim", tarfile.LNKTYPE)],
    "a device": [entry("dev", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a pipe": [entry("pipe", type=tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_stream_writes_nothing_elsewhere(case: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    own = tmp_path / "own"
    own.mkdir()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for info, content in [*HOSTILE[case], entry("last", b"kept")]:
            tar.addfile(info, io.BytesIO(content))
    made.seek(0)
    unpacked = Unpacked(own)
    unpacked.read(made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "own"]
    assert list((tmp_path / "outside").iterdir()) == []
    assert not Path("/tmp/skerry-victim").exists()
    assert (own / "last").read_text() == "kept"
    for path in own.rglob("*"):
        assert path.resolve().is_relative_to(own)
        assert path.is_symlink() or path.is_file() or path.is_dir()
        assert not path.is_file() or path.stat().st_nlink == 1
    assert unpacked.left_out_count >= 1


def test_what_is_no_tar_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadFormat):
        Unpacked(tmp_path).read(io.BytesIO(b"no tar at all" * 100))
    with pytest.raises(BadFormat):
        Unpacked(tmp_path).move(tmp_path / "x")


def test_a_folder_is_put_over_nothing_and_a_file_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    own = tmp_path / "own"
    (own / "d").mkdir(parents=True)
    with pytest.raises(InTheWay):
        Unpacked(own).move(tmp_path / "there")
    (own / "d").rmdir()
    (own / "f").write_text("new")
    (tmp_path / "file").write_text("old")
    Unpacked(own).move(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "new"
    assert destination("/tmp/dump", tmp_path) == tmp_path / "dump"
    with pytest.raises(InTheWay):
        destination("/tmp/dump", tmp_path / "no" / "where")
    assert issubclass(BadFormat, BadInput)
