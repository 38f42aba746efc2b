"""A bundle as a host unpacks it for an upgrade: whole and in its own folder, or not at all."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from skerry.agent.upgrade import read_trial, unpack, version_here
from skerry.errors import BadFormat

VERSION = "0.1.0-0badcafe"
DIGEST = "ab" * 32


def bundle(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """`bytes`: a file, `str`: a link to it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


AGENT = (f"{VERSION}/bin/skerry-agent", b"#!/bin/sh\n")


def test_it_lies_in_a_folder_of_its_version_with_the_sums_by_which_it_is_mended(tmp_path: Path) -> None:
    archive = bundle(tmp_path / "b", AGENT, (f"{VERSION}/bin/python3", "skerry-agent"))
    home = tmp_path / "opt"
    assert unpack(archive, DIGEST, home) == VERSION
    place = home / VERSION
    assert (place / ".bundle").read_text() == f"{DIGEST}\n"
    assert [line.split("  ")[1] for line in (place / ".sums").read_text().splitlines()] == [f"{place}/bin/skerry-agent"]
    (place / "bin/skerry-agent").write_text("damaged")
    assert unpack(archive, DIGEST, home) == VERSION
    assert (place / "bin/skerry-agent").read_text() == "#!/bin/sh\n"
    assert sorted(entry.name for entry in home.iterdir()) == [VERSION]


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([AGENT, ("../evil", b"x")], id="out of its folder"),
        pytest.param([AGENT, ("/etc/evil", b"x")], id="an absolute path"),
        pytest.param([AGENT, (f"{VERSION}/lib/x", "/etc/shadow")], id="a link that leads away"),
        pytest.param([AGENT, ("other/file", b"x")], id="two versions"),
        pytest.param([(f"{VERSION}/lib/x", b"x")], id="no agent in it"),
        pytest.param([("$(reboot)/bin/skerry-agent", b"x")], id="no version"),
    ],
)
def test_what_is_no_bundle_leaves_nothing(tmp_path: Path, members: list[tuple[str, bytes | str]]) -> None:
    home = tmp_path / "opt"
    with pytest.raises(BadFormat):
        unpack(bundle(tmp_path / "b", *members), DIGEST, home)
    assert list(home.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_cut_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = bundle(tmp_path / "b", AGENT, (f"{VERSION}/lib/x", bytes(range(256)) * 400))
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(BadFormat):
        unpack(archive, DIGEST, tmp_path / "opt")
    assert list((tmp_path / "opt").iterdir()) == []


def test_only_a_program_below_the_agents_home_has_a_version(tmp_path: Path) -> None:
    assert version_here("/opt/skerry/0.1.0-0badcafe/bin/python3") == "0.1.0-0badcafe"
    assert version_here("/usr/bin/python3") == version_here("/home/me/.venv/bin/python") == ""
    assert read_trial(tmp_path) is None
