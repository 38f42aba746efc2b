"""Secret files of an operator's machine: whole or not there, for their owner alone, encrypted if there is a passphrase.

What is in them is the business of whoever made them (trust.identity); nothing here looks inside.

Format: age (through pyrage) under a passphrase, else the bytes as they are. The first bytes tell which.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from skerry.errors import BadInput, Refusal
from skerry.store.disk import full_disk_told
from skerry.trust import passphrase as under

AGE_MAGIC = b"age-encryption.org/v1"
KEY_MAX_BYTES = 64 << 10

Passphrase = Callable[
    [str], str
]  # asked with what it is for ("the operator key of demo"); called only when one is needed


class WrongPassphrase(Refusal):
    """The file did not open."""

    code = "wrong-passphrase"
    exit_code = 2


class NoPassphrase(BadInput):
    """One is needed and there is nobody to ask."""

    code = "no-passphrase"


class KeyMissing(Refusal):
    """A key that this command needs is not on this machine."""

    code = "key-missing"
    exit_code = 2


def encrypt(data: bytes, passphrase: str) -> bytes:
    """`data` as an age file under `passphrase` ("" is refused: it would look safe and be open)."""
    if not passphrase:
        raise NoPassphrase("the file was not encrypted", "the passphrase is empty", "give one, or none at all")
    return under.lock(data, passphrase)


def decrypt(data: bytes, passphrase: str, what: str) -> bytes:
    """Raises WrongPassphrase."""
    try:
        return under.unlock(data, passphrase)
    except under.NotOpened as error:
        fix = f"{error.fix}; `$SKERRY_PASSPHRASE` and `--passphrase-file` go before the question"
        raise WrongPassphrase(f"{what} could not be opened", error.why, fix) from None


def is_encrypted(data: bytes) -> bool:
    return data.startswith(AGE_MAGIC)


def write_secret(path: Path, data: bytes, passphrase: str = "") -> None:
    """Write atomically with mode 600; encrypted when a passphrase is given."""
    write_atomically(path, encrypt(data, passphrase) if passphrase else data)


def read_secret(path: Path, passphrase: Passphrase, what: str) -> bytes:
    """The plain bytes; `passphrase` is only called when the file is encrypted. Raises KeyMissing, WrongPassphrase."""
    try:
        with path.open("rb") as file:
            data = file.read(KEY_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise KeyMissing(
            f"{what} is not on this machine",
            f"{path} does not exist",
            "run this where the key is, or bring it with `skerry key import`",
        ) from error
    if len(data) > KEY_MAX_BYTES:
        raise BadInput(f"{what} was not read", f"{path} is larger than {KEY_MAX_BYTES} bytes", "check the path")
    return decrypt(data, passphrase(what), what) if is_encrypted(data) else data


def write_atomically(path: Path, data: bytes) -> None:
    """Temporary name, sync, rename: a reader sees the old file or the new one. Mode 600 where the system has modes."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp: mode 600 from the start
    try:
        with full_disk_told(path.parent):
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def passphrase_from(environ: Mapping[str, str], file: Path | None, ask: Passphrase | None) -> Passphrase:
    """Where a passphrase comes from: the file, then `$SKERRY_PASSPHRASE`, then `ask` (None: nobody to ask)."""

    def answer(what: str) -> str:
        if file is not None:
            try:
                return file.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise NoPassphrase(
                    f"no passphrase for {what}", f"{file}: {error}", "check --passphrase-file"
                ) from error
        if environ.get("SKERRY_PASSPHRASE"):
            return environ["SKERRY_PASSPHRASE"]
        if ask is not None:
            return ask(what)
        raise NoPassphrase(
            f"no passphrase for {what}",
            "it is encrypted and there is no terminal to ask at",
            "set $SKERRY_PASSPHRASE or give --passphrase-file",
        )

    return answer
