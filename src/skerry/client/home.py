"""What an operator's machine remembers: clouds, keys, known hosts, newest versions seen, which cloud is selected.

    $SKERRY_HOME, else ~/.config/skerry
        selected                      the name of the selected cloud
        images/                       the local image store, shared by all clouds
        clouds/<name>/cloud.json      CloudFile: id, chain of roots, hosts
        clouds/<name>/heads.json      newest version of each path ever seen: a host that shows older ones is behind
        clouds/<name>/silent.json     hosts that did not answer, and when: others are asked first for a while
        clouds/<name>/keys/           operator.key, root.key (or neither: somebody else's); see keys.py
        clouds/<name>/lock            held by a command that changes something

Files and shapes only; nothing here signs or connects. No POSIX-only import: laptops run other systems too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.client.keys import Passphrase, read_secret, write_atomically, write_secret
from skerry.errors import BadFormat, BadInput, Passing, Refusal, SkerryError
from skerry.outside import UNREADABLE

T = TypeVar("T")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LOCK_STALE_S = 3600.0  # nobody deploys for an hour; a machine that lost power leaves its lock behind
FILE_MAX_BYTES = 16 << 20


class NoCloud(BadInput):
    """There is none, or none is selected, or not that one."""

    code = "no-cloud"


class CloudExists(Refusal):
    """`init` never replaces a cloud's keys."""

    code = "cloud-exists"
    exit_code = 2


class HomeBusy(Passing):
    """Another command of this operator is changing the same cloud."""

    code = "home-busy"


class KnownHost(msgspec.Struct, frozen=True):
    """`addresses`: host:port of 7077; `certificate`: base64 DER that its links are pinned to."""

    addresses: tuple[str, ...]
    certificate: str


class CloudFile(msgspec.Struct, frozen=True, kw_only=True):
    """cloud.json. `roots`: base64 of the root envelopes' exact bytes, first one first; `operator`: the key's name.

    `documents`: path -> base64 envelope of what was signed before any host was there (the first policy).
    """

    id: str
    name: str
    operator: str = ""
    roots: tuple[str, ...] = ()
    hosts: dict[str, KnownHost] = {}
    documents: dict[str, str] = {}


class Head(msgspec.Struct, frozen=True):
    """The newest version of a path that was ever seen here, and the hash of its payload."""

    epoch: int
    version: int
    hash: str


