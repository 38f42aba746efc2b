"""Where an image came from and which packages its files belong to. Kept beside the image in the operator's store, by its digest.

Not part of the image: what runs on hosts has no use for it, and the digest must not change with what is known about its parts.
The lock is in it, so that years later an SBOM can still be made of an image whose project has moved on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec

from skerry.image.building.pile import File
from skerry.image.building.rules.certificates import BUNDLE
from skerry.image.building.sources.lock import Deb, Lock, Wheel
from skerry.image.kept import write_whole
from skerry.image.licences import of_debian, of_wheel
from skerry.image.manifest import Tree
from skerry.image.oci import hash_of
from skerry.outside import UNREADABLE

MAX_ORIGIN_BYTES = 256 << 20
Ecosystem = Literal["deb", "pypi", "npm", "apk"]
_BYTECODE = re.compile(r"(.*/|)__pycache__/([^/]+)\.cpython-\d+\.pyc")
_METADATA = re.compile(r"\.dist-info/METADATA\Z")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A package. `files`: paths of the image that are its own; none: it was locked, and nothing of it was kept.

    `source`: the Debian source package, which vulnerabilities are known by; `file`: what was downloaded; `integrity`: its hash as
    npm writes it; `licences` as the package says them.
    """

    ecosystem: Ecosystem
    name: str
    version: str
    source: str = ""
    sha256: str = ""
    integrity: str = ""
    file: str = ""
    architecture: str = ""
    licences: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """`when_s`: unix time; `source`: the folder, path or reference. `complete`: every package is in `parts`, by construction;
    otherwise they are what the image itself tells, and there may be more."""

    how: Literal["built", "imported", "pulled"]
    when_s: float
    source: str = ""
    recipe: str = ""
    lock: Lock | None = None
    parts: tuple[Part, ...] = ()
    own: tuple[str, ...] = ()  # files of the project, or made by the build: nobody else's
    complete: bool = False
    findings: tuple[str, ...] = ()
    probe: tuple[tuple[str, bool, str], ...] | None = None  # (what, as it should be, what was seen)


class Origins:
    """Origins in a folder, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, digest: str) -> Origin | None:
        """None: the image came before origins were kept, or its file can't be read any more."""
        path = self._path(digest)
        try:
            if path.stat().st_size > MAX_ORIGIN_BYTES:
                return None
            return msgspec.json.decode(path.read_bytes(), type=Origin)
        except (FileNotFoundError, *UNREADABLE):
            return None

    def put(self, digest: str, origin: Origin) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(digest), msgspec.json.encode(origin))

    def remove(self, digest: str) -> None:
        self._path(digest).unlink(missing_ok=True)

    def digests(self) -> list[str]:
        """Of all images whose origin is known."""
        found = self._directory.glob("*.json") if self._directory.is_dir() else ()
        return sorted(f"sha256:{path.stem}" for path in found if len(path.stem) == 64)

    def _path(self, digest: str) -> Path:
        return self._directory / f"{hash_of(digest)}.json"


def parts_of(
    lock: Lock, tree: Tree, files_of: Callable[[Deb | Wheel], Iterable[File]]
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The packages of a lock with their files of the tree, and the files that are nobody's.

    A file belongs to the package that has this path; of several to the last, as that is the one that was kept.
    """
    kinds = {entry.path: entry.kind for entry in tree.entries if entry.kind != "d"}
    packages: list[Deb | Wheel] = [*lock.debs, *lock.wheels]
    owner: dict[str, int] = {}
    licences: dict[str, tuple[str, ...]] = {}
    documented_by: dict[str, str] = {}
    for number, package in enumerate(packages):
        for file in files_of(package):
            if kinds.get(file.path) == file.kind:
                owner[file.path] = number
            if file.path == f"usr/share/doc/{package.name}" and file.kind == "l":
                documented_by[package.name] = file.link.rpartition("/")[2]
            elif file.path == f"usr/share/doc/{package.name}/copyright" and file.kind == "f":
                licences[package.name] = of_debian(file.load())
            elif isinstance(package, Wheel) and _METADATA.search(file.path):
                licences[f"{package.name} {package.version}"] = of_wheel(file.load())
    files: dict[int, list[str]] = {}
    numbers = {package.name: number for number, package in enumerate(packages)}
    for path in kinds:
        if path not in owner and (made_from := _made_from(path, owner, numbers)) is not None:
            owner[path] = made_from
        if path in owner:
            files.setdefault(owner[path], []).append(path)
    parts = []
    for number, package in enumerate(packages):
        kept = tuple(files.get(number, ()))
        if isinstance(package, Deb):
            known = licences.get(documented_by.get(package.name, package.name), ())
            parts.append(_of_deb(package, known, kept))
        else:
            known = licences.get(f"{package.name} {package.version}", ())
            parts.append(
                Part(
                    ecosystem="pypi", name=package.name, version=package.version, sha256=package.sha256,
                    file=package.file, licences=known, files=kept,
                )
            )  # fmt: skip
    return tuple(parts), tuple(path for path in kinds if path not in owner)


def _made_from(path: str, owner: dict[str, int], numbers: dict[str, int]) -> int | None:
    """The package that a made file is another form of: bytecode of its module, the bundle of its certificates."""
    if path == BUNDLE:
        return numbers.get("ca-certificates")
    if compiled := _BYTECODE.fullmatch(path):
        return owner.get(f"{compiled[1]}{compiled[2]}.py")
    return None


def _of_deb(deb: Deb, licences: tuple[str, ...], files: tuple[str, ...]) -> Part:
    """The pool's folder bears the source package's name, the file's last word the architecture."""
    source = deb.path.split("/")[-2] if deb.path.count("/") >= 2 else deb.name
    architecture = deb.path.rpartition("_")[2].removesuffix(".deb")
    return Part(
        ecosystem="deb", name=deb.name, version=deb.version, source=source, sha256=deb.sha256, architecture=architecture,
        file=deb.path.rpartition("/")[2], licences=licences, files=files,
    )  # fmt: skip
