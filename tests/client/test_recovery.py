"""A cloud's beginning, and its rescue on a machine that has nothing but the recovery file."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from skerry.client import recovery
from skerry.client.home import CloudExists, Home
from skerry.client.identity import read_operator, read_public, read_root, write_key_pair
from skerry.client.keys import KeyMissing, WrongPassphrase
from skerry.client.session import Session
from skerry.errors import BadFormat, BadInput, Refusal
from skerry.trust.identity import Signer

pytestmark = pytest.mark.usefixtures("quick_age")


def nobody(what: str) -> str:
    pytest.fail(f"asked for {what}")


def begin(tmp_path: Path, passphrase: str = "", recovery_passphrase: str = "") -> recovery.Begun:
    return recovery.init(
        Home(tmp_path / "home"),
        "shop",
        operator="ada",
        passphrase=passphrase,
        recovery_file=tmp_path / "shop.age",
        recovery_passphrase=recovery_passphrase,
    )


def test_a_new_cloud_opens_is_selected_and_has_two_keys_apart(tmp_path: Path) -> None:
    begun = begin(tmp_path)
    home = Home(tmp_path / "home")
    assert home.selected() == "shop"
    session = Session(begun.cloud, nobody)
    assert session.signer.key in session.trusted.operator_keys()
    root = read_root(begun.cloud, nobody)
    assert Signer(root.seeds[0]).key != session.signer.key
    assert begun.cloud.read().operator == "ada"
    with pytest.raises(CloudExists):
        begin(tmp_path)


def test_keys_under_a_passphrase_open_with_it_alone(tmp_path: Path) -> None:
    begun = begin(tmp_path, passphrase="secret")
    assert read_operator(begun.cloud, lambda what: "secret").name == "ada"
    with pytest.raises(WrongPassphrase):
        read_operator(begun.cloud, lambda what: "other")


def test_the_recovery_file_alone_brings_everything_back(tmp_path: Path) -> None:
    begun = begin(tmp_path)
    assert len(begun.passphrase) == 29
    other = Home(tmp_path / "other")
    cloud, found = recovery.recover(other, begun.recovery_file, begun.passphrase)
    assert found.cloud == begun.id
    assert read_operator(cloud, nobody) == read_operator(begun.cloud, nobody)
    assert read_root(cloud, nobody) == read_root(begun.cloud, nobody)
    assert msgspec.structs.replace(cloud.read(), operator="") == msgspec.structs.replace(
        begun.cloud.read(), operator=""
    )
    assert Session(cloud, nobody).signer.key == Session(begun.cloud, nobody).signer.key
    with pytest.raises(CloudExists):
        recovery.recover(other, begun.recovery_file, begun.passphrase)


def test_a_wrong_passphrase_or_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    begun = begin(tmp_path, recovery_passphrase="words")
    assert begun.passphrase == ""
    other = Home(tmp_path / "other")
    with pytest.raises(Refusal):
        recovery.recover(other, begun.recovery_file, "wrong")
    data = bytearray(begun.recovery_file.read_bytes())
    data[-5] ^= 1
    begun.recovery_file.write_bytes(data)
    with pytest.raises(Refusal):
        recovery.recover(other, begun.recovery_file, "words")
    with pytest.raises(BadInput):
        recovery.recover(other, tmp_path / "none", "words")
    assert other.clouds() == []


def test_a_recovery_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "shop.age").write_text("another cloud's only hope")
    with pytest.raises(BadInput, match="was not made"):
        begin(tmp_path)
    assert Home(tmp_path / "home").clouds() == []


def test_an_export_without_the_root_key_can_sign_but_not_change_operators(tmp_path: Path) -> None:
    begun = begin(tmp_path)
    done = recovery.export(begun.cloud, nobody, tmp_path / "laptop.age", root=False)
    cloud, _ = recovery.recover(Home(tmp_path / "laptop"), done.recovery_file, done.passphrase)
    assert Session(cloud, nobody).signer.key == Session(begun.cloud, nobody).signer.key
    with pytest.raises(KeyMissing):
        read_root(cloud, nobody)


def test_a_ci_system_knows_the_cloud_from_a_public_file_and_its_own_key(tmp_path: Path) -> None:
    begun = begin(tmp_path)
    half = write_key_pair(tmp_path / "ci.key", tmp_path / "ci.pub", "ci", "")
    assert read_public(tmp_path / "ci.pub") == half
    recovery.export_public(begun.cloud, tmp_path / "cloud.json")
    cloud, addresses = recovery.join_public(Home(tmp_path / "ci"), tmp_path / "cloud.json", tmp_path / "ci.key", nobody)
    assert addresses == []
    assert Session(cloud, nobody).signer.key == half.key
    text = (tmp_path / "cloud.json").read_text()
    for seed in (read_operator(begun.cloud, nobody).seed, read_root(begun.cloud, nobody).seeds[0]):
        assert msgspec.json.encode(seed).decode().strip('"') not in text


def test_a_public_half_that_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    one = write_key_pair(tmp_path / "a.key", tmp_path / "a.pub", "a", "")
    two = write_key_pair(tmp_path / "b.key", tmp_path / "b.pub", "b", "")
    mixed = msgspec.structs.replace(one, key=two.key)
    (tmp_path / "c.pub").write_bytes(msgspec.json.encode(mixed))
    with pytest.raises(BadFormat):
        read_public(tmp_path / "c.pub")
    (tmp_path / "d.pub").write_bytes(b"{")
    with pytest.raises(BadFormat):
        read_public(tmp_path / "d.pub")


def test_the_root_outlives_the_policy(tmp_path: Path) -> None:
    session = Session(begin(tmp_path).cloud, nobody)
    root, policy = session.trusted.document("root"), session.trusted.policy
    assert root is not None and policy is not None
    assert root.expires > policy.expires > time.time() + 300 * 86400