@dataclass(frozen=True)
class CloudHome:
    """One cloud's folder."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def read(self) -> CloudFile:
        return _read_json(self.path / "cloud.json", CloudFile)

    def write(self, content: CloudFile) -> None:
        write_atomically(self.path / "cloud.json", msgspec.json.format(msgspec.json.encode(content)) + b"\n")

    def heads(self) -> dict[str, Head]:
        path = self.path / "heads.json"
        return _read_json(path, dict[str, Head]) if path.exists() else {}

    def write_heads(self, heads: Mapping[str, Head]) -> None:
        write_atomically(self.path / "heads.json", msgspec.json.encode(dict(heads), order="sorted"))

    def read_audit(self) -> bytes:
        """What `audit verify` saw the last time, "{}" if it never did."""
        path = self.path / "audit.json"
        return path.read_bytes()[:FILE_MAX_BYTES] if path.exists() else b"{}"

    def write_audit(self, data: bytes) -> None:
        write_atomically(self.path / "audit.json", data)

    def silent(self) -> dict[str, float]:
        """Host -> when it last did not answer, unix seconds. Only a hint: what can't be read counts as nothing."""
        try:
            return _read_json(self.path / "silent.json", dict[str, float])
        except (OSError, SkerryError):
            return {}

    def write_silent(self, silent: Mapping[str, float]) -> None:
        write_atomically(self.path / "silent.json", msgspec.json.encode(dict(silent), order="sorted"))

    def has_key(self, kind: str) -> bool:
        return self._key_path(kind).exists()

    def write_key(self, kind: str, data: bytes, passphrase: str = "") -> Path:
        """`kind`: "operator" or "root". Gives where it lies."""
        path = self._key_path(kind)
        write_secret(path, data, passphrase)
        return path

    def read_key(self, kind: str, passphrase: Passphrase) -> bytes:
        return read_secret(self._key_path(kind), passphrase, f"the {kind} key of {self.name}")

    def remove_key(self, kind: str) -> None:
        self._key_path(kind).unlink(missing_ok=True)

    def _key_path(self, kind: str) -> Path:
        return self.path / "keys" / f"{kind}.key"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a command changes this cloud. Raises HomeBusy.

        A file made exclusively works on every system and on network homes; a stale one is taken over.
        """
        path = self.path / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in (1, 2):
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                break
            except FileExistsError as error:
                if attempt == 1 and _stale(path):
                    path.unlink(missing_ok=True)
                    continue
                raise HomeBusy(
                    f"cloud {self.name} is being changed by another command",
                    f"{path} is there",
                    "wait until it is done; if none is running, remove that file",
                ) from error
        try:
            os.write(handle, str(os.getpid()).encode())
            os.close(handle)
            yield
        finally:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Home:
    """The whole folder."""

    path: Path

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> Home:
        given = environ.get("SKERRY_HOME")
        return cls(Path(given) if given else Path.home() / ".config" / "skerry")

    @property
    def images(self) -> Path:
        """The local image store's folder."""
        return self.path / "images"

    def clouds(self) -> list[str]:
        folder = self.path / "clouds"
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if (entry / "cloud.json").is_file())

    def selected(self) -> str:
        """The selected cloud's name, "" for none."""
        try:
            name = (self.path / "selected").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return name if name in self.clouds() else ""

    def select(self, name: str) -> None:
        write_atomically(self.path / "selected", f"{self.cloud(name).name}\n".encode())

    def cloud(self, name: str) -> CloudHome:
        """That cloud; raises NoCloud when it isn't here."""
        if name not in self.clouds():
            known = ", ".join(self.clouds()) or "none"
            raise NoCloud(
                f"there is no cloud {name!r} on this machine",
                f"known here: {known}",
                "`skerry cloud ls` shows them; `skerry init NAME` makes one",
            )
        return CloudHome(self.path / "clouds" / name)

    def new_cloud(self, name: str) -> CloudHome:
        """An empty place for a cloud that isn't known yet; raises CloudExists, BadInput for a bad name."""
        if not NAME.fullmatch(name):
            raise BadInput(
                f"{name!r} can't be a cloud's name",
                "a name has lower-case letters, digits and dashes",
                "choose one such as `home` or `shop-1`",
            )
        if name in self.clouds():
            raise CloudExists(
                f"cloud {name} is already on this machine",
                f"its keys are in {self.cloud(name).path}",
                "choose another name; nothing was changed",
            )
        return CloudHome(self.path / "clouds" / name)

    def forget(self, name: str) -> None:
        """Delete all that is known here of a cloud, keys included."""
        shutil.rmtree(self.cloud(name).path)

    def choose(self, given: str, environ: Mapping[str, str]) -> CloudHome:
        """The cloud a command is for: `--cloud`, `$SKERRY_CLOUD`, the selected one. Raises NoCloud."""
        name = given or environ.get("SKERRY_CLOUD", "") or self.selected()
        if not name:
            raise NoCloud(
                "no cloud is selected", fix="`skerry init NAME` makes one, `skerry cloud use NAME` selects one"
            )
        return self.cloud(name)


def _read_json(path: Path, shape: type[T]) -> T:
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            raise BadFormat(f"{path} was not read", "it is too large", "put it back from a backup")
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except FileNotFoundError as error:
        raise NoCloud(f"{path} does not exist", "", "`skerry cloud ls` shows what is here") from error
    except UNREADABLE as error:
        raise BadFormat(f"{path} can't be read", str(error), "put it back from a backup") from error


def _stale(path: Path) -> bool:
    """A lock that is old was left by a machine that lost power."""
    try:
        return time.time() - path.stat().st_mtime > LOCK_STALE_S
    except FileNotFoundError:
        return True
