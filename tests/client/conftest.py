"""A small cloud and somebody who asks it; and files encrypted at once, for tests of what is done with them and not of the
encryption: age stretches a passphrase for a second or two.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pyrage
import pytest

from agent.small import Aside, SmallCloud
from agent.unsynced import unsynced
from skerry.client.session import Session

__all__ = ["quick_age", "unsynced"]
MAGIC = b"age-encryption.org/v1"


@pytest.fixture
def quick_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells a wrong passphrase and a damaged file as age does, and hides nothing from anybody but a careless test."""

    def seal(data: bytes, passphrase: str) -> bytes:
        return MAGIC + hashlib.sha256(passphrase.encode() + data).digest() + data[::-1]

    def open_(data: bytes, passphrase: str) -> bytes:
        plain = data[len(MAGIC) + 32 :][::-1]
        if seal(plain, passphrase) != data:
            raise pyrage.DecryptError("wrong")
        return plain

    monkeypatch.setattr(pyrage.passphrase, "encrypt", seal)
    monkeypatch.setattr(pyrage.passphrase, "decrypt", open_)


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[SmallCloud]:
    small = SmallCloud(tmp_path / "hosts", 3)
    await small.start()
    yield small
    await small.stop()


@pytest.fixture
async def session(cloud: SmallCloud, tmp_path: Path) -> AsyncIterator[Session]:
    async with Session(cloud.home(tmp_path / "home"), lambda what: "") as made:
        yield made


@contextlib.contextmanager
def commands_beside(cloud: SmallCloud, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    """The cloud runs, and commands are run beside it from this folder, where ann has her keys: all hosts are linked."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SKERRY_PASSPHRASE", "")
    monkeypatch.delenv("SKERRY_CLOUD", raising=False)
    cloud.home(folder / "ann")
    with Aside(cloud) as aside:
        others = len(cloud.agents) - 1
        aside.wait("links", lambda: all(len(a.mesh.neighbours()) == others for a in cloud.agents.values()))
        yield aside
