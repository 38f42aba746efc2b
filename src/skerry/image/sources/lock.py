"""The lock file, `skerry.lock`: which packages and wheels an image is made of, by name, version and hash. Users
commit it.

JSON, a section for each image, so that several services of one compose file share a file. A section bears what it
was made for (`wanted`): when the recipe asks for something else it is made anew, otherwise it is kept as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import msgspec

from skerry.errors import BadInput

FILE_NAME = "skerry.lock"
MAX_LOCK_BYTES = 8 << 20


class BadLock(BadInput):
    """A lock file that isn't one, or is of another format."""

    code = "bad-lock"


class Wants(msgspec.Struct, frozen=True):
    """What a lock is asked for: Debian packages by name, Python requirements as the text of a requirements file, of which
    `sdists` names those that may be built from source, packages of npm as package-lock.json names them (`modules`), or as
    package.json asks for them where nothing is locked (`dependencies`), files of the project that an image is made of (`inputs`)."""

    packages: tuple[str, ...] = ()
    requirements: str = ""
    sdists: tuple[str, ...] = ()
    modules: tuple[Module, ...] = ()
    dependencies: str = ""
    inputs: tuple[Input, ...] = ()


class Deb(msgspec.Struct, frozen=True, order=True):
    """A Debian package: `path` is below the archive ("debian" or "debian-security"); `size` in bytes."""

    name: str
    version: str
    sha256: str
    size: int
    archive: Literal["debian", "debian-security"]
    path: str


class Wheel(msgspec.Struct, frozen=True, order=True):
    """A Python wheel by its file name."""

    name: str
    version: str
    sha256: str
    size: int
    file: str


class Module(msgspec.Struct, frozen=True, order=True):
    """A package of npm. `integrity` as npm writes it ("sha512-…"); `paths`: where it goes, such as "node_modules/express"."""

    name: str
    version: str
    integrity: str
    paths: tuple[str, ...]


class Sdist(msgspec.Struct, frozen=True, order=True):
    """A Python package's source archive by its file name. `requires`: what its build is done with."""

    name: str
    version: str
    sha256: str
    size: int
    file: str
    requires: tuple[Wheel, ...] = ()


class Input(msgspec.Struct, frozen=True, order=True):
    """A file or folder of the project that somebody else's tools made, by its hash."""

    path: str
    sha256: str


class Lock(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image's section. `wanted`: hash of what was asked for. `sdists`: sources of those wheels that no index has; what was
    built of them is among the wheels."""

    wanted: str
    debs: tuple[Deb, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    sdists: tuple[Sdist, ...] = ()
    modules: tuple[Module, ...] = ()
    inputs: tuple[Input, ...] = ()

    def counted(self) -> str:
        nothing = "what came in" if self.inputs else "nothing"
        return counted(len(self.debs), len(self.wheels), len(self.modules)) or nothing


def counted(debs: int, wheels: int, modules: int) -> str:
    """In words, "" for none."""
    counts = {"Debian package": debs, "wheel": wheels, "package of npm": modules}
    said = [
        f"{count} {word if count == 1 else word.replace('package', 'packages').replace('wheel', 'wheels')}"
        for word, count in counts.items()
        if count
    ]
    return ", ".join(said[:-1]) + " and " * bool(said[:-1]) + said[-1] if said else ""


class _File(msgspec.Struct):
    format: Literal[1] = 1
    images: dict[str, Lock] = {}


def read_lock(path: Path, name: str) -> Lock | None:
    """The section of this image, None without one. Raises BadLock."""
    return _read(path).images.get(name)


def write_lock(path: Path, name: str, lock: Lock) -> None:
    """Write this image's section; the others stay. One line for each package, so that a diff reads well."""
    file = _read(path)
    file.images[name] = lock
    lines = json.dumps(msgspec.to_builtins(file), indent=1, sort_keys=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(lines + "\n", "utf-8")
    part.replace(path)


def _read(path: Path) -> _File:
    if not path.is_file():
        return _File()
    data = path.read_bytes()
    try:
        if len(data) > MAX_LOCK_BYTES:
            raise msgspec.DecodeError(f"it has more than {MAX_LOCK_BYTES} bytes")
        return msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLock(f"{path} can't be read", str(error), "mend it, or remove it to lock anew") from error
