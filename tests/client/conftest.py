"""For tests of what is done with encrypted files, not of the encryption: age stretches a passphrase for a second or two."""

from __future__ import annotations

import hashlib

import pyrage
import pytest

from agent.unsynced import unsynced

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
