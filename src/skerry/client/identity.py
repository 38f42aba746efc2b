"""Key pairs of people and CI systems: made, kept in a cloud's home, and their public half for others to enter in a role."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import msgspec

from skerry.client.home import CloudHome
from skerry.client.keys import Passphrase, read_secret, write_secret
from skerry.core.intent import Operator
from skerry.errors import BadFormat
from skerry.outside import UNREADABLE
from skerry.trust.genesis import operator
from skerry.trust.identity import SEED_BYTES, certifies, is_key
from skerry.trust.recovery import OperatorKeys

PUBLIC_MAX_BYTES = 16 << 10


class RootKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies in root.key: the seeds of this person's root keys."""

    seeds: tuple[bytes, ...]

    def __repr__(self) -> str:
        return "RootKeys(…)"  # never the seeds


def new_operator(name: str) -> tuple[OperatorKeys, Operator]:
    """Fresh keys and their public half."""
    keys = OperatorKeys(name, secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES))
    return keys, operator(name, keys.seed, keys.sealing, secrets.randbits(127) + 1)


def read_operator(home: CloudHome, passphrase: Passphrase) -> OperatorKeys:
    """The operator's (or CI's) keys of this cloud. Raises KeyMissing, WrongPassphrase, BadFormat."""
    return _keys(home.read_key("operator", passphrase), f"the operator key of {home.name}")


def write_operator(home: CloudHome, keys: OperatorKeys, passphrase: str) -> None:
    home.write_key("operator", msgspec.json.encode(keys), passphrase)


def read_root(home: CloudHome, passphrase: Passphrase) -> RootKeys:
    """Raises KeyMissing where the root key was put away, as it should be."""
    return _root_keys(home.read_key("root", passphrase), f"the root key of {home.name}")


def read_root_file(path: Path, passphrase: Passphrase) -> RootKeys:
    """A root.key that was moved to where it is safe. Raises as `read_root`."""
    return _root_keys(read_secret(path, passphrase, f"the root key in {path}"), str(path))


def _root_keys(data: bytes, what: str) -> RootKeys:
    try:
        keys = msgspec.json.decode(data, type=RootKeys)
    except UNREADABLE as error:
        raise BadFormat(f"{what} can't be read", str(error), "recover it: skerry key import") from error
    if not keys.seeds or any(len(seed) != SEED_BYTES for seed in keys.seeds):
        raise BadFormat(f"{what} can't be read", "a key has the wrong length", "recover it: skerry key import")
    return keys


def write_root(home: CloudHome, keys: RootKeys, passphrase: str) -> None:
    home.write_key("root", msgspec.json.encode(keys), passphrase)


def read_key_file(path: Path, passphrase: Passphrase) -> OperatorKeys:
    """A key that `skerry key new` wrote."""
    return _keys(read_secret(path, passphrase, f"the key in {path}"), str(path))


def write_key_pair(secret: Path, public: Path, name: str, passphrase: str) -> Operator:
    """A new key: its secret half (encrypted if there is a passphrase) and its public half. Gives the public half."""
    keys, half = new_operator(name)
    write_secret(secret, msgspec.json.encode(keys), passphrase)
    public.write_bytes(msgspec.json.format(msgspec.json.encode(half)) + b"\n")
    return half


def read_public(path: Path) -> Operator:
    """A public half, as `skerry key new` wrote it. Raises BadFormat."""
    try:
        with path.open("rb") as file:
            half = msgspec.json.decode(file.read(PUBLIC_MAX_BYTES), type=Operator)
        good = is_key(half.key) and is_key(half.sealing) and certifies(base64.b64decode(half.certificate), half.key)
    except (OSError, ValueError, *UNREADABLE) as error:
        raise BadFormat(f"{path} holds no public key", str(error), "make one: skerry key new NAME") from error
    if not good:
        raise BadFormat(f"{path} holds no public key", "key and certificate don't belong together", "copy it again")
    return half


def _keys(data: bytes, what: str) -> OperatorKeys:
    try:
        keys = msgspec.json.decode(data, type=OperatorKeys)
    except UNREADABLE as error:
        raise BadFormat(f"{what} can't be read", str(error), "recover it: skerry key import") from error
    if len(keys.seed) != SEED_BYTES or len(keys.sealing) != SEED_BYTES:
        raise BadFormat(f"{what} can't be read", "a key has the wrong length", "recover it: skerry key import")
    return keys
