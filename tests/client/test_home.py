"""An operator's files: whole or not there, locked while changing, one cloud chosen by option, variable, selection."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from skerry.client.home import CloudExists, CloudFile, Head, Home, HomeBusy, KnownHost, NoCloud
from skerry.client.keys import (
    KeyMissing,
    NoPassphrase,
    WrongPassphrase,
    is_encrypted,
    passphrase_from,
    read_secret,
    write_atomically,
    write_secret,
)
from skerry.errors import BadFormat, BadInput


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    for name in ("one", "two"):
        home.new_cloud(name).write(CloudFile(id="0" * 64, name=name))
    return home


def test_the_cloud_is_chosen_by_option_then_variable_then_selection(home: Home) -> None:
    with pytest.raises(NoCloud):
        home.choose("", {})
    home.select("one")
    assert home.choose("", {}).name == "one"
    assert home.choose("", {"SKERRY_CLOUD": "two"}).name == "two"
    assert home.choose("one", {"SKERRY_CLOUD": "two"}).name == "one"
    with pytest.raises(NoCloud, match="three"):
        home.choose("three", {})
    home.forget("one")
    assert (home.selected(), home.clouds()) == ("", ["two"])


def test_what_is_written_comes_back(home: Home) -> None:
    cloud = home.cloud("one")
    content = CloudFile(id="1" * 64, name="one", hosts={"vps": KnownHost(("198.51.100.7:7077",), "AA==")})
    cloud.write(content)
    cloud.write_heads({"policy": Head(1, 2, "f" * 64)})
    assert cloud.read() == content
    assert cloud.heads() == {"policy": Head(1, 2, "f" * 64)}
    assert home.cloud("two").heads() == {}


def test_a_cloud_is_never_made_twice_nor_with_a_name_that_leaves_the_folder(home: Home) -> None:
    with pytest.raises(CloudExists):
        home.new_cloud("one")
    for name in ("", "../x", "a/b", "A", ".", "x" * 64):
        with pytest.raises(BadInput):
            home.new_cloud(name)
    with pytest.raises(NoCloud):
        home.cloud("../home")


def test_a_damaged_file_is_refused_by_name(home: Home) -> None:
    (home.cloud("one").path / "cloud.json").write_bytes(b'{"id": 1}')
    with pytest.raises(BadFormat, match=r"cloud\.json"):
        home.cloud("one").read()


def test_two_commands_can_not_change_one_cloud_at_once(home: Home) -> None:
    cloud = home.cloud("one")
    with cloud.lock(), pytest.raises(HomeBusy), cloud.lock():
        pass
    with cloud.lock(), home.cloud("two").lock():
        pass
    assert not (cloud.path / "lock").exists()


def test_a_lock_left_by_a_dead_machine_is_taken_over(home: Home) -> None:
    lock = home.cloud("one").path / "lock"
    lock.write_text("1")
    os.utime(lock, (0, 0))
    with home.cloud("one").lock():
        assert lock.read_text() == str(os.getpid())


def test_secrets_are_for_their_owner_alone_and_encrypted_under_a_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k"
    write_secret(path, b"plain")
    assert read_secret(path, lambda what: pytest.fail("nobody need be asked"), "it") == b"plain"
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600
    write_secret(path, b"hidden", "open sesame")
    assert is_encrypted(path.read_bytes()) and b"hidden" not in path.read_bytes()
    assert read_secret(path, lambda what: "open sesame", "it") == b"hidden"
    with pytest.raises(KeyMissing):
        read_secret(tmp_path / "none", lambda what: "", "it")


@pytest.mark.usefixtures("quick_age")
def test_a_wrong_passphrase_is_told_as_such(tmp_path: Path) -> None:
    write_secret(tmp_path / "k", b"hidden", "open sesame")
    with pytest.raises(WrongPassphrase):
        read_secret(tmp_path / "k", lambda what: "wrong", "it")


def test_a_passphrase_comes_from_the_file_then_the_variable_then_a_question(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text("of the file\n")
    environ = {"SKERRY_PASSPHRASE": "of the variable"}
    assert passphrase_from(environ, file, None)("x") == "of the file"
    assert passphrase_from(environ, None, None)("x") == "of the variable"
    assert passphrase_from({}, None, lambda what: f"asked for {what}")("x") == "asked for x"
    with pytest.raises(NoPassphrase):
        passphrase_from({}, None, None)("x")
    with pytest.raises(NoPassphrase):
        passphrase_from({}, tmp_path / "none", None)("x")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def broken(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
