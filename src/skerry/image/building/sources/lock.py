"""The lock file, `skerry.lock`: which packages and wheels an image is made of, by name, version and hash. Users
commit it.

JSON, a section for each image, so that several services of one compose file share a file. A section bears what it
was made for (`wanted`): when the recipe asks for something else it is made anew, otherwise it is kept as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from skerry.errors import BadInput
from skerry.image.kept import alone_in, write_whole
from skerry.outside import UNREADABLE

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


# A lock is edited by hand at times, and its words become paths, addresses and lines for pip.
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.+:~!-]{1,200}\Z")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+!~-]{1,250}\Z")]
Below = Annotated[str, msgspec.Meta(pattern=r"^(?!.*(?:^|/)\.\.?(?:/|\Z))[A-Za-z0-9@_.][^\x00-\x1f\\]{0,1000}\Z")]


class Deb(msgspec.Struct, frozen=True, order=True):
    """A Debian package: `path` is below the archive ("debian" or "debian-security"); `size` in bytes."""

    name: Word
    version: Word
    sha256: Hash
    size: Size
    archive: Literal["debian", "debian-security"]
    path: Below


class Wheel(msgspec.Struct, frozen=True, order=True):
    """A Python wheel by its file name."""

    name: Word
    version: Word
    sha256: Hash
    size: Size
    file: FileName


class Module(msgspec.Struct, frozen=True, order=True):
    """A package of npm. `integrity` as npm writes it ("sha512-…"); `paths`: where it goes, such as "node_modules/express"."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9@_][A-Za-z0-9@/._+~-]{0,213}\Z")]
    version: Word
    integrity: str
    paths: tuple[Below, ...]


class Sdist(msgspec.Struct, frozen=True, order=True):
    """A Python package's source archive by its file name. `requires`: what its build is done with."""

    name: Word
    version: Word
    sha256: Hash
    size: Size
    file: FileName
    requires: tuple[Wheel, ...] = ()


class Input(msgspec.Struct, frozen=True, order=True):
    """A file or folder of the project that somebody else's tools made, by its hash."""

    path: str
    sha256: Hash


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
        nothing = "the archive" if self.inputs else "nothing"
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
    """Write this image's section; the others stay, those too that another build is writing. One line for each package, so that
    a diff reads well."""
    with alone_in(path.parent):
        file = _read(path)
        file.images[name] = lock
        write_whole(path, (json.dumps(msgspec.to_builtins(file), indent=1, sort_keys=True) + "\n").encode())


def _read(path: Path) -> _File:
    if path.exists() and not path.is_file():
        raise BadLock(f"{path} can't be read", "it is not a file", "remove it to lock anew")
    if not path.exists():
        return _File()
    data = path.read_bytes()
    try:
        if len(data) > MAX_LOCK_BYTES:
            raise msgspec.DecodeError(f"it has more than {MAX_LOCK_BYTES} bytes")
        return msgspec.json.decode(data, type=_File)
    except UNREADABLE as error:
        raise BadLock(f"{path} can't be read", str(error), "mend it, or remove it to lock anew") from error
